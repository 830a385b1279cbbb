"""Splits that share nothing: neither a constraint nor a query is in two of them.

Each constraint and each query has a number, drawn from its name; that of a row is the largest of
its own. The rows with the smallest numbers, as many as the split's share asks for, are held out,
and with them all that they name. Whatever names none of it stays in the first split; what lies
between two splits is in neither.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, chain

from autoif.base.errors import UsageError
from autoif.export.selection import KINDS, QUERY, Example, Selection

TRAIN = "train"
NUMBERS = 1 << 16  # in how many steps a share is met
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


def parse_split(text: str) -> dict[str, float]:
    """ "train=0.98,test=0.02" as names with shares. Raises UsageError."""
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = part.strip().partition("=")
        try:
            share = float(number)
        except ValueError:
            share = 0.0
        if not _NAME.fullmatch(name) or name in shares or not 0 < share <= 1:
            raise UsageError(
                f"--split {text}: give names in small letters, each once, with shares above 0, as "
                "in train=0.98,test=0.02"
            )
        shares[name] = share
    if next(iter(shares)) != TRAIN:
        raise UsageError(f"--split {text}: the first split has to be called {TRAIN}")
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise UsageError(f"--split {text}: the shares have to add up to 1")
    return shares


@dataclass(frozen=True, slots=True)
class Splits:
    """names: the first takes all that no other needs. held: hashes of the constraints and queries
    of each of the others."""

    names: tuple[str, ...]
    held: tuple[frozenset[int], ...]

    @classmethod
    def of(cls, shares: Mapping[str, float], selection: Selection) -> Splits:
        """Two passes over all rows, whatever a format takes of them, for each split but the first.
        `held` grows with what is held out, nothing with the number of rows."""
        first, *others = shares
        splits = cls((first,), ())
        for name in others:
            held = splits._holding(name, shares[name], selection)
            splits = cls((*splits.names, name), (*splits.held, held))
        return splits

    def name(self, example: Example) -> str | None:
        """The split of a row; None for what lies between two."""
        keys = set(map(_hash, example.keys))
        for name, held in zip(self.names[1:], self.held, strict=True):
            if keys <= held:
                return name
            if keys & held:
                return None
        return self.names[0]

    def _holding(self, name: str, share: float, selection: Selection) -> frozenset[int]:
        def numbered() -> Iterator[tuple[int, Example]]:
            """Rows of which nothing is held out, each with its number; of others NUMBERS."""
            for kind in KINDS:
                for example in selection.examples(kind):
                    free = self.name(example) == TRAIN
                    yield (_largest(name, example) if free else NUMBERS), example

        counts = [0] * (NUMBERS + 1)
        for number, _ in numbered():
            counts[number] += 1
        wanted = max(1, round(share * sum(counts)))
        sums = accumulate(counts[:NUMBERS])
        bound = next((n for n, count in enumerate(sums) if count >= wanted), NUMBERS - 1)
        keys = (example.keys for number, example in numbered() if number <= bound)
        return frozenset(map(_hash, chain.from_iterable(keys)))


def _largest(split: str, example: Example) -> int:
    """The row's number. Those of queries count half: constraints are fewer and have many queries
    each, so that less lies between two splits if mostly they decide."""
    numbers = []
    for key in example.keys:
        number = int.from_bytes(_digest(f"{split} {key}")[:2], "big")
        numbers.append(number // 2 if key.startswith(QUERY) else number)
    return max(numbers)


def _hash(key: str) -> int:
    return int.from_bytes(_digest(key), "big")


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
