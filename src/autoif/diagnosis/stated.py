"""Texts of which the words of an instruction say what a right function has to say of them.

For a few wordings (so many of something; these words, all or none of them; in every line; at the
beginning, at the end) texts are made that break it, and texts that follow it. A function
that says otherwise checks something else: another number, `any` where all are meant, one of two
things. What breaks a demand breaks the whole, whatever else is asked; what follows it is sure only
where nothing else is asked, so those texts are made only if no other words are left.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle, islice

from autoif.base.language import (
    AT_LEAST_EN,
    AT_LEAST_ZH,
    AT_MOST_EN,
    AT_MOST_ZH,
    CJK_RANGE,
    EXACTLY_EN,
    EXACTLY_ZH,
    NUMBERS_EN,
    NUMBERS_ZH,
    number_value,
)
from autoif.diagnosis.plain import FILLER
from autoif.diagnosis.reading import GAP, QUOTED, STOP, Reading

Texts = tuple[
    tuple[int, int], list[str], list[str]
]  # where the words stand, what breaks, what follows

FREE = {
    False: ("The weather is fine today.", "We went home by bus.", "Nobody knew the reason."),
    True: ("今天天气很好。", "我们坐车回家。", "没有人知道原因。"),
}
ABOUT = {False: "We talked about {} today.", True: "我们谈到{}这件事。"}
JOINED = {"line": "\n", "行": "\n", "para": "\n\n", "段": "\n\n", "自然": "\n\n"}

# Words that make a demand one for some texts only, or one of several: nothing is claimed.
_OPEN = re.compile(
    r"\b(?:if|unless|when|whenever|either|such as|like|for example|e\.g|except|other than|but|"
    r"rather than|instead|together|optional\w*|one of|any|may|form|same|different(?! p))\b"
    r"|如|若|除|例如|或|之一|任|可以|而是|代替|同时不|相同|不同",
    re.IGNORECASE,
)
_SECTION = re.compile(  # a clause about one section of the reply
    r"\b(?:no (?:sentence|line|paragraph|word|item|bullet|step)|each|every|per|first|last|second|"
    r"third|final|title|headings?|sections?|consecutive|in a row|between (?!\d)|odd|even|stanzas?|"
    r"column|row|table|list of)\b|每|各|首|末|第|标题|之间|其中",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"[,.;:，。；：]|\band\b(?! \d)")
_MORE_FILLER = re.compile(
    r"\b(?:q|words?|phrases?|terms?|keywords?|both|all|following|these|somewhere|times?|every|each|"
    r"sentences?|lines?|paragraphs?|list|mention|refer|twice|once|neither|nor|or|such|has|have)\b|[两个都词语这]",
    re.IGNORECASE,
)


def stated(reading: Reading) -> Iterator[tuple[str, bool]]:
    """Texts and the verdict that is due; none where the wording is not one of ours."""
    quoted = [next(filter(None, groups)) for groups in QUOTED.findall(reading.text)]
    bare = GAP[reading.zh].join(QUOTED.sub(" Q ", reading.text.lower()).split())
    ours = " ".join((*FREE[reading.zh], ABOUT[reading.zh]))
    if any(word.lower() in ours.lower() for word in quoted if len(word) > 1):
        return
    for texts_of in (_counted, _parity, _every, _place, _all_of, _none_of, _sentence_length):
        texts = texts_of(bare, quoted, reading.zh)
        if texts is None:
            continue
        (start, end), breaks, follows = texts
        yield from ((text, False) for text in breaks)
        rest = f"{bare[:start]} {bare[end:]}"
        if not FILLER.sub("", _MORE_FILLER.sub(" ", rest)).strip():
            yield from ((text, True) for text in follows)


_PLAIN = re.compile(rf"[A-Za-z]{{2,}}(?:[ '-][A-Za-z]+)*|[{CJK_RANGE}]+")


def _plain(words: Iterable[str]) -> bool:
    return all(_PLAIN.fullmatch(word) for word in words)


def _clause(text: str, at: int) -> str:
    """The clause around a place."""
    ends = [m.end() for m in _CLAUSE.finditer(text) if m.end() <= at]
    starts = [m.start() for m in _CLAUSE.finditer(text) if m.start() >= at]
    return text[max(ends, default=0) : min(starts, default=len(text))]


# ---- so many -----------------------------------------------------------------------------------

_N = rf"(?:\d{{1,4}}|{NUMBERS_EN})"
_MOST = (
    rf"{AT_MOST_EN}|a maximum of|not exceed(?:ing)?|"
    r"(?:not|n't|never)(?: \w+){1,2} (?:more than|exceed)"
)
_LEAST = rf"{AT_LEAST_EN}|a minimum of|more than"
_UNIT = (
    r"words? (?:written |set )?(?:entirely |wholly )?in (?:all )?(?:capital letters|capitals|"
    r"uppercase|caps)|uppercase words|sentences?|lines?|paragraphs?|words?|bullet points?|bullets|"
    r"questions?(?: marks?)?|exclamation (?:marks?|points?)|semicolons?|colons?|times|"
    r"(?<=once)|(?<=twice)|(?<=thrice)"
)
_SPECIAL = (  # "three lines of verse", "ten words that rhyme"
    r"of|with|that|which|whose|long|longer|or|on|from|contain\w*|begin\w*|start\w*|end\w*|"
    r"in\b(?! (?:your|the|all|total))"
)
_COUNTED = re.compile(
    rf"\b(?:(?P<most>{_MOST})|(?P<least>{_LEAST})|(?P<exact>{EXACTLY_EN})|"
    rf"between (?P<low>{_N}) and) (?P<n>{_N}) ?(?P<unit>{_UNIT})\b(?! (?:{_SPECIAL}))"
    rf"|(?P<zmost>{AT_MOST_ZH})|(?P<zleast>{AT_LEAST_ZH})|(?P<zexact>{EXACTLY_ZH})",
)
_ZH = re.compile(
    rf"(?:地|要|应|须|再)?(?:出现|使用|用|写|列出|包含|提到|有|分)*(?P<n>\d{{1,4}}|{NUMBERS_ZH})个?"
    r"(?P<unit>字|汉字|句|自然段|段|行|要点|感叹号|叹号|问号|分号|次)(?!的|以上|号)"
)
_PROSE = ("we", "went", "home", "by", "bus", "and", "nobody", "knew", "the", "reason")
_PROSE_ZH = "今天天气很好我们坐车回家没有人知道原因"
_PIECES = {
    "sent": "The weather is fine today.", "line": "The weather is fine today",
    "para": "The weather is fine today.", "ques": "Was it late?", "excl": "Nobody knew!",
    "semi": "We walked; it rained.", "colo": "We saw this: a river.", "句": "今天天气很好。",
    "段": "今天天气很好。", "自然": "今天天气很好。", "行": "今天天气很好", "感叹": "没有人知道！",
    "叹号": "没有人知道！", "问号": "晚不晚？", "分号": "天晴了；我们走吧。",
}  # fmt: skip


def _counted(text: str, quoted: list[str], zh: bool) -> Texts | None:
    if _OPEN.search(text):
        return None
    for bound in _COUNTED.finditer(text):
        clause = _clause(text, bound.start())
        if _SECTION.search(clause) or (bound[0].startswith("more than") and _NO.search(clause)):
            continue
        number = bound if bound["n"] else _ZH.match(text, bound.end())
        n = number_value(number["n"]) if number else None
        if number is None or n is None or not 1 <= n <= 300:
            continue
        low, high = n, n  # a high of 0 is none
        if bound["most"] or bound["zmost"]:
            low, high = 0, n - bool(re.match(r"fewer|less", bound[0]))
        elif bound["least"] or bound["zleast"]:
            low, high = n + bound[0].startswith("more"), 0
        elif bound["low"]:
            low = number_value(bound["low"]) or n
        unit = number["unit"] or "times"
        if unit in ("times", "次") and (len(quoted) != 1 or not _plain(quoted)):
            continue
        wrong = {low - 1, low // 2} | ({high + 1, 2 * high + 1} if high else set())
        right = {low, high, 0 if high else 2 * low}
        wrong = {k for k in wrong if k > 0 and not (low <= k and (not high or k <= high))}
        return (
            (bound.start(), number.end()),
            [_so_many(k, unit, quoted, zh) for k in sorted(wrong)],
            [_so_many(k, unit, quoted, zh) for k in sorted(right) if k > 0],
        )
    return None


_ODD = re.compile(rf"\b(?P<even>even|odd) number of (?P<unit>{_UNIT})\b")


def _parity(text: str, quoted: list[str], zh: bool) -> Texts | None:
    match = _ODD.search(text)
    if not match or _OPEN.search(text) or re.search(r"\b(?:each|every|per)\b", text):
        return None
    odd, even = ([_so_many(k, match["unit"], quoted, zh) for k in ks] for ks in ((3, 5), (2, 4)))
    return match.span(), *((odd, even) if match["even"] == "even" else (even, odd))


def _so_many(k: int, unit: str, quoted: Sequence[str], zh: bool) -> str:
    if unit in ("times", "次"):
        return GAP[zh].join([FREE[zh][0], *[ABOUT[zh].format(quoted[0])] * k, FREE[zh][1]])
    if "cap" in unit or "upper" in unit:
        return "We saw " + " and ".join(islice(cycle(("RIVER", "TOWER", "BRIDGE", "FOREST")), k))
    if unit.startswith("word"):
        return " ".join(islice(cycle(_PROSE), k))
    if unit in ("字", "汉字"):
        return "".join(islice(cycle(_PROSE_ZH), k))
    if unit.startswith("bullet") or unit == "要点":
        mark = next((q for q in quoted if re.fullmatch(r"[-*•+] ?", q)), "- ").strip()
        return "\n".join(f"{mark} {FREE[zh][n % 3]}" for n in range(k))
    piece = next(_PIECES[unit[:n]] for n in (4, 2, 1) if unit[:n] in _PIECES)
    return _between(unit, zh).join([piece] * k)


def _between(unit: str, zh: bool) -> str:
    """What stands between two lines, paragraphs or sentences."""
    return JOINED.get(unit[:4], JOINED.get(unit[:2], GAP[zh]))


# ---- words and where they stand ----------------------------------------------------------------

_WANTED = re.compile(
    r"\b(?:includ\w*|contain\w*|mention\w*|use|uses|using|feature\w*|incorporat\w*)\b[^.]{0,300}Q|"
    r"(?:包含|包括|出现|提到|提及|使用|用上|写进|含有|用到)[^。]{0,300}Q|Q[^。]{0,300}(?:出现|提到|用上)"
)
_BARRED = re.compile(
    r"(?:\b(?:do not|don't|never|avoid|without)\b|不要|不得|不能|不可|避免|禁止|请勿)"
    r"(?: \w+){0,5}[^.,;Q，。；]{0,8}Q(?:[ ,/，和与及]|\bor\b|\band\b|\bnor\b|Q)*"
)
_NO = re.compile(r"\b(?:no|not|never|without|avoid\w*|nor)\b|n't\b|不|勿|禁|避免|无", re.IGNORECASE)
_OTHERWISE = re.compile(
    r"\b(?:more than|times|once|twice|both|begin\w*|start\w*|end\w*|keys?|called|named|outside)\b"
    r"|超过|次|开头|结尾|外|键|同时"
)


def _all_of(text: str, quoted: list[str], zh: bool) -> Texts | None:
    match = _WANTED.search(text)
    alone = re.search(r"\bor\b", text) or _OTHERWISE.search(text.replace("both", ""))
    if not (match and quoted and _plain(quoted)) or _NO.search(text) or _OPEN.search(text) or alone:
        return None
    lines = [ABOUT[zh].format(word) for word in quoted]
    breaks = [GAP[zh].join([FREE[zh][0], *lines[:i], *lines[i + 1 :]]) for i in range(len(lines))][
        :5
    ]
    if re.search(r"each in (?:a different|a separate|its own|another) (?:paragraph|line)", text):
        breaks.append(" ".join(lines))
    follows = [] if _SECTION.search(text) else [GAP[zh].join([FREE[zh][0], *lines])]
    return match.span(), breaks, follows


def _none_of(text: str, quoted: list[str], zh: bool) -> Texts | None:
    match = _BARRED.search(text)
    if not (match and _plain(quoted)) or match[0].count("Q") != len(quoted):
        return None
    sure = text.replace("any ", "").replace("任何", "")
    if any(words.search(sure) for words in (_OPEN, _OTHERWISE, _SECTION)):
        return None
    breaks = [GAP[zh].join([FREE[zh][0], ABOUT[zh].format(word), FREE[zh][1]]) for word in quoted]
    return match.span(), breaks, [GAP[zh].join(FREE[zh])]


_MARK = {"exclamation": "!", "question": "?", "semicolon": ";"}
_EVERY = re.compile(
    r"\b(?=(?:\w+ )?(?:every|each) (?P<unit>line|sentence|para))"
    r"(?:(?:every|each) \w+(?: \w+){0,4}? )?"
    r"(?:contain|include|mention|use|have|(?P<begins>begin|start)|(?P<ends>end|finish))"
    r"\w*(?: \w+){0,6}? (?P<what>Q|exclamation|question|semicolon)(?: mark| point)?"
    r"|每一?个?(?P<zline>行|句|段)话?(?:都|要|须|必须|应)*(?:以|用)Q(?:开头|开始)"
    r"|每一?个?(?P<zunit>行|句|段|自然段)[^，。Q]{0,6}(?:包含|含有|提到|出现|提及|包括|有)[^，。Q]{0,6}Q"
)


def _every(text: str, quoted: list[str], zh: bool) -> Texts | None:
    match = _EVERY.search(text)
    if not match or _OPEN.search(text) or _NO.search(_clause(text, match.start())):
        return None
    unit = match["unit"] or match["zunit"] or match["zline"]
    begins = bool(match["begins"] or match["zline"])
    free = list(FREE[zh])
    if match["what"] in (None, "Q"):
        if len(quoted) != 1 or not _plain(quoted) or match["ends"]:
            return None
        has = [ABOUT[zh].format(quoted[0])] * 3
        if begins:
            has = [quoted[0] + GAP[zh] + line for line in free]
    elif match["ends"]:
        has = [line.rstrip(".") + _MARK[match["what"]] for line in free]
    else:
        return None
    gap = _between(unit, zh)
    if gap == "\n\n" and not begins:  # a paragraph is more than a heading
        more = GAP[zh].join(FREE[zh] * 2)
        free, has = [f"{more} {line}" for line in free], [f"{more} {line}" for line in has]
    ways = [(0, 1, 1), (1, 0, 0), (1, 0, 1)]
    breaks = [gap.join((free, has)[k][i] for i, k in enumerate(way)) for way in ways]
    return match.span(), breaks, [gap.join(has)]


_WITH = r"(?: \w+){0,4}? with (?:the )?(?:exact )?(?:words?|phrase|sentence|line)? ?Q"
_BEGIN = re.compile(rf"\b(?:begin|start|open)\b{_WITH}|Q(?=开头|开始)")
_END = re.compile(rf"\b(?:end|finish|close|conclude)\b{_WITH}|Q(?=结尾|结束|收尾)")


def _place(text: str, quoted: list[str], zh: bool) -> Texts | None:
    """At the beginning and at the end; one of the two is seen by the other rules."""
    begin, end = _BEGIN.search(text), _END.search(text)
    if not (begin and end and len(quoted) == 2) or _OPEN.search(text) or _NO.search(text):
        return None
    if re.search(r"\b(?:each|every|lines?|sentences|paragraphs?)\b|每|行|段|各", text):
        return None
    first, last = quoted if begin.start() < end.start() else quoted[::-1]
    gap, middle = GAP[zh], FREE[zh]
    span = min(begin.start(), end.start()), max(begin.end(), end.end())
    breaks = [gap.join([first, *middle]), gap.join([*middle, last])]
    return span, breaks, [gap.join([first, *middle, last])]


_LENGTH = re.compile(
    r"\b(?:no sentences?\b[^.;,]*?(?:more|longer) than|(?:each|every) sentence\b[^.;,]*?(?:at most|"
    rf"no more than|under|fewer than|less than|up to)) (?P<n>{_N}) words"
    r"|每一?个?句(?:子|话)?的?(?:长度)?[^，。]{0,3}(?:超过|最多|至多|多于)"
    rf"(?P<zn>\d{{1,3}}|{NUMBERS_ZH})个?字"
)


def _sentence_length(text: str, quoted: list[str], zh: bool) -> Texts | None:
    match = _LENGTH.search(text)
    n = number_value(match["n"] or match["zn"]) if match else None
    if not match or n is None or _OPEN.search(text):
        return None
    words = [ABOUT[zh].format(word) for word in quoted if _plain([word])]
    long = _so_many(2 * n + 3, "字" if zh else "words", (), zh).capitalize() + STOP[zh]
    breaks = [GAP[zh].join([long, *words, *FREE[zh]]), GAP[zh].join([*words, *FREE[zh], long])]
    return match.span(), breaks, [GAP[zh].join(FREE[zh])] if n > 7 else []
