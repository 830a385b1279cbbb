"""Texts that say nothing, in whatever form a verifier accepts: who takes them, can be hacked.

Each kind of filler comes alone, in several lengths, and in the form of texts that the functions
accept, with their words replaced and their marks, lines and quoted words left as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import cycle

from autoif.base.language import CJK_RANGE
from autoif.diagnosis.reading import GAP, Reading

QUERY = {
    False: "How do tides come about, and why are there two of them a day?",
    True: "潮汐是怎么形成的，为什么一天有两次？",
}
LOREM = ("lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt "
         "ut labore et dolore magna aliqua")  # fmt: skip
FILLERS = {
    False: {"token": "x", "word": "word", "lorem": LOREM, "placeholder": "[Text]"},
    True: {"token": "某", "word": "词语", "lorem": LOREM, "placeholder": "[内容]"},
}
LENGTHS = (1, 4, 60)  # words
_WORD = {False: re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?"), True: re.compile(f"[{CJK_RANGE}]")}


def content_free(
    reading: Reading, accepted: Sequence[str], terms: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """The kind of filler, and a text of it. terms: what stands for the form, and stays."""
    zh = reading.zh
    fillers = FILLERS[zh] | {"query": QUERY[zh]}
    if reading.text:
        fillers["instruction"] = reading.text
        yield "instruction", reading.text
    yield "query", QUERY[zh]
    for kind, filler in fillers.items():
        pieces = filler.split() if " " in filler else [filler]
        if kind in FILLERS[zh]:
            for n in (*LENGTHS, *(n for n in reading.numbers if n <= 300)):
                yield kind, GAP[zh].join(piece for piece, _ in zip(cycle(pieces), range(n)))
        for text in accepted:
            yield kind, emptied(text, pieces, terms, zh)
    for text in accepted:
        yield "marks", re.sub(r"[^\W_]", "", text)


def emptied(text: str, filler: Sequence[str], terms: Sequence[str], zh: bool) -> str:
    """The text with every word replaced, in turn, but for those of the terms; capitals stay."""
    kept = "|".join(re.escape(term) for term in sorted(terms, key=len, reverse=True))
    source = cycle(filler)
    pattern = _WORD[zh].pattern
    split = re.compile(rf"(?P<kept>{kept})|{pattern}" if kept else pattern, re.IGNORECASE)

    def replaced(match: re.Match[str]) -> str:
        if match.groupdict().get("kept"):
            return match[0]
        word = next(source)
        return word.upper() if match[0].isupper() and not zh else word

    return split.sub(replaced, text)
