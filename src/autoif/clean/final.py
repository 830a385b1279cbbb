"""The last step, over all that the shards made: out with benchmarks, doubles and excess.

    rows of the parts -> runs shared with a benchmark -> near-duplicates -> families -> data/*.jsonl

SFT, DPO and RLVR rows are data sets of their own and looked at apart. Every row is read twice, in
the order of the parts; in between stand some 150 bytes a row. What decides is the rows' content and
their ids, so neither order nor shards change what stays.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import polars as pl

from autoif.base import jsonl
from autoif.base.jsonl import Place, Row
from autoif.base.records import Drop, dump_line, seed_from
from autoif.clean.ngrams import BANDS, Runs, alike, bands
from autoif.run.directory import DATA, RunDir
from autoif.run.funnel import Funnel
from autoif.run.recipe import Recipe

STAGE = "data"
FILE = "05-data.dropped"
MOST = 64  # rows of one band that a row is compared with: more share what is common to all


def refine(shards: Sequence[Path], out: RunDir, recipe: Recipe, benchmarks: Runs) -> Funnel:
    """Writes the data files and what was dropped on the way; returns the funnel of it."""
    funnel = Funnel()
    with out.replacing(FILE) as dropped:
        for name in DATA:
            rows = _Rows([shard / f"{name}.jsonl" for shard in shards])
            reasons = _reasons(rows, recipe, benchmarks)
            with out.replacing(name) as kept:
                _write(rows, reasons, benchmarks, funnel, name.removeprefix("data/"), kept, dropped)
    return funnel


class _Rows:
    """The lines of several files, as one list that is read from disk."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __iter__(self) -> Iterator[tuple[int, Place, bytes]]:
        """Each line with the number of its file and its place."""
        for n, path in enumerate(self.files):
            for place, line in jsonl.lines(path):
                yield n, place, line

    def at(self, file: int, start: int) -> Row:
        return jsonl.read_at(self.files[file], start)


@dataclass
class _RowTable:
    """What is remembered of every row, by its number."""

    ids: array[int] = field(default_factory=lambda: array("Q"))
    files: array[int] = field(default_factory=lambda: array("L"))
    starts: array[int] = field(default_factory=lambda: array("Q"))
    families: array[int] = field(default_factory=lambda: array("L"))
    bands: array[int] = field(default_factory=lambda: array("Q"))  # 16 a row
    names: dict[str, int] = field(default_factory=lambda: {"": 0})  # of families


def _reasons(rows: _Rows, recipe: Recipe, benchmarks: Runs) -> dict[int, tuple[str, str]]:
    """Reason and detail by the number of each row that goes."""
    settings, table = recipe.hygiene, _RowTable()
    reasons: dict[int, tuple[str, str]] = {}
    for number, (file, place, line) in enumerate(rows):
        row = jsonl.parse(line, place)
        table.ids.append(int(row["id"], 16))
        table.files.append(file)
        table.starts.append(place.at)
        family = row["family"] or row["benchmark_type"]
        table.families.append(table.names.setdefault(family, len(table.names)))
        table.bands.extend(bands("\n".join(_parts(row))))
        if run := next(filter(None, map(benchmarks.shared, _texts(row))), ""):
            reasons[number] = ("contaminated", run)
    order = sorted(range(len(table.ids)), key=table.ids.__getitem__)
    for number, twin in _near_duplicates(rows, table, order, reasons, settings.near_duplicate):
        reasons[number] = ("near_duplicate", twin)
    for number, name in _excess(table, order, reasons, recipe):
        reasons[number] = ("family_share", name)
    return reasons


