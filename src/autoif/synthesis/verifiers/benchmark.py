"""Whether a verifier tests a benchmark's constraint: decided anew once there is a verifier."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from autoif.base.language import CJK
from autoif.base.records import Drop, Filtered, Verifier
from autoif.constraints.execution import TypeTrial, decide, followed
from autoif.diagnosis.probes import pool
from autoif.synthesis.context import Context
from autoif.verifier.schema import MIN_FRACTION

STAGE = "verifiers"


async def decided(context: Context, verifiers: Sequence[Verifier]) -> Filtered[Verifier]:
    """The verifiers with the type that they test in place of the one that the words state, unless a
    person marked it; dropped where the recipe drops such types."""
    filtered: Filtered[Verifier] = Filtered(STAGE, [])
    for verifier in verifiers:
        instruction = verifier.instruction
        if not instruction.marked_by_hand:
            instruction = replace(instruction, benchmark_type=await _type(context, verifier))
        if instruction.benchmark_type and context.recipe.instructions.benchmarks == "drop":
            text = f"{instruction.benchmark_type}: {instruction.text}"
            name = instruction.id
            filtered.dropped.append(Drop.of(STAGE, name, "benchmark_type", text, name))
        else:
            filtered.kept.append(replace(verifier, instruction=instruction))
    return filtered


async def _type(context: Context, verifier: Verifier) -> str:
    text = verifier.instruction.text
    trial = TypeTrial.of(
        text,
        [check.source for check in verifier.checks],
        [case.text for case in verifier.cases],
        pool("zh" if CJK.search(text) else "en"),
    )
    verdicts = await context.verdicts(verifier.checks, trial.texts)
    said = followed(verdicts, MIN_FRACTION)
    return (await asyncio.to_thread(decide, trial, said, text)).mark
