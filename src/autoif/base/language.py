"""What several parts read in the words of a text: numbers, bounds, quotation marks, Chinese.

A part that reads more, or less, says so beside its own pattern; what stands here is shared.
"""

from __future__ import annotations

import re
import unicodedata

CJK_RANGE = "\u3400-\u9fff"  # for a class of characters in a pattern
CJK = re.compile(f"[{CJK_RANGE}]")
_WORD = re.compile(rf"[{CJK_RANGE}]|[^\W_{CJK_RANGE}]+")

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


# The words of `number_value` beside them.
_MORE_NUMBER_WORDS = {
    word: n
    for words, n in {
        "one once single": 1,
        "pair both double several multiple": 2,
        "thrice triple": 3,
        "dozen": 12,
        "thirteen": 13,
        "fourteen": 14,
        "fifteen": 15,
        "sixteen": 16,
        "seventeen": 17,
        "eighteen": 18,
        "nineteen": 19,
        "sixty": 60,
        "seventy": 70,
        "eighty": 80,
        "ninety": 90,
        "thousand": 1000,
    }.items()
    for word in words.split()
}
_ALL_NUMBER_WORDS = NUMBER_WORDS | _MORE_NUMBER_WORDS
_ZH_DIGITS, _ZH_TENS = "零一二三四五六七八九两", {"十": 10, "百": 100, "千": 1000}
_ONE = rf"(?:{'|'.join(_ALL_NUMBER_WORDS)})"
_BELOW = rf"(?:\w+ty-{_ONE}|{_ONE})"  # a hundred
# Patterns of what `number_value` reads, but for digits.
NUMBERS_EN = rf"(?:{_ONE} (?:hundred|thousand)(?: and {_BELOW})?|{_BELOW})"
NUMBERS_ZH = rf"[{_ZH_DIGITS}{''.join(_ZH_TENS)}]{{1,8}}"

# Alternatives of a pattern: the words of a bound, before its number.
AT_MOST_EN = "at most|no more than|not more than|fewer than|less than|up to"
AT_LEAST_EN = "at least|no fewer than|no less than"
EXACTLY_EN = "exactly|precisely"
AT_MOST_ZH = "不超过|不得超过|不能超过|不多于|最多|至多"
AT_LEAST_ZH = "至少|不少于|不低于"
EXACTLY_ZH = "恰好|正好|刚好"

QUOTATION_MARKS = ('""', "“”", "「」", "``")


def quoted_pattern(marks: tuple[str, ...] = QUOTATION_MARKS) -> str:
    """Up to 60 characters of a line in any of these pairs of marks; a group for each pair."""
    return "|".join(rf"{pair[0]}([^{pair[1]}\n]{{1,60}}){pair[1]}" for pair in marks)


def number_value(word: str) -> int | None:
    """A number in digits, in English words or in Chinese numerals (up to 9,999)."""
    if word.replace(",", "").isdecimal():
        return int(word.replace(",", ""))
    parts = [_ALL_NUMBER_WORDS.get(w) for w in re.split("[- ]", word.lower()) if w != "and"]
    total = digit = 0
    if None not in parts:
        for n in parts:
            total = (total or 1) * n if n in (100, 1000) else total + (n or 0)
        return total
    for char in word:
        if char in _ZH_DIGITS:
            digit = _ZH_DIGITS.index(char) if char != "两" else 2
        elif char in _ZH_TENS:
            total, digit = total + (digit or 1) * _ZH_TENS[char], 0
        else:
            return None
    return total + digit


_LANGUAGES = {
    **dict.fromkeys(("en", "eng", "english"), "en"),
    **dict.fromkeys(("zh", "zho", "chi", "cmn", "cn", "chinese", "mandarin", "中文", "汉语"), "zh"),
}


def language_tag(stated: str) -> str:
    """`EN`, `english`, `en-US`: "en"; `zh_CN`, `Chinese`: "zh"; any other in small letters."""
    stated = stated.strip().casefold()
    names = (_LANGUAGES.get(name) for name in re.split(r"[\W_]+", stated))
    return next(filter(None, names), stated)


def clean_text(text: str) -> str:
    """Each lone surrogate as "?": JSON and models can emit them, UTF-8 cannot hold them."""
    return text.encode("utf-8", "replace").decode()


# Unicode's Default_Ignorable_Code_Point: soft hyphens, zero-width characters, marks of direction.
_IGNORABLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_UNSEEN = re.compile(f"[{_IGNORABLE}]")
# With space, control characters, annotation marks and the blank of Braille.
_BLANK = rf"\s\x00-\x1f\x7f-\x9f\ufff9-\ufffb\u2800{_IGNORABLE}"
_SEEN = re.compile(f"[^{_BLANK}]")


def is_blank(text: str) -> bool:
    """Whether nothing of a text is seen: it has only space and characters without a glyph."""
    return not _SEEN.search(text)


def strip_blank(text: str) -> str:
    """Without what is not seen at either edge."""
    start = _SEEN.search(text)
    end = _SEEN.search(text[::-1])
    return text[start.start() : len(text) - end.start()] if start and end else ""


def words(text: str) -> list[str]:
    """Runs of letters and digits in small letters; a Chinese character is a word. Characters that
    are not seen divide no word."""
    seen = _UNSEEN.sub("", unicodedata.normalize("NFKC", text))
    return _WORD.findall(seen.casefold())
