"""Malformed sources and texts: whatever comes in, one outcome per text comes out, exactly, and the
good function that is asked next answers as ever.

AUTOIF_FUZZ_SECONDS sets the length of the slow variant (600 by default).
"""

from __future__ import annotations

import keyword
import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoif.base.errors import SandboxUnavailable
from autoif.base.records import Outcome, Status
from autoif.sandbox import Limits, Sandbox
from honest import FUNCTIONS

LIMITS = Limits(cpu_seconds=0.25, wall_seconds=1.0, total_seconds=3.0, memory_mb=128, strikes=1)
GOOD = "import re\ndef evaluate(response):\n    return bool(re.search('fox', response))\n"
GOOD_TEXTS = ["a fox", "a dog", "", "\ud800 fox \x00"]
GOOD_OUTCOMES = [Status.TRUE, Status.FALSE, Status.FALSE, Status.TRUE]
ECHO = "def comply(response):\n    return response\n"

QUICK = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow], database=None
)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    try:
        with Sandbox(workers=1, limits=LIMITS) as sandbox:
            yield sandbox
    except SandboxUnavailable as missing:
        pytest.skip(f"no sandbox here: {missing}")


# ---- what comes in ---------------------------------------------------------------------------

any_text = st.text(st.characters())  # lone surrogates and nulls included
big_text = st.builds(
    lambda piece, count: piece * count,
    st.sampled_from(["x", "word ", "\n", "\x00", "é", "世", "😀", "\ud800", "a\r\n"]),
    st.integers(1, 200_000),
)
texts_in = st.lists(any_text | big_text, max_size=6)

_honest = st.sampled_from([source for _, source in FUNCTIONS])
_tokens = st.sampled_from(
    [
        *[
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            ",",
            ".",
            "+",
            "-",
            "*",
            "**",
            "/",
            "//",
            ":",
            ":=",
            "->",
            "@",
            "_",
            "...",
            "9",
            "0x",
            "1e9",
            "f'",
            "'",
            '"',
            "#",
            "\\",
        ],
        *keyword.kwlist,
        *("match", "case", "evaluate", "response", "__class__", "é", "変数", "ﬁ"),
        *("\n", "\n\t", "\n    ", '"""', "\ufeff", "\x00", "\x0c", "\ud800", "\u2028", "\xa0"),
    ]
)
_openers = st.sampled_from(["(", "[", "{", "-", "not ", "lambda:", "if 1:\n ", "f'{", "a.", "@a\n"])


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """An honest function with a piece cut, doubled, replaced or strange bytes put in."""
    source = draw(_honest)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(source)))
        stop = min(start + draw(st.integers(0, 40)), len(source))
        middle = draw(
            st.sampled_from(
                ["", "\x00", "\ufeff", "\r\n", "\t", "(", "\ud800", "9" * 5000, "x" * 9000]
            )
            | st.just(source[start:stop] * 2)
            | any_text
        )
        source = source[:start] + middle + source[stop:]
    return source


sources_in = st.one_of(
    any_text,
    big_text,
    mutated(),
    st.lists(_tokens, max_size=60).map(" ".join),
    st.builds(lambda o, n: f"x = {o * n}\n{GOOD}", _openers, st.integers(1, 9000)),
    st.builds(lambda n: f"def {'e' * n}(r): return True", st.integers(1, 70_000)),
    _honest.map(lambda source: source.replace("\n", "\r\n")),
    _honest.map(lambda source: "\ufeff" + source),
    _honest.map(lambda source: source.replace("    ", "\t")),
)


def check(sandbox: Sandbox, source: str, texts: list[str]) -> None:
    start = time.monotonic()
    outcomes = sandbox.evaluate(source, texts)
    assert time.monotonic() - start < 15
    assert len(outcomes) == len(texts)
    assert all(type(o) is Outcome and type(o.detail) is str for o in outcomes)
    assert [o.status for o in sandbox.evaluate(GOOD, GOOD_TEXTS)] == GOOD_OUTCOMES


# ---- short ------------------------------------------------------------------------------------


@QUICK
@given(source=sources_in, texts=texts_in)
def test_anything_in_outcomes_out(sandbox: Sandbox, source: str, texts: list[str]) -> None:
    check(sandbox, source, texts)


