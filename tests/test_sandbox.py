"""What a user of the sandbox relies on."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Iterator

import pytest

from autoif.base.records import Outcome, Status
from autoif.sandbox import Limits, Sandbox, probe

GOOD = "def evaluate(response):\n    return len(response) > 2\n"
QUICK = Limits(cpu_seconds=0.1, wall_seconds=30, total_seconds=60, memory_mb=64, strikes=2)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=2, limits=QUICK) as sandbox:
        yield sandbox


def statuses(outcomes: list[Outcome]) -> str:
    return " ".join(o.status.value for o in outcomes)


def test_one_outcome_per_text_in_order(sandbox: Sandbox) -> None:
    assert statuses(sandbox.evaluate(GOOD, ["a", "abc", "", "你好吗"])) == "FALSE TRUE FALSE TRUE"
    assert sandbox.evaluate(GOOD, []) == []


@pytest.mark.parametrize(
    ("source", "status", "detail"),
    [
        ("def evaluate(r):\n    return 'x'", Status.ERROR, "returned str, not bool"),
        ("def evaluate(r):\n    return None", Status.ERROR, "returned NoneType, not bool"),
        ("def evaluate(r):\n    return 2", Status.ERROR, "returned int, not bool"),
        ("def evaluate(r):\n    return 1", Status.TRUE, "returned int"),
        ("def evaluate(r):\n    return x", Status.ERROR, "NameError: name 'x' is not defined"),
        ("x = 1", Status.ERROR, "NameError: no function named 'evaluate'"),
        ("import requests\n" + GOOD, Status.ERROR, "ImportError: requests is not on the allowlist"),
        ("def evaluate(r):\n    while True: pass", Status.TIMEOUT, "CPU limit"),
        ("while True: pass", Status.TIMEOUT, "CPU limit"),
        ("def evaluate(r):\n    return bytes(1 << 30)", Status.MEMORY, "memory limit"),
        ("import os\ndef evaluate(r):\n    os._exit(3)", Status.CRASH, "the process died (exit 3)"),
        ("import os\ndef evaluate(r):\n    os.abort()", Status.CRASH, "the process died (SIGSEGV)"),
    ],
)
def test_what_went_wrong_is_said(
    sandbox: Sandbox, source: str, status: Status, detail: str
) -> None:
    assert sandbox.evaluate(source, ["abc"]) == [Outcome(status, detail)]


def test_sleep_and_the_whole_job_are_limited_by_the_wall_clock() -> None:
    source = "import time\ndef evaluate(r):\n    time.sleep(float(r))\n    return True"
    with Sandbox(workers=1, limits=Limits(wall_seconds=0.3, total_seconds=1, strikes=9)) as sandbox:
        assert sandbox.evaluate(source, ["9"]) == [Outcome(Status.TIMEOUT, "wall-clock limit")]
        said = sandbox.evaluate(source, ["0.1"] * 40)
    assert said[0].status is Status.TRUE
    assert said[-1] == Outcome(Status.TIMEOUT, "total limit")


def test_a_bad_call_does_not_spoil_its_neighbours(sandbox: Sandbox) -> None:
    source = (
        "import os\n"
        "def evaluate(r):\n"
        "    if r == 'die': os._exit(0)\n"
        "    if r == 'loop':\n"
        "        while True: pass\n"
        "    return r == 'yes'\n"
    )
    said = sandbox.evaluate(source, ["yes", "die", "no", "yes"])
    assert statuses(said) == "TRUE CRASH FALSE TRUE"
    said = sandbox.evaluate(source, ["yes", "loop", "yes", "die", "yes", "yes"])
    assert statuses(said) == "TRUE TIMEOUT TRUE CRASH CRASH CRASH"
    assert said[-1].detail.startswith("not run after")


@pytest.mark.parametrize(
    "source",
    [
        "n = [0]\ndef evaluate(r):\n    n[0] += 1\n    return n[0] == 1",
        "def evaluate(r, seen=[]):\n    seen.append(r)\n    return len(seen) == 1",
    ],
)
def test_state_between_calls_is_exposed(sandbox: Sandbox, source: str) -> None:
    (said,) = sandbox.evaluate(source, ["abc"], check_order=True)
    assert said == Outcome(Status.ERROR, "nondeterministic")
    (said,) = sandbox.evaluate(GOOD, ["abc"], check_order=True)
    assert said == Outcome(Status.TRUE)


def test_a_text_that_spoils_a_transform_spoils_no_other(sandbox: Sandbox) -> None:
    """It is the text that is to blame, whoever wrote the program: there are no strikes."""
    source = (
        "import os\n"
        "def comply(text):\n"
        "    if text == 'die': os._exit(0)\n"
        "    while text == 'loop': pass\n"
        "    return text\n"
    )
    done = sandbox.transform(source, ["die", "die", "a", "loop", "loop", "b", "die"])
    assert [t.text for t in done] == ["", "", "a", "", "", "b", ""]


def test_transform(sandbox: Sandbox) -> None:
    texts = [f"text {i} é" for i in range(150)]
    said = sandbox.transform("def comply(text):\n    return text.upper()", texts)
    assert [t.text for t in said] == [t.upper() for t in texts]
    (said_long,) = sandbox.transform("def comply(text):\n    return text * 70000", ["x"])
    assert (said_long.status, said_long.detail) == (Status.ERROR, "returned over 64 kB")
    (said_int,) = sandbox.transform("def comply(text):\n    return 3", ["x"])
    assert (said_int.status, said_int.detail) == (Status.ERROR, "returned int, not str")


async def test_from_a_loop(sandbox: Sandbox) -> None:
    said = await asyncio.gather(*(sandbox.aevaluate(GOOD, ["abc", "a"]) for _ in range(20)))
    assert {statuses(s) for s in said} == {"TRUE FALSE"}
    (text,) = await sandbox.atransform("def comply(t): return t + '!'", ["a"])
    assert text.text == "a!"


def test_source_over_64_kb_is_not_even_parsed(sandbox: Sandbox) -> None:
    (said,) = sandbox.evaluate("(" * 70_000, ["x"])
    assert said == Outcome(Status.ERROR, "source over 64 kB")


TEXTUAL = {  # each says whether the text has more than two letters
    "numpy": "numpy.array([len(r), 0]).max() > 2",
    "regex": "bool(regex.search(r'\\p{L}{3}', r))",
    "emoji": "emoji.emoji_count(r) == 0 and len(r) > 2",
    "bs4": "len(bs4.BeautifulSoup(r, 'html.parser').text) > 2",
    "langdetect": "langdetect.detect(r) != '' and len(r) > 2",
    "nltk": "len(nltk.wordpunct_tokenize(r)[0]) > 2",
}


@pytest.mark.parametrize("module", TEXTUAL)
def test_the_text_profile(sandbox: Sandbox, module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    source = f"import {module}\ndef evaluate(r):\n    return {TEXTUAL[module]}"
    said = sandbox.evaluate(source, ["ab", "abc"], check_order=True)
    assert statuses(said) == "FALSE TRUE", said


def test_modules_and_codecs_that_load_late(sandbox: Sandbox) -> None:
    """What is not in the smallest profile is found in a larger one, static or not."""
    for body in (
        "import html\n    return html.escape(r) == r",
        "return r.encode('cp1252') == r.encode('latin-1')",
        "from datetime import datetime\n    return datetime.strptime('1 May', '%d %b').day == 1",
        "import xml.etree.ElementTree as E\n    return E.fromstring('<a>b</a>').text == 'b'",
        "import dataclasses as d\n    return d.is_dataclass(d.make_dataclass('A', []))",
    ):
        assert sandbox.evaluate(f"def evaluate(r):\n    {body}", ["x"]) == [Outcome(Status.TRUE)]


GUARDED = """
try:
    import {0}
