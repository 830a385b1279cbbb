"""Functions and cases judge one another: which of them survive, under each rule.

Everything here is a pure function of a table `said[f][t]`: True or False where function f concluded
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

Said = Sequence[Sequence[bool | None]]
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
    said: Said, cases: Sequence[Case], rule: Crossval, copies: Sequence[int] = ()
) -> Survivors:
    """`said` has one row per function and one column per case. copies: a number per function, the
    same for near-copies, which then count as one function; without it each counts."""
    if len(said) < rule.min_candidates:
        return _nothing(said, cases, "too_few_functions", f"{len(said)} distinct functions")
    if len(cases) < rule.min_cases:
        return _nothing(said, cases, "too_few_cases", f"{len(cases)} distinct cases")
    if rule.rule == "evidence":
        found = _by_evidence(said, cases, rule)
    else:
        found = _by_cases(said, cases, rule)
    return _gates(found, cases, rule, copies or range(len(said)))


def _by_cases(said: Said, cases: Sequence[Case], rule: Crossval) -> Survivors:
    kept = []
    for t, case in enumerate(cases):
        agree = sum(row[t] is case.expected for row in said)
        if agree >= 1 if rule.rule == "reference" else agree > len(said) / 2:
            kept.append(t)
    accuracy = [_share(row[t] is cases[t].expected for t in kept) for row in said]
    return Survivors(_passing(accuracy, rule), kept, accuracy, [c.expected for c in cases])


def believed(said: Said, cases: Sequence[Case], rule: Crossval) -> list[bool | None]:
    """What is held true of each text: the claimed label, or the estimated one, None if unsure."""
    if rule.rule != "evidence":
        return [case.expected for case in cases]
    truth = estimate(said, [(c.origin, c.expected) for c in cases])
    return [p >= 0.5 if max(p, 1 - p) >= CONFIDENT else None for p in truth]


def _by_evidence(said: Said, cases: Sequence[Case], rule: Crossval) -> Survivors:
    labels = believed(said, cases, rule)
    kept = [t for t, label in enumerate(labels) if label is not None]
    accuracy = []
    for row in said:
        rates = [
            _share(row[t] is label for t in kept if labels[t] is label) for label in (True, False)
        ]
        accuracy.append(sum(rates) / 2)
    least = max(accuracy, default=0.0) - NEARLY_BEST
    passing = [f for f in _passing(accuracy, rule) if accuracy[f] >= least]
    found = Survivors(passing, kept, accuracy, labels)
    replies = [t for t, case in enumerate(cases) if case.origin == "instructed"]
    if replies and _quarrel(said, passing, replies):
        detail = f"its {len(passing)} functions differ on what replies to it look like"
        # The quarrellers are named: one may turn out to be unsound, and end the quarrel.
        return Survivors(passing, kept, accuracy, labels, "ambiguous", detail)
    plain = [labels[t] for t, c in enumerate(cases) if c.origin == "plain"]
    easy = _share(label is True for label in plain)
    if plain and easy > rule.max_plain:
        detail = f"{easy:.0%} of the plain replies follow it already"
        return Survivors([], kept, accuracy, labels, "uninformative", detail)
    return found


def _quarrel(said: Said, passing: Sequence[int], replies: Sequence[int]) -> bool:
    """Two functions are as good as one another by all the rest and say different things of the
    replies that were written for this instruction: one of them is wrong, and nobody knows which."""
    return any(
        _share(said[f][t] is said[g][t] for t in replies) < AGREES
        for f in passing
        for g in passing
        if f < g
    )


def _gates(
    found: Survivors, cases: Sequence[Case], rule: Crossval, copies: Sequence[int]
) -> Survivors:
    if found.reason:
        return found
    reason = detail = ""
    distinct = len({copies[f] for f in found.checks})
    witnesses = distinct + _agreeing_programs(found, cases)
    positive = sum(found.labels[t] is True for t in found.cases)
    if not found.cases:
        reason, detail = "no_case_left", f"of {len(cases)}"
    elif rule.balanced and positive in (0, len(found.cases)):
        reason = "one_sided_cases"
        detail = f"all {len(found.cases)} kept cases are {positive > 0}"
    elif distinct and witnesses < rule.min_witnesses:
        reason = "too_few_witnesses"
        detail = f"{distinct} functions, {witnesses} witnesses in all"
    elif distinct < rule.min_checks:
        best = max(found.accuracy, default=0.0)
        reason = "no_function_left" if not found.checks else "too_few_functions_left"
        detail = f"{distinct} of {len(found.accuracy)}; best accuracy {best:.2f}"
    if not reason:
        return found
    return Survivors([], found.cases, found.accuracy, found.labels, reason, detail)


def _agreeing_programs(found: Survivors, cases: Sequence[Case]) -> int:
    """Comply programs whose outputs were found to follow: like the surviving functions witnesses,
    written without sight of the others, of what the instruction means."""
    by_program: dict[str, list[bool]] = {}
    for case, label in zip(cases, found.labels, strict=True):
        if case.origin.startswith("comply:"):
            by_program.setdefault(case.origin, []).append(label is True)
    return sum(_share(labels) >= AGREES for labels in by_program.values())


def _passing(accuracy: Sequence[float], rule: Crossval) -> list[int]:
    return [f for f, a in enumerate(accuracy) if rule.accuracy.met(a)]


def _nothing(said: Said, cases: Sequence[Case], reason: str, detail: str) -> Survivors:
    return Survivors([], [], [0.0] * len(said), [None] * len(cases), reason, detail)


def _share(hits: object) -> float:
    values = list(hits)  # type: ignore[call-overload]
    return sum(values) / len(values) if values else 0.0
