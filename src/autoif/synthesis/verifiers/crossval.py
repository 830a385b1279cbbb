"""Functions and cases judge one another: which of them survive, under each rule.

Everything here is a pure function of `table[f][t]`: True or False where function f concluded
on text t, None where it raised, hung or died. An error is not a pass: it counts in every
denominator and never agrees with a label.

- paper: a case stays if more than half of all functions give its label; a function stays if its
  accuracy over the kept cases is above 0.5 (arXiv 2406.13542, section 3; the text leaves open over
  which cases).
- reference: a case stays if any function gives its label; a function stays at 0.8.
- evidence: see label_model.py; labels are estimated, a function stays by its balanced accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autoif.base.records import Case
from autoif.run.recipe import Crossval
from autoif.synthesis.verifiers.label_model import estimate

Table = Sequence[Sequence[bool | None]]
AGREES = 0.8  # of a program's outputs are true, and it understood the instruction as well
NEARLY_BEST = 0.1  # all survivors have to pass a response, so the worst of them decides
CONFIDENT = 0.8  # a label is taken where its probability is at least this


@dataclass(frozen=True, slots=True)
class Survivors:
    """Indices into functions and texts. `labels`: what was held true of each text, None if unsure.

    `reason` says why the instruction falls, or is "". `checks` is empty then, unless it falls
    because they differ ("ambiguous").
    """

    checks: list[int]
    cases: list[int]
    accuracy: list[float]  # one per function, survivors or not
    labels: list[bool | None]
    reason: str = ""
    detail: str = ""


def cross_validate(
    table: Table, cases: Sequence[Case], rule: Crossval, copies: Sequence[int] = ()
) -> Survivors:
    """`table` has one row per function and one column per case. copies: a number per function, the
    same for near-copies, which then count as one function; without it each counts."""
    if len(table) < rule.min_candidates:
        return _nothing(table, cases, "too_few_functions", f"{len(table)} distinct functions")
    if len(cases) < rule.min_cases:
        return _nothing(table, cases, "too_few_cases", f"{len(cases)} distinct cases")
    if rule.rule == "evidence":
        survivors = _by_evidence(table, cases, rule)
    else:
        survivors = _by_cases(table, cases, rule)
    return _gates(survivors, cases, rule, copies or range(len(table)))


def _by_cases(table: Table, cases: Sequence[Case], rule: Crossval) -> Survivors:
    kept = []
    for t, case in enumerate(cases):
        agree = sum(row[t] is case.expected for row in table)
        if agree >= 1 if rule.rule == "reference" else agree > len(table) / 2:
            kept.append(t)
    accuracy = [_share(row[t] is cases[t].expected for t in kept) for row in table]
    return Survivors(_passing(accuracy, rule), kept, accuracy, [c.expected for c in cases])


def believed(table: Table, cases: Sequence[Case], rule: Crossval) -> list[bool | None]:
    """What is held true of each text: the claimed label, or the estimated one, None if unsure."""
    if rule.rule != "evidence":
        return [case.expected for case in cases]
    truth = estimate(table, [(c.origin, c.expected) for c in cases])
    return [p >= 0.5 if max(p, 1 - p) >= CONFIDENT else None for p in truth]


def _by_evidence(table: Table, cases: Sequence[Case], rule: Crossval) -> Survivors:
    labels = believed(table, cases, rule)
    kept = [t for t, label in enumerate(labels) if label is not None]
    accuracy = []
    for row in table:
        rates = [
            _share(row[t] is label for t in kept if labels[t] is label) for label in (True, False)
        ]
        accuracy.append(sum(rates) / 2)
    least = max(accuracy, default=0.0) - NEARLY_BEST
    passing = [f for f in _passing(accuracy, rule) if accuracy[f] >= least]
    survivors = Survivors(passing, kept, accuracy, labels)
    replies = [t for t, case in enumerate(cases) if case.origin == "instructed"]
    if replies and _quarrel(table, passing, replies):
        detail = f"its {len(passing)} functions differ on what replies to it look like"
        # The quarrellers are named: one may turn out to be unsound, and end the quarrel.
        return Survivors(passing, kept, accuracy, labels, "ambiguous", detail)
    plain = [labels[t] for t, c in enumerate(cases) if c.origin == "plain"]
    easy = _share(label is True for label in plain)
    if plain and easy > rule.max_plain:
        detail = f"{easy:.0%} of the plain replies follow it already"
        return Survivors([], kept, accuracy, labels, "uninformative", detail)
    return survivors


def _quarrel(table: Table, passing: Sequence[int], replies: Sequence[int]) -> bool:
    """Two functions are as good as one another by all the rest and say different things of the
    replies that were written for this instruction: one of them is wrong, and nobody knows which."""
    return any(
        _share(table[f][t] is table[g][t] for t in replies) < AGREES
        for f in passing
        for g in passing
        if f < g
    )


def _gates(
    survivors: Survivors, cases: Sequence[Case], rule: Crossval, copies: Sequence[int]
) -> Survivors:
    if survivors.reason:
        return survivors
    reason = detail = ""
    distinct = len({copies[f] for f in survivors.checks})
    witnesses = distinct + _agreeing_programs(survivors, cases)
    positive = sum(survivors.labels[t] is True for t in survivors.cases)
    if not survivors.cases:
        reason, detail = "no_case_left", f"of {len(cases)}"
    elif rule.balanced and positive in (0, len(survivors.cases)):
        reason = "one_sided_cases"
        detail = f"all {len(survivors.cases)} kept cases are {positive > 0}"
    elif distinct and witnesses < rule.min_witnesses:
        reason = "too_few_witnesses"
        detail = f"{distinct} functions, {witnesses} witnesses in all"
    elif distinct < rule.min_checks:
        best = max(survivors.accuracy, default=0.0)
        reason = "no_function_left" if not survivors.checks else "too_few_functions_left"
        detail = f"{distinct} of {len(survivors.accuracy)}; best accuracy {best:.2f}"
    if not reason:
        return survivors
    return Survivors([], survivors.cases, survivors.accuracy, survivors.labels, reason, detail)


def _agreeing_programs(survivors: Survivors, cases: Sequence[Case]) -> int:
    """Comply programs whose outputs were found to follow: like the surviving functions witnesses,
    written without sight of the others, of what the instruction means."""
    by_program: dict[str, list[bool]] = {}
    for case, label in zip(cases, survivors.labels, strict=True):
        if case.by_program:
            by_program.setdefault(case.origin, []).append(label is True)
    return sum(_share(labels) >= AGREES for labels in by_program.values())


def _passing(accuracy: Sequence[float], rule: Crossval) -> list[int]:
    return [f for f, a in enumerate(accuracy) if rule.accuracy.met(a)]


def _nothing(table: Table, cases: Sequence[Case], reason: str, detail: str) -> Survivors:
    return Survivors([], [], [0.0] * len(table), [None] * len(cases), reason, detail)


def _share(hits: object) -> float:
    values = list(hits)  # type: ignore[call-overload]
    return sum(values) / len(values) if values else 0.0
