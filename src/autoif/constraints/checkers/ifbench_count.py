"""IFBench: counts and ratios (`count:`, `ratio:`).

Pyatkin et al. (2025), "Generalizing Verifiable Instruction Following"; behaviour of allenai/IFBench
at db69a6f. A word there is mostly what stands between spaces, its outer punctuation taken off.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable

from autoif.base.errors import UsageError
from autoif.constraints.checkers.registry import checker
from autoif.constraints.checkers.wordlists import CONJUNCTIONS, NAMES, PRONOUNS, STOPWORDS
from autoif.constraints.text import sentences, tokens, word_count, words

EDGE = string.punctuation + " "
NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_NAME = re.compile(rf"\b(?:{'|'.join(NAMES)})\b")
_JAPANESE = re.compile("[\u3040-\u30ff\u4e00-\u9fff]")
_MARKS = frozenset(".,!?;:")


@checker("count:word_count_range")
def word_count_range(text: str, *, min_words: int, max_words: int) -> bool:
    """Between so many words and so many, both included."""
    return min_words <= word_count(text) <= max_words


@checker("count:unique_word_count")
def unique_word_count(text: str, *, N: int) -> bool:
    """At least N different words in any case. Lone punctuation counts as one more word."""
    return len({word.strip(EDGE) for word in text.lower().split()}) >= N


@checker("count:conjunctions")
def conjunctions(text: str, *, small_n: int) -> bool:
    """At least so many different coordinating conjunctions; "And" and "and," are different."""
    return len({w for w in text.split() if w.strip(EDGE).lower() in CONJUNCTIONS}) >= small_n


@checker("count:person_names")
def person_names(text: str, *, N: int) -> bool:
    """At least N different names of the benchmark's list of fifty."""
    return len(set(_NAME.findall(text))) >= N


@checker("count:pronouns")
def pronouns(text: str, *, N: int) -> bool:
    """At least N pronouns; a slash parts two."""
    return sum(token in PRONOUNS for token in tokens(text.replace("/", " ").lower())) >= N


@checker("count:numbers")
def numbers(text: str, *, N: int) -> bool:
    """Exactly N numbers; punctuation is taken out first, so "1,000" and "3.14" are one each."""
    return sum(1 for _ in re.finditer(r"\d+", text.translate(NO_PUNCTUATION))) == N


@checker("count:punctuation")
def punctuation(text: str) -> bool:
    """All of . , ! ? ; : and an interrobang (?! or !? or ‽), whose marks count only once."""
    if not any(bang in text for bang in ("!?", "?!", "‽")):
        return False
    bang = "?!" if "?!" in text else "!?"
    return _MARKS.issubset(text.replace(bang, "", 1))


@checker("count:keywords_multiple")
def keywords_multiple(
    text: str, *, keyword1: str, keyword2: str, keyword3: str, keyword4: str, keyword5: str
) -> bool:
    """The keywords occur exactly 1, 2, 3, 5 and 7 times, in any case, also inside words."""
    text = text.lower()
    wanted = zip((keyword1, keyword2, keyword3, keyword4, keyword5), (1, 2, 3, 5, 7), strict=True)
    return all(text.count(keyword.strip().lower()) == times for keyword, times in wanted)


@checker("count:words_japanese")
def words_japanese(text: str, *, N: int) -> bool:
    """Every Nth word has a Japanese character, or is a number, or is nothing but punctuation."""
    if N < 1:
        raise UsageError("count:words_japanese needs N of at least 1")
    nth = (word.strip(EDGE) for word in text.split()[N - 1 :: N])
    return all(not word or word.isdigit() or _JAPANESE.search(word) for word in nth)


@checker("ratio:stop_words")
def stop_words(text: str, *, percentage: int) -> bool:
    """At most so many percent of the words are stop words; a text without words fails."""
    all_words = words(text)
    if not all_words:
        return False
    stops = sum(word.lower() in STOPWORDS for word in all_words)
    return stops / len(all_words) * 100 <= percentage


@checker("ratio:sentence_type")
def sentence_type(text: str) -> bool:
    """Twice as many sentences end in "." as in "?"."""
    ends = _endings(text)
    return ends(".") == 2 * ends("?")


@checker("ratio:sentence_balance")
def sentence_balance(text: str) -> bool:
    """As many sentences end in "." as in "?" as in "!"."""
    ends = _endings(text)
    return ends(".") == ends("?") == ends("!")


@checker("ratio:sentence_words")
def sentence_words(text: str) -> bool:
    """Three sentences of equal length in characters. Whether the words differ is not looked at."""
    lengths = [len(sentence.strip()) for sentence in sentences(text)]
    return len(lengths) == 3 and len(set(lengths)) == 1


@checker("ratio:overlap")
def overlap(text: str, *, reference_text: str, percentage: int) -> bool:
    """Of the text's different triples of characters, so many percent (±2) are the reference's."""
    ours, theirs = _trigrams(text), _trigrams(reference_text)
    if not ours:
        return False
    return percentage - 2 <= len(ours & theirs) / len(ours) * 100 <= percentage + 2


def _endings(text: str) -> Callable[[str], int]:
    return lambda mark: sum(sentence.endswith(mark) for sentence in sentences(text))


def _trigrams(text: str) -> set[str]:
    return {text[i : i + 3] for i in range(len(text) - 2)}
