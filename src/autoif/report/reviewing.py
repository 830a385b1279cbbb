"""Samples judged by people: which are drawn, what was marked, and what that says of the data.

`DIR/review.jsonl` has a row for each mark: {"sample", "reviewer", "follows", "answers", "sensible",
"note"}. It is only appended to; the last mark of a reviewer on a sample counts.
"""

from __future__ import annotations

import heapq
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoif.base import jsonl
from autoif.base.errors import SetupError, UsageError
from autoif.base.files import appending
from autoif.base.language import clean_text
from autoif.base.printable import printable
from autoif.base.records import dump_line, seed_from

Row = dict[str, Any]
QUESTIONS = ("follows", "answers", "sensible")
NOTE, NAME = 2_000, 60  # characters at most
Z = 1.959964  # of a 95% interval


@dataclass(frozen=True, slots=True)
class Mark:
    """What a reviewer says of a sample. follows: the response follows the instruction; answers: it
    answers the query; sensible: somebody could want the instruction of that query."""

    sample: str
    reviewer: str
    follows: bool
    answers: bool
    sensible: bool
    note: str = ""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Mark:
        """Raises UsageError for what is no mark."""
        texts = [row.get(name) for name in ("sample", "reviewer", "note")]
        answers = [row.get(name) for name in QUESTIONS]
        if not all(isinstance(text, str) for text in texts):
            raise UsageError("a mark has texts: sample, reviewer, note")
        if not all(isinstance(answer, bool) for answer in answers):
            raise UsageError(f"a mark is true or false for {', '.join(QUESTIONS)}")
        sample, reviewer, note = (clean_text(str(text)) for text in texts)
        reviewer = printable(" ".join(reviewer.split()))[:NAME]
        if not reviewer:
            raise UsageError("a mark needs the name of its reviewer")
        follows, fits, sensible = (answer is True for answer in answers)
        return cls(sample, reviewer, follows, fits, sensible, note[:NOTE])

    def to_json(self) -> Row:
        return {name: getattr(self, name) for name in ("sample", "reviewer", *QUESTIONS, "note")}

    @property
    def good(self) -> bool:
        return self.follows and self.answers and self.sensible


@dataclass(frozen=True, slots=True)
class Share:
    """k of n, with Wilson's 95% interval; all None where n is 0."""

    k: int
    n: int

    @property
    def value(self) -> float | None:
        return self.k / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float] | None:
        if not self.n:
            return None
        p, n = self.k / self.n, self.n
        middle = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
        half = Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)
        return max(0.0, middle - half), min(1.0, middle + half)

    def to_json(self) -> Row:
        low, high = self.interval or (None, None)
        return {"k": self.k, "n": self.n, "value": self.value, "low": low, "high": high}


def draw(ids: Iterable[str], n: int, seed: int) -> list[str]:
    """n of the samples, by the hash of seed and id: the same ones in whatever order they come."""
    return heapq.nsmallest(n, ids, key=lambda name: (seed_from("review", seed, name), name))


def append(folder: Path, mark: Mark) -> None:
    """On the disk when this returns. Raises SetupError where it cannot be written."""
    path = folder / "review.jsonl"
    try:
        with appending(path) as file:
            whole = not file.tell() or _last_byte(path) == b"\n"
            file.write((b"" if whole else b"\n") + dump_line(mark.to_json()))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise SetupError(f"{path}: cannot be written: {error.strerror}") from None


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read()


def read(folder: Path) -> dict[str, dict[str, Mark]]:
    """By reviewer and sample. Lines that were cut short, by a full disk or a kill, are passed over;
    raises UsageError for any other that is no mark."""
    path = folder / "review.jsonl"
    marks: dict[str, dict[str, Mark]] = {}
    if not path.is_file():
        return marks
    for place, line in jsonl.lines(path):
        if not line.rstrip().endswith(b"}"):
            continue
        try:
            mark = Mark.of(jsonl.parse(line, place))
        except UsageError as error:
            raise UsageError(f"{place}: {error}") from None
        marks.setdefault(mark.reviewer, {})[mark.sample] = mark
    return marks


def precision(marks: Iterable[Mark]) -> dict[str, Share]:
    """The share of marked samples for each question, and "good": for all of them."""
    every = list(marks)
    shares = {q: Share(sum(getattr(m, q) for m in every), len(every)) for q in QUESTIONS}
    return shares | {"good": Share(sum(m.good for m in every), len(every))}


def agreement(a: Mapping[str, Mark], b: Mapping[str, Mark]) -> Row:
    """Of two reviewers, on the samples that both marked: how many they agree on whether a sample is
    good, and Cohen's kappa (Cohen 1960), None where chance alone would agree on all."""
    both = sorted(a.keys() & b.keys())
    agreed = sum(a[name].good == b[name].good for name in both)
    n = len(both)
    kappa = None
    if n:
        p, q = sum(a[s].good for s in both) / n, sum(b[s].good for s in both) / n
        chance = p * q + (1 - p) * (1 - q)
        kappa = None if chance == 1 else (agreed / n - chance) / (1 - chance)
    return {**Share(agreed, n).to_json(), "kappa": kappa}


def result(marks: Mapping[str, Mapping[str, Mark]], kept: Callable[[str], bool]) -> Row:
    """{"reviewers": {name: {"marked", "precision"}}, "agreement": [...]} of the marks on samples
    that are among the kept ones still. Every draw is by chance, so all of them count."""
    standing = {
        reviewer: {sample: mark for sample, mark in of_one.items() if kept(sample)}
        for reviewer, of_one in sorted(marks.items())
    }
    names = [name for name, of_one in standing.items() if of_one]
    pairs = [(a, b) for n, a in enumerate(names) for b in names[n + 1 :]]
    return {
        "reviewers": {
            name: {
                "marked": len(standing[name]),
                "precision": {
                    q: share.to_json() for q, share in precision(standing[name].values()).items()
                },
            }
            for name in names
        },
        "agreement": [{"a": a, "b": b, **agreement(standing[a], standing[b])} for a, b in pairs],
    }


MEANINGS = {
    "follows": "follow the instruction",
    "answers": "answer the query",
    "sensible": "have a sensible instruction",
    "good": "all three: precision",
}


def in_words(share: Mapping[str, Any]) -> str:
    """A share of `result` for a terminal."""
    if not share["n"]:
        return "-"
    return (
        f"{share['k']} of {share['n']}, {share['value']:.0%} "
        f"(95%: {share['low']:.0%} to {share['high']:.0%})"
    )
