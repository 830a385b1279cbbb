"""The plainest instructions, decided by counting: what a right function has to say of a text.

For a handful of wordings (so many words, no digits, in English) it can be computed whether a text
follows, so a function can be compared with that on real replies. `label` is cautious: True and
False leave a margin for every way to count, all else is None; and an instruction that says more
than one such thing is not judged by a part of it, except that too little of what it wants at least
is too little whatever else it wants.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from autoif.base.language import AT_LEAST_EN, AT_MOST_EN, CJK, NUMBERS_ZH, number_value
from autoif.diagnosis.reading import NEAR, Reading, upper

Rule = Callable[[str], bool | None]

_N = r"(?P<n>\d{1,4}|[a-z]+)"
_UNIT = r"(?P<unit>words?|sentences?|lines?|paragraphs?|characters?|bullet points|bullets)"
_AT_MOST = rf"{AT_MOST_EN}|under|below|within|(?:a )?maximum of|not exceed(?:ing)?"
_AT_LEAST = rf"{AT_LEAST_EN}|more than|over|(?:a )?minimum of"
FILLER = re.compile(
    r"\b(?:please|your|the|a|an|in|of|reply|response|answer|text|whole|entire|anywhere|at all|use|"
    r"write|keep|do|any|make|sure|should|must|be|to|contain|include|it|that|is|with|and|long|stay|"
    r"limit|hold|have|has|appear|mark|marks|character|characters|letters|avoid|not|no|without|"
    r"never|using|word|words|respond|give|whatever|language|question|altogether|only|mention)\b"
    r"|[^\w]+|请|回答|全文|中|里|使用|用|的|出现|任何|不要|不得|不能|不可|不|要|在|内|请在|整个|你|应|须|必须|"
    r"控制|通篇|避免|字数|文中|夹杂|全部|一律|只",
    re.IGNORECASE,
)
_FORBID = (
    r"(?:no|not|without|avoid|never|不要|不得|不能|不用|不使用|不出现|不可|避免|禁止|没有|不许)"
)
_SIGNS = {
    r"commas?|逗号": ",，",
    r"digits?|数字": "0123456789０１２３４５６７８９",
    r"exclamation(?: marks?| points?)?|感叹号|叹号": "!！",
    r"question marks?|问号": "?？",
    r"semicolons?|分号": ";；",
    r"colons?|冒号": ":：",
}  # fmt: skip
_CLEAN = re.compile(r"(?:[A-Z][^.!?\n]*[a-z0-9)][.!?](?: |$))+|(?:[\u4e00-\u9fff，]+[。！？])+")
_LATIN = re.compile(r"[A-Za-z]")


@dataclass(frozen=True, slots=True)
class Plain:
    """What counting says of texts under one instruction."""

    rule: Rule | None  # decides, where the instruction says one such thing and no other
    least: tuple[tuple[str, int], ...]  # unit and number that any following text has to reach

    def label(self, text: str) -> bool | None:
        return self.rule(text) if self.rule else None

    def too_little(self, text: str) -> bool:
        """Whether the text falls clearly short of what is wanted at least."""
        return any(_most(unit, text) < n for unit, n in self.least)


def plain(reading: Reading) -> Plain:
    return Plain(_rule(reading.text.lower(), reading), tuple(_lower_bounds(reading)))


def _rule(text: str, reading: Reading) -> Rule | None:
    for rule_of in (_extent, _sign, _quoted, _case, _language):
        for rule, match in rule_of(text, reading):
            if not FILLER.sub("", f"{text[: match.start()]} {text[match.end() :]}"):
                return rule
    return None


Rules = Iterator[tuple[Rule, re.Match[str]]]  # each with the words that state it
_UNBOUNDED = 10**9
_ZH_NUMBER = rf"(?P<n>\d{{1,4}}|{NUMBERS_ZH})个?(?P<unit>汉?字|句话?)"
_ZH_MOST = r"(?:不|勿|别)[得能可要应宜许]?(?:超过|多于|大于)|最多|至多|(?<!不)少于|在"
_BOUNDS = {  # of each language the first that is there counts
    "en": (
        ("most", rf"(?:{_AT_MOST}) {_N} {_UNIT}"),
        ("least", rf"(?:{_AT_LEAST}) {_N} {_UNIT}"),
        ("exact", rf"exactly {_N} {_UNIT}"),
        ("range", rf"between {_N} and (?P<m>\d+|[a-z]+) {_UNIT}"),
    ),
    "zh": (
        ("most", rf"(?:{_ZH_MOST}){_ZH_NUMBER}(?:以内|之内)?"),
        ("least", rf"(?:至少|不少于|超过|多于){_ZH_NUMBER}"),
    ),
}


def _extent(text: str, reading: Reading) -> Rules:
    for bounds in _BOUNDS.values():
        for kind, pattern in bounds:
            match = re.search(pattern, text)
            n = number_value(match["n"]) if match else None
            m = number_value(match["m"]) if match and kind == "range" else n
            if match and n and m:
                low = 0 if kind == "most" else n
                high = _UNBOUNDED if kind == "least" else m
                yield _within(match["unit"], low, high), match
                break


def _within(unit: str, low: int, high: int) -> Rule:
    """Between low and high, whichever way the unit is counted."""
    sentences = unit[:4] == "sent" or unit[0] == "句"

    def rule(text: str) -> bool | None:
        least, most = _fewest(unit, text), _most(unit, text)
        if sentences and _CLEAN.fullmatch(text.strip()):
            most = least
        elif sentences:
            least //= 2  # "Dr. No" is no end
        if most < low or least > high:
            return False
        return True if low <= least and most <= high and text.strip() else None

    return rule


def _most(unit: str, text: str) -> int:
    """As many as anyone could count, and some."""
    match unit[:2]:
        case "wo":
            return len(re.findall(r"\w+|\S+", text)) + len(CJK.findall(text))
        case "se" | "句" | "句话":
            return len(re.findall(r"[.!?。！？；;:：\n]", text)) + 1 if text.strip() else 0
        case "li":
            return len(text.splitlines())
        case "pa" | "bu":
            return _full_lines(text)
        case _:
            return len(text)


def _fewest(unit: str, text: str) -> int:
    match unit[:2]:
        case "wo":
            return len([w for w in text.split() if any(c.isalnum() for c in w)])
        case "se" | "句" | "句话":
            return len(re.findall(r"\w[.!?。！？]+[\"”')]*(?=\s|$|[\u4e00-\u9fff])", text))
        case "li" | "bu":
            return _full_lines(text)
        case "pa":
            return len([p for p in re.split(r"\n\s*\n", text) if p.strip()])
        case "字" | "汉字":
            return len(CJK.findall(text))
        case _:
            return len(re.sub(r"\s", "", text))


def _full_lines(text: str) -> int:
    return sum(bool(line.strip()) for line in text.splitlines())


def _sign(text: str, reading: Reading) -> Rules:
    for names, signs in _SIGNS.items():
        match = re.search(rf"{_FORBID}(?: \w+){{0,3}}? ?(?:使用|用|出现|任何|有)*(?:{names})", text)
        if match:
            yield set(signs).isdisjoint, match
            return


def _quoted(text: str, reading: Reading) -> Rules:
    if len(reading.quoted) != 1 or not reading.quoted[0].isalpha():
        return
    word = reading.quoted[0].lower()
    match = re.search(
        rf"(?:do not|don't|never|avoid|without|不要|不得|不能|不使用|不出现)"
        rf".*[\"'“‘「]{re.escape(word)}.",
        text,
    )

    def rule(reply: str) -> bool | None:
        if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", reply.lower()):
            return False
        return True if word not in reply.lower() else None

    if match and len(word) > 1:
        yield rule, match


def _case(text: str, reading: Reading) -> Rules:
    match = re.search(
        r"(?:in |only |all ){0,3}(lower ?case|upper ?case|capital letters|capitals)", text
    )
    small = match is not None and match[1].startswith("lower")

    def rule(reply: str) -> bool | None:
        if not _LATIN.search(reply) or CJK.search(reply):
            return None
        wanted = reply.lower() if small else reply.upper()
        letters = sum(a != b for a, b in zip(reply, wanted, strict=False))
        return True if reply == wanted else False if letters > 3 else None

    if match:
        yield rule, match


def _language(text: str, reading: Reading) -> Rules:
    match = re.search(
        r"(?:in |only ){0,2}(english)|(?:中文|汉语|汉字)(?:作答|书写)?|英文字母|英文|英语", text
    )
    if match and match[1]:
        yield _english, match
    elif match and (match[0].startswith(("中文", "汉")) or re.search(r"不|避免|禁|如", text)):
        yield _chinese, match


def _english(text: str) -> bool | None:
    """Prose of common English words; anything in another script is not."""
    if CJK.search(text) or re.search(r"[\u0400-\u04ff]", text):
        return False
    common = re.findall(r"\b(?:the|and|is|of|to|it|you|that|in|not|for|was)\b", text.lower())
    return True if len(common) >= 4 and text.isascii() and "```" not in text else None


def _chinese(text: str) -> bool | None:
    letters, signs = len(_LATIN.findall(text)), len(CJK.findall(text))
    if not letters and signs >= 4 and not re.search(r"\d", text):
        return True
    return False if letters > 10 and signs < letters else None


# ---- too little --------------------------------------------------------------------------------

_UNITS = re.compile(
    r"\W*(?:\w+\W+){0,2}?(?P<unit>words|sentences|lines|paragraphs|bullet points|bullets)\b"
    r"|个?(?P<zh>汉字|字|句|(?:自然)?段|行)",
    re.IGNORECASE,
)
_ZH_UNITS = {"段": "paragraphs", "自然段": "paragraphs", "行": "lines", "句": "句", "字": "字",
             "汉字": "字"}  # fmt: skip


def _lower_bounds(reading: Reading) -> Iterator[tuple[str, int]]:
    """What a text has to have at least, part of it or the whole; none where it is a condition."""
    if not reading.demands or reading.least < 2:
        return
    text = reading.text.lower()
    for match in re.finditer(rf"(?<![\w.])(\d{{1,4}}|[a-z]+|{NUMBERS_ZH})", text):
        n = number_value(match[1])
        unit = _UNITS.match(text, match.end(), match.end() + NEAR)
        if n is not None and n >= 2 and unit and not upper(reading.text, match):
            yield unit["unit"] or _ZH_UNITS[unit["zh"]], n
