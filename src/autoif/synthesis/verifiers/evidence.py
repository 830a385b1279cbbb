"""Evidence that is made by running code instead of being asserted by the model.

Plain replies (answers to queries without the instruction) are natural negatives. Programs
`comply(text)` that the model writes, run in the sandbox on those replies, give as many constructed
positives from real text as wanted. Neither is believed: label_model.py weighs them.
"""

from __future__ import annotations

import asyncio
import random

from autoif.base.errors import CallFailed
from autoif.base.records import Case, Instruction, Query, Status, content_id, seed_from
from autoif.run.funnel import Funnel
from autoif.synthesis.context import Context
from autoif.synthesis.prompts import examples
from autoif.synthesis.prompts.parsing import parse_code

PROGRAMS, CASES = "programs", "cases"


async def gather(context: Context, instruction: Instruction, funnel: Funnel) -> list[Case]:
    """Cases with a claimed label: plain replies as negatives, complied texts as positives."""
    part = context.recipe.verifiers
    if not part.plain:
        return []
    programs, plain = await asyncio.gather(
        asyncio.gather(*(_program(context, instruction, n) for n in range(part.comply))),
        context.plain_replies(instruction.lang),
    )
    cases = [Case(text, False, "plain", query.text) for query, text in plain]
    for number, program in enumerate(programs):
        cases += await _run(context, instruction, number, program, cases[: len(plain)], funnel)
    funnel.enter(CASES, len(cases))
    return cases


async def plain_replies(context: Context, lang: str, funnel: Funnel) -> list[tuple[Query, str]]:
    """Answers to queries alone; made once per run and language, and shared by all instructions."""
    part, words = context.recipe.verifiers, context.recipe.responses.max_words
    pool = context.queries[lang]
    rng = random.Random(seed_from(context.recipe.seed, "plain", lang))
    queries = rng.sample(pool, min(part.plain, len(pool)))
    brief = context.prompts.text("brief", lang, words=words) if words else ""

    async def one(query: Query) -> str | CallFailed:
        try:
            reply = await context.ask(
                "respond",
                context.prompts.messages("plain", lang, brief=brief, query=query.text),
                stage=CASES,
                record=query.id,
                temperature=context.recipe.responses.temperature,
                top_p=context.recipe.responses.top_p,
                max_tokens=context.recipe.responses.max_tokens,
                partial=True,
            )
        except CallFailed as failed:
            return failed
        return reply.text.strip()

    found: dict[str, Query] = {}
    for query, reply in zip(queries, await asyncio.gather(*map(one, queries)), strict=True):
        if isinstance(reply, CallFailed):
            funnel.enter(CASES)
            funnel.drop(CASES, query.id, reply.reason, reply.detail)
        else:
            found.setdefault(reply, query)
    return [(query, text) for text, query in found.items()]


async def _program(context: Context, instruction: Instruction, number: int) -> str | CallFailed:
    part = context.recipe.verifiers
    try:
        reply = await context.ask(
            "code",
            context.prompts.messages(
                "comply",
                instruction.lang,
                instruction=instruction.text,
                **examples.shown(instruction.lang, "comply", number),
            ),
            stage=PROGRAMS,
            record=instruction.id,
            temperature=part.temperature,
            max_tokens=part.max_tokens,
            index=number,
        )
    except CallFailed as failed:
        return failed
    program = parse_code(reply.text, "comply")
    if program and examples.is_copy(instruction.lang, "comply", program):
        return CallFailed("copied", program)
    return program or CallFailed("unparseable", reply.text)


async def _run(
    context: Context,
    instruction: Instruction,
    number: int,
    program: str | CallFailed,
    plain: list[Case],
    funnel: Funnel,
) -> list[Case]:
    """What one program makes of the plain replies. Text that it leaves as it was says nothing."""
    funnel.enter(PROGRAMS)
    if isinstance(program, CallFailed):
        name = content_id(instruction.id, PROGRAMS, number)
        funnel.drop(PROGRAMS, name, program.reason, program.detail, instruction.id)
        return []
    name = content_id("program", program)
    done = await context.transformed(program, [c.text for c in plain])
    made = [
        Case(result.text, True, f"comply:{number}", case.query)
        for case, result in zip(plain, done, strict=True)
        if result.status is Status.TRUE and result.text.strip() and result.text != case.text
    ]
    if made:
        funnel.keep(PROGRAMS)
    elif any(r.status is Status.TRUE for r in done):
        funnel.drop(PROGRAMS, name, "changes_nothing", program, instruction.id)
    else:
        detail = done[0].detail if done else "no plain reply to run it on"
        funnel.drop(PROGRAMS, name, "failed", detail, instruction.id)
    return made
