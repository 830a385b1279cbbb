"""Texts by a model that knows no function: some break the instruction in one small way, some follow
it in an unusual form. What a text is held for is up to several asks that do not know one another.
"""

from __future__ import annotations

from dataclasses import replace

from autoif.base.errors import CallFailed
from autoif.base.records import Case, Drop, Filtered, Instruction
from autoif.synthesis.context import Context, together
from autoif.synthesis.prompts.parsing import parse_yes
from autoif.synthesis.verifiers import write

CASES = "cases"


async def adversarial(context: Context, instruction: Instruction) -> Filtered[Case]:
    """`verifiers.adversary` asks for texts; those stay whose label every ask agrees on, that of the
    ask for the text included."""
    asked = await write.texts(context, instruction, "adversary", context.recipe.verifiers.adversary)
    return asked >> await agreed(context, instruction, asked.kept)


async def agreed(context: Context, instruction: Instruction, cases: list[Case]) -> Filtered[Case]:
    """The cases of which all label asks say what they are claimed to be."""
    labels = await together(*(label(context, instruction, case.text) for case in cases))
    filtered: Filtered[Case] = Filtered(CASES, [])
    for case, stated in zip(cases, labels, strict=True):
        if stated is case.expected:
            filtered.kept.append(replace(case, origin="agreed"))
        else:
            drop = Drop.of(CASES, case.id, "label_not_agreed", case.text, instruction.id)
            filtered.dropped.append(drop)
    return filtered


async def label(context: Context, instruction: Instruction, text: str) -> bool | None:
    """Whether the text follows the instruction, as each way to ask says; None where they differ, or
    one of them has no answer."""
    # The second way asks whether the text breaks it: who says yes to everything agrees with nobody.
    ways = context.prompts.lines("label_asks", instruction.lang)
    answers = await together(
        *(_ask(context, instruction, text, way, n) for n, way in enumerate(ways))
    )
    stated = {
        None if answer is None else answer is not (n == 1) for n, answer in enumerate(answers)
    }
    return stated.pop() if len(stated) == 1 else None


async def _ask(
    context: Context, instruction: Instruction, text: str, way: str, index: int
) -> bool | None:
    values = {"instruction": instruction.text, "response": text, "ask": way}
    try:
        reply = await context.ask(
            "judge",
            context.prompts.messages("label", instruction.lang, **values),
            stage=CASES,
            record=instruction.id,
            max_tokens=4,
            index=index,
            partial=True,
        )
    except CallFailed:
        return None
    return parse_yes(reply.text)
