"""Does the response answer the query? A model's score from 0 to 10, asked only for what passed.
The same for constraints that no program decides: tone, style, audience.

A small model gives 10 to whatever it is shown, and yet it tells apart: after examples of both
kinds, ten times the probability that it says yes is the score (docs/judging.md has the figures).

An answer without a score is asked for once more; then it is its own outcome, never a zero.
"""

from __future__ import annotations

from collections.abc import Sequence

from autoif.base.errors import CallFailed
from autoif.base.records import Message
from autoif.synthesis.context import Context, together
from autoif.synthesis.prompts.parsing import chance_of_yes, parse_score

STAGE = "judge"
FEW = 3  # queries, of which a mean says something


async def score(
    context: Context,
    lang: str,
    query: str,
    demanded: str,
    response: str,
    record: str,
    *,
    stage: str = STAGE,
) -> float | CallFailed:
    """How well the response answers the query. `demanded`: what else it had to follow.
    `record`: id of the instruction or composition on whose behalf it is asked."""
    style = context.recipe.judge.style
    if style == "yes":
        asked = context.prompts.messages("judge_yes", lang, query=query, response=response)
        return await _certainty(context, asked, record, stage)
    prompt = "judge" if style == "analysis" else "judge_number"
    values = {"query": query, "instruction": demanded, "response": response}
    return await _votes(context, context.prompts.messages(prompt, lang, **values), record, stage)


async def _certainty(
    context: Context, messages: tuple[Message, ...], record: str, stage: str
) -> float | CallFailed:
    """Ten times the probability with which the judge says yes."""
    try:
        reply = await context.ask(
            "judge",
            messages,
            stage=stage,
            record=record,
            max_tokens=1,
            first_token=True,
            partial=True,
        )
    except CallFailed as failed:
        return failed
    chance = chance_of_yes(reply.text)
    return CallFailed("no_score", reply.text) if chance is None else round(10 * chance, 3)


async def soft_score(
    context: Context, lang: str, query: str, soft: str, response: str, record: str
) -> float | CallFailed:
    """How well the response keeps to a soft constraint."""
    values = {"query": query, "soft": soft, "response": response}
    return await _votes(context, context.prompts.messages("rubric", lang, **values), record, STAGE)


async def _votes(
    context: Context, messages: tuple[Message, ...], record: str, stage: str
) -> float | CallFailed:
    """The mean of the votes that were understood."""
    votes = await together(
        *(_vote(context, messages, record, stage, n) for n in range(context.recipe.judge.votes))
    )
    understood = [v for v in votes if not isinstance(v, CallFailed)]
    if understood:
        return sum(understood) / len(understood)
    return next(v for v in votes if isinstance(v, CallFailed))


def good(context: Context, value: float) -> bool:
    return context.recipe.judge.threshold.met(value)


def makes_sense(context: Context, scores: Sequence[float]) -> bool | None:
    """Whether replies under an instruction still answer their queries, by a score for each query;
    None where there are too few."""
    least = context.recipe.judge.mean
    return sum(scores) / len(scores) >= least if least and len(scores) >= FEW else None


async def _vote(
    context: Context, messages: tuple[Message, ...], record: str, stage: str, number: int
) -> float | CallFailed:
    failed = CallFailed("no_score")
    for again in range(2):
        try:
            reply = await context.ask(
                "judge",
                messages,
                stage=stage,
                record=record,
                # The first vote is the model's best guess; more votes, and second tries, vary.
                temperature=0.0 if number == again == 0 else 0.7,
                max_tokens=context.recipe.judge.max_tokens,
                index=2 * number + again,
                partial=True,
            )
        except CallFailed as error:
            failed = error
            continue
        value = parse_score(reply.text)
        if value is not None:
            return value
        failed = CallFailed("no_score", reply.text)
    return failed
