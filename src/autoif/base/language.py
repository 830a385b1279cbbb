"""What several parts have to know of words: number words, and what a Chinese character is."""

from __future__ import annotations

import re
import unicodedata

CJK = re.compile(r"[\u3400-\u9fff]")
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+")

# Counts above one, as instructions name them.
NUMBER_WORDS = {
    "two": 2,
    "twice": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "eleven": 11,
    "twelve": 12,
    "twenty": 20,
    "thirty": 30,
    "forty": 40,
    "fifty": 50,
    "hundred": 100,
}


def words(text: str) -> list[str]:
    """Runs of letters and digits in small letters; a Chinese character is a word."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
