"""The queries of a run, and which of them each instruction is attached to."""

from __future__ import annotations

import random
from collections.abc import Mapping

from autoif.base.errors import UsageError
from autoif.base.inputs import builtin, language, read_texts
from autoif.base.records import Instruction, Query, seed_from
from autoif.run.recipe import Recipe

DENSE = 2.5  # a Chinese character says about as much as so many Latin ones


def load(recipe: Recipe) -> dict[str, list[Query]]:
    """By language, without duplicates, sorted by id so that the order of the file is no matter."""
    settings = recipe.queries
    rows = []
    if not settings.source.startswith("builtin"):
        rows = read_texts(settings.source, ("query", "text", "prompt", "question", "instruction"))
    else:
        for lang in recipe.langs:
            rows += read_texts(builtin(settings.source, f"queries.{lang}.jsonl"), ("query",))
    pools: dict[str, dict[str, Query]] = {str(lang): {} for lang in recipe.langs}
    for row in rows:
        text = row["text"].strip()
        own = language(row, text)
        source = ", ".join(str(row[k]) for k in ("source", "licence", "license") if row.get(k))
        query = Query(text, own, source)
        length = len(text) * (DENSE if own == "zh" else 1)
        if own in pools and settings.min_chars < length < settings.max_chars:
            pools[own][query.id] = query
    for wanted, queries in pools.items():
        if not queries:
            raise UsageError(
                f"{settings.source}: no query in {wanted!r} of more than {settings.min_chars} and "
                f"fewer than {settings.max_chars} characters (queries.min_chars, "
                "queries.max_chars)"
            )
    return {lang: [by_id[i] for i in sorted(by_id)] for lang, by_id in pools.items()}


def pair(
    recipe: Recipe, queries: Mapping[str, list[Query]], instruction: Instruction
) -> list[Query]:
    """The instruction's own draw from the queries of its language."""
    pool = queries[instruction.lang]
    rng = random.Random(seed_from(recipe.seed, "queries", instruction.id))
    return rng.sample(pool, min(recipe.queries.per_instruction, len(pool)))
