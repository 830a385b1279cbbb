"""Texts for instructions that no ordinary reply follows by chance.

An acrostic, lines of five, seven and five words, an object with these keys and no others: a
function for one of those turns away all that is real, and is right. Each text here has one such
form, made of what the instruction quotes or names and of the constants of the sources.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from autoif.diagnosis.reading import GAP, STOP

LINE = {False: "The museum opens at ten", True: "博物馆十点开门"}
STEPS = 7  # of a staircase, where no number is named
MOST = 30  # lines, words, letters


def keyed(keys: Sequence[str], few: Sequence[int], zh: bool) -> Iterator[str]:
    """An object, a table, sections and tags of these, and nothing else."""
    if not keys:
        return
    for value in (LINE[zh], 7, [LINE[zh]] * 3, True):
        yield json.dumps(dict.fromkeys(keys, value), ensure_ascii=False)
    yield json.dumps([dict.fromkeys(keys, LINE[zh])] * 3, ensure_ascii=False)
    yield "\n".join([f"| {' | '.join(keys)} |", "|---" * len(keys) + "|", "| a " * len(keys) + "|"])
    for key in [",".join(keys), *keys]:
        if re.fullmatch(r"\w+(?:, ?\w+)+", key):  # the header of a table
            yield "\n".join([key, *[",".join("1" for _ in key.split(","))] * 3])
    yield "\n".join(f"{key}: {LINE[zh]}" for key in keys)
    for form in ("## {}\n\n{}", "{}\n{}", "{}：{}", "**{}**: {}", "[{}]\n{}"):
        yield "\n\n".join(form.format(key, LINE[zh]) for key in keys)
    for n in few or (3,):
        for items in ([f"{i}. {LINE[zh]}" for i in range(1, n + 1)], [f"- {LINE[zh]}"] * n):
            yield "\n\n".join("\n".join([key, *items]) for key in keys)
    tags = [key.strip("</>") for key in keys]
    yield "\n".join(f"<{tag}>{LINE[zh]}</{tag}>" for tag in tags)


def strict(
    terms: Sequence[str], numbers: Sequence[int], few: Sequence[int], zh: bool
) -> Iterator[str]:
    """terms: what is quoted, and the strings of the sources. numbers: those of the
    instruction in their order, repeated ones too. few: small numbers, each once."""
    yield from _of_terms(terms, few, zh)
    for rest in (numbers[start:] for start in range(len(numbers) - 1)):
        if max(rest) <= MOST:
            yield "\n".join(_words(n, zh) for n in rest)
            yield GAP[zh].join(_words(n, zh).capitalize() + STOP[zh] for n in rest)
    for n in dict.fromkeys([*few, STEPS]):
        stairs = [_words(k, zh) for k in range(1, n + 1)]
        yield from ("\n".join(stairs), "\n".join(reversed(stairs)))
        yield " ".join("abcdefghijkl"[:k] for k in range(1, n + 1))
        yield " ".join(["abcdefghijkl"[:n]] * 3)
        for m in [m for m in few if m != n]:
            yield from _blocks(n, m, zh)
    letters = [chr(ord("A") + n) for n in range(26)]
    yield from ("\n".join(f"{c} line" for c in letters), " ".join(letters))
    yield "The RIVER was CALM but BOATS were LATE"
    yield "上海自来水来自海上" if zh else "Never odd or even"


def _of_terms(terms: Sequence[str], few: Sequence[int], zh: bool) -> Iterator[str]:
    for term in terms:
        if term.isalpha() and 1 < len(term) <= 12:  # an acrostic, of lines and of words
            yield "\n".join(f"{c}{GAP[zh]}{LINE[zh]}" for c in term)
            yield " ".join(f"{c}a" for c in term.lower())
    for one, other in pairwise(terms):  # two who talk
        for n in dict.fromkeys([2, *few]):
            yield "\n".join([f"{one}: {LINE[zh]}", f"{other}: {LINE[zh]}"] * n)


def _blocks(n: int, m: int, zh: bool) -> Iterator[str]:
    """n sentences, lines, items or paragraphs of m words, or sentences, each."""
    line = _words(m, zh).capitalize()
    yield GAP[zh].join([line + STOP[zh]] * n)
    for form in (line, line + STOP[zh], f"- {line}"):
        yield "\n".join([form] * n)
    yield "\n\n".join([GAP[zh].join([LINE[zh] + STOP[zh]] * m)] * n)


def _words(n: int, zh: bool) -> str:
    return "山" * n if zh else " ".join(["word"] * n)
