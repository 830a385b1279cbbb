"""The verifiers of a run that at least one response passed, and the compositions drawn from them.

What stays in memory of a verifier is where it stands; the rest is read when it is needed.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from autoif.base import jsonl
from autoif.base.inputs import builtin, language, read_texts
from autoif.base.jsonl import Place
from autoif.base.records import (
    Composition,
    Drop,
    Filtered,
    Message,
    Query,
    Sample,
    Turn,
    Verifier,
    sample_from_json,
    seed_from,
    verifier_from_json,
)
from autoif.run.recipe import Recipe
from autoif.synthesis.context import together

STAGE = "compositions"
REPLIES_TRIED, VERIFIERS_TRIED = 4, 32  # for a composition that one reply is known to follow
Follows = Callable[[str, str], Awaitable[bool]]  # a verifier's id, a text


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

    def __init__(self, shards: Iterable[Path]) -> None:
        replies: defaultdict[str, dict[str, Place]] = defaultdict(dict)
        verifiers: list[tuple[Place, dict[str, Any]]] = []
        for shard in shards:
            for place, row in jsonl.read(shard / "03-samples.jsonl"):
                if row["kept"] and not row["composition"]:
                    replies[row["verifiers"][0]][row["id"]] = place
            for place, row in jsonl.read(shard / "02-verifiers.jsonl"):
                instruction = row["instruction"]
                kind = instruction["template"] or instruction["id"]
                verifiers.append(
                    (place, {"id": row["id"], "lang": instruction["lang"], "kind": kind})
                )
        self.entries = sorted(
            (
                Entry(row["id"], row["lang"], row["kind"], place, _by_id(replies[row["id"]]))
                for place, row in verifiers
                if row["id"] in replies
            ),
            key=lambda e: e.id,
        )
        self._places = {e.id: e.at for e in self.entries}

    def verifier(self, name: str) -> Verifier:
        return verifier_from_json(_row(self._places[name]))


@dataclass(frozen=True)
class Kind:
    """Compositions of one kind in one language. level: n constraints at once; turns: a
    conversation of n turns; soft: one constraint beside a soft one."""

    lang: str
    name: Literal["level", "turns", "soft"]
    n: int

    @property
    def verifiers(self) -> int:
        """How many kinds of verifier it needs."""
        return {"level": self.n, "turns": 2, "soft": 1}[self.name]


def possible(recipe: Recipe, pool: Pool) -> Filtered[Kind]:
    """Level by level, then the conversations, then those with a soft constraint."""
    rules = recipe.compose
    filtered: Filtered[Kind] = Filtered(STAGE, [])
    for lang in recipe.langs:
        kinds = len({e.kind for e in pool.entries if e.lang == lang})
        wanted = [Kind(lang, "level", n) for n in range(2, rules.levels + 1)]
        wanted += [Kind(lang, "turns", rules.turns)] if rules.turns > 1 else []
        wanted += [Kind(lang, "soft", 1)] if soft_constraints(recipe, lang) else []
        for kind in wanted:
            if kinds >= kind.verifiers:
                filtered.kept.append(kind)
                continue
            name = (STAGE, lang, kind.name, kind.n)
            detail = f"{lang}, {kind.name} {kind.n}: {kinds} kinds of verifier have a sample"
            filtered.dropped.append(Drop.of(STAGE, name, "too_few_verifiers", detail))
    return filtered


async def draw(
    recipe: Recipe,
    pool: Pool,
    queries: Mapping[str, Sequence[Query]],
    wanted: Sequence[Kind],
    follows: Follows,
) -> AsyncGenerator[Composition, None]:
    """Each composition once, every one drawn by its own seed from the verifiers of its language."""
    drawn: set[str] = set()
    for kind in wanted:
        entries = [e for e in pool.entries if e.lang == kind.lang]
        soft = soft_constraints(recipe, kind.lang)
        for k in range(recipe.compose.per_level):
            rng = random.Random(seed_from(recipe.seed, STAGE, kind.lang, kind.name, kind.n, k))
            made: Composition | None = None
            if kind.name == "turns":
                made = _conversation(rng, entries, kind.n, k)
            elif kind.name == "level" and k % 2:
                made = await _proved(rng, entries, kind.n, follows)
            if made is None:
                chosen = _apart(rng, entries, kind.n, ())
                query = rng.choice(queries[kind.lang])
                asked = (rng.choice(soft),) if kind.name == "soft" else ()
                made = Composition(query, (Turn(tuple(e.id for e in chosen)),), soft=asked)
            if made.id not in drawn:
                drawn.add(made.id)
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


async def _proved(
    rng: random.Random, entries: Sequence[Entry], n: int, follows: Follows
) -> Composition | None:
    """n constraints that one reply follows: a kept sample of one of them, which happens to follow
    the others. So they are known to go together, and a model too weak to follow so many at once has
    a sample all the same. None where no such reply is found."""
    for _ in range(REPLIES_TRIED):
        (first,) = _apart(rng, entries, 1, ())
        sample = _sample(rng.choice(first.replies))
        others = rng.sample(entries, min(len(entries), VERIFIERS_TRIED))
        others = [entry for entry in others if entry.kind != first.kind]
        followed = await together(*(follows(entry.id, sample.response) for entry in others))
        chosen = {first.kind: first}
        for entry, does in zip(others, followed, strict=True):
            if does and len(chosen) < n:
                chosen.setdefault(entry.kind, entry)
        if len(chosen) == n:
            asked = list(chosen.values())
            rng.shuffle(asked)
            query = Query(sample.query, first.lang, sample.source)
            turn = Turn(tuple(e.id for e in asked))
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
    return sorted({r["text"] for r in rows if r["text"] and language(r, r["text"]) == lang})


def _by_id(places: Mapping[str, Place]) -> tuple[Place, ...]:
    return tuple(place for _, place in sorted(places.items()))


def _sample(place: Place) -> Sample:
    return sample_from_json(_row(place))


def _row(place: Place) -> dict[str, Any]:
    return jsonl.read_at(place.file, place.at)
