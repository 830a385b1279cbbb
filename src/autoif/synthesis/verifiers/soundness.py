"""Diagnosis of the functions that survived: agreement is no proof where all are wrong alike.

Only outcomes decide, and those that depend on the machine are stored, so a run stays a function of
its answers; how long a call took is not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

from autoif.base.loop import together
from autoif.base.records import Case, Check, Instruction
from autoif.diagnosis.core import PROGRAMS, conclude, facts_of, prepare, program, trials_of
from autoif.diagnosis.flags import Facts, clusters
from autoif.synthesis.context import Context


async def copies(context: Context, checks: Sequence[Check]) -> list[int]:
    """A number per function, the same for near-copies; all different where nobody asks."""
    if not context.recipe.diagnose.drop or not checks:
        return list(range(len(checks)))
    return clusters(await _facts(context, checks))


async def flagged(
    context: Context, instruction: Instruction, checks: Sequence[Check], cases: Sequence[Case]
) -> list[str]:
    """For each function the flag for which it is dropped, or ""."""
    fatal = context.recipe.diagnose.drop
    if not fatal or not checks:
        return [""] * len(checks)
    facts = await _facts(context, checks)
    replies = [case.text for case in cases if case.origin == "plain"]
    reading, texts = prepare(instruction.text, instruction.lang, cases, facts, replies)
    said, late = await together(
        context.verdicts(checks, texts.texts, check_order=True),
        context.verdicts(checks, texts.slow),
    )
    columns = [[v.outcomes[f] for v in said] for f in range(len(checks))]
    slow = [[v.outcomes[f] for v in late] for f in range(len(checks))]
    found = conclude(trials_of(reading, texts, facts, columns, slow), texts)
    return [next((f for f in c.flags if f in fatal), "") for c in found.checks]


async def _facts(context: Context, checks: Sequence[Check]) -> list[Facts]:
    sources = [c.source for c in checks]
    return facts_of(*[await context.transformed(program(name), sources) for name in PROGRAMS])
