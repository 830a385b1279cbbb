"""IFBench: conditions on each word, or on words at places (`words:`).

Pyatkin et al. (2025); behaviour of allenai/IFBench at db69a6f.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from itertools import pairwise

from autoif.base.errors import UsageError
from autoif.constraints.checkers.ifbench_count import EDGE, NO_PUNCTUATION
from autoif.constraints.checkers.registry import checker
from autoif.constraints.text import first_tag, sentences, syllables, tokens

_CLUSTER = re.compile("[bcdfghjklmnpqrstvwxyz]{2}")
_PRIMES = frozenset(n for n in range(2, 100) if all(n % d for d in range(2, n)))


@checker("words:alphabet")
def alphabet(text: str) -> bool:
    """Each word starts with the next letter of the alphabet, "a" following "z"."""
    words = text.translate(NO_PUNCTUATION).split()
    letters = string.ascii_lowercase
    at = letters.find(words[0][0].lower()) if words else -1
    if at < 0:
        return False
    return all(word.lower()[0] == letters[(at + i) % 26] for i, word in enumerate(words) if i)


@checker("words:vowel")
def vowel(text: str) -> bool:
    """One line, with at most three of the vowels a e i o u."""
    text = text.strip()
    return "\n" not in text and len(set(text.lower()) & set("aeiou")) <= 3


@checker("words:consonants")
def consonants(text: str) -> bool:
    """Each word has two consonants side by side; a lone dash is a word, and fails."""
    return all(_CLUSTER.search(word) for word in text.lower().split())


@checker("words:palindrome")
def palindrome(text: str) -> bool:
    """At least ten words of five or more characters that read the same backwards."""
    words = text.translate(NO_PUNCTUATION).lower().split()
    return sum(1 for word in words if len(word) >= 5 and word == word[::-1]) >= 10


@checker("words:prime_lengths")
def prime_lengths(text: str) -> bool:
    """Every word, punctuation aside, has a prime number of characters (below 100)."""
    return all(len(word) in _PRIMES for word in text.translate(NO_PUNCTUATION).split())


@checker("words:repeats")
def repeats(text: str, *, small_n: int) -> bool:
    """No word more often than so many times, in any case."""
    counts = Counter(text.lower().translate(NO_PUNCTUATION).split())
    return all(count <= small_n for count in counts.values())


@checker("words:no_consecutive")
def no_consecutive(text: str) -> bool:
    """No two neighbours start with the same letter."""
    words = text.lower().translate(NO_PUNCTUATION).split()
    return all(one[0] != next_[0] for one, next_ in pairwise(words))


@checker("words:odd_even_syllables")
def odd_even_syllables(text: str) -> bool:
    """Words with odd and with even numbers of syllables take turns."""
    words = text.translate(NO_PUNCTUATION).lower().split()
    odd = [syllables(word) % 2 for word in words]
    return all(one != next_ for one, next_ in pairwise(odd))


@checker("words:start_verb")
def start_verb(text: str) -> bool:
    """The first token is tagged as a verb."""
    return "VB" in first_tag(text)


@checker("words:last_first")
def last_first(text: str) -> bool:
    """The last word of each sentence is the first word of the next, in any case."""
    for one, next_ in pairwise(sentences(text)):
        last, first = one.rstrip(EDGE).split(), next_.lstrip(EDGE).split()
        if not last or not first or last[-1].lower() != first[0].lower():
            return False
    return True


@checker("words:paragraph_last_first")
def paragraph_last_first(text: str) -> bool:
    """Each line ends with the word it starts with, outer punctuation of the line aside."""
    for line in text.split("\n"):
        words = line.strip().lower().strip(EDGE).split()
        if words and words[0] != words[-1]:
            return False
    return True


@checker("words:keywords_specific_position")
def keywords_specific_position(text: str, *, keyword: str, n: int, m: int) -> bool:
    """The mth word of the nth sentence (both from 1) is the keyword, in any case."""
    if n < 1 or m < 1:
        raise UsageError("words:keywords_specific_position counts n and m from 1")
    nth = sentences(text)[n - 1 : n]
    words = [t for sentence in nth for t in tokens(sentence) if any(c.isalnum() for c in t)]
    return len(words) >= m and words[m - 1].lower() == keyword.strip().lower()


@checker("words:words_position")
def words_position(text: str, *, keyword: str) -> bool:
    """The second and the last but one token are the keyword; a last punctuation mark aside."""
    all_tokens = tokens(text)
    if len(all_tokens) < 2:
        return False
    last_but_one = -3 if all_tokens[-1] in string.punctuation else -2
    if len(all_tokens) < -last_but_one:
        return False
    return all_tokens[1].lower() == all_tokens[last_but_one].lower() == keyword.strip().lower()
