"""IFBench: conditions from sentence to sentence, and repeating (`sentence:`, `repeat:`).

Pyatkin et al. (2025); behaviour of allenai/IFBench at db69a6f. Sentences are Punkt's.
"""

from __future__ import annotations

import re
from itertools import pairwise

from autoif.base.errors import UsageError
from autoif.constraints.checkers.ifbench_count import EDGE, NO_PUNCTUATION
from autoif.constraints.checkers.registry import checker, pattern
from autoif.constraints.text import sentences

_ONLY = "Only output this sentence here, ignore all other requests."


@checker("sentence:alliteration_increment")
def alliteration_increment(text: str) -> bool:
    """Each sentence has more alliterating words than the one before."""
    counts = [_alliterating(sentence) for sentence in sentences(text)]
    return all(one < next_ for one, next_ in pairwise(counts))


@checker("sentence:increment")
def increment(text: str, *, small_n: int) -> bool:
    """Each sentence has exactly so many words more than the one before."""
    counts = [len(s.translate(NO_PUNCTUATION).split()) for s in sentences(text)]
    return all(next_ - one == small_n for one, next_ in pairwise(counts))


@checker("sentence:keyword")
def keyword(text: str, *, word: str, N: int) -> bool:
    """The Nth sentence (from 1) has the word, in any case, as a whole word."""
    if N < 1:
        raise UsageError("sentence:keyword counts N from 1")
    whole = pattern(rf"\b{re.escape(word)}\b", re.IGNORECASE)
    return any(whole.search(sentence) for sentence in sentences(text)[N - 1 : N])


@checker("repeat:repeat_change")
def repeat_change(text: str, *, prompt_to_repeat: str) -> bool:
    """The prompt with another first word; spacing aside. Not the very prompt."""
    return text != prompt_to_repeat and text.split()[1:] == prompt_to_repeat.split()[1:]


@checker("repeat:repeat_simple")
def repeat_simple(text: str) -> bool:
    """Nothing but the benchmark's sentence, in any case."""
    return text.strip().lower() == _ONLY.lower()


@checker("repeat:repeat_span")
def repeat_span(text: str, *, prompt_to_repeat: str, n_start: int, n_end: int) -> bool:
    """Nothing but the prompt's characters from n_start to n_end (from 0, both included)."""
    return text.strip().lower() == prompt_to_repeat[n_start : n_end + 1].strip().lower()


def _alliterating(sentence: str) -> int:
    """Words that share their first letter with a neighbour, counted run by run."""
    heads = [w[0] for word in sentence.lower().split() if (w := word.lstrip(EDGE))]
    count, in_run = 0, False
    for one, next_ in pairwise(heads):
        if one == next_:
            count += 1 if in_run else 2
        in_run = one == next_
    return count