except {1}:
    {0} = None

def evaluate(response):
    return {0} is None
"""


@pytest.mark.parametrize("error", ["ImportError", "ModuleNotFoundError"])
@pytest.mark.parametrize("module", ["pyphen", "requests", "ctypes", "subprocess", "autoif"])
def test_a_guarded_import_that_is_refused_takes_its_other_way(
    sandbox: Sandbox, module: str, error: str
) -> None:
    """As in plain Python where the module is missing; also if our own code has loaded it."""
    source = GUARDED.format(module, error)
    assert sandbox.evaluate(source, ["x"], check_order=True) == [Outcome(Status.TRUE)]


def test_a_module_that_is_looked_for_is_not_there(sandbox: Sandbox) -> None:
    source = (
        "import importlib.util\n"
        "def evaluate(r):\n"
        "    return importlib.util.find_spec('pyphen') is None\n"
    )
    assert sandbox.evaluate(source, ["x"]) == [Outcome(Status.TRUE)]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("import html, pyphen", "pyphen is not on the allowlist"),
        ("from pyphen import Pyphen", "pyphen is not on the allowlist"),
        ("import ctypes.util", "ctypes is not on the allowlist"),
        ("from ctypes.util import find_library", "ctypes is not on the allowlist"),
        ("from autoif.sandbox import frames", "autoif is not on the allowlist"),
        ("import json.nothing", "json.nothing is not on the allowlist"),
        ("from . import words", "attempted relative import"),
    ],
)
def test_an_import_that_nobody_guards_is_named(sandbox: Sandbox, lines: str, says: str) -> None:
    within = "def evaluate(r):\n    " + lines + "\n    return True"
    for source in (lines + "\n" + GOOD, within):
        (said,) = sandbox.evaluate(source, ["abc"])
        assert said.status is Status.ERROR
        assert says in said.detail


def test_a_module_of_the_allowlist_that_is_missing_is_said_to_be(sandbox: Sandbox) -> None:
    missing = [m for m in TEXTUAL if importlib.util.find_spec(m) is None]
    if not missing:
        pytest.skip("all modules for text are installed")
    (said,) = sandbox.evaluate(f"import {missing[0]}\n" + GOOD, ["abc"])
    assert said == Outcome(Status.ERROR, f"ImportError: {missing[0]} is not installed")
    assert (
        sandbox.evaluate(GUARDED.format(missing[0], "ImportError"), ["x"])[0].status is Status.TRUE
    )


def test_large_texts_and_many_of_them(sandbox: Sandbox) -> None:
    ends = "def evaluate(r):\n    return r.endswith('!')"
    assert (
        statuses(sandbox.evaluate(ends, ["x" * 10_000_000 + "!", "你" * 1_000_000])) == "TRUE FALSE"
    )
    many = ["!" * (i % 2) for i in range(70_000)]
    said = sandbox.evaluate(ends, many, check_order=True)
    assert [o.status is Status.TRUE for o in said] == [bool(t) for t in many]
    over = sandbox.evaluate(ends, ["!", "x" * (40 << 20), "!"])
    assert [o.status.value for o in over] == ["TRUE", "ERROR", "TRUE"]
    assert over[1].detail == "text over 31 MB"


def test_printing_and_reading_do_no_harm(sandbox: Sandbox) -> None:
    source = (
        "import sys\n"
        "def evaluate(r):\n"
        "    print(r * 100_000); sys.stderr.write(r)\n"
        "    try: input()\n"
        "    except EOFError: return True\n"
    )
    assert statuses(sandbox.evaluate(source, ["x", "y"])) == "TRUE TRUE"


def test_probe_names_the_layers() -> None:
    layers = {layer.name: layer for layer in probe()}
    assert layers["seccomp"].holds
    assert all(layer.holds for layer in layers.values() if layer.required)
