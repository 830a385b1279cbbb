"""IFEval: what the words are (keywords, case, language, punctuation, start and end).

Zhou et al. (2023), "Instruction-Following Evaluation for Large Language Models". The quirks are the
benchmark's, kept because its published figures rest on them; each is named where it stands.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from autoif.base.errors import UsageError
from autoif.constraints.checkers.registry import Relation, checker, compare, pattern
from autoif.constraints.langid import language as language_of
from autoif.constraints.text import tokens


@checker("keywords:existence")
def existence(text: str, *, keywords: Sequence[str]) -> bool:
    """Every keyword (a regular expression, in any case) occurs somewhere, also inside a word."""
    return all(pattern(word, re.IGNORECASE).search(text) for word in keywords)


@checker("keywords:frequency")
def frequency(text: str, *, keyword: str, frequency: int, relation: Relation) -> bool:
    """The keyword (a regular expression, in any case) occurs less than / at least so often."""
    occurrences = sum(1 for _ in pattern(keyword.strip(), re.IGNORECASE).finditer(text))
    return compare(occurrences, relation, frequency)


@checker("keywords:forbidden_words")
def forbidden_words(text: str, *, forbidden_words: Sequence[str]) -> bool:
    r"""None of the words stands between two word boundaries, in any case."""
    return not any(pattern(rf"\b{word}\b", re.IGNORECASE).search(text) for word in forbidden_words)


@checker("keywords:letter_frequency")
def letter_frequency(text: str, *, letter: str, let_frequency: int, let_relation: Relation) -> bool:
    """The letter, in either case, occurs less than / at least so often.

    A symbol is counted as itself; the first public version of the benchmark replaced it by a
    random letter.
    """
    if len(letter) != 1:
        raise UsageError(f"keywords:letter_frequency counts one character, not {letter!r}")
    return compare(text.lower().count(letter.lower()), let_relation, let_frequency)


@checker("language:response_language")
def response_language(text: str, *, language: str) -> bool:
    """The whole text is in this language (ISO 639-1); a text without letters passes."""
    return language_of(text) in (language, None)


@checker("change_case:english_capital")
def english_capital(text: str) -> bool:
    """No small letter, at least one capital, and English."""
    return text.isupper() and language_of(text) in ("en", None)


@checker("change_case:english_lowercase")
def english_lowercase(text: str) -> bool:
    """No capital, at least one small letter, and English."""
    return text.islower() and language_of(text) in ("en", None)


@checker("change_case:capital_word_frequency")
def capital_word_frequency(
    text: str, *, capital_frequency: int, capital_relation: Relation
) -> bool:
    """Words all in capitals, less than / at least so many. "I" and "A" are such words."""
    capitals = sum(1 for token in tokens(text) if token.isupper())
    return compare(capitals, capital_relation, capital_frequency)


@checker("punctuation:no_comma")
def no_comma(text: str) -> bool:
    """Not one comma (of the Latin kind)."""
    return "," not in text


@checker("startend:end_checker")
def end_checker(text: str, *, end_phrase: str) -> bool:
    """The last words are the phrase, in any case, closing double quotes aside."""
    return text.strip().strip('"').lower().endswith(end_phrase.strip().lower())


@checker("startend:quotation")
def quotation(text: str) -> bool:
    """The whole text stands in straight double quotes."""
    text = text.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'
