"""Which quantity a verifier bounds, found by running it: its measure.

    TypeTrial.of(...)  texts with more and more of each unit
    verdicts           what the verifier says of them, run in the sandbox by the caller
    measure_of(...)    the count, and between which values of it the verifier accepts

The counts are small functions that need nothing but themselves: their source goes into data rows
and runs in the sandbox there, like a check. They are plain: where usual ways to count part, a
measure says how far a text is off, and the verifier whether it follows.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from autoif.constraints.counts import bounds
from autoif.constraints.execution import AGREEMENT, EACH, TypeTrial

INF = float("inf")


@dataclass(frozen=True, slots=True)
class Bounded:
    """source: a function `measure(response) -> int`. low, high: None where there is no bound."""

    source: str
    low: float | None
    high: float | None


# ---- counts ------------------------------------------------------------------------------------


def words(response: str) -> int:
    return len(response.split())


def characters(response: str) -> int:
    return len(response)


def chinese_characters(response: str) -> int:
    return sum("\u3400" <= char <= "\u9fff" for char in response)


def sentences(response: str) -> int:
    import re

    return len(re.findall(r"[^.!?。！？…\s][^.!?。！？…]*(?:[.!?。！？…]+|$)", response))


def lines(response: str) -> int:
    return sum(1 for line in response.splitlines() if line.strip())


def paragraphs(response: str) -> int:
    import re

    return sum(1 for part in re.split(r"\n\s*\n", response) if part.strip())


def bullets(response: str) -> int:
    import re

    return len(re.findall(r"^[ \t]*[-*•+◎][ \t]", response, re.MULTILINE))


def numbered_items(response: str) -> int:
    import re

    return len(re.findall(r"^[ \t]*\d+[.)][ \t]", response, re.MULTILINE))


def headings(response: str) -> int:
    import re

    return len(re.findall(r"^#{1,6} ", response, re.MULTILINE))


def bold(response: str) -> int:
    import re

    return len(re.findall(r"\*\*[^*\n]+\*\*", response))


def highlights(response: str) -> int:
    import re

    return len(re.findall(r"\*{1,2}[^*\n]+\*{1,2}", response))


def placeholders(response: str) -> int:
    import re

    return len(re.findall(r"\[[^\[\]\n]+\]", response))


def capital_words(response: str) -> int:
    import re

    return len(re.findall(r"\b[A-Z]{2,}\b", response))


def different_words(response: str) -> int:
    import re

    return len(set(re.findall(r"[\w'-]+", response.lower())))


def numbers(response: str) -> int:
    import re

    return len(re.findall(r"\d+", response))


def questions(response: str) -> int:
    return response.count("?") + response.count("？")


def occurrences(response: str, term: str) -> int:
    return response.lower().count(term.lower())


def as_word(response: str, term: str) -> int:
    import re

    return len(re.findall(rf"(?<!\w){re.escape(term)}(?!\w)", response, re.IGNORECASE))


COUNTS = (
    words, sentences, paragraphs, lines, bullets, numbered_items, headings, bold, highlights,
    placeholders, capital_words, different_words, numbers, questions, chinese_characters,
    characters,
)  # fmt: skip
OF_TERMS = (occurrences, as_word)


# ---- which one ---------------------------------------------------------------------------------


def measure_of(trial: TypeTrial, verdicts: Sequence[bool | None]) -> Bounded | None:
    """The count whose bound says what the verifier says; of equals the first. None where there is
    none, or too little was seen to tell.

    verdicts: for each text of the trial whether it follows, None without a conclusion.
    """
    decided = [(t, v) for t, v in zip(trial.texts, verdicts, strict=True) if v is not None]
    wanted = [verdict for _, verdict in decided]
    best: Bounded | None = None
    most = AGREEMENT
    for source, count in _counts(trial.terms):
        values = [count(text) for text, _ in decided]
        for low, high in bounds(trial.numbers, 0, exactly=False):
            alike = agreement([low <= value <= high for value in values], wanted)
            if alike > most:
                sides = (None if abs(side) == INF else float(side) for side in (low, high))
                best, most = Bounded(source, *sides), alike
    return best


def agreement(some: Sequence[bool], others: Sequence[bool]) -> float:
    """Of the texts that either of two accepts, the share that both do; the same of those that
    either rejects; the lesser of the two. 0 where they agree on too few to tell."""
    same = Counter(one for one, other in zip(some, others, strict=True) if one is other)
    unlike = len(some) - same.total()
    if min(same[True], same[False]) < EACH:
        return 0.0
    return min(same[side] / (same[side] + unlike) for side in (True, False))


def _counts(terms: Sequence[str]) -> Iterator[tuple[str, Callable[[str], int]]]:
    for count in COUNTS:
        yield _source(count, ""), count
    for term in terms:
        for of_term in OF_TERMS:
            yield _source(of_term, f", {term!r}"), partial(of_term, term=term)


def _source(count: Callable[..., int], more: str) -> str:
    code = inspect.getsource(count)
    return f"{code}\n\ndef measure(response):\n    return {count.__name__}(response{more})"
