"""FollowBench's rules: the sources whose constraints a program decides, English and Chinese.

Jiang et al. (2024). Each rule takes an answer, the reference and the level, and says whether all
constraints up to that level are met: those of the level are the first so many of its list.
"""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Callable
from typing import Literal

Lang = Literal["en", "zh"]
Rule = Callable[[str, str, int], bool]

_ZH_MARKS = frozenset(string.punctuation + "，。：’“”")
_EN_MARKS = frozenset(string.punctuation)
_ENDS = {"en": re.compile("[.!?]"), "zh": re.compile("[。！？]")}
_NUMBERED = re.compile(r"\d+\.")
_POINT = re.compile(r"\*\*\d[^\n]")
_SENTENCE_GAP = re.compile(r"(?<!\w\.\w.)(?<![A-Z][a-z]\.)(?<=\.|\?)\s")


def rule_for(kind: str, source: str, example_id: int, lang: Lang) -> Rule | None:
    """The rule that decides this item, None where the judge does."""
    if kind == "example":
        return lambda answer, target, level: matches_template(answer, target)
    if kind == "format" and example_id in (22, 30):
        if lang == "zh" and example_id == 30:
            return None  # neither rule nor judge: see `FollowBench.items`
        return _format_22(lang) if example_id == 22 else _format_30
    return (_ENGLISH if lang == "en" else _CHINESE).get(source)


def matches_template(answer: str, target: str) -> bool:
    """The answer is the template with anything on one line in the place of `{answer}`."""
    template = target.replace("{instruction}\n", "")
    template = template.replace("{{", "{").replace("}}", "}").replace("{answer}", ".*")
    first, *others = template.split(".*")
    if not answer.startswith(first):
        return False
    if not others:
        return answer == first
    at = len(first)
    for piece in others[:-1]:
        place = answer.find(piece, at)
        if place < 0 or "\n" in answer[at:place]:
            return False
        at = place + len(piece)
    end = len(answer) - len(others[-1])
    return at <= end and answer.endswith(others[-1]) and "\n" not in answer[at:end]


def _sentences(answer: str, lang: Lang) -> list[str]:
    """What stands between full stops, exclamation and question marks, empty texts left out. A
    space after the last full stop counts as one."""
    return [sentence for sentence in _ENDS[lang].split(answer) if sentence]


def _has_word(answer: str, word: str) -> bool:
    return re.search(rf"\b{re.escape(word)}\b", answer) is not None


def _first(*conditions: Callable[[str], bool]) -> Rule:
    """All of the first `level` conditions; later ones are not tried where an earlier one fails."""
    return lambda answer, target, level: all(met(answer) for met in conditions[:level])


def _equal(answer: str, target: str, level: int) -> bool:
    return answer == target


def _lines_of_target(answer: str, target: str, level: int) -> bool:
    return set(answer.split("\n")) <= set(target.split("\n"))


def _one_of(answer: str, target: str, level: int) -> bool:
    return answer in ast.literal_eval(target)


def _contained(answer: str, target: str, level: int) -> bool:
    return target in answer


def _last_match(pattern: str) -> Rule:
    """The last match of the pattern is the reference."""
    compiled = re.compile(pattern)

    def rule(answer: str, target: str, level: int) -> bool:
        return compiled.findall(answer)[-1:] == [target]

    return rule


_CNN_ZH = ("波特", "演员", "电影")
_SHARED: dict[str, Rule] = {
    "E2E": _equal,
    "text_editing": _equal,
    "WIKIEVENTS": _lines_of_target,
    "CONLL2003": _one_of,
    "self_made_space": _contained,
    "BBH_logical": _last_match(r"\([A-Z]\)"),
    "BBH_time": _last_match(r"\d{2}/\d{2}/\d{4}"),
}

