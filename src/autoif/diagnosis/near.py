"""The second look at a verifier: texts made from those that its functions accept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest

from autoif.base.records import Outcome, Status
from autoif.diagnosis.boundary import inside_pairs, is_word, neighbours
from autoif.diagnosis.content_free import content_free
from autoif.diagnosis.probes import BASES, Probes
from autoif.diagnosis.reading import Reading

MOST_BASES = 6  # accepted texts from which others are made
LONGEST = 1500  # characters of such a text
MOST_CHANGED = 150


@dataclass(frozen=True, slots=True)
class NearTexts:
    """Indices into `texts`, by purpose."""

    texts: list[str] = field(default_factory=list)
    changed: list[tuple[str, int]] = field(default_factory=list)  # what was changed, the text
    pairs: list[tuple[int, int]] = field(default_factory=list)  # see `inside_pairs`
    fillers: list[tuple[str, int]] = field(default_factory=list)  # kind of filler, the text


def near_texts(reading: Reading, plan: Probes, outcomes: Sequence[Sequence[Outcome]]) -> NearTexts:
    """outcomes: per function, on the texts of the plan."""
    texts: dict[str, int] = {}

    def add(text: str) -> int:
        return texts.setdefault(text, len(texts))

    accepted = accepted_texts(plan, outcomes)
    in_turn = zip_longest(*(neighbours(text, plan.terms, reading.zh) for text in accepted))
    changed = [change for change in chain.from_iterable(in_turn) if change][:MOST_CHANGED]
    words = [] if reading.zh else [term for term in reading.quoted if is_word(term)][:4]
    bases = [*accepted[:3], BASES[False][1]]
    pairs = [pair for word in words for text in bases for pair in inside_pairs(text, word)]
    fillers = content_free(reading, accepted, plan.terms)
    return NearTexts(
        changed=[(change, add(text)) for change, text in changed],
        pairs=[(add(one), add(other)) for one, other in pairs],
        fillers=[(kind, add(text)) for kind, text in fillers],
        texts=list(texts),  # last: all are in it
    )


def accepted_texts(plan: Probes, outcomes: Sequence[Sequence[Outcome]]) -> list[str]:
    """A few of the texts that functions accept, in turn: cases first, then what was made for the
    instruction, then real replies."""
    order = [
        *(i for i, label in plan.cases if label), *(i for i, label in plan.stated if label),
        *plan.made, *plan.pool,
    ]  # fmt: skip
    fit = [i for i in dict.fromkeys(order) if 8 < len(plan.texts[i]) <= LONGEST]
    by_function = [[i for i in fit if column[i].status is Status.TRUE] for column in outcomes]
    in_turn: Iterable[int | None] = chain.from_iterable(zip_longest(*map(_spread, by_function)))
    chosen = dict.fromkeys(i for i in in_turn if i is not None)
    return [plan.texts[i] for i in chosen][:MOST_BASES]


def _spread(indices: Sequence[int]) -> list[int]:
    """The first two, and others from all over."""
    step = max(1, (len(indices) - 2) // MOST_BASES)
    return [*indices[:2], *indices[2::step]]