def _near_duplicates(
    rows: _Rows,
    table: _RowTable,
    order: list[int],
    gone: dict[int, tuple[str, str]],
    threshold: float,
) -> Iterator[tuple[int, str]]:
    """Rows that are nearly one with a smaller id that stays, and the id of that one.

    All parts have to be alike, not the whole: a long instruction must not hide that the queries
    under it differ.
    """
    shared = _shared(table.bands)
    heads: dict[tuple[int, int], list[int]] = {}
    for number in order:
        if number in gone or number not in shared:
            continue
        keys = list(enumerate(table.bands[number * BANDS : (number + 1) * BANDS]))
        others = {other: None for key in keys for other in heads.get(key, ())}
        mine = _parts(rows.at(table.files[number], table.starts[number])) if others else []
        for other in others:
            row = rows.at(table.files[other], table.starts[other])
            theirs = _parts(row)
            if len(mine) == len(theirs) and all(
                alike(a, b) >= threshold for a, b in zip(mine, theirs, strict=True)
            ):
                yield number, str(row["id"])
                break
        else:
            for key in keys:
                if len(heads.setdefault(key, [])) < MOST:
                    heads[key].append(number)


def _shared(of_all: array[int]) -> set[int]:
    """The rows that have a band in common with another row: few, in a run that is not odd."""
    out: set[int] = set()
    for band in range(BANDS):
        values = pl.Series(of_all[band::BANDS], dtype=pl.UInt64)
        out.update(values.is_duplicated().arg_true().to_list())
    return out


def _excess(
    table: _RowTable, order: list[int], gone: dict[int, tuple[str, str]], recipe: Recipe
) -> Iterator[tuple[int, str]]:
    """Rows beyond the share that a family may have, drawn by their ids, and the family's name.

    A proposal has no family but, perhaps, a benchmark's type; what has neither is not bound.
    """
    left = [number for number in order if number not in gone]
    counts = Counter(table.families[number] for number in left)
    free = counts.pop(0, 0)
    most = most_of_each(list(counts.values()), recipe.hygiene.family_share, free)
    drawn = sorted(left, key=lambda n: seed_from(recipe.seed, "balance", table.ids[n]))
    names = {number: name for name, number in table.names.items()}
    taken: Counter[int] = Counter()
    for number in drawn:
        family = table.families[number]
        taken[family] += 1
        if family and taken[family] > most:
            yield number, names[family]


def most_of_each(counts: Sequence[int], share: float, free: int = 0) -> int:
    """How many of each family stay so that none has more than `share` of what stays. `free`: rows
    that stay anyway.

    No share can be below that of equals: with three families 0.2 means a third.
    """
    if not counts:
        return 0
    share = max(share, 1 / (len(counts) + bool(free)))
    low, high = 1, max(counts)
    while low < high:
        middle = (low + high + 1) // 2
        if middle <= share * (free + sum(min(n, middle) for n in counts)) + 1e-9:
            low = middle
        else:
            high = middle - 1
    return low


def _write(
    rows: _Rows,
    reasons: dict[int, tuple[str, str]],
    benchmarks: Runs,
    funnel: Funnel,
    name: str,
    kept: IO[bytes],
    dropped: IO[bytes],
) -> None:
    count = funnel.counts[STAGE]
    for number, (_, place, line) in enumerate(rows):
        count.entered += 1
        if number not in reasons:
            count.kept += 1
            kept.write(line)
            continue
        reason, detail = reasons[number]
        row = jsonl.parse(line, place)
        parent = next(iter(row["instruction_ids"]), "")
        count.dropped[reason] += 1
        dropped.write(dump_line(Drop(STAGE, row["id"], reason, f"{name}: {detail}", parent)))


def _parts(row: Row) -> list[str]:
    """What two rows have to agree in to be one: query, instruction, and what comes after them."""
    return [row["query_text"], row["instruction_text"], *(m["content"] for m in _messages(row)[1:])]


def _texts(row: Row) -> list[str]:
    """What must not come from a benchmark: the query alone, and each message."""
    return [row["query_text"], *(m["content"] for m in _messages(row))]


def _messages(row: Row) -> list[dict[str, str]]:
    """The conversation, and the answers to it."""
    return [m for key in ("messages", "prompt", "chosen", "rejected") for m in row.get(key, ())]
