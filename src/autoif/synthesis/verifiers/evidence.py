"""Evidence that is made by running code instead of being asserted by the model.

Plain replies (answers to queries without the instruction) are natural negatives. Programs
`comply(text)` that the model writes, run in the sandbox on those replies, give as many constructed
positives from real text as wanted. Neither is believed: consensus.py weighs them.
"""

from __future__ import annotations

import asyncio
import random

from autoif.base.errors import CallFailed
from autoif.base.records import Case, Instruction, Query, Status, content_id, seed_from
from autoif.run.funnel import Ledger
from autoif.synthesis.context import Tools
from autoif.synthesis.prompts import examples
from autoif.synthesis.prompts.parsing import parse_code

PROGRAMS, CASES = "programs", "cases"


async def gather(tools: Tools, instruction: Instruction, ledger: Ledger) -> list[Case]:
    """Cases with a claimed label: plain replies as negatives, complied texts as positives."""
    part = tools.recipe.verifiers
    if not part.plain:
        return []
    programs, plain = await asyncio.gather(
        asyncio.gather(*(_program(tools, instruction, n) for n in range(part.comply))),
        tools.plain_replies(instruction.lang),
    )
    cases = [Case(text, False, "plain", query.text) for query, text in plain]
    for number, program in enumerate(programs):
        cases += await _run(tools, instruction, number, program, cases[: len(plain)], ledger)
    ledger.enter(CASES, len(cases))
    return cases


async def plain_replies(tools: Tools, lang: str, ledger: Ledger) -> list[tuple[Query, str]]:
    """Answers to queries alone; made once per run and language, and shared by all instructions."""
    part, words = tools.recipe.verifiers, tools.recipe.responses.max_words
    pool = tools.queries[lang]
    rng = random.Random(seed_from(tools.recipe.seed, "plain", lang))
    queries = rng.sample(pool, min(part.plain, len(pool)))
    brief = tools.wording.text("brief", lang, words=words) if words else ""

    async def one(query: Query) -> str | CallFailed:
        try:
            reply = await tools.ask(
                "respond",
                tools.wording.messages("plain", lang, brief=brief, query=query.text),
                stage=CASES,
                record=query.id,
                temperature=tools.recipe.responses.temperature,
                top_p=tools.recipe.responses.top_p,
                max_tokens=tools.recipe.responses.max_tokens,
                partial=True,
            )
        except CallFailed as failed:
            return failed
        return reply.text.strip()

    found: dict[str, Query] = {}
    for query, reply in zip(queries, await asyncio.gather(*map(one, queries)), strict=True):
        if isinstance(reply, CallFailed):
            ledger.enter(CASES)
            ledger.drop(CASES, query.id, reply.reason, reply.detail)
        else:
            found.setdefault(reply, query)
    return [(query, text) for text, query in found.items()]


async def _program(tools: Tools, instruction: Instruction, number: int) -> str | CallFailed:
    part = tools.recipe.verifiers
    try:
        reply = await tools.ask(
            "code",
            tools.wording.messages(
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
    tools: Tools,
    instruction: Instruction,
    number: int,
    program: str | CallFailed,
    plain: list[Case],
    ledger: Ledger,
) -> list[Case]:
    """What one program makes of the plain replies. Text that it leaves as it was says nothing."""
    ledger.enter(PROGRAMS)
    if isinstance(program, CallFailed):
        name = content_id(instruction.id, PROGRAMS, number)
        ledger.drop(PROGRAMS, name, program.reason, program.detail, instruction.id)
        return []
    name = content_id("program", program)
    done = await tools.transformed(program, [c.text for c in plain])
    made = [
        Case(result.text, True, f"comply:{number}", case.query)
        for case, result in zip(plain, done, strict=True)
        if result.status is Status.TRUE and result.text.strip() and result.text != case.text
    ]
    if made:
        ledger.keep(PROGRAMS)
    elif any(r.status is Status.TRUE for r in done):
        ledger.drop(PROGRAMS, name, "changes_nothing", program, instruction.id)
    else:
        detail = done[0].detail if done else "no plain reply to run it on"
        ledger.drop(PROGRAMS, name, "failed", detail, instruction.id)
    return made
