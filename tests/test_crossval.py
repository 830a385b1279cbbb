"""Cross-validation as a pure function of what was said: rules, errors, and what must not matter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoif.base.records import Case
from autoif.run.recipe import Crossval, Recipe
from autoif.synthesis.verifiers.crossval import believed, cross_validate
from autoif.synthesis.verifiers.label_model import estimate

PAPER = Recipe.load("paper").crossval
REFERENCE = Recipe.load("reference").crossval
STRICT = Recipe.load("strict").crossval
LOOSE = Crossval(rule="paper")

Table = list[list[bool | None]]
ORIGINS = [("model", True), ("model", False), ("plain", False), ("comply:0", True),
           ("comply:1", True)]  # fmt: skip


@st.composite
def tables(draw: st.DrawFn) -> tuple[Table, list[Case]]:
    functions, texts = draw(st.integers(0, 5)), draw(st.integers(0, 9))
    cell = st.sampled_from([True, True, False, False, None])
    said = [[draw(cell) for _ in range(texts)] for _ in range(functions)]
    cases = []
    for t in range(texts):
        origin, expected = draw(st.sampled_from(ORIGINS))
        cases.append(Case(f"text {t}", expected, origin))
    return said, cases


RULES = st.sampled_from(
    [PAPER, REFERENCE, STRICT, LOOSE, Crossval(rule="reference"), Crossval(rule="evidence")]
)


@given(tables(), RULES)
def test_it_is_well_formed(table: tuple[Table, list[Case]], rule: Crossval) -> None:
    said, cases = table
    found = cross_validate(said, cases, rule)
    assert len(found.accuracy) == len(said)
    assert len(found.labels) == len(cases)
    assert set(found.checks) <= set(range(len(said)))
    assert set(found.cases) <= set(range(len(cases)))
    assert all(0 <= a <= 1 for a in found.accuracy)
    assert bool(found.reason) == (not found.checks)  # an instruction falls for a reason, or stands
    for f in found.checks:
        assert rule.accuracy.met(found.accuracy[f])


@given(tables(), RULES, st.randoms(use_true_random=False))
def test_order_is_no_matter(table: tuple[Table, list[Case]], rule: Crossval, rng: object) -> None:
    said, cases = table
    rows, columns = list(range(len(said))), list(range(len(cases)))
    rng.shuffle(rows)  # type: ignore[attr-defined]
    rng.shuffle(columns)  # type: ignore[attr-defined]
    found = cross_validate(said, cases, rule)
    other = cross_validate(
        [[said[f][t] for t in columns] for f in rows], [cases[t] for t in columns], rule
    )
    assert sorted(rows[f] for f in other.checks) == found.checks
    assert sorted(columns[t] for t in other.cases) == found.cases
    assert other.reason == found.reason


@given(tables())
def test_reference_keeps_every_case_that_paper_keeps(table: tuple[Table, list[Case]]) -> None:
    said, cases = table
    paper = cross_validate(said, cases, Crossval(rule="paper"))
    reference = cross_validate(said, cases, Crossval(rule="reference"))
    assert set(paper.cases) <= set(reference.cases)


@given(tables(), st.sampled_from(["paper", "reference"]))
def test_an_error_agrees_with_nothing(table: tuple[Table, list[Case]], rule: str) -> None:
    """Where a function errs it is worth no more than where it is wrong."""
    said, cases = table
    part = Crossval.model_validate({"rule": rule})
    wrong = [
        [(not case.expected) if cell is None else cell for cell, case in zip(row, cases)]  # noqa: B905
        for row in said
    ]
    one, two = cross_validate(said, cases, part), cross_validate(wrong, cases, part)
    assert (one.cases, one.accuracy, one.checks) == (two.cases, two.accuracy, two.checks)


def test_a_function_that_only_errs_survives_under_no_rule() -> None:
    cases = [Case("a", True), Case("b", False)] * 5
    good: list[bool | None] = [c.expected for c in cases]
    for rule in (PAPER, REFERENCE, LOOSE, Crossval(rule="evidence")):
        found = cross_validate([good, good, good, [None] * 10], cases, rule)
        assert found.checks == [0, 1, 2], rule.rule


def test_the_thresholds_are_those_of_the_rules() -> None:
    cases = [Case(str(t), t % 2 == 0) for t in range(10)]
    right: list[bool | None] = [c.expected for c in cases]

    def wrong(n: int) -> list[bool | None]:
        return [not r if t < n else r for t, r in enumerate(right)]

    said = [wrong(2), wrong(3), wrong(5), *[right] * 6]
    assert cross_validate(said, cases, PAPER).checks == [0, 1, *range(3, 9)]  # more than half
    assert cross_validate(said, cases, REFERENCE).checks == [0, *range(3, 9)]  # at least 0.8
    assert cross_validate(said[:2], cases, REFERENCE).reason == "too_few_functions"
    assert cross_validate(said, cases[:9], REFERENCE).reason == "too_few_cases"


def evidence(positives: list[list[bool]], negatives: list[list[bool]]) -> tuple[Table, list[Case]]:
    """Functions by rows: what each says of ten complied texts (two programs) and of ten plain."""
    cases = [Case(f"c{t}", True, f"comply:{t % 2}") for t in range(len(positives[0]))]
    cases += [Case(f"p{t}", False, "plain") for t in range(len(negatives[0]))]
    return [[*p, *n] for p, n in zip(positives, negatives, strict=True)], cases


def test_evidence_keeps_functions_that_tell_complied_texts_from_plain_ones() -> None:
    said, cases = evidence([[True] * 10] * 3 + [[True] * 10], [[False] * 10] * 3 + [[True] * 10])
    found = cross_validate(said, cases, STRICT)
    assert found.checks == [0, 1, 2]  # the fourth says True of everything
    assert len(found.cases) == 20


def test_evidence_drops_what_plain_replies_follow_anyway() -> None:
    said, cases = evidence([[True] * 10] * 4, [[True] * 9 + [False]] * 4)
    assert cross_validate(said, cases, STRICT).reason == "uninformative"


@pytest.mark.parametrize("functions", [0, 3])
@pytest.mark.parametrize("rule", [LOOSE, Crossval(rule="evidence"), Crossval(rule="reference")])
def test_without_cases_nothing_survives(functions: int, rule: Crossval) -> None:
    found = cross_validate([[]] * functions, [], rule)
    assert not found.checks
    assert found.reason in ("too_few_functions", "too_few_cases")


# ---- every gate at its border --------------------------------------------------------------------

RIGHT = [[t % 2 == 0 for t in range(10)]] * 4
BALANCED = [Case(str(t), t % 2 == 0) for t in range(10)]


@pytest.mark.parametrize(
    ("settings", "functions", "cases", "reason"),
    [
        ({"min_candidates": 3}, 3, 10, ""),
        ({"min_candidates": 3}, 2, 10, "too_few_functions"),
        ({"min_cases": 10}, 3, 10, ""),
        ({"min_cases": 10}, 3, 9, "too_few_cases"),
        ({"min_checks": 3}, 3, 10, ""),
        ({"min_checks": 3}, 2, 10, "too_few_functions_left"),
        ({"min_witnesses": 3}, 3, 10, ""),
        ({"min_witnesses": 3}, 2, 10, "too_few_witnesses"),
        ({"balanced": True}, 3, 2, ""),
        ({"balanced": True}, 3, 1, "one_sided_cases"),
        ({"balanced": False}, 3, 1, ""),
    ],
)
def test_there_have_to_be_enough(
    settings: dict[str, int], functions: int, cases: int, reason: str
) -> None:
    rule = Crossval.model_validate(settings)
    found = cross_validate([row[:cases] for row in RIGHT[:functions]], BALANCED[:cases], rule)
    assert found.reason == reason
    assert found.checks == ([] if reason else list(range(functions)))


@pytest.mark.parametrize("label", [True, False])
def test_cases_of_one_label_measure_nothing(label: bool) -> None:
    cases = [Case(str(t), label) for t in range(4)]
    found = cross_validate([[label] * 4] * 2, cases, Crossval(balanced=True))
    assert found.reason == "one_sided_cases"


@pytest.mark.parametrize(
    ("copies", "reason"), [((), ""), ((0, 1), ""), ((0, 0), "too_few_functions_left")]
)
def test_near_copies_count_as_one_function(copies: tuple[int, ...], reason: str) -> None:
    assert cross_validate(RIGHT[:2], BALANCED, Crossval(min_checks=2), copies).reason == reason


@pytest.mark.parametrize(("copies", "reason"), [((0, 1, 2), ""), ((0, 0, 1), "too_few_witnesses")])
def test_near_copies_are_one_witness(copies: tuple[int, ...], reason: str) -> None:
    assert cross_validate(RIGHT[:3], BALANCED, Crossval(min_witnesses=3), copies).reason == reason


@pytest.mark.parametrize(
    ("worked", "reason"), [((5,), ""), ((4,), ""), ((3,), "too_few_witnesses"), ((3, 4), "")]
)
def test_a_program_is_a_witness_where_four_fifths_of_its_texts_follow(
    worked: tuple[int, ...], reason: str
) -> None:
    """`strict` wants three witnesses: two functions, and programs that made five texts each."""
    cases = [Case(f"plain {t}", False, "plain") for t in range(8)]
    row = [False] * 8
    for program, n in enumerate(worked):
        cases += [Case(f"{program} {t}", True, f"comply:{program}") for t in range(5)]
        row += [t < n for t in range(5)]
    assert cross_validate([row, list(row)], cases, STRICT).reason == reason


@pytest.mark.parametrize(("rule", "enough"), [("paper", 3), ("reference", 1)])
def test_a_case_stays_where_enough_of_four_functions_agree_with_it(rule: str, enough: int) -> None:
    """One that errs agrees with nothing."""
    for agree in range(5):
        for other in (False, None):
            said = [[True]] * agree + [[other]] * (4 - agree)
            found = cross_validate(
                said, [Case("it", True)], Crossval.model_validate({"rule": rule})
            )
            assert (found.cases == [0]) is (agree >= enough)


@pytest.mark.parametrize(("rule", "wrong"), [(PAPER, 4), (REFERENCE, 2)])
def test_a_function_needs_its_accuracy(rule: Crossval, wrong: int) -> None:
    """The most errors in ten that a function may make; an error is one of them."""
    for n, stays in ((wrong, True), (wrong + 1, False)):
        for err in (True, False):
            row = [None if err else not r for r in RIGHT[0][:n]] + RIGHT[0][n:]
            assert (4 in cross_validate([*RIGHT, row], BALANCED, rule).checks) is stays


@pytest.mark.parametrize(
    ("accuracy", "missed", "kept"),
    [
        (0.8, 2, True),  # 0.9: a tenth below the best, and no more
        (0.8, 3, False),  # 0.85
        (0.95, 1, True),
        (0.95, 2, False),
        ("above 0.95", 1, False),
    ],
)
def test_evidence_keeps_what_is_nearly_the_best(
    accuracy: float | str, missed: int, kept: bool
) -> None:
    """Of ten complied texts a function misses some, by saying False or by an error."""
    rule = Crossval.model_validate({"rule": "evidence", "accuracy": accuracy})
    said, cases = evidence([[True] * 10] * 3, [[False] * 10] * 3)
    for miss in (False, None):
        said[2][:missed] = [miss] * missed
        assert (2 in cross_validate(said, cases, rule).checks) is kept


@pytest.mark.parametrize(("follow", "reason"), [(6, ""), (7, "uninformative")])
def test_an_instruction_that_most_plain_replies_follow_teaches_nothing(
    follow: int, reason: str
) -> None:
    said, cases = evidence([[True] * 10] * 3, [[True] * follow + [False] * (10 - follow)] * 3)
    assert cross_validate(said, cases, STRICT).reason == reason
    open_to_all = Crossval(rule="evidence", max_plain=1.0)
    assert cross_validate(said, cases, open_to_all).reason == ""


# ---- what is believed of a text ------------------------------------------------------------------


def test_a_source_is_believed_as_far_as_its_kind_deserves() -> None:
    """Without a function's vote: plain replies do not follow, of the others nobody knows."""
    origins = [("plain", False), ("comply:0", True), ("model", True), ("model", False),
               ("instructed", True)]  # fmt: skip
    assert estimate([], origins) == pytest.approx([0.2, 2 / 3, 2 / 3, 1 / 3, 0.5])
    cases = [Case(str(t), label, origin) for t, (origin, label) in enumerate(origins)]
    assert believed([], cases, STRICT) == [False, None, None, None, None]


