"""Diagnosis of candidate functions: agreement is no proof where all are wrong alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autoif.base.records import Case, Check, Instruction
from autoif.diagnosis.core import examine
from autoif.synthesis.context import Context


@dataclass(frozen=True, slots=True)
class Soundness:
    """Of one function. flag: why it is dropped, or "". cluster: the same for near-copies."""

    flag: str
    cluster: int


async def soundness(
    context: Context, instruction: Instruction, checks: Sequence[Check], cases: Sequence[Case]
) -> list[Soundness]:
    """For each function; all sound and different where nobody asks. cases: with their labels as
    they are believed."""
    fatal = context.recipe.diagnose.drop
    if not fatal or not checks:
        return [Soundness("", n) for n in range(len(checks))]
    replies = [case.text for case in cases if case.origin == "plain"]
    diagnosis = await examine(context, checks, instruction, cases, replies)
    return [
        Soundness(next((flag for flag in check.flags if flag in fatal), ""), check.cluster)
        for check in diagnosis.checks
    ]
