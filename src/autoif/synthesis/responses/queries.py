"""The queries of a run, and which of them each instruction is attached to."""

from __future__ import annotations

import random
from collections.abc import Mapping

from autoif.base.errors import UsageError
from autoif.base.inputs import builtin, language, read_texts, why_none, without_text
from autoif.base.records import Drop, Filtered, Instruction, Query, seed_from
from autoif.run.recipe import Recipe

DENSE = 2.5  # a Chinese character says about as much as so many Latin ones


STAGE = "queries"


def load(recipe: Recipe) -> Filtered[Query]:
    """Each query once, sorted by id so that the order of the file is no matter, and why the other
    rows are left out. Raises UsageError where a language of the recipe has none."""
    settings = recipe.queries
    rows = []
    if not settings.source.startswith("builtin"):
        rows = read_texts(settings.source, ("query", "text", "prompt", "question", "instruction"))
    else:
        for lang in recipe.langs:
            rows += read_texts(builtin(settings.source, f"queries.{lang}.jsonl"), ("query",))
    kept: dict[str, Query] = {}
    dropped = []
    for row in rows:
        text = row["text"]
        source = ", ".join(str(row[k]) for k in ("source", "licence", "license") if row.get(k))
        query = Query(text, language(row, text), source)
        length = len(text) * (DENSE if query.lang == "zh" else 1)
        if not text:
            dropped.append(without_text(STAGE, row))
            continue
        if query.lang not in recipe.langs:
            reason = "other_language"
        elif query.id in kept:
            reason = "duplicate"
        elif length <= settings.min_chars:
            reason = "too_short"
        elif length >= settings.max_chars:
            reason = "too_long"
        else:
            kept[query.id] = query
            continue
        dropped.append(Drop.of(STAGE, query.id, reason, text))
    loaded = Filtered(STAGE, [kept[name] for name in sorted(kept)], dropped)
    pools = by_language(recipe, loaded)
    for lang in recipe.langs:
        if not pools[lang]:
            bounds = (
                f"queries.min_chars is {settings.min_chars}, "
                f"queries.max_chars is {settings.max_chars}"
            )
            raise UsageError(
                f"{settings.source}: no query in {lang!r}; {why_none(dropped, bounds)}"
            )
    return loaded


def by_language(recipe: Recipe, loaded: Filtered[Query]) -> dict[str, list[Query]]:
    return {lang: [q for q in loaded.kept if q.lang == lang] for lang in recipe.langs}


def pair(
    recipe: Recipe, queries: Mapping[str, list[Query]], instruction: Instruction
) -> list[Query]:
    """The instruction's own draw from the queries of its language."""
    pool = queries[instruction.lang]
    rng = random.Random(seed_from(recipe.seed, "queries", instruction.id))
    return rng.sample(pool, min(recipe.queries.per_instruction, len(pool)))
