"""Evidence that is made by running code instead of being asserted by the model.

Plain replies (answers to queries without the instruction) are natural negatives. Programs
`comply(text)` that the model writes, run in the sandbox on those replies, give as many constructed
positives from real text as wanted. Neither is believed: label_model.py weighs them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from autoif.base.errors import CallFailed
from autoif.base.records import (
    Case,
    Drop,
    Filtered,
    Instruction,
    Query,
    Status,
    seed_from,
)
from autoif.synthesis.context import Context, together
from autoif.synthesis.prompts import examples
from autoif.synthesis.prompts.parsing import parse_code

PROGRAMS, CASES = "programs", "cases"


@dataclass(frozen=True)
class Evidence:
    programs: Filtered[str]
    cases: Filtered[Case]


async def gather(context: Context, instruction: Instruction) -> Evidence:
    """Cases with a claimed label: plain replies as negatives, complied texts as positives."""
    asks, lang = context.recipe.verifiers, instruction.lang
    programs: Filtered[str] = Filtered(PROGRAMS, [])
    if not asks.plain:
        return Evidence(programs, Filtered(CASES, []))
    sources, replies = await together(
        together(*(_program(context, instruction, n) for n in range(asks.comply))),
        shared_replies(context, lang),
    )
    plain_cases = [Case(text, False, "plain", query.text) for query, text in replies.kept]
    cases = list(plain_cases)
    for number, program in enumerate(sources):
        ran, complied = await _run(context, instruction, number, program, plain_cases)
        programs += ran
        cases += complied
    return Evidence(programs, Filtered(CASES, cases))


def plain(lang: str) -> str:
    """The name under which a run's plain replies are shared."""
    return f"plain replies {lang}"


async def shared_replies(context: Context, lang: str) -> Filtered[tuple[Query, str]]:
    """A run's plain replies; made by whoever needs them first."""
    return await context.once(plain(lang), lambda: plain_replies(context, lang))


async def plain_replies(context: Context, lang: str) -> Filtered[tuple[Query, str]]:
    """Answers to queries alone; made once per run and language, and shared by all instructions."""
    asks, words = context.recipe.verifiers, context.recipe.responses.max_words
    pool = context.queries[lang]
    rng = random.Random(seed_from(context.recipe.seed, "plain", lang))
    queries = rng.sample(pool, min(asks.plain, len(pool)))
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

    replies: dict[str, Query] = {}
    dropped = []
    for query, reply in zip(queries, await together(*map(one, queries)), strict=True):
        if isinstance(reply, CallFailed):
            dropped.append(Drop.of(CASES, query.id, reply.reason, reply.detail))
        else:
            replies.setdefault(reply, query)
    return Filtered(CASES, [(query, text) for text, query in replies.items()], dropped)


async def _program(context: Context, instruction: Instruction, number: int) -> str | CallFailed:
    asks = context.recipe.verifiers
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
            temperature=asks.temperature,
            max_tokens=asks.max_tokens,
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
) -> tuple[Filtered[str], list[Case]]:
    """What one program makes of the plain replies. Text that it leaves as it was says nothing."""

    def dropped(
        name: tuple[object, ...], reason: str, detail: str
    ) -> tuple[Filtered[str], list[Case]]:
        drop = Drop.of(PROGRAMS, name, reason, detail, instruction.id)
        return Filtered(PROGRAMS, [], [drop]), []

    if isinstance(program, CallFailed):
        unnamed = (instruction.id, PROGRAMS, number)
        return dropped(unnamed, program.reason, program.detail)
    name = ("program", program)
    results = await context.transformed(program, [c.text for c in plain])
    cases = [
        Case(result.text, True, f"comply:{number}", case.query)
        for case, result in zip(plain, results, strict=True)
        if result.status is Status.TRUE and result.text.strip() and result.text != case.text
    ]
    if cases:
        return Filtered(PROGRAMS, [program]), cases
    if any(r.status is Status.TRUE for r in results):
        return dropped(name, "changes_nothing", program)
    return dropped(name, "failed", results[0].detail if results else "no plain reply to run it on")