@pytest.mark.parametrize(
    ("negative", "positive"), [("plain", "comply:0"), ("model", "model")], ids=str
)
def test_one_function_against_its_sources_settles_nothing(negative: str, positive: str) -> None:
    """Were all sources held to be alike, the function alone would turn every label round."""
    cases = [Case(f"n{t}", False, negative) for t in range(4)]
    cases += [Case(f"p{t}", True, positive) for t in range(4)]
    assert believed([[True] * 4 + [False] * 4], cases, STRICT) == [None] * 8


def test_a_program_that_does_not_work_is_not_lent_the_name_of_one_that_does() -> None:
    """On the last text of each no function concluded."""
    cases = [Case(f"plain {t}", False, "plain") for t in range(6)]
    cases += [Case(f"{p} {t}", True, f"comply:{p}") for p in (0, 1) for t in range(21)]
    row: list[bool | None] = [*[False] * 6, *[True] * 20, None, *[False] * 20, None]
    labels = believed([row, list(row)], cases, STRICT)
    assert (labels[26], labels[47]) == (True, False)


@pytest.mark.parametrize(
    ("yes", "no", "label"), [(6, 0, True), (5, 1, None), (4, 2, None), (1, 5, False)]
)
def test_functions_of_one_model_do_not_outvote_the_evidence(
    yes: int, no: int, label: bool | None
) -> None:
    """Six functions on one plain reply; on all else they agree. Were each a voice of its own, or
    plain replies like others, five to one would be sure of it."""
    said, cases = evidence([[True] * 6] * 6, [[False] * 6] * 6)
    votes = [True] * yes + [False] * no
    said = [[*row, vote] for row, vote in zip(said, votes, strict=True)]
    assert believed(said, [*cases, Case("it", False, "plain")], STRICT)[-1] is label


