"""Constraints put together: several in one prompt, or one after another, turn by turn.

    do they clash? (their cases say, then a model) -> each turn: sample in waves, verify, judge

The verifiers have survived alone; here the question is whether one reply can follow them all. Their
cases answer it for nothing: two verifiers that decide each other's cases alike say the same, and
where each decides them the other way round they forbid what the other demands. The model answers
for less than the responses cost. The last word is that of the responses: where none passes, nothing
is kept.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import combinations

from autoif.base.errors import CallFailed
from autoif.base.records import Composition, Drop, Filtered, Message, Verdict, Verifier, seed_from
from autoif.synthesis.compositions.draw import STAGE
from autoif.synthesis.context import Context
from autoif.synthesis.product import Product
from autoif.synthesis.prompts.parsing import parse_yes
from autoif.synthesis.prompts.templates import fill_line
from autoif.synthesis.responses import rows
from autoif.synthesis.responses.sample import Prompt, Task, sample, user_message

SAME = 0.9  # balanced accuracy on another verifier's cases from which two say the same
FEW = 2  # cases of each label needed to say so
ANSWER = 8  # tokens of a yes or no


async def process(context: Context, product: Product) -> None:
    """Fills the product of one composition, which comes with its verifiers."""
    unit = product.unit
    assert isinstance(unit, Composition)
    verifiers = {verifier.id: verifier for verifier in product.given}
    reason, detail = await _clash(context, unit, verifiers)
    if not reason:
        reason, detail = await _turns(context, unit, verifiers, product)
    if product.sft:
        product.funnel.book(Filtered(STAGE, [unit]))
        product.composition = unit
    else:
        drop = Drop.of(STAGE, unit.id, reason, detail, unit.id)
        product.funnel.book(Filtered(STAGE, [], [drop]))
    product.dpo = rows.sorted_rows(product.dpo)


# ---- do they clash? ----------------------------------------------------------------------------


async def _clash(
    context: Context, unit: Composition, verifiers: Mapping[str, Verifier]
) -> tuple[str, str]:
    """Why what is in force at the end cannot or need not be asked for together, or ("", "")."""
    held = [verifiers[name] for name in unit.in_force[-1]]
    for one, other in combinations(held, 2):
        orders = ((one, other), (other, one))
        verdicts = [await _on_cases(context, a, b) for a, b in orders]
        both = [_alike(b, of_a) for (_, b), of_a in zip(orders, verdicts, strict=True)]
        alike = [a for a in both if a is not None]
        texts = f"{one.instruction.text} / {other.instruction.text}"
        if alike and min(alike) >= SAME:
            return "redundant", texts
        if alike and 1 - max(alike) >= SAME:
            return "contradictory", texts
        for (a, b), of_a in zip(orders, verdicts, strict=True):
            if _blinded(a, b, of_a):
                return "blinded", f"{a.instruction.text} / {b.instruction.text}"
    if len(held) < 2 or context.recipe.compose.judge == "off":
        return "", ""
    # A small model says no to the one order and yes to the other: no has to be said to both.
    for order in (held, held[::-1]):
        demands = "\n".join(f"- {v.instruction.text}" for v in order)
        try:
            together = await _together(context, unit, order[0].instruction.lang, demands)
        except CallFailed as failed:
            return failed.reason, failed.detail
        if together:
            return "", ""
    return "incompatible", demands


async def _together(context: Context, unit: Composition, lang: str, demands: str) -> bool:
    """Whether a model says that one reply can follow all. Raises CallFailed."""
    reply = await context.ask(
        "judge",
        context.prompts.messages("compatible", lang, demands=demands),
        stage=STAGE,
        record=unit.id,
        max_tokens=ANSWER,
        partial=True,
    )
    together = parse_yes(reply.text)
    if together is None:
        raise CallFailed("unparseable", reply.text)
    return together


async def _on_cases(context: Context, one: Verifier, other: Verifier) -> list[Verdict]:
    """What one verifier says of each case of the other."""
    return await context.verdicts(one.checks, [case.text for case in other.cases])


def _alike(other: Verifier, verdicts: Sequence[Verdict]) -> float | None:
    """Balanced accuracy of another's verdicts on a verifier's cases; None where those are few."""
    rates = []
    for label in (True, False):
        decided = [
            v.fraction > 0.5
            for case, v in zip(other.cases, verdicts, strict=True)
            if case.expected is label and v.fraction is not None
        ]
        if len(decided) < FEW:
            return None
        rates.append(sum(d is label for d in decided) / len(decided))
    return sum(rates) / 2


def _blinded(one: Verifier, other: Verifier, verdicts: Sequence[Verdict]) -> bool:
    """Whether a verifier, once a text follows another constraint too, accepts what it refused.
    verdicts: what it says of the other's cases.

    Plain replies that break the one, and what programs made of them so that they follow the other:
    mostly they should break the one as before. Where they do not, its functions are blind to the
    form that the other demands (the letter s, and all in capitals), or the other implies the one.
    """
    broken = {c.query for c in one.cases if c.query and c.origin == "plain" and not c.expected}
    decided = [
        v.fraction > 0.5
        for c, v in zip(other.cases, verdicts, strict=True)
        if c.query in broken and c.expected and c.by_program and v.fraction is not None
    ]
    return len(decided) > FEW and sum(decided) >= len(decided) / 2


# ---- turn by turn ------------------------------------------------------------------------------


async def _turns(
    context: Context, unit: Composition, verifiers: Mapping[str, Verifier], product: Product
) -> tuple[str, str]:
    """Samples the reply to every turn; why it went no further, or ("", "")."""
    messages = unit.opening
    first = [verifiers[name] for name in unit.turns[0].verifiers]
    opening = "\n".join([*(v.instruction.text for v in first), *unit.soft])
    stated: list[Verifier] = []
    for n, turn in enumerate(unit.turns):
        stated += [verifiers[name] for name in turn.verifiers if verifiers[name] not in stated]
        if n == 0 and messages:
            continue
        held = tuple(verifiers[name] for name in unit.in_force[n])
        task = Task(held, tuple(stated), context.recipe.responses.accuracy, unit.id, unit.soft)
        if not messages:
            asked = user_message(unit.query.text, held, unit.soft)
        elif await _followed(context, task, messages[-1].content):
            return "already_followed", messages[-1].content
        else:
            asked = _next(context, unit, n, verifiers)
        prompt = Prompt(unit.query, (*messages, asked), opening, unit.known)
        product.take(context.recipe, task, await sample(context, task, [prompt]))
        kept = next((s for s in prompt.samples if s.kept), None)
        if kept is None:
            return _why(task, prompt)
        messages = (*prompt.messages, Message("assistant", kept.response))
    return "", ""


async def _followed(context: Context, task: Task, text: str) -> bool:
    """Whether the reply before follows the new turn as it is: then there is nothing to learn."""
    verdicts = [(await context.verdicts(v.checks, [text]))[0] for v in task.verifiers]
    return task.accepts(verdicts)


def _next(
    context: Context, unit: Composition, n: int, verifiers: Mapping[str, Verifier]
) -> Message:
    """What the user says in a later turn: one of the prompt file's lines, drawn by content."""
    turn, lang = unit.turns[n], unit.query.lang
    (new,) = (verifiers[name].instruction.text for name in turn.verifiers)
    old = verifiers[unit.in_force[n - 1][-1]].instruction.text
    lines = context.prompts.lines("change" if turn.change else "add", lang)
    rng = random.Random(seed_from(context.recipe.seed, STAGE, unit.id, n))
    return Message("user", fill_line(rng.choice(lines), {"instruction": new, "old": old}))


def _why(task: Task, prompt: Prompt) -> tuple[str, str]:
    """Why no response was kept. A conflict: each constraint was followed, never all at once."""
    accepted = [task.accepts_each(s.verdicts) for s in prompt.samples]
    if any(all(each) for each in accepted):
        return "none_judged_good", f"of {len(accepted)} responses"
    never = [
        verifier.instruction.text
        for i, verifier in enumerate(task.verifiers)
        if not any(each[i] for each in accepted)
    ]
    if never:
        return "none_passed", f"no response of {len(accepted)} follows: {' / '.join(never)}"
    return "conflict", f"each is followed by some of {len(accepted)} responses, all by none"
