"""How far off: measures that running a verifier finds, and rewards that grade by them."""

from __future__ import annotations

from typing import Any

import pytest

import students
from autoif.base.errors import UsageError
from autoif.engine.measuring import proved_measure
from autoif.sandbox import CHECK_LIMITS, Sandbox
from autoif.verifier.reward import Rewarded, RewardSettings, holds, parse_row, rewarded, score
from autoif.verifier.schema import Measure, VerifierRow, parse_verifier

WORDS = "def evaluate(response):\n    return len(response.split()) >= 20"
COUNT = "def measure(response):\n    return len(response.split())"
GRADED = RewardSettings("graded")
TEXT = (
    "Bees cluster round the queen in winter and shiver to keep her warm until the first flowers "
    "of spring open near"
)
PROSE = TEXT.split()


@pytest.fixture(scope="module")
def sandbox() -> Any:
    with Sandbox(limits=CHECK_LIMITS) as opened:
        yield opened


def verifier(instruction: str, source: str, **more: Any) -> VerifierRow:
    return parse_verifier({"instruction": instruction, "checks": [source], **more}, "row")


FOUND = [
    ("Write at least forty words.", "return len(response.split()) >= 40", (40.0, None)),
    ("Use three paragraphs.", r"return len(response.strip().split('\n\n')) == 3", (3.0, 3.0)),
    ("Do without commas.", "return ',' not in response", (0.0, 0.0)),
    ('Use "harvest" twice or more.', "return response.count('harvest') > 1", (2.0, None)),
    ("60 to 75 words.", "return 60 <= len(response.split()) <= 75", (60.0, 75.0)),
    ("不超过五十个字。", "return sum('一' <= c <= '龥' for c in response) <= 50", (None, 50.0)),
]  # fmt: skip


@pytest.mark.parametrize(("instruction", "body", "bound"), FOUND)
def test_what_a_verifier_counts_is_found_by_running_it(
    sandbox: Sandbox, instruction: str, body: str, bound: tuple[float | None, float | None]
) -> None:
    source = f"def evaluate(response):\n    {body}"
    measure = proved_measure(verifier(instruction, source), sandbox)
    assert measure is not None
    assert (measure.low, measure.high) == bound


@pytest.mark.parametrize(
    "body",
    [
        "return response.isupper()",
        "return True",
        "return response.startswith('- ')",
        "return 1 / 0",
    ],
)
def test_what_counts_nothing_has_no_measure(sandbox: Sandbox, body: str) -> None:
    source = f"def evaluate(response):\n    {body}"
    assert proved_measure(verifier("Write at least three lines.", source), sandbox) is None


def test_a_measure_that_is_brought_is_proved(sandbox: Sandbox) -> None:
    """What says the same as the check stays; another gives way to what running the check finds."""
    own = "def measure(response):\n    return response.count(' ') + 1"
    right = {"source": own, "low": 20, "high": None}
    wrong = {"source": "def measure(response):\n    return response.count('e')", "low": 20}
    kept = proved_measure(verifier("20 words at least.", WORDS, measure=right), sandbox)
    assert kept == Measure(own, 20.0)
    other = proved_measure(verifier("20 words at least.", WORDS, measure=wrong), sandbox)
    assert other is not None
    assert "split" in other.source


def test_a_graded_reward_says_how_far_off() -> None:
    row = [{"checks": [WORDS], "measure": {"source": COUNT, "low": 20, "high": None}}]
    earned = [score(" ".join(PROSE[:n]), row, GRADED) for n in (20, 19, 16, 12, 6, 3)]
    assert earned == [1.0, 0.8, 0.6, 0.4, 0.2, 0.0]
    plain = [score(" ".join(PROSE[:n]), row) for n in (20, 19)]
    assert plain == [1.0, 0.0]
    assert holds(" ".join(PROSE[:19]), row, GRADED) == [False]
    # Nor does the measure decide what holds: the check does.
    lax = [{"checks": [WORDS], "measure": {"source": COUNT, "low": 1}}]
    assert score(PROSE[0], lax, GRADED) == 0.8


def test_an_upper_bound_of_nothing_is_graded_too() -> None:
    source = "def evaluate(response):\n    return ',' not in response"
    measure = {"source": "def measure(response):\n    return response.count(',')", "high": 0}
    row = [{"checks": [source], "measure": measure}]
    texts = ["Bees rest", "Bees rest, now", "Bees, ants, and", "a, b, c, d, e, f"]
    assert [score(text, row, GRADED) for text in texts] == [1.0, 0.6, 0.4, 0.0]


def test_a_constraint_without_a_measure_is_graded_as_ever() -> None:
    upper = {"checks": ["def evaluate(response):\n    return response.isupper()"]}
    row: list[dict[str, Any]] = [
        {"checks": [WORDS], "measure": {"source": COUNT, "low": 20}}, upper
    ]  # fmt: skip
    assert score(" ".join(PROSE[:16]).upper(), row, GRADED) == pytest.approx((0.6 + 1) / 2)
    assert score(" ".join(PROSE[:16]), row, GRADED) == pytest.approx(0.6 / 2)


def test_a_measure_that_fails_gives_no_reward_but_a_check_that_holds_does() -> None:
    broken = {"source": "def measure(response):\n    return 1 / 0", "low": 20}
    row = [{"checks": [WORDS], "measure": broken}]
    assert score(" ".join(PROSE[:19]), row, GRADED) is None
    assert score(" ".join(PROSE[:20]), row, GRADED) == 1.0


@pytest.mark.parametrize(
    "measure",
    [{"source": COUNT}, {"low": 3}, "three", {"source": COUNT, "low": "3"},
     {"source": COUNT, "high": float("nan")}, {"source": 3, "low": 3}],
)  # fmt: skip
def test_a_measure_of_another_shape_is_refused(measure: Any) -> None:
    with pytest.raises(UsageError, match=r'row: "measure" has to be'):
        verifier("Twenty words.", WORDS, measure=measure)


def test_an_absent_measure_may_be_an_object_of_nulls() -> None:
    """As parquet and Arrow have it, where other rows have one."""
    nulls = {"source": None, "low": None, "high": None}
    assert verifier("Twenty words.", WORDS, measure=nulls).measure is None


# ---- replies that say nothing ------------------------------------------------------------------


NO_COMMA = students.verifiers("def evaluate(response):\n    return ',' not in response")


def earned(text: str, prompt: Any = None, median: float | None = None, **more: Any) -> Rewarded:
    import asyncio

    settings = RewardSettings(**more)
    samples = [(text, parse_row(NO_COMMA, "row"))]
    return asyncio.run(rewarded(samples, settings, [prompt], [median]))[0]


def test_filler_earns_nothing_and_is_named() -> None:
    asked = students.user("What do bees do in winter? Use no commas.")
    assert earned("x x x x x x x", asked) == Rewarded(0.0, [True], "repetition")
    assert earned("[Your answer here]", asked).hack == "placeholder"
    assert earned("What do bees do in winter? Use no commas.", asked).hack == "copied_prompt"
    assert earned("They cluster round the queen.", asked) == Rewarded(1.0, [True])
    assert earned("x x x x x x x", asked, floor=False) == Rewarded(1.0, [True])
    assert earned("x x, x x, x x", asked) == Rewarded(0.0, [False])  # it earned nothing anyhow


def test_a_short_reply_is_short_for_this_policy() -> None:
    assert earned("They cluster and shiver.", median=120.0).hack == "short"
    assert earned("They cluster and shiver.", median=30.0).hack == ""
    assert earned("They cluster and shiver.", median=30.0, min_length=0.5).hack == "short"
