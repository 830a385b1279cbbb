"""What holds of every checker, whatever the text: also as a reward it meets anything."""

from __future__ import annotations

import random
import string
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from autoif.base.errors import UsageError
from autoif.constraints.checkers import CHECKERS, bind, check
from autoif.evals.ifeval import judge, readings
from evals_samples import SAMPLES

IDS = sorted(CHECKERS)
PIECES = [
    *"\n*-[]<>\"'.?!,#`(){}",
    "\n\n",
    "***",
    "******",
    "<<title>>",
    "P.S.",
    "Section 1",
    "My answer is yes.",
    "```json\n{}\n```",
    "Dr. No said e.g. this.",
    "HELLO there",
    "“curly”",
    "مرحبا بالعالم",
    "\u202eשלום",
    "你好。",
    "日本語",
    "😀",
    "👩‍👩‍👧",
    "\ud800",
    "\x00\x1c\x85",
    "ǅİß",
    "1,000",
    "and",
]
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=8), max_size=20).map(" ".join)
LONG = {
    "letters": "a",
    "line breaks": "\n",
    "spaces": " ",
    "stars": "*",
    "open brackets": "[",
    "titles": "<<",
    "sentences": "Hello there. ",
    "quotes": '"',
    "full stops": ".",
    "surrogates": "\ud800",
    "emoji": "😀",
    "right to left": "שלום ",
}
QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(autouse=True)
def _tagger_data(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOIF_DATA", str(data_dir))


@QUICK
@given(TEXTS)
@example("")
@example(" \n ")
@example("\x00")
@example("." * 3000)
def test_no_checker_raises_on_any_text(text: str) -> None:
    for id_ in IDS:
        assert check(id_, text, **SAMPLES.get(id_, {})) in (True, False)


@pytest.mark.parametrize("piece", LONG.values(), ids=LONG)
def test_a_long_hostile_text_takes_time_in_proportion(piece: str) -> None:
    text = (piece * 50_000)[:50_000]
    for id_ in IDS:
        check(id_, text, **SAMPLES.get(id_, {}))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("piece", LONG.values(), ids=LONG)
def test_a_text_of_a_megabyte(piece: str) -> None:
    text = (piece * 1_000_000)[:1_000_000]
    for id_ in IDS:
        check(id_, text, **SAMPLES.get(id_, {}))


@QUICK
@given(TEXTS, st.lists(st.sampled_from(IDS), min_size=1, max_size=4))
def test_loose_passes_whatever_strict_passes(text: str, ids: list[str]) -> None:
    followed = judge([bind(i, SAMPLES.get(i, {})) for i in ids], text)
    assert len(followed.strict) == len(followed.loose) == len(ids)
    for strict, loose in zip(followed.strict, followed.loose, strict=True):
        assert loose >= strict


@QUICK
@given(st.lists(TEXTS, min_size=2, max_size=4), st.randoms(use_true_random=False))
def test_verdicts_do_not_depend_on_order(texts: list[str], shuffle: random.Random) -> None:
    checks = [(i, bind(i, SAMPLES.get(i, {}))) for i in shuffle.sample(IDS, 12)]
    jobs = [(id_, check_, text) for id_, check_ in checks for text in texts]
    first = {(id_, text): check_(text) for id_, check_, text in jobs}
    shuffle.shuffle(jobs)
    assert {(id_, text): check_(text) for id_, check_, text in jobs} == first


@QUICK
@given(TEXTS)
def test_readings_are_the_benchmarks_eight(text: str) -> None:
    """All eight as the benchmark states them, blank ones and repetitions aside."""
    lines = text.split("\n")
    cuts = [text, *("\n".join(lines[a:b]).strip() for a, b in ((1, None), (None, -1), (1, -1)))]
    eight = {t for cut in cuts for t in (cut, cut.replace("*", ""))}
    assert {*readings(text), text} == {t for t in eight if t.strip()} | {text}


@pytest.mark.parametrize("response", [None, "", "  \n\t"])
def test_an_empty_response_follows_nothing(response: str | None) -> None:
    checks = [bind("punctuation:no_comma", {}), bind("format:sub-bullets", {})]
    followed = judge(checks, response)
    assert followed.strict == followed.loose == (False, False)


@pytest.mark.parametrize(
    ("id_", "kwargs"),
    [
        ("keywords:existense", {}),
        ("punctuation:no_comma", {"comma": ","}),
        ("keywords:existence", {}),
        ("keywords:existence", {"keywords": []}),
        ("keywords:existence", {"keywords": "cat"}),
        ("keywords:existence", {"keywords": ["("]}),
        ("keywords:frequency", {"keyword": "a", "frequency": 1, "relation": "at most"}),
        ("length_constraints:number_words", {"num_words": "many", "relation": "at least"}),
        ("length_constraints:number_words", {"num_words": -1, "relation": "at least"}),
        ("length_constraints:number_words", {"num_words": 1.5, "relation": "at least"}),
        ("length_constraints:number_words", {"num_words": True, "relation": "at least"}),
        ("keywords:letter_frequency", {"letter": "ab", "let_frequency": 1, "let_relation": "at"}),
        (
            "length_constraints:nth_paragraph_first_word",
            {"num_paragraphs": 1, "nth_paragraph": 2, "first_word": "a"},
        ),
        ("count:words_japanese", {"N": 0}),
    ],
)
def test_what_cannot_be_checked_is_an_error_and_never_a_pass(
    id_: str, kwargs: dict[str, Any]
) -> None:
    with pytest.raises(UsageError) as raised:
        bind(id_, kwargs)
    assert "\n" not in str(raised.value)


def test_zero_is_a_value_and_null_is_none() -> None:
    zero = {"keyword": "cat", "frequency": 0, "relation": "at least", "language": None}
    assert check("keywords:frequency", "no such animal", **zero)
    assert not check("detectable_format:number_bullet_lists", "* one", num_bullets=0)
    assert check("count:numbers", "none", N=0.0)


def test_line_indent_forgets_blank_lines_as_the_benchmark_does() -> None:
    """Removing from a list while walking it, done here the quadratic way."""
    draw = random.Random(0)
    for _ in range(500):
        lines = [draw.choice(["", " ", "  ", "a", " b", "  c"]) for _ in range(draw.randint(1, 9))]
        walked = list(lines)
        for line in walked:
            if not line.strip():
                walked.remove(line)
        indents = [len(line) - len(line.lstrip(" ")) for line in walked]
        expected = all(a < b for a, b in pairwise(indents))
        assert check("format:line_indent", "\n".join(lines)) is expected, lines


def test_punctuation_at_the_edge_is_ascii() -> None:
    assert check(
        "count:conjunctions", f"and {string.punctuation}but{string.punctuation}", small_n=2
    )
    assert not check("count:conjunctions", "and “but”", small_n=2)
