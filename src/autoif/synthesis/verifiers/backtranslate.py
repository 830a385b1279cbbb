"""Each surviving function is said back in words, and the words compared with the instruction.

Every survivor, not the first three; a function that cannot be said back, or whose comparison
cannot be understood, is dropped: nothing passes for want of an answer.
"""

from __future__ import annotations

from autoif.base.errors import CallFailed
from autoif.base.records import Check, Drop, Filtered, Instruction
from autoif.synthesis.context import Context, together
from autoif.synthesis.prompts.parsing import parse_relation

STAGE = "backtranslate"


async def confirm(
    context: Context, instruction: Instruction, checks: list[Check]
) -> Filtered[tuple[Check, str]]:
    """The checks that say what the instruction says, each with its back-translation; where nobody
    compares, all of them, with none."""
    if context.recipe.backtranslate.judge == "off":
        return Filtered(STAGE, [(check, "") for check in checks])
    answers = await together(*(_say_back(context, instruction, check) for check in checks))
    filtered: Filtered[tuple[Check, str]] = Filtered(STAGE, [])
    for check, (reason, text) in zip(checks, answers, strict=True):
        if reason:
            filtered.dropped.append(Drop.of(STAGE, check.id, reason, text, instruction.id))
        else:
            filtered.kept.append((check, text))
    return filtered


async def _say_back(context: Context, instruction: Instruction, check: Check) -> tuple[str, str]:
    """Why the check falls ("" if it stays), and its back-translation."""
    rules = context.recipe.backtranslate
    try:
        reply = await context.ask(
            "code",
            context.prompts.messages("backtranslate", instruction.lang, function=check.source),
            stage=STAGE,
            record=instruction.id,
            max_tokens=rules.max_tokens,
        )
        text = " ".join(reply.text.split()).strip("\"'`")
        relation = await _relate(context, instruction, text)
    except CallFailed as failed:
        return failed.reason, failed.detail
    if relation is None:
        return "unparseable", text
    if relation == "contradiction":
        return "contradiction", text
    if relation == "neutral" and rules.require == "entailment":
        return "not_entailed", text
    return "", text


async def _relate(context: Context, instruction: Instruction, back: str) -> str | None:
    if context.nli:
        return await context.nli(instruction.text, back)
    reply = await context.ask(
        "judge",
        context.prompts.messages(
            "nli", instruction.lang, premise=instruction.text, hypothesis=back
        ),
        stage=STAGE,
        record=instruction.id,
        max_tokens=context.recipe.backtranslate.max_tokens,
        partial=True,
    )
    return parse_relation(reply.text)
