"""The verifiers of a run that at least one response passed, and the compositions drawn from them.

What stays in memory of a verifier is where it stands; the rest is read when it is needed.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoif.base import jsonl
from autoif.base.inputs import builtin, language, read_texts
from autoif.base.jsonl import Place
from autoif.base.records import (
    Composition,
    Message,
    Query,
    Sample,
    Turn,
    Verifier,
    content_id,
    sample_from_json,
    seed_from,
    verifier_from_json,
)
from autoif.run.funnel import Funnel
from autoif.run.recipe import Recipe

STAGE = "compositions"
REPLIES_TRIED, VERIFIERS_TRIED = 4, 32  # for a composition that one reply is known to follow


@dataclass(frozen=True)
class Entry:
    """A verifier that can be composed. `kind`: what it says but for numbers; one prompt states a
    kind once. `replies`: kept samples of the verifier alone."""

    id: str
    lang: str
    kind: str
    at: Place
    replies: tuple[Place, ...]


class Pool:
    """Read from the directories of finished (or begun) shards."""

    def __init__(self, parts: Iterable[Path]) -> None:
        replies: defaultdict[str, dict[str, Place]] = defaultdict(dict)
        found: list[tuple[Place, dict[str, Any]]] = []
        for part in parts:
            for place, row in jsonl.read(part / "03-samples.jsonl"):
                if row["kept"] and not row["composition"]:
                    replies[row["verifiers"][0]][row["id"]] = place
            for place, row in jsonl.read(part / "02-verifiers.jsonl"):
                told = row["instruction"]
                kind = told["template"] or told["id"]
                found.append((place, {"id": row["id"], "lang": told["lang"], "kind": kind}))
        self.entries = sorted(
            (
                Entry(row["id"], row["lang"], row["kind"], place, _by_id(replies[row["id"]]))
                for place, row in found
                if row["id"] in replies
            ),
            key=lambda e: e.id,
        )
        self._places = {e.id: e.at for e in self.entries}

    def verifier(self, name: str) -> Verifier:
        return verifier_from_json(_row(self._places[name]))


def draw(
    recipe: Recipe,
    pool: Pool,
    queries: Mapping[str, Sequence[Query]],
    funnel: Funnel,
    follows: Callable[[str, str], bool],
) -> Iterator[Composition]:
    """Each composition once; level by level, then the conversations, then those with a soft
    constraint. Every one is drawn by its own seed from the verifiers of its language.

    follows: whether a verifier, by id, passes a text.
    """
    part = recipe.compose
    known: set[str] = set()
    for lang in recipe.langs:
        entries = [e for e in pool.entries if e.lang == lang]
        kinds = len({e.kind for e in entries})
        soft = soft_constraints(recipe, lang)
        plans = [("level", n, n) for n in range(2, part.levels + 1)]
        plans += [("turns", part.turns, 2)] if part.turns > 1 else []
        plans += [("soft", 1, 1)] if soft else []
        for plan, n, needed in plans:
            if kinds < needed:
                funnel.enter(STAGE)
                name = content_id(STAGE, lang, plan, n)
                detail = f"{lang}, {plan} {n}: {kinds} kinds of verifier have a sample"
                funnel.drop(STAGE, name, "too_few_verifiers", detail)
                continue
            for k in range(part.per_level):
                rng = random.Random(seed_from(recipe.seed, STAGE, lang, plan, n, k))
                if plan == "turns":
                    made = _conversation(rng, entries, n, k)
                elif plan == "level" and k % 2 and (found := _proved(rng, entries, n, follows)):
                    made = found
                else:
                    chosen = _apart(rng, entries, n, ())
                    query = rng.choice(queries[lang])
                    asked = (rng.choice(soft),) if plan == "soft" else ()
                    made = Composition(query, (Turn(tuple(e.id for e in chosen)),), soft=asked)
                if made.id not in known:
                    known.add(made.id)
                    yield made


def _conversation(rng: random.Random, entries: Sequence[Entry], turns: int, k: int) -> Composition:
    """A kept sample, and what the user says next: the first time in turn an addition, another
    constraint instead, or the same with another number; later on whatever comes."""
    siblings: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        siblings[entry.kind].append(entry)
    several = [e for e in entries if len(siblings[e.kind]) > 1]
    renumber = k % 3 == 2 and bool(several)
    first = rng.choice(several if renumber else entries)
    made, held = [Turn((first.id,))], [first]
    for n in range(1, turns):
        change = k % 3 > 0 if n == 1 else rng.random() < 0.5
        last, before = held[-1], held[:-1] if change else held
        if n == 1 and renumber:
            new = rng.choice([e for e in siblings[last.kind] if e is not last])
        elif len(siblings) > len(held):
            (new,) = _apart(rng, entries, 1, held)
        else:
            break  # every kind is in force
        made.append(Turn((new.id,), change))
        held = [*before, new]
    sample = _sample(rng.choice(first.replies))
    query = Query(sample.query, first.lang, sample.source)
    opening = (*sample.messages, Message("assistant", sample.response))
    return Composition(query, tuple(made), opening)


def _proved(
    rng: random.Random, entries: Sequence[Entry], n: int, follows: Callable[[str, str], bool]
) -> Composition | None:
    """n constraints that one reply follows: a kept sample of one of them, which happens to follow
    the others. So they are known to go together, and a model too weak to follow so many at once has
    a sample all the same. None where no such reply is found."""
    for _ in range(REPLIES_TRIED):
        chosen = _apart(rng, entries, 1, ())
        sample = _sample(rng.choice(chosen[0].replies))
        for entry in rng.sample(entries, min(len(entries), VERIFIERS_TRIED)):
            if len(chosen) == n:
                break
            apart = entry.kind not in {e.kind for e in chosen}
            if apart and follows(entry.id, sample.response):
                chosen.append(entry)
        if len(chosen) == n:
            rng.shuffle(chosen)
            query = Query(sample.query, chosen[0].lang, sample.source)
            turn = Turn(tuple(e.id for e in chosen))
            return Composition(query, (turn,), known=sample.response)
    return None


def _apart(
    rng: random.Random, entries: Sequence[Entry], n: int, beside: Sequence[Entry]
) -> list[Entry]:
    """n entries of as many kinds, none of them a kind that stands beside. There are so many.

    Each as often as replies follow it alone: what hardly any follows alone, none follows with four
    more.
    """
    weights = [len(e.replies) for e in entries]
    chosen: list[Entry] = []
    taken = {e.kind for e in beside}
    while len(chosen) < n:
        (entry,) = rng.choices(entries, weights)
        if entry.kind not in taken:
            taken.add(entry.kind)
            chosen.append(entry)
    return chosen


def soft_constraints(recipe: Recipe, lang: str) -> list[str]:
    """The soft constraints of the recipe in a language."""
    source = recipe.compose.soft
    if not source:
        return []
    if source.startswith("builtin"):
        source = builtin(source, f"soft.{lang}.jsonl")
    rows = read_texts(source, ("text", "instruction", "constraint"))
    return sorted({r["text"] for r in rows if language(r, r["text"]) == lang})


def _by_id(places: Mapping[str, Place]) -> tuple[Place, ...]:
    return tuple(place for _, place in sorted(places.items()))


def _sample(place: Place) -> Sample:
    return sample_from_json(_row(place))


def _row(place: Place) -> dict[str, Any]:
    return jsonl.read_at(place.file, place.at)
