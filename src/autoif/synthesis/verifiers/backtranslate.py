"""Each surviving function is said back in words, and the words compared with the instruction.

Every survivor, not the first three; a function that cannot be said back, or whose comparison
cannot be understood, is dropped: nothing passes for want of an answer.
"""

from __future__ import annotations

import asyncio

from autoif.base.errors import CallFailed
from autoif.base.records import Check, Instruction
from autoif.run.funnel import Funnel
from autoif.synthesis.context import Context
from autoif.synthesis.prompts.parsing import parse_relation

STAGE = "backtranslate"


async def confirm(
    context: Context, instruction: Instruction, checks: list[Check], funnel: Funnel
) -> list[tuple[Check, str]]:
    """The checks that say what the instruction says, each with its back-translation."""
    if context.recipe.backtranslate.judge == "off":
        return [(check, "") for check in checks]
    told = await asyncio.gather(*(_tell(context, instruction, check) for check in checks))
    kept = []
    for check, (reason, text) in zip(checks, told, strict=True):
        funnel.enter(STAGE)
        if reason:
            funnel.drop(STAGE, check.id, reason, text, instruction.id)
        else:
            funnel.keep(STAGE)
            kept.append((check, text))
    return kept


async def _tell(context: Context, instruction: Instruction, check: Check) -> tuple[str, str]:
    """Why the check falls ("" if it stays), and its back-translation."""
    part = context.recipe.backtranslate
    try:
        reply = await context.ask(
            "code",
            context.prompts.messages("backtranslate", instruction.lang, function=check.source),
            stage=STAGE,
            record=instruction.id,
            max_tokens=part.max_tokens,
        )
        text = " ".join(reply.text.split()).strip("\"'`")
        relation = await _relate(context, instruction, text)
    except CallFailed as failed:
        return failed.reason, failed.detail
    if relation is None:
        return "unparseable", text
    if relation == "contradiction":
        return "contradiction", text
    if relation == "neutral" and part.require == "entailment":
        return "not_entailed", text
    return "", text


async def _relate(context: Context, instruction: Instruction, told: str) -> str | None:
    if context.nli:
        return await context.nli(instruction.text, told)
    reply = await context.ask(
        "judge",
        context.prompts.messages(
            "nli", instruction.lang, premise=instruction.text, hypothesis=told
        ),
        stage=STAGE,
        record=instruction.id,
        max_tokens=context.recipe.backtranslate.max_tokens,
        partial=True,
    )
    return parse_relation(reply.text)
