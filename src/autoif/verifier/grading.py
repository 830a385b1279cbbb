"""From the constraints that hold to a number: all, partial or graded.

    all      1 where each constraint holds, else 0
    partial  the share of the constraints that hold
    graded   the same, and one that does not hold counts by how far its measure is off

How far off is found by checks alone: the bound is widened step by step, and each step is a check
of its own, so that whatever judges checks, a reward server too, can grade.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from autoif.base.records import Check
from autoif.verifier.schema import Measure, VerifierRow

RewardKind = Literal["partial", "all", "graded"]
KINDS: tuple[RewardKind, ...] = get_args(RewardKind)
Held = list[bool | None]  # for each constraint; None: it stayed open
Grades = Sequence[float | None]  # the same, between 0 and 1
STEPS = (0.1, 0.25, 0.5, 0.75)  # by which shares of a bound a text may be off
FEW = 4  # below that an upper bound is widened as if it were that: of 0 a share is nothing


def reward_of(grades: Grades, kind: RewardKind = "partial") -> float | None:
    """Between 0 and 1. None, no reward, where a constraint stayed open that would have decided."""
    if kind == "all" and any(grade is not None and grade < 1 for grade in grades):
        return 0.0
    values = [grade for grade in grades if grade is not None]
    return sum(values) / len(values) if values and len(values) == len(grades) else None


def with_steps(row: Sequence[VerifierRow]) -> list[VerifierRow]:
    """The row's verifiers, and behind them the steps of each that has a measure."""
    return [*row, *(step for v in row if v.measure for step in _steps(v.measure))]


def grades(row: Sequence[VerifierRow], held: Held) -> list[float | None]:
    """held: of `with_steps(row)`. 1 for what holds; else the share of the steps that do, counting
    the bound itself as one more."""
    steps = iter(held[len(row) :])
    graded: list[float | None] = []
    for verifier, holds in zip(row, held, strict=False):
        near = [next(steps) for _ in STEPS] if verifier.measure else []
        if holds is not False:
            graded.append(None if holds is None else 1.0)
        elif None in near:
            graded.append(None)
        else:
            graded.append(sum(map(bool, near)) / (len(STEPS) + 1))
    return graded


def bound_check(measure: Measure, widened: float = 0.0) -> Check:
    """The function that says whether a text is within the bound, widened by a share of it."""
    low, high = measure.low, measure.high
    if low is not None:
        low -= widened * abs(low)
    if high is not None:
        high += widened * max(abs(high), FEW)
    left = "" if low is None else f"{low!r} <= "
    right = "" if high is None else f" <= {high!r}"
    return Check(
        f"{measure.source}\n\n\ndef evaluate(response):\n"
        f"    return bool({left}measure(response){right})\n"
    )


def _steps(measure: Measure) -> list[VerifierRow]:
    return [VerifierRow((bound_check(measure, share),), 1.0) for share in STEPS]
