"""Does the response answer the query? A model's score from 0 to 10, asked only for what passed.

An answer without a score is asked for once more; then it is its own outcome, never a zero.
"""

from __future__ import annotations

import asyncio

from autoif.errors import CallFailed
from autoif.synth.parsing import parse_score
from autoif.synth.tools import Tools

STAGE = "judge"


async def score(
    tools: Tools, lang: str, query: str, demanded: str, response: str, record: str
) -> float | CallFailed:
    """The mean of the votes that were understood. `demanded`: what the reply had to follow.
    `record`: id of the instruction or composition on whose behalf it is asked."""
    part = tools.recipe.judge
    votes = await asyncio.gather(
        *(_vote(tools, lang, query, demanded, response, record, n) for n in range(part.votes))
    )
    understood = [v for v in votes if not isinstance(v, CallFailed)]
    if understood:
        return sum(understood) / len(understood)
    return next(v for v in votes if isinstance(v, CallFailed))


def good(tools: Tools, value: float) -> bool:
    part = tools.recipe.judge
    return value >= part.threshold if part.inclusive else value > part.threshold


async def _vote(
    tools: Tools, lang: str, query: str, demanded: str, response: str, record: str, number: int
) -> float | CallFailed:
    part = tools.recipe.judge
    prompt = "judge" if part.style == "analysis" else "judge_number"
    messages = tools.wording.messages(
        prompt, lang, query=query, instruction=demanded, response=response
    )
    failed = CallFailed("no_score")
    for again in range(2):
        try:
            reply = await tools.ask(
                "judge",
                messages,
                stage=STAGE,
                record=record,
                # The first vote is the model's best guess; more votes, and second tries, vary.
                temperature=0.0 if number == again == 0 else 0.7,
                max_tokens=part.max_tokens,
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
