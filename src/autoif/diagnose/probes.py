"""The texts that a verifier is tried on: real replies, and replies made for this instruction.

`plan` lists every text once, and says what each is for. Nothing is drawn at random.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from itertools import pairwise

from autoif.diagnose.reading import Reading, value
from autoif.records import Case

WORDS = ("ok", "Yes", "hmm", "Maybe", "thing")
WORDS_ZH = ("好", "可以", "嗯", "也许", "东西")
EMPTY = ("", " ", "\n\n")
MOST_TERMS, MOST_MADE, MOST_BASES = 12, 420, 30

BASES = {
    False: (
        "The museum opens at ten and closes at six",
        "The museum opens at ten. It closes at six.",
        "The museum opens at ten.\nIt closes at six.\nOn Mondays it stays shut.",
        "The museum opens at ten. It closes at six.\n\nOn Mondays it stays shut.\n\nEntry is free.",
    ),
    True: (
        "博物馆十点开门",
        "博物馆十点开门。六点关门。",
        "博物馆十点开门。\n六点关门。\n星期一休息。",
        "博物馆十点开门。六点关门。\n\n星期一休息。\n\n免费参观。",
    ),
}
SENTENCES = {
    False: ("The weather is fine today.", "We went home.", "Nobody knew why!", "Was it late?"),
    True: ("今天天气很好。", "我们回家了。", "没有人知道！", "晚不晚？"),
}
# What is put around a text. Of the two preambles the second has neither marks nor digits.
PREAMBLES = {
    False: ("Sure! Here is my answer:\n\n", "Here is what came to mind\n\n"),
    True: ("当然可以！下面是我的回答：\n\n", "下面是我想到的内容\n\n"),
}
CLOSING = {False: "\n\nLet me know whether this helps", True: "\n\n希望这对你有帮助"}
KINDS = ("preamble", "bare_preamble", "closing", "fence", "bold", "bold_term")


@dataclass(frozen=True, slots=True)
class Plan:
    """Indices into `texts`, by purpose."""

    texts: list[str]
    pool: list[int]  # real replies in the language of the instruction
    other: list[int]  # real replies in the other language
    made: list[int]  # built from the words of the instruction and the constants of the sources
    empty: list[int]
    words: list[int]
    copies: list[int]
    little: list[int]  # what is quoted in the instruction, and nothing more
    joined: list[int]  # two positive cases put together, in three ways
    cases: list[tuple[int, bool]]
    variants: list[tuple[str, int, int]]  # kind, text, the same text changed
    expected: list[tuple[int, bool]]  # Chinese texts of which the instruction says what they are
    slow: list[str] = field(default_factory=list)  # apart: long and monotonous texts


@cache
def pool(lang: str) -> tuple[str, ...]:
    """The shipped replies of a language."""
    lines = (files("autoif") / "data" / f"pool.{lang}.jsonl").read_text("utf-8").splitlines()
    return tuple(json.loads(line)["text"] for line in lines)


def plan(
    reading: Reading,
    cases: Sequence[Case],
    strings: Sequence[str],
    numbers: Sequence[int],
    replies: Sequence[str] = (),
) -> Plan:
    """strings, numbers: the constants of all sources. replies: more real ones, of a run."""
    texts: dict[str, int] = {}

    def add(more: Iterable[str]) -> list[int]:
        return [texts.setdefault(text, len(texts)) for text in more]

    mine, others = ("zh", "en") if reading.zh else ("en", "zh")
    real = add([*pool(mine), *replies])
    other = add(pool(others))
    labelled = [(add([case.text])[0], case.expected) for case in cases]
    made = add(list(dict.fromkeys(_made(reading, strings, numbers)))[:MOST_MADE])
    empty, words = add(EMPTY), add(WORDS_ZH if reading.zh else WORDS)
    copies = add([reading.text, reading.text.rstrip(".。")]) if reading.text else []
    expected = [(add([text])[0], label) for text, label in _expected(reading)]
    positive = [index for index, label in labelled if label][:8]
    negative = [index for index, label in labelled if not label][:8]
    bases = [*positive, *negative, *made[: MOST_BASES - len(positive)]]
    little = add(_little(reading))
    joined = add(
        _joined([cases[n].text for n, (_, label) in enumerate(labelled) if label][:4], reading.zh)
    )
    by_index = list(texts)
    variants = [
        (kind, base, add([text])[0])
        for base in dict.fromkeys(bases)
        for kind, text in _variants(by_index[base], reading)
    ]
    return Plan(
        list(texts), real, other, made, empty, words, copies, little, joined, labelled, variants,
        expected,
        list(_slow(reading.zh)),
    )  # fmt: skip


# ---- texts made for the instruction ------------------------------------------------------------


def _terms(reading: Reading, strings: Sequence[str]) -> list[str]:
    """What is quoted in the instruction or stands in the sources, patterns made plain."""
    found = list(reading.quoted)
    for text in strings:
        plain = re.sub(r"\\[bsSwWdDAZ][*+?]?|[\^$]", "", text)
        plain = re.sub(r"\\(\W)", r"\1", plain)
        if re.search(r"\[[^\]]*\][+*?{]|\.[*+]|\(\?", plain):
            continue  # a pattern, whatever is left of it
        if plain.strip() and (plain == text or not re.search(r"[\\()\[\]{}|*+?]", plain)):
            found.append(plain)
    return list(dict.fromkeys(found))[:MOST_TERMS]


def _made(reading: Reading, strings: Sequence[str], numbers: Sequence[int]) -> Iterator[str]:
    terms = _terms(reading, strings)
    counts = [n for n in dict.fromkeys([*reading.numbers, *numbers]) if 0 < n <= 300]
    bases = BASES[reading.zh]
    gap = "" if reading.zh else " "
    for term in terms:
        lone, two, lines = bases[0], bases[1], bases[2]
        yield f"{lone}{gap}{term}"
        yield f"{term}{gap}{lone}"
        yield term
        yield f"{lone}{gap}{term}{gap}{lone}."
        yield f"{two}\n{term}"
        yield f"{term}\n{two}"
        yield f"{two}\n\n{term}"
        yield "\n".join(f"{term}{line}" for line in lines.split("\n"))
        yield "\n".join(f"{term} {line}" for line in lines.split("\n"))
        yield "\n".join(f"{line.rstrip('.。')}{term}" for line in lines.split("\n"))
        yield f"{term}{two}{term}"
        yield f"{lone}{gap}{term.upper()}"
        for n in [n for n in counts if n <= 12][:4]:
            yield gap.join([lone, *[term] * n])
            yield "\n".join(f"{line}{gap}{term}" for line in [lone] * n)
    for one, other in pairwise(terms):
        yield f"{one}{bases[1]}{other}"
        yield f"{one} {bases[2]}\n{other}"
    if terms:
        yield gap.join(terms)
        yield "\n".join(f"{term} {bases[0]}" for term in terms)
        yield json.dumps(dict.fromkeys(terms, bases[0]), ensure_ascii=False)
    yield from _shapes(bases)
    for n in counts:
        for m in (n, n + 1, n - 1, 2 * n + 1) if n <= 60 else (n, 2 * n + 1):
            yield from _sized(m, reading.zh)


def _shapes(bases: Sequence[str]) -> Iterator[str]:
    lone, two, lines, parts = bases
    yield from (lone.lower(), lone.upper(), two.lower(), two.upper(), lone.title(), parts.upper())
    yield from (f"{lone}?", f"{lone}？", f"{lone}!", f"{lone}！", f"{lone}...", f"{lone}……")
    yield from (
        f'"{two}"',
        f"“{two}”",
        f"({two})",
        f"（{two}）",
        f"**{two}**",
        f"<<{lone}>>\n\n{two}",
    )
    yield from (f"```\n{two}\n```", f"# {lone}\n\n{two}", f"{two}\n\nP.S. {lone}", f"{two} #note")
    yield from ("\n".join(f"{mark}{line}" for line in lines.split("\n"))
                for mark in ("- ", "* ", "• ", "> ", "# "))  # fmt: skip
    yield "\n".join(f"{n}. {line}" for n, line in enumerate(lines.split("\n"), 1))
    yield "\n".join(sorted(("apple", "banana", "cherry", "date")))
    yield "\n".join(("date", "cherry", "banana", "apple"))
    yield from ("1, 2, 3, 4", "10 20 30", "7", "3.14", "2024-05-01", "12:30", "a@b.org", "35%")
    yield json.dumps({"answer": lone, "reason": two}, ensure_ascii=False)
    yield json.dumps([lone, two], ensure_ascii=False)
    yield f"| a | b |\n|---|---|\n| {lone} | {lone} |"


def _little(reading: Reading) -> Iterator[str]:
    if reading.quoted:
        gap = "" if reading.zh else " "
        yield gap.join(reading.quoted)
        yield "x".join(reading.quoted)
        yield f"{reading.quoted[0]}."


def _joined(texts: Sequence[str], zh: bool) -> Iterator[str]:
    """Three ways to put each two together: side by side, as two sentences, as two lines."""
    for one, other in pairwise(texts):
        stop = "。" if zh else ". "
        yield one + ("" if zh else " ") + other
        yield one.rstrip(" .。") + stop + other
        yield one + "\n" + other


def _sized(n: int, zh: bool) -> Iterator[str]:
    """n words or characters, sentences, lines, paragraphs, items, numbers."""
    if n < 1:
        return
    word, sentence = ("山" if zh else "word"), SENTENCES[zh][0]
    yield (word * n) if zh else " ".join([word] * n)
    if zh:
        yield word * max(1, n - 1) + "。"
    if n <= 60:
        for more in SENTENCES[zh]:
            yield ("" if zh else " ").join([*[sentence] * (n - 1), more])
        yield "\n".join([sentence] * n)
        yield "\n\n".join([sentence] * n)
        yield "\n".join(f"- {sentence}" for _ in range(n))
        yield "\n".join(f"* {sentence}" for _ in range(n))
        yield "\n".join(f"{i}. {sentence}" for i in range(1, n + 1))
        yield f"{sentence} " + ", ".join(str(i) for i in range(1, n + 1))
        yield sentence + "!" * n
        yield sentence + "?" * n


def _variants(text: str, reading: Reading) -> Iterator[tuple[str, str]]:
    """The same reply as chat models wrap it."""
    lively, bare = PREAMBLES[reading.zh]
    yield "preamble", lively + text
    yield "bare_preamble", bare + text
    yield "closing", text + CLOSING[reading.zh]
    yield "fence", f"```\n{text}\n```"
    if "\n" not in text.strip() and text.strip():
        yield "bold", f"**{text.strip()}**"
    changed = text
    for term in reading.quoted:
        if term.strip() and re.fullmatch(r"[\w\s'-]+", term):
            changed = re.sub(rf"(?<!\*){re.escape(term)}", rf"**{term}**", changed)
    if changed != text:
        yield "bold_term", changed


# ---- Chinese texts of which the instruction says what they are ---------------------------------

_PARTIAL = re.compile(
    r"[每第首末各任前后比]|标题|括|除|以外|英文|半角|字母|单词|拼音|其中|一句|一段|一行"
)
_MARKS = {"逗号": "，", "句号": "。", "问号": "？", "感叹号": "！", "叹号": "！", "冒号": "：",
          "分号": "；", "顿号": "、"}  # fmt: skip
_BOUND = re.compile(
    r"(?P<before>不超过|最多|至多|不多于|少于|控制在|限制在|不得超过|不能超过|至少|不少于|不低于|多于|超过|"
    r"恰好|正好|刚好)?(?:使用|用|写|有|出现)?(?P<n>\d{1,4}|[零一二两三四五六七八九十百]+)(?:到|至|-|~|—)?"
    r"(?P<m>\d{1,4}|[零一二两三四五六七八九十百]+)?个?(?P<unit>汉字|字|句|逗号|句号|问号|感叹号|叹号|冒号|分号)"
    r"(?:符)?(?P<after>以内|以下|之内|以上|以外)?"
)
_PROSE = "我们今天去公园散步路上看见许多人在湖边钓鱼孩子们追着风筝跑天空很蓝风也很轻"


def _expected(reading: Reading) -> Iterator[tuple[str, bool]]:
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
    found = bounds[0]
    low, high = value(found["n"]), value(found["m"]) if found["m"] else None
    if low is None:
        return
    before, after, unit = found["before"] or "", found["after"] or "", found["unit"]
    if high is None:
        if after in ("以内", "以下", "之内") or before in (
            "不超过", "最多", "至多", "不多于", "少于", "控制在", "限制在", "不得超过", "不能超过",
        ):  # fmt: skip
            low, high = 0, low
        elif before in ("恰好", "正好", "刚好"):
            high = low
        elif before or after == "以上":
            high = 10**6
        else:
            return
    yield from _bounded(unit, low, high)


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
        if high < 10**6:
            yield _prose(3 * high + 5), False
        if low >= 8:
            yield _prose(low // 2), False  # its bytes would do
        if low != high:
            inside = low * 2 + 10 if high == 10**6 else low + (high - low) // 2
            if inside > 0:
                yield _prose(inside, marks=low == 0 or high == 10**6), True
        return
    piece = "今天天气很好。" if unit == "句" else "你好" + _MARKS[unit]
    if low >= 2:
        yield piece, False
    if high < 10**6:
        yield piece * (high + 2), False
    yield piece * max(1, min(low + 1, high)), True


def _prose(n: int, marks: bool = False) -> str:
    text = (_PROSE * (n // len(_PROSE) + 1))[:n]
    return re.sub(r"(.{11}).", r"\1，", text) if marks else text


# ---- long and monotonous texts -----------------------------------------------------------------


MONOTONOUS = (
    ("a", "!"), ("word ", "!"), ("a", ""), ("1", "x"), ("(", ""), ("a,", "."), ("- item\n", ""),
    ("aA1 ", "#"), ("ab", "c"), ("!?", "x"), ("*", " "), ("字", "!"), ("One two. ", "three"),
    ("\n", "x"), (" ", "x"), ("0 ", "z"), ("aaa-", "?"), ('"', "x"), ("=", "x"), ("word", ""),
)  # fmt: skip


def _slow(zh: bool) -> Iterator[str]:
    """About 12,000 characters of ordinary text, and 400 of what regular expressions dread:
    enough for one that backtracks exponentially, too little for one that is merely quadratic."""
    for lang in ("en", "zh") if not zh else ("zh", "en"):
        prose = "\n\n".join(t for t in pool(lang) if len(t) > 60)
        yield (prose * (12_000 // len(prose) + 1))[:12_000]
    long = " ".join(pool("en")[0:2])
    yield (long * 40)[:4_000].replace("\n", " ")
    for unit, end in MONOTONOUS:
        yield unit * (400 // len(unit)) + end
