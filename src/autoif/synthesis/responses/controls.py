"""How the judge fares on texts that answer nothing: its controls, free negatives of every run.

A reply to another query, the query said again, a phrase that fits any query. A judge that lets them
pass says nothing of the samples either. They are put to it before any response is paid for.
"""

from __future__ import annotations

from collections.abc import Sequence

from autoif.base.errors import CallFailed, SetupError
from autoif.base.records import Drop, Filtered, Query
from autoif.run.recipe import Recipe
from autoif.synthesis.context import Context, together
from autoif.synthesis.responses import judge
from autoif.synthesis.responses.substance import nothing_said

STAGE = "controls"
FILLERS = {"en": ("Good question.", "Yes, of course."), "zh": ("好问题。", "当然可以。")}
AGAIN = 2  # queries that are said again
# Of the controls; the embedded model lets one in ten pass where it is asked for a yes, and all
# where it is asked for a number.
MOST_ACCEPTED = 1 / 3


def controls(lang: str) -> str:
    """The name under which a run's controls are shared."""
    return f"controls {lang}"


def wanted(recipe: Recipe) -> bool:
    return recipe.judge.controls != "off" and recipe.judge.style != "off"


async def refuse_untrusted(
    context: Context, lang: str, replies: Sequence[tuple[Query, str]]
) -> None:
    """`replies`: each with the query that it answers. Raises SetupError where `judge.controls` is
    `refuse` and the judge lets too many controls pass."""
    rules = context.recipe.judge
    judged = await context.once(controls(lang), lambda: judge_controls(context, lang, replies))
    accepted = sum(drop.reason == "accepted" for drop in judged.dropped)
    if rules.controls == "refuse" and accepted > MOST_ACCEPTED * judged.entered:
        raise SetupError(
            f"{context.recipe.models.role('judge')} accepts {accepted} of {judged.entered} texts "
            "that answer nothing, such as a reply to another query: its scores say nothing. Set "
            'models.judge to a stronger model or judge.style to "yes"; judge.controls = "report" '
            "goes on with this one"
        )


async def judge_controls(
    context: Context, lang: str, replies: Sequence[tuple[Query, str]]
) -> Filtered[str]:
    """The texts that the judge refused, as it should; dropped: those that it accepted."""
    texts = _texts(lang, replies)
    scores = await together(*(_score(context, lang, query, text) for query, text in texts))
    filtered: Filtered[str] = Filtered(STAGE, [])
    for (query, text), score in zip(texts, scores, strict=True):
        name = ("control", query.text, text)
        if isinstance(score, CallFailed):
            drop = Drop.of(STAGE, name, score.reason, score.detail, query.id)
            filtered.dropped.append(drop)
        elif judge.good(context, score):
            detail = f"{score:g} of 10, under {query.text!r}: {text}"
            filtered.dropped.append(Drop.of(STAGE, name, "accepted", detail, query.id))
        else:
            filtered.kept.append(text)
    return filtered


def _texts(lang: str, replies: Sequence[tuple[Query, str]]) -> list[tuple[Query, str]]:
    """Each with a query that it does not answer."""
    queries = [query for query, _ in replies]
    others = [*queries[1:], *queries[:1]] if len(queries) > 1 else []
    return [
        *((other, reply) for other, (_, reply) in zip(others, replies, strict=False)),
        *((query, query.text) for query in queries[:AGAIN]),
        *zip(queries, FILLERS[lang], strict=False),
    ]


async def _score(context: Context, lang: str, query: Query, text: str) -> float | CallFailed:
    if context.recipe.judge.floor and nothing_said(query.text, "", text):
        return 0.0
    return await judge.score(context, lang, query.text, "", text, query.id, stage=STAGE)
