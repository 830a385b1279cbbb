"""Each surviving function is said back in words, and the words compared with the instruction.

Every survivor, not the first three; a function that cannot be said back, or whose comparison
cannot be understood, is dropped: nothing passes for want of an answer.
"""

from __future__ import annotations

import asyncio

from autoif.base.errors import CallFailed
from autoif.base.records import Check, Instruction
from autoif.run.funnel import Ledger
from autoif.synthesis.context import Tools
from autoif.synthesis.prompts.parsing import parse_relation

STAGE = "backtranslate"


async def confirm(
    tools: Tools, instruction: Instruction, checks: list[Check], ledger: Ledger
) -> list[tuple[Check, str]]:
    """The checks that say what the instruction says, each with its back-translation."""
    if tools.recipe.backtranslate.judge == "off":
        return [(check, "") for check in checks]
    told = await asyncio.gather(*(_tell(tools, instruction, check) for check in checks))
    kept = []
    for check, (reason, text) in zip(checks, told, strict=True):
        ledger.enter(STAGE)
        if reason:
            ledger.drop(STAGE, check.id, reason, text, instruction.id)
        else:
            ledger.keep(STAGE)
            kept.append((check, text))
    return kept


async def _tell(tools: Tools, instruction: Instruction, check: Check) -> tuple[str, str]:
    """Why the check falls ("" if it stays), and its back-translation."""
    part = tools.recipe.backtranslate
    try:
        reply = await tools.ask(
            "code",
            tools.wording.messages("backtranslate", instruction.lang, function=check.source),
            stage=STAGE,
            record=instruction.id,
            max_tokens=part.max_tokens,
        )
        text = " ".join(reply.text.split()).strip("\"'`")
        relation = await _relate(tools, instruction, text)
    except CallFailed as failed:
        return failed.reason, failed.detail
    if relation is None:
        return "unparseable", text
    if relation == "contradiction":
        return "contradiction", text
    if relation == "neutral" and part.require == "entailment":
        return "not_entailed", text
    return "", text


async def _relate(tools: Tools, instruction: Instruction, told: str) -> str | None:
    if tools.nli:
        return await tools.nli(instruction.text, told)
    reply = await tools.ask(
        "judge",
        tools.wording.messages("nli", instruction.lang, premise=instruction.text, hypothesis=told),
        stage=STAGE,
        record=instruction.id,
        max_tokens=tools.recipe.backtranslate.max_tokens,
        partial=True,
    )
    return parse_relation(reply.text)