def test_an_error_is_no_vote() -> None:
    said, cases = evidence([[True] * 6] * 3, [[False] * 6] * 3)
    it = Case("it", True, "comply:0")
    unanimous = [believed([[*row, vote] for row in said], [*cases, it], STRICT)[-1]
                 for vote in (True, False)]  # fmt: skip
    assert unanimous == [True, False]
    silent = [[*row, None] for row in said]
    assert estimate(silent, [(c.origin, c.expected) for c in [*cases, it]])[-1] > 0.7


def test_an_error_does_not_weaken_what_the_function_says_elsewhere() -> None:
    """One function that says True of a plain reply does not shake one that says False, though this
    one erred on most complied texts."""
    said, cases = evidence([[True] * 10] * 2, [[False] * 10] * 2)
    said[1][:6] = [None] * 6
    said = [[*row, vote] for row, vote in zip(said, (True, False), strict=True)]
    assert believed(said, [*cases, Case("it", False, "plain")], STRICT)[-1] is False


def test_functions_that_differ_on_real_replies_leave_the_instruction_ambiguous() -> None:
    """Equally good by plain replies and programs; what a reply looks like they do not agree on."""
    cases = [Case(f"plain {i}", False, "plain") for i in range(6)]
    cases += [Case(f"made {i}", True, f"comply:{i % 2}") for i in range(6)]
    cases += [Case(f"reply {i}", True, "instructed") for i in range(5)]
    loose = [False] * 6 + [True] * 6 + [True] * 5
    for agreed, reason in ((5, ""), (4, ""), (3, "ambiguous"), (0, "ambiguous")):
        literal = [False] * 6 + [True] * 6 + [True] * agreed + [False] * (5 - agreed)
        found = cross_validate([loose, literal], cases, STRICT)
        assert found.reason == reason
        assert found.checks == [0, 1]  # both are named: one may turn out to be unsound
