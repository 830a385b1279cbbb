"""Chinese texts of which the instruction says what they are: what habits of Latin text get wrong.

They are tried where a source cuts text at spaces, counts bytes, or knows only Latin marks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from autoif.base.language import AT_LEAST_ZH, AT_MOST_ZH, EXACTLY_ZH, NUMBERS_ZH, number_value
from autoif.diagnosis.reading import Reading

_PARTIAL = re.compile(
    r"[每第首末各任前后比]|标题|括|除|以外|英文|半角|字母|单词|拼音|其中|一句|一段|一行"
)
_MARKS = {"逗号": "，", "句号": "。", "问号": "？", "感叹号": "！", "叹号": "！", "冒号": "：",
          "分号": "；", "顿号": "、"}  # fmt: skip
_AT_MOST = f"{AT_MOST_ZH}|少于|控制在|限制在"
_BOUND = re.compile(
    rf"(?P<before>{_AT_MOST}|{AT_LEAST_ZH}|多于|超过|{EXACTLY_ZH})?(?:使用|用|写|有|出现)?(?P<n>\d{{1,4}}|{NUMBERS_ZH})(?:到|至|-|~|—)?"
    rf"(?P<m>\d{{1,4}}|{NUMBERS_ZH})?个?(?P<unit>汉字|字|句|逗号|句号|问号|感叹号|叹号|冒号|分号)"
    r"(?:符)?(?P<after>以内|以下|之内|以上|以外)?"
)
_UNBOUNDED = 10**6
_PROSE = "我们今天去公园散步路上看见许多人在湖边钓鱼孩子们追着风筝跑天空很蓝风也很轻"


def expected(reading: Reading) -> Iterator[tuple[str, bool]]:
    text = reading.text
    if not reading.zh or not text:
        return
    somewhere = reading.free and not (reading.at_start or reading.at_end)
    if somewhere and reading.least < 2 and len(reading.quoted) == 1 and reading.quoted[0].isalnum():
        yield f"我们昨天谈到了{reading.quoted[0]}的事情。", True
    yield from _of_language(text, reading)
    yield from _of_place(text, reading)
    if _PARTIAL.search(text):
        return
    for name, mark in _MARKS.items():
        if name in text and reading.forbids and not reading.demands:
            yield f"今天天气很好{mark}我们去公园散步", False
            yield "今天天气很好", True
    bounds = list(_BOUND.finditer(text))
    if len(bounds) != 1:
        return
    bound = bounds[0]
    low, high = number_value(bound["n"]), number_value(bound["m"]) if bound["m"] else None
    if low is None:
        return
    before, after = bound["before"] or "", bound["after"] or ""
    if high is None:
        if after in ("以内", "以下", "之内") or before in _AT_MOST.split("|"):
            low, high = 0, low
        elif before in EXACTLY_ZH.split("|"):
            high = low
        elif before or after == "以上":
            high = _UNBOUNDED
        else:
            return
    yield from _bounded(bound["unit"], low, high)


def _of_place(text: str, reading: Reading) -> Iterator[tuple[str, bool]]:
    """Its quoted words at the beginning or the end, with other characters right beside them."""
    if len(reading.quoted) != 1 or re.search(r"[每各段行句]", text):
        return
    word = reading.quoted[0]
    if re.search(r"开头|开始|第一个[字词]", text) and not reading.at_end:
        yield f"{word}今天很高兴。", True
    elif re.search(r"结尾|结束|收尾", text) and not reading.at_start:
        yield f"今天天气很好{word}", True


def _of_language(text: str, reading: Reading) -> Iterator[tuple[str, bool]]:
    letters = re.search(r"英文|英语|字母|外文", text)
    if re.search(r"中文|汉语", text) and re.search(r"全部|只|不|都|全文", text):
        yield "今天的 weather 真的很 nice，我们 go to 公园 together 吧，it is fun。", False
        yield "今天天气很好，我们去公园散步吧。", True
    elif letters and re.search(r"如|若|不|禁|避免", text) and not reading.demands:
        yield "今天天气很好，我们去公园散步吧。", True


def _bounded(unit: str, low: int, high: int) -> Iterator[tuple[str, bool]]:
    """Texts well within and well outside of the bounds."""
    if unit in ("字", "汉字"):
        if high < _UNBOUNDED:
            yield _prose(3 * high + 5), False
        if low >= 8:
            yield _prose(low // 2), False  # its bytes would do
        if low != high:
            inside = low * 2 + 10 if high == _UNBOUNDED else low + (high - low) // 2
            if inside > 0:
                yield _prose(inside, marks=low == 0 or high == _UNBOUNDED), True
        return
    piece = "今天天气很好。" if unit == "句" else "你好" + _MARKS[unit]
    if low >= 2:
        yield piece, False
    if high < _UNBOUNDED:
        yield piece * (high + 2), False
    yield piece * max(1, min(low + 1, high)), True


def _prose(n: int, marks: bool = False) -> str:
    text = (_PROSE * (n // len(_PROSE) + 1))[:n]
    return re.sub(r"(.{11}).", r"\1，", text) if marks else text