_ENGLISH: dict[str, Rule] = {
    **_SHARED,
    "gsm_8k": _last_match(r"\$\d+"),
    "cnn_dailymail": _first(
        lambda a: len(_sentences(a, "en")) == 3,
        lambda a: all(len(s.split()) < 15 for s in _sentences(a, "en")),
        lambda a: all(map(_has_word, _sentences(a, "en"), ("Potter", "actor", "films"))),
        lambda a: not _has_word(_sentences(a, "en")[1], "lavish"),
        lambda a: re.search(r"\b(?:has|have)\s+\w", _sentences(a, "en")[2]) is not None,
    ),
    "xsum": _first(
        lambda a: len(_sentences(a, "en")) == 1,
        lambda a: len(a.split(" ")) < 20,
        lambda a: not _has_word(a, "Newton Stewart"),
        lambda a: re.search(r"\b(?:am|is|are)\s+\w+ing\b", a) is not None,
        lambda a: _has_word(a, "operation"),
    ),
    "samsum": _first(
        lambda a: len(_sentences(a, "en")) == 1,
        lambda a: len(a.split(" ")) < 15,
        lambda a: _has_word(a, "stuff"),
        lambda a: re.search("procrast", a, re.IGNORECASE) is None,
        lambda a: sum(1 for char in a if char in _EN_MARKS) == 1,
    ),
    "gigaword": _first(
        lambda a: len(a.split(" ")) == 8,
        lambda a: not any(char in _EN_MARKS for char in a),
        str.islower,
        lambda a: not _has_word(a, "bus"),
        lambda a: _has_word(a, "in"),
    ),
    "arxiv": _first(
        lambda a: len(_sentences(a, "en")) == 1,
        lambda a: len(a.split(" ")) <= 20,
        lambda a: a.startswith("We"),
        lambda a: _has_word(a, "activations"),
        lambda a: not _has_word(a, "transformer"),
    ),
}

_CHINESE: dict[str, Rule] = {
    **_SHARED,
    "gsm_8k": _last_match(r"\d+美元"),
    "cnn_dailymail": _first(
        lambda a: len(_sentences(a, "zh")) == 3,
        lambda a: all(len(s) < 15 for s in _sentences(a, "zh")),
        lambda a: all(w in p for p, w in zip(_sentences(a, "zh"), _CNN_ZH, strict=True)),
        lambda a: "奢侈" not in _sentences(a, "zh")[1],
        lambda a: "了" in _sentences(a, "zh")[2],
    ),
    "xsum": _first(
        lambda a: len(_sentences(a, "zh")) == 1,
        lambda a: len(a) < 20,
        lambda a: "牛顿斯图尔特" not in a,
        lambda a: "在" in a,
        lambda a: "操作" in a,
    ),
    "samsum": _first(
        lambda a: len(_sentences(a, "zh")) == 1,
        lambda a: len(a) < 15,
        lambda a: "琐碎的" in a,
        lambda a: "拖沓的" not in a,
        lambda a: sum(1 for char in a if char in _ZH_MARKS) == 1,
    ),
    "gigaword": _first(
        lambda a: len(a) == 8,
        lambda a: not any(char in _ZH_MARKS for char in a),
        lambda a: not any(map(str.isnumeric, a)),
        lambda a: "公交车" not in a,
        lambda a: "在" in a,
    ),
    "arxiv": _first(
        lambda a: len(_sentences(a, "zh")) == 1,
        lambda a: len(a) <= 20,
        lambda a: a.startswith("我们"),
        lambda a: "激活" in a,
        lambda a: "transformer" not in a,
    ),
}


def _format_22(lang: Lang) -> Rule:
    """Three paragraphs (at level 5 a fourth: the closing words), short, of long sentences, each
    with its number."""
    closing = "Those are suggestions" if lang == "en" else "这些是建议"
    size: Callable[[str], int] = (lambda s: len(s.split())) if lang == "en" else len

    def rule(answer: str, target: str, level: int) -> bool:
        paragraphs = answer.split("\n\n")
        if len(paragraphs) != (4 if level == 5 else 3):
            return False
        conditions: list[Callable[[], bool]] = [
            lambda: True,
            lambda: all(len(_sentences(p, lang)) < 3 for p in paragraphs[:3]),
            lambda: all(size(s) > 20 for s in _sentences(answer, lang)),
            lambda: all(_NUMBERED.match(stripped) for p in paragraphs if (stripped := p.lstrip())),
            lambda: answer.endswith(closing),
        ]
        return all(met() for met in conditions[:level])

    return rule


def _points(answer: str) -> int:
    """How many times a bold digit stands before a colon of its line: `**1. Water**:`."""
    points = 0
    for line in answer.split("\n"):
        head = _POINT.search(line)
        while head and (colon := line.find(":", head.end())) >= 0:
            points += 1
            head = _POINT.search(line, colon + 1)
    return points


def _format_30(answer: str, target: str, level: int) -> bool:
    """Five bold keywords with a number, short points, sentences of 10 to 15 words. (The benchmark
    forbids words that end in "-ly", hyphen included, and so almost none.)"""
    sentences = _SENTENCE_GAP.split(answer)
    points = [s for s in sentences if any(f"{n}." in s for n in range(1, 6))]
    conditions = [
        "**" in answer,
        _points(answer) == 5,
        all(len(s.split(".")) < 3 for s in points),
        all(10 <= len(s.split()) <= 15 for s in sentences),
        not any(word.endswith("-ly") for s in sentences for word in s.split()),
    ]
    return all(conditions[:level])
