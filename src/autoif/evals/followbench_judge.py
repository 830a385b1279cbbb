"""FollowBench's judge: what it is asked, and how its answer is read.

The wording of the question is the benchmark's own (Jiang et al., 2024, github.com/YJiangcm/
FollowBench, Apache-2.0), its slip of spelling included: a judge that is asked otherwise is another
judge, and its figures could not be set beside the published ones.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Literal, NamedTuple

Lang = Literal["en", "zh"]

_KINDS: dict[Lang, dict[str, str]] = {
    "en": {
        "content": "content constraint",
        "situation": (
            "situation constraint (information to describe a specific situation/background)"
        ),
        "style": "style constraint",
        "format": "format constraint",
        "mixed": "constraint",
    },
    "zh": {
        "content": "内容约束",
        "situation": "情景约束（描述特定情况/背景的信息）",
        "style": "风格约束",
        "format": "格式约束",
        "mixed": "约束",
    },
}


class _Wording(NamedTuple):
    """{n} is the number of constraints, {s} the plural's ending, {kind} their kind."""

    head_one: str
    head_many: str
    initial: str
    plus: str
    answer: str
    task_one: str
    task_many: str


_WORDINGS: dict[Lang, _Wording] = {
    "en": _Wording(
        head_one=(
            "Given an initial instruction, we add one {kind} and obtain the final instruction with "
            "1 additional constraint."
        ),
        head_many=(
            "Given an initial instruction, we add one {kind} per time and obtain the final "
            "instruction with {n} additional constraints."
        ),
        initial="#Initial Instruction#",
        plus="#Initial Instruction + {n} constraint{s}#",
        answer="#Answer of Initial Instruction + {n} constraint{s}#",
        task_one=(
            "#System#\n1) Please identify the 1 added constraint.\n"
            "2) Please descriminate if the #Answer of Initial Instruction + 1 constraint# "
            "satisfies the 1 added constraint.\n"
            "3) In the final line, only output a Python LIST with 1 element ('YES' or 'NO') "
            "indicating whether the answer satisfies the 1 added constraint."
        ),
        task_many=(
            "#System#\n1) Please identify all {n} added constraints.\n"
            "2) For the {n} added constraints, discriminate if the #Answer of Initial Instruction "
            "+ {n} constraints# satisfies each constraint.\n"
            "3) In the final line, only output a Python LIST with {n} elements ('YES' or 'NO') "
            "indicating whether the answer satisfies each constraint."
        ),
    ),
    "zh": _Wording(
        head_one="给定一个初始指令，我们添加一个{kind}，获得了有1个附加约束的最终指令。",
        head_many="给定一个初始指令，我们每次添加一个{kind}，获得了有{n}个附加约束的最终指令。",
        initial="#初始指令#",
        plus="#初始指令 + {n}个约束#",
        answer="#初始指令 + {n}个约束的答案#",
        task_one=(
            "#系统#\n1) 请识别出添加的1个约束。\n"
            "2) 请判断#初始指令 + 1个约束的答案#是否满足了添加的1个约束。\n"
            "3) 在最后一行，只输出一个包含1个元素（“YES”或“NO”）的Python列表，"
            "表明答案是否满足添加的一个约束。"
        ),
        task_many=(
            "#系统#\n1) 请识别出添加的{n}个约束。\n"
            "2) 对于添加的{n}个约束, 请判断#初始指令 + {n}个约束的答案#是否满足了每个约束。\n"
            "3) 在最后一行，只输出一个包含{n}个元素（“YES”或“NO”）的Python列表，"
            "表明答案是否满足添加的每一个约束。"
        ),
    ),
}

_LONGEST = 1000  # characters of a list of words
# All but YES mean that a constraint is not satisfied.
_WORDS = frozenset({"YES", "NO", "PARTIAL", "MAYBE", "UNKNOWN", "N/A"})


class JudgeVerdict(NamedTuple):
    """hard: all constraints satisfied. soft: the fraction satisfied."""

    hard: bool
    soft: float


def judge_prompt(kind: str, instructions: Sequence[str], answer: str, lang: Lang = "en") -> str:
    """What the judge is asked. `instructions`: the initial one, then one more constraint each."""
    level = len(instructions) - 1
    words = _WORDINGS[lang]
    head, task = words.head_many, words.task_many
    if level == 1:
        head, task = words.head_one, words.task_one

    def titled(title: str, n: int, text: str) -> str:
        return f"{title.format(n=n, s='s' if n > 1 else '')}\n{text}"

    return "\n\n".join(
        [
            head.format(kind=_KINDS[lang][kind], n=level),
            titled(words.initial, 0, instructions[0]),
            *(titled(words.plus, n, text) for n, text in enumerate(instructions[1:], 1)),
            titled(words.answer, level, answer),
            task.format(n=level),
        ]
    )


def parse_judge(output: str, level: int, lang: Lang = "en") -> JudgeVerdict | None:
    """The verdict on the last line, None where it cannot be read.

    Level 1: YES or else NO anywhere in the line. Above: a Python list of exactly `level` words,
    read as data and never run.
    """
    if lang == "zh":  # the question itself has curly quotes there
        output = output.replace("“", '"').replace("”", '"')
    last = output.strip("`").strip().split("\n")[-1]
    if level == 1:
        met = "YES" in last
        return JudgeVerdict(met, float(met)) if met or "NO" in last else None
    listed = last[max(last.find("["), 0) : last.rfind("]") + 1]
    try:
        words = ast.literal_eval(listed) if len(listed) < _LONGEST else None
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None
    if not isinstance(words, list) or len(words) != level:
        return None
    if not all(isinstance(word, str) and word in _WORDS for word in words):
        return None
    satisfied = words.count("YES")
    return JudgeVerdict(satisfied == level, satisfied / level)
