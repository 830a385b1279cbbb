"""What a page lists of a run's records: the columns of each, and the text that is searched.

Each `..._values` raises KeyError, TypeError, ValueError or AttributeError for a row that no run
wrote: files may be old, damaged or a stranger's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import polars as pl

from autoif.base.language import clean_text
from autoif.report.tables import WORD, Kind

Row = dict[str, Any]
KEPT = "kept"  # the fate of a sample; that of the others is their reason
LONGEST = 100  # characters of a word: an id, a reason, a family

SAMPLES: Mapping[str, Kind] = {
    "id": pl.String(),
    **dict.fromkeys(("fate", "instruction", "family", "origin", "lang"), WORD),
    **dict.fromkeys(("level", "turns", "index", "words"), pl.Int32()),
    **dict.fromkeys(("quality", "fraction"), pl.Float64()),
    "prompt": pl.UInt64(),  # the same for the same instructions and query, in this process
}
VERIFIERS: Mapping[str, Kind] = {"id": pl.String(), "instruction": pl.String()}
DROPS: Mapping[str, Kind] = {
    "record": pl.String(),
    **dict.fromkeys(("stage", "reason", "instruction"), WORD),
}
PAIRS: Mapping[str, Kind] = {
    "id": pl.String(),
    **dict.fromkeys(("kind", "instruction", "family", "origin", "lang"), WORD),
    **dict.fromkeys(("level", "turns"), pl.Int32()),
}
INSTRUCTIONS: Mapping[str, Kind] = {
    "id": pl.String(),
    "instruction": pl.String(),
    **dict.fromkeys(("fate", "family", "origin", "lang", "benchmark_type"), WORD),
    **dict.fromkeys(("functions", "cases", "responses", "accepted", "kept"), pl.Int32()),
    **dict.fromkeys(("accuracy", "pass_rate", "score"), pl.Float64()),
}


def word(value: object) -> str:
    """A word of a column. Raises TypeError for anything but a text."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is no text")
    short = value[:LONGEST]
    return short if short.isascii() else clean_text(short)


def joined(words: Iterable[object]) -> str:
    """Several words as one, each once."""
    return ",".join(dict.fromkeys(map(word, words)))


def number(value: object) -> int:
    """Raises TypeError for anything but a whole number."""
    if not isinstance(value, int):
        raise TypeError(f"{value!r:.40} is no whole number")
    return max(-(1 << 31), min(value, (1 << 31) - 1))


def figure(value: object) -> float | None:
    """Raises TypeError for anything but a number or None."""
    if value is not None and not isinstance(value, (int, float)):
        raise TypeError(f"{value!r:.40} is no number")
    return None if value is None or abs(value) > 1e15 else float(value)


def sample_values(
    row: Row, words_of: Callable[[tuple[str, ...]], tuple[str, ...]]
) -> tuple[Any, ...]:
    """Of 03-samples. words_of: of some verifiers, the ids, families, origins and languages of
    their instructions, each as one word."""
    words = words_of(tuple(row["verifiers"]))
    fractions = [figure(v["fraction"]) for v in row["verdicts"]]
    every = all(f is not None for f in fractions)
    turns = sum(m["role"] == "user" for m in row["messages"])
    return (
        word(row["id"]),
        KEPT if row["kept"] is True else word(row["reason"]) or "dropped",
        *words,
        len(row["verifiers"]),
        turns,
        number(row["index"]),
        len(row["response"].split()),
        figure(row["quality"]),
        min((f for f in fractions if f is not None), default=None) if every else None,
        hash((words[0], row["query"])) & (1 << 64) - 1,
    )


def sample_text(row: Row) -> str:
    return "\n".join([row["id"], *(m["content"] for m in row["messages"]), row["response"]])


def verifier_values(row: Row) -> tuple[Any, ...]:
    """Of 02-verifiers."""
    for check in row["checks"]:
        word(check["source"])
    return word(row["id"]), word(row["instruction"]["id"])


def verifier_text(row: Row) -> str:
    return ""


def drop_values(row: Row) -> tuple[Any, ...]:
    """Of NN.dropped; `instruction` is the record itself where that is what was dropped."""
    return (
        word(row["record_id"]),
        word(row["stage"]),
        word(row["reason"]),
        word(row["parent"]),
    )


def drop_text(row: Row) -> str:
    return f"{row['record_id']}\n{row['detail']}"


def pair_values(row: Row) -> tuple[Any, ...]:
    """Of data/dpo."""
    return (
        word(row["id"]),
        word(row["kind"]),
        joined(row["instruction_ids"]),
        *(word(row[name]) for name in ("family", "origin", "lang")),
        number(row["level"]),
        number(row["turns"]),
    )


def pair_text(row: Row) -> str:
    messages = [*row["prompt"], *row["chosen"], *row["rejected"]]
    return "\n".join([row["id"], *(m["content"] for m in messages)])