@QUICK
@given(texts=st.lists(any_text, min_size=1, max_size=6))
def test_texts_arrive_and_return_exactly(sandbox: Sandbox, texts: list[str]) -> None:
    source = f"TEXTS = {[list(map(ord, t)) for t in texts]!r}\n"
    source += "def evaluate(r):\n    return list(map(ord, r)) in TEXTS\n"
    assert {o.status for o in sandbox.evaluate(source, texts)} == {Status.TRUE}
    changed = sandbox.transform(ECHO, texts)
    assert [(c.status, c.text) for c in changed] == [(Status.TRUE, text) for text in texts]


@pytest.mark.parametrize(
    "source",
    [
        "",
        " ",
        "\n",
        "\x00",
        "\ufeff",
        "\ud800",
        "def evaluate(response)",
        "def evaluate(response):",
        "def evaluate(response):\n\treturn True\n        return False",
        "def evaluate(response):\n    return '\ud800' in response)",
        "def evaluate(response):\n    return True\x00",
        "def evaluate(response): return " + "(" * 300,
        "évaluate = 1",
        "#" * 65_537,
        "def evaluate(response): return True\n#" + "é" * 33_000,
        "x" * 50_000_000,
    ],
    ids=lambda source: repr(source[:20]),
)
def test_a_source_that_is_no_function_is_an_error(sandbox: Sandbox, source: str) -> None:
    start = time.monotonic()
    outcomes = sandbox.evaluate(source, ["a", "b"])
    assert [o.status for o in outcomes] == [Status.ERROR, Status.ERROR]
    assert all(0 < len(o.detail) < 1000 for o in outcomes)
    assert time.monotonic() - start < 3
    assert [o.status for o in sandbox.evaluate(GOOD, GOOD_TEXTS)] == GOOD_OUTCOMES


@pytest.mark.parametrize(
    "source",
    [
        GOOD.replace("\n", "\r\n"),
        GOOD.replace("    ", "\t"),
        GOOD.rstrip("\n"),
        "\n\n\n" + GOOD + "\n\n\x0c\n",
        "# -*- coding: latin-1 -*-\n" + GOOD,
        "#!/usr/bin/python\n" + GOOD,
        GOOD + "#" * 60_000,
        GOOD.replace("response", "r" * 20_000),
        GOOD.replace("response", "réponse"),
        GOOD.replace("response", "変数"),
    ],
    ids=lambda source: repr(source[:20]),
)
def test_unusual_but_valid(sandbox: Sandbox, source: str) -> None:
    assert [o.status for o in sandbox.evaluate(source, GOOD_TEXTS)] == GOOD_OUTCOMES


def test_no_texts(sandbox: Sandbox) -> None:
    assert sandbox.evaluate(GOOD, []) == []
    assert sandbox.transform(ECHO, []) == []


def test_many_texts(sandbox: Sandbox) -> None:
    outcomes = sandbox.evaluate(GOOD, ["a fox", "a dog"] * 20_000)
    assert [o.status for o in outcomes] == [Status.TRUE, Status.FALSE] * 20_000


def test_ten_megabyte_lines(sandbox: Sandbox) -> None:
    """Where the limits leave room for it the answer is right; where not, nobody else is hurt."""
    source = "def evaluate(r): return len(r) == 10_000_000 and r.count(r[0]) == len(r)\n"
    texts = ["x" * 10_000_000, "\x00" * 10_000_000, "\ud800" * 10_000_000]
    roomy = Limits(cpu_seconds=20.0, wall_seconds=40.0, total_seconds=60.0, memory_mb=512)
    with Sandbox(workers=1, limits=roomy) as large:
        assert [o.status for o in large.evaluate(source, texts)] == [Status.TRUE] * 3
    check(sandbox, source, texts)


# ---- long -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_fuzz_long(sandbox: Sandbox) -> None:
    deadline = time.monotonic() + float(os.environ.get("AUTOIF_FUZZ_SECONDS", "600"))

    @settings(QUICK, max_examples=200)
    @given(source=sources_in, texts=texts_in)
    def fuzz(source: str, texts: list[str]) -> None:
        check(sandbox, source, texts)

    while time.monotonic() < deadline:
        fuzz()
