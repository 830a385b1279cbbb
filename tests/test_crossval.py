"""Cross-validation as a pure function of what was said: rules, errors, and what must not matter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoif.base.records import Case
from autoif.run.recipe import Crossval, Recipe
from autoif.synthesis.verifiers.crossval import cross_validate

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


def test_functions_that_differ_on_real_replies_leave_the_instruction_ambiguous() -> None:
    """Equally good by plain replies and programs; what a reply looks like they do not agree on."""
    cases = [Case(f"plain {i}", False, "plain") for i in range(6)]
    cases += [Case(f"made {i}", True, f"comply:{i % 2}") for i in range(6)]
    cases += [Case(f"reply {i}", True, "instructed") for i in range(4)]
    loose = [False] * 6 + [True] * 6 + [True] * 4
    literal = [False] * 6 + [True] * 6 + [False] * 4
    rule = Recipe.load("strict").crossval
    assert cross_validate([loose, literal], cases, rule).reason == "ambiguous"
    assert cross_validate([loose, list(loose)], cases, rule).reason == ""
