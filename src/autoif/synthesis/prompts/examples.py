"""Worked examples for the prompts that ask for code.

A weak model copies what it is shown. Were the examples always the same, copies of one would agree
with one another, and the programs that make evidence with the functions they ought to test; so
every ask shows two others. An ask of the same index shows the same ones for every instruction,
which leaves a server's prefix cache its use.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

from autoif.base.inputs import builtin, read_rows

Kind = Literal["evaluate", "comply", "evaluate_n"]  # the last for any number
# A function and a program of one index see others as well.
SHIFT = {"evaluate": 0, "comply": 5, "evaluate_n": 0}


@cache
def _bank(lang: str, kind: Kind) -> list[dict[str, str]]:
    name = "examples_n" if kind == "evaluate_n" else "examples"
    return [row for _, row in read_rows(builtin("builtin", f"{name}.{lang}.jsonl"))]


def shown(lang: str, kind: Kind, index: int) -> dict[str, str]:
    """What fills `example_1`, `code_1`, `example_2` and `code_2` in the ask of this index."""
    bank = _bank(lang, kind)
    first = (2 * index + SHIFT[kind]) % len(bank)
    second = (first + 1 + 2 * index // len(bank)) % len(bank)
    return {
        "example_1": bank[first]["instruction"],
        "code_1": bank[first][kind],
        "example_2": bank[second]["instruction"],
        "code_2": bank[second][kind],
    }


def is_copy(lang: str, kind: Kind, source: str) -> bool:
    """The code of an example, but for white space."""
    return _bare(source) in {_bare(row[kind]) for row in _bank(lang, kind)}


def _bare(source: str) -> str:
    return "".join(source.split())
