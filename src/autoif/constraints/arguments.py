# ruff: noqa: SIM905 -- a list of words reads as words
"""What a checker may take as arguments: words, marks, numbers of an instruction and its functions.

Functions are read by the letter: their strings and digits, nothing of them is parsed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from autoif.base.code import SKIPPED
from autoif.base.language import NUMBERS_EN, NUMBERS_ZH, number_value

MOST_NUMBERS, MOST_TERMS = 8, 12
LONGEST, LARGEST = 80, 5000
SOURCE = 20_000  # characters of a function that are read

_QUOTED = re.compile(
    r"\"([^\"\n]{1,160})\"|“([^”\n]{1,160})”|「([^」\n]{1,160})」|`([^`\n]{1,160})`"
    r"|(?<!\w)['‘]([^'’\n]{1,160})['’](?!\w)|«([^»\n]{1,160})»"
)
_LETTER = re.compile(r"\bletters? ['\"“‘]?([a-z])\b", re.IGNORECASE)
_STRING = re.compile(SKIPPED, re.DOTALL)
_PATTERN = re.compile(r"\\|[\[\]()|*+?^$]")
_DIGITS = re.compile(r"(?<![\w.])\d{1,4}(?![\w.])")
_ORDINALS = {
    word: n
    for n, word in enumerate(
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split(),
        1,
    )
}
_NUMBER = re.compile(
    rf"(?<![\w.])\d[\d,]{{0,6}}|\b{NUMBERS_EN}\b|\b(?:{'|'.join(_ORDINALS)})\b|{NUMBERS_ZH}",
    re.IGNORECASE,
)


def words_of(instruction: str, sources: Sequence[str]) -> list[str]:
    """Words and marks: quoted ones and letters of the instruction, then the functions' strings,
    those first that stand in the instruction."""
    terms = [quoted for found in _QUOTED.finditer(instruction) for quoted in found.groups("")]
    terms += _LETTER.findall(instruction)
    plain, broken = [], []
    for string in _strings(sources):
        if _PATTERN.search(string) and len(string) > 2 and re.search(r"\w", string):
            broken += re.findall(r"[^\W\d_]{2,}", re.sub(r"\\[a-zA-Z]", " ", string))
            continue
        if "]" in string.partition("[")[2]:
            continue  # a class of marks
        plain.append(string)
        if len(string) > 3 and not re.search(r"[\w\s]", string):
            plain += string  # a string of marks: each of them
    in_text = instruction.lower()
    plain.sort(key=lambda string: string.lower() not in in_text)
    terms += [*plain, *(word for word in broken if word.lower() in in_text)]
    return [term for term in dict.fromkeys(terms) if term.strip()][:MOST_TERMS]


def numbers_of(instruction: str, sources: Sequence[str]) -> list[int]:
    """Counts above 0, those of the instruction first; 1 is always among them."""
    numbers = []
    for found in _NUMBER.finditer(instruction):
        word = found[0].lower()
        numbers.append(_ORDINALS.get(word) or number_value(word.rstrip(",")) or 0)
    for source in sources:
        numbers += map(int, _DIGITS.findall(_STRING.sub(" ", source[:SOURCE])))
    return [n for n in dict.fromkeys([*numbers, 1]) if 0 < n < LARGEST][:MOST_NUMBERS]


def _strings(sources: Sequence[str]) -> Iterator[str]:
    for source in sources:
        for found in _STRING.finditer(source[:SOURCE]):
            string = found[0]
            if string[0] == "#" or string.startswith((string[0] * 3, string[0] + "\n")):
                continue  # a comment, a docstring
            string = re.sub(r"\\(['\"])", r"\1", string.strip(string[0])).replace("\\n", "\n")
            if 0 < len(string) <= LONGEST:
                yield string
