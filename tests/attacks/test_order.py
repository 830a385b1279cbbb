"""A verdict that depends on more than its text does not get past `check_order`: the second pass is
made by another process, among other texts, and nothing says that it is one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from autoif.base.records import Outcome, Status
from autoif.sandbox import Limits, Sandbox

from .corpus.attack import TOOLS

TEXTS = [f"text {i}" for i in range(40)]
FICKLE = {
    "chance remembered by text": """
        MEMO = {}
        def evaluate(response):
            return MEMO.setdefault(response, grab("posix").urandom(1)[0] % 2 == 0)
        """,
    "numbers drawn and remembered by text": """
        import random
        MEMO = {}
        def evaluate(response):
            return MEMO.setdefault(response, random.random() < 0.5)
        """,
    "numbers drawn at the start": """
        import random
        KEEN = [random.random() < 0.5 for _ in range(64)]
        def evaluate(response):
            return KEEN[len(response) % 64 - int(response[5:] or 0) % 7]
        """,
    "the clock": """
        def evaluate(response):
            return grab("time").perf_counter_ns() // 64 % 2 == 0
        """,
    "the first call": """
        SEEN = []
        def evaluate(response):
            SEEN.append(response)
            return len(SEEN) == 1
        """,
    "every other call": """
        SEEN = []
        def evaluate(response):
            SEEN.append(response)
            return len(SEEN) % 2 == 0
        """,
    "the call before": """
        SEEN = [""]
        def evaluate(response):
            SEEN.append(response)
            return SEEN[-2] < response
        """,
    "the number of texts": """
        def evaluate(response):
            return grab("sys")._getframe(1).f_locals["self"].job.texts % 2 == 0
        """,
}
DETERMINED = list(FICKLE)[4:]  # these show on any number of texts


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=1, limits=Limits(cpu_seconds=5, strikes=1)) as sandbox:
        yield sandbox


def source(name: str) -> str:
    lines = FICKLE[name].splitlines()
    return TOOLS + "\n".join(line[8:] for line in lines) + "\n"


@pytest.mark.parametrize("name", FICKLE)
def test_the_fickle_are_exposed(sandbox: Sandbox, name: str) -> None:
    outcomes = sandbox.evaluate(source(name), TEXTS, check_order=True)
    assert Outcome(Status.ERROR, "nondeterministic") in outcomes


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("name", DETERMINED)
def test_on_any_number_of_texts(sandbox: Sandbox, name: str, count: int) -> None:
    outcomes = sandbox.evaluate(source(name), TEXTS[:count], check_order=True)
    assert Outcome(Status.ERROR, "nondeterministic") in outcomes


COUNTING = {
    "one of {p} calls": "    N.append(1)\n    return len(N) % {p} == {at}\n",
    "all but one of {p} calls": "    N.append(1)\n    return len(N) % {p} != {at}\n",
    "the first calls of {p}": "    N.append(1)\n    return len(N) % {p} <= {at}\n",
    "a cycle of {p}": "    return next(CYCLE)\n",
}
HEAD = (
    "from itertools import cycle\nN, CYCLE = [], cycle([True] + [False] * ({p} - 1))\n"
    "def evaluate(response):\n"
)


@pytest.mark.parametrize("period", range(2, 8))
def test_what_counts_its_calls_in_any_period_is_exposed(sandbox: Sandbox, period: int) -> None:
    for pattern, body in COUNTING.items():
        for count in range(2, 26):
            at = count % (period - 1)
            counting = (HEAD + body).format(p=period, at=at)
            outcomes = sandbox.evaluate(counting, TEXTS[:count], check_order=True)
            exposed = Outcome(Status.ERROR, "nondeterministic") in outcomes
            assert exposed, (pattern.format(p=period), at, count)


def test_what_counts_its_calls_is_exposed_on_long_texts(sandbox: Sandbox) -> None:
    counting = (HEAD + COUNTING["all but one of {p} calls"]).format(p=3, at=1)
    for count in (1, 4, 9):
        long = [text + " and so on" * 300 for text in TEXTS[:count]]
        outcomes = sandbox.evaluate(counting, long, check_order=True)
        assert Outcome(Status.ERROR, "nondeterministic") in outcomes


def test_a_text_that_is_cut_off_is_not_called_again(sandbox: Sandbox) -> None:
    """Copies of it would use up the strikes of the others."""
    check = "def evaluate(response):\n    while response == '':\n        pass\n    return True\n"
    with Sandbox(workers=1, limits=Limits(cpu_seconds=0.1)) as strict:
        outcomes = strict.evaluate(check, ["a", "", "b"], check_order=True)
    assert [o.status for o in outcomes] == [Status.TRUE, Status.TIMEOUT, Status.TRUE]


def test_the_head_of_a_job_says_nothing_of_the_second_pass(sandbox: Sandbox) -> None:
    """Bit by bit: what a function reads there while it is tested is what it reads in use, but for
    how many texts there are and how long they are."""
    reader = TOOLS + (
        "def evaluate(response):\n"
        "    runner = grab('sys')._getframe(1).f_locals['self']\n"
        "    bit = int(response)\n"
        "    return bool(runner.payload[bit // 8] >> bit % 8 & 1)\n"
    )
    differing = set()
    for word in range(10):
        bits = [f"{bit:03}" for bit in range(word * 64, word * 64 + 64)]
        used = sandbox.evaluate(reader, bits)
        assert {o.status for o in used} <= {Status.TRUE, Status.FALSE}
        if sandbox.evaluate(reader, bits, check_order=True) != used:
            differing.add(word)
    assert differing == {1, 9}  # the words `texts` and `blob`


def test_no_process_number_and_no_job_number(sandbox: Sandbox) -> None:
    """What counts the jobs of a worker would be a coin that a function remembers by."""
    counting = TOOLS + (
        "def numbers():\n"
        "    posix, threading = grab('posix'), grab('_thread')\n"
        "    yield from (posix.getpid(), threading.get_native_id() & 0xFFFF)\n"
        "    frame = grab('sys')._getframe(1)\n"
        "    while frame is not None:\n"
        "        for name, value in frame.f_locals.items():\n"
        "            if type(value) is int:\n"
        "                yield f'{frame.f_code.co_name}.{name}={value}'\n"
        "        frame = frame.f_back\n"
        "def comply(response):\n"
        "    return ' '.join(map(str, numbers()))\n"
    )
    (numbers,) = {sandbox.transform(counting, ["x"])[0].text for _ in range(3)}
    assert "job.me=" in numbers


def test_an_honest_function_is_not_accused(sandbox: Sandbox) -> None:
    """It remembers what it has computed, which is its own affair."""
    honest = (
        "from functools import cache\n"
        "import random\n"
        "@cache\n"
        "def words(text):\n    return text.split()\n"
        "def evaluate(response):\n"
        "    dice = random.Random(len(response))\n"
        "    return len(words(response)) > 1 and dice.random() >= 0\n"
    )
    for count in (1, 2, 7, 40):
        outcomes = sandbox.evaluate(honest, TEXTS[:count], check_order=True)
        assert outcomes == [Outcome(Status.TRUE)] * count
