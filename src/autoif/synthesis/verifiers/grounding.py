"""Does a function name what the instruction names? Words alone; nothing is parsed or run.

"Use the word 'time' at least 3 times" is measured by no function without "time" and without a 3.
What weak models write instead (a copied example, three times the same test, the placeholder that
stood in the instruction as an example) is found here before anything is run, and for nothing.
"""

from __future__ import annotations

import re

from autoif.base.code import SKIPPED
from autoif.base.language import NUMBER_WORDS, number_value, quoted_pattern

_EXAMPLE = re.compile(
    r"(?:\b(?:such as|as in|like|for example|e\.g\.|for instance|including)\b"
    r"|例如|比如|譬如|如[“「\"'‘])"
    r"[:\s]*(.*?)(?=[;.](?:\s|$)|[。；]|$)",
    re.IGNORECASE | re.DOTALL,
)
_DIFFERENT = re.compile(r"\b(?:different|distinct|unique) \w+|不同的", re.IGNORECASE)
_DISTINCT = re.compile(r"\bset\b|\{|Counter|unique|distinct|not in|!=|==|groupby")
_QUOTED = re.compile(quoted_pattern())
_IN_WORD = re.compile(r"(?<![A-Za-z0-9])'[^'\n]{1,60}'(?![A-Za-z0-9])")
# A number counts what follows it: "three marks". In "from 1 to 9." or "2024 in Roman numerals" the
# number itself is meant, which a function may name in another way.
_COUNTED = r"(?=[ -]+(?!(?:in|to|as|by|from|through)\b)[^\W\d]|个)"
_NUMBER = re.compile(
    rf"(?<![\w.])\d++{_COUNTED}|\b(?:{'|'.join(NUMBER_WORDS)})\b(?:{_COUNTED}|(?<=twice))",
    re.IGNORECASE,
)
_CHINESE_NUMBER = re.compile(r"[二三四五六七八九十两](?=[个句段行条次处字词项种点篇])")


def ungrounded(instruction: str, source: str) -> str:
    """What the instruction names and the function does not, or "". `source` is the function's text.

    Every quoted phrase has to be there; where different things are asked for, a way to tell them
    apart; and where numbers above one are named, one of them (or its neighbours: `> 2` says "at
    least 3"). What follows "such as" need not be there; where it is one example with marks or
    digits, it must not be: any other would do as well.
    """
    stated = _EXAMPLE.sub(" ", instruction)
    code = source.lower()
    for example in _EXAMPLE.findall(instruction):
        if _is_one_of_many(example) and example.lower() in code:
            return f"it asks for the example {example}"
    for groups in _QUOTED.findall(stated):
        phrase = next(filter(None, groups)).strip().lower()
        pieces = re.findall(r"\w+", phrase) or [phrase]
        if not all(piece in code for piece in pieces):
            return f'it does not name "{phrase}"'
    if _DIFFERENT.search(stated) and not _DISTINCT.search(source):
        return "it counts the same thing twice where different ones are asked for"
    numbers = _numbers(stated)
    in_source = {int(n) for n in re.findall(r"(?<![\w.])\d{1,6}(?![\w.])", source)}
    runs = _runs(source)
    if numbers and not any({n - 1, n, n + 1} & in_source or n in runs for n in numbers):
        return f"it names no {' or '.join(map(str, sorted(numbers)))}"
    return ""


def _is_one_of_many(example: str) -> bool:
    """Neither a list of what may be used nor plain words."""
    return bool(re.search(r"[\d<>\[\]{}#@]", example)) and not re.search(r",\s| or | and ", example)


_STRING = re.compile(SKIPPED, re.DOTALL)
_RUN = re.compile(r"(\\.|[^\w\s\\])(?: ?\1)+")


def _runs(source: str) -> set[int]:
    """How often a mark stands in a row within a string: "!!!" names a three. Of line breaks there
    is one more than of blank lines."""
    lengths = set()
    strings = (m[0].strip("'\"") for m in _STRING.finditer(source) if m[0][0] != "#")
    for string in strings:
        for run in _RUN.finditer(string):
            n = run[0].count(run[1])
            lengths |= {n, n - 1} if run[1] == "\\n" else {n}
    return lengths


def _numbers(text: str) -> set[int]:
    """Numbers above one that the words ask for; not those in quotation marks."""
    text = _IN_WORD.sub(" ", _QUOTED.sub(" ", text))
    named = map(number_value, _NUMBER.findall(text) + _CHINESE_NUMBER.findall(text))
    return {n for n in named if n is not None and n > 1}
