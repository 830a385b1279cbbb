"""Four types that IFEval's code carries and its data never uses: functions, not in the registry."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from autoif.constraints.checkers.registry import pattern
from autoif.constraints.text import sentences, words

_CHANGE = re.compile(r"\*.*\*")


def constrained_start(text: str, *, starter: str) -> bool:
    """A line starts with the words (a regular expression)."""
    return pattern(rf"^[^\S\n]*{starter.strip()}", re.MULTILINE).search(text) is not None


def key_sentences(text: str, *, key_sentences: Sequence[str], num_sentences: int) -> bool:
    """Exactly so many of the sentences stand in the text as sentences."""
    given = {sentence.strip() for sentence in sentences(text)}
    return sum(1 for sentence in key_sentences if sentence in given) == num_sentences


def rephrase(text: str, *, original_message: str) -> bool:
    """The text differs from the original only between two asterisks, *here*. One without such a
    place is no answer; the benchmark raises there, we say no."""
    if not _CHANGE.search(text):
        return False
    return _CHANGE.sub("", text) == _CHANGE.sub("", original_message)


def rephrase_paragraph(text: str, *, original_paragraph: str, low: int, high: int) -> bool:
    """Between `low` and `high` words in common with the original, in any case."""
    common = Counter(words(text.lower())) & Counter(words(original_paragraph.lower()))
    return low <= common.total() <= high
