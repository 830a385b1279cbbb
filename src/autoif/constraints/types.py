"""Which constraint type of IFEval, IFBench or FollowBench an instruction states, by rule.

A model that was trained on a benchmark's own constraints, in whatever words, is measured by that
benchmark no longer. So what counts is what an instruction demands, not how it is put:
`data/constraint_rules.toml` names, for each of IFEval's 25 types, IFBench's 58 and FollowBench's
six kinds (`followbench:format`, ...), the concepts that meet in it, in English and Chinese.

A rule is a line: patterns joined by ` & `, all of which must match somewhere in the text, and
after ` ! ` what may not match. A pattern is a regular expression in which `{name}` stands for a
concept and ` ~ ` for a gap within a sentence. The first type with a rule that holds is the answer,
so the special ones stand before the general ones.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from autoif.base.errors import UsageError
from autoif.base.inputs import BUILTIN, read_rows
from autoif.base.language import CJK, CJK_RANGE

COLUMNS = ("text", "instruction", "constraint", "prompt")
GAPS = {False: 70, True: 14}  # characters between two concepts of a rule: Latin, Chinese

Rule = tuple[list[re.Pattern[str]], list[re.Pattern[str]], bool]  # all of, none of, quotes seen


def constraint_type(text: str) -> str:
    """The type, like `length_constraints:number_words`; "" where no benchmark states it.

    Where the whole says nothing each sentence is asked alone: what one demands may hide another.
    """
    return _stated(text, _rules())


def followbench_kind(text: str) -> str:
    """FollowBench's kind alone, like `followbench:style`: no program decides it."""
    return _stated(text, [rule for rule in _rules() if _is_followbench(rule[0])])


def checked_type(text: str) -> str:
    """The type of IFEval or IFBench alone."""
    return _stated(text, [rule for rule in _rules() if not _is_followbench(rule[0])])


def _stated(text: str, table: list[tuple[str, list[Rule]]]) -> str:
    whole = normalise(text)
    for piece in (whole, *_SENTENCE.split(whole)):
        hidden = masked(piece)
        asked = _REQUEST.sub("", hidden)
        for name, rules in table:
            for wanted, unwanted, quotes in rules:
                searched = piece if quotes else asked if _is_followbench(name) else hidden
                if all(p.search(searched) for p in wanted) and not any(
                    p.search(searched) for p in unwanted
                ):
                    return name
    return ""


def _is_followbench(name: str) -> bool:
    return name.startswith("followbench")


def marked(row: Mapping[str, Any], text: str) -> dict[str, Any]:
    """`benchmark_type` and `marked_by_hand` of an instruction. A mark by hand stands, "" too:
    somebody looked. Where there is none the rule decides, and later what the verifier does."""
    mark = row.get("benchmark_type")
    if isinstance(mark, str):
        return {"benchmark_type": mark, "marked_by_hand": row.get("marked_by_hand") is not False}
    return {"benchmark_type": constraint_type(text)}


def typed(source: str) -> Iterator[dict[str, Any]]:
    """A row `{"id", "type": str | None}` for each instruction of a file, in its order.

    Rows name their text `text`, `instruction`, `constraint` or `prompt`; in a plain text file each
    line is one. A row without an id gets its number, one with an empty text the type None. Raises
    UsageError for a file without rows, and for a row without such a text.
    """
    number = 0
    for number, (where, row) in enumerate(read_rows(source, COLUMNS[0]), 1):
        if not row.keys() & set(COLUMNS):
            raise UsageError(f"{where}: no {' or '.join(COLUMNS)}")
        texts = [row[name] for name in COLUMNS if row.get(name) is not None]
        if texts and not isinstance(texts[0], str):
            raise UsageError(f"{where}: its text is {texts[0]!r}, no text")
        stated = constraint_type(texts[0]) if texts and texts[0].strip() else ""
        yield {"id": row.get("id", number), "type": stated or None}
    if not number:
        raise UsageError(f"{source}: empty")


# ---- text --------------------------------------------------------------------------------------

_MARKS = {**dict.fromkeys(map(ord, "«「『"), "“"), **dict.fromkeys(map(ord, "»」』"), "”")}
_MARKS |= {**dict.fromkeys(map(ord, "‘’‚`´"), "'"), **dict.fromkeys(map(ord, "–—−‐‑"), "-")}
_MARKS |= {ord("„"): '"', ord("、"): ","}
_QUOTED = re.compile(r"""["“][^"”]{1,120}["”]|(?<![\w'])'[^']{1,80}'(?!\w)""")
_WORD = re.compile(rf"[^\W\d_]{{2}}|[{CJK_RANGE}]")
# ", and write at least two lines": gives the checker something to check; it is no constraint.
_ASIDE = re.compile(
    r"(?<=.{15})(?:[,;.:]| -|) (?:and )?(?:write|use|with|give|have) at least (?:two|three|one)"
    r"(?: (?:other|more|such|lines?|paragraphs?|sentences?|of them|between|them))*"
    r"|(?<=.{8})[,;。](?:全文|后面|并且|两行之间|两者之间|而且)?(?:至少)(?:再|还)?(?:写|有|分)?"
    r"[两二三一](?:个)?(?:行|段|句|自然段)"
)
# What a request is about: "Give me tips for growing tomatoes". FollowBench's kinds are put in the
# words of any request, so they are looked for behind it: in "..., each with an example".
_REQUEST = re.compile(
    r"(?:(?<=[.!?;] )|^)(?:please |can you |could you |i want you to )*(?:"
    r"(?:why|what|when|where|which|who|how|is|are|was|were|do|does|did|should)\b[^?.;]{8,}\?"
    r"|(?:write|draft|compose|(?:give|tell|show|teach|find|help) (?:me|us)|recommend|suggest|plan|"
    r"prepare|explain|describe|outline|compare|discuss)\b"
    r"(?: (?!(?:it|its|this|that|each|every|your|as|in|with|only|dialogue)\b)[\w'-]+)+?"
    r" (?:for|of|about|on|between|from|against|set in|in|how|why|what)"
    r"(?! (?:it|its|this|that|these|each|every|all|one|your|the (?:subject|topic|matter|text)|"
    r"(?:[\w'-]+ ){1,3}(?:styles?|manner|tone|voice|form|mood|tense|person|words?|sentences?)|"
    r"(?:[\w'-]+ ){0,3}(?:child\w*|kids?|beginners?|audience|readers?|[\w-]*year-olds?))\b)"
    r"(?: (?!(?:with|and|but|as|using|including|without|that|who|which|while)\b)[\w'-]+)+"
    r")"
    r"|(?:(?<=[。！？；])|^)(?:请|麻烦)?你?(?:(?:给|帮|为|替|教)(?:我|我们|客户))?(?:介绍|解释|推荐|比较|"
    r"讲讲|说说|谈谈|聊聊|怎么|怎样|如何|为什么|什么是)(?!.{0,3}(?:原因|理由|其|它|该|各|每|上述|以上|两者))"
    r"[^，。；,;]{4,}"
)
_SENTENCE = re.compile(r"(?<=[.!?;]) |(?<=。)")
_SEAM = re.compile(rf"(?<=[a-z])(?=[{CJK_RANGE}])|(?<=[{CJK_RANGE}])(?=[a-z])")
_THROUGH = re.compile(r"from the (?:very )?first(?: \w+)? to the (?:very )?last(?: \w+)?")


def normalise(text: str) -> str:
    """Small letters, plain quotation marks and dashes, one space where there was white space and
    between Latin and Chinese letters; without asides."""
    text = unicodedata.normalize("NFKC", text).translate(_MARKS).casefold().replace("{n}", "7")
    return _ASIDE.sub("", " ".join(_SEAM.sub(" ", text).split()))


def masked(plain: str) -> str:
    """Words in quotation marks become "q": which words they are does not change the type. Marks
    alone, and single letters, stay to be seen."""
    hidden = _QUOTED.sub(lambda match: '"q"' if _WORD.search(match[0]) else match[0], plain)
    return _THROUGH.sub("throughout", hidden)


# ---- the rules ---------------------------------------------------------------------------------


@cache
def _rules() -> list[tuple[str, list[Rule]]]:
    table = tomllib.loads((BUILTIN / "constraint_rules.toml").read_text("utf-8"))
    concepts: dict[str, str] = {}
    for name, words in table["concepts"].items():
        concepts[name] = _filled(words, concepts)
    types = table["types"].items()
    return [(name, [_rule(line, concepts) for line in lines]) for name, lines in types]


def _rule(line: str, concepts: dict[str, str]) -> Rule:
    quotes = line.startswith("raw ")
    required, _, forbidden = line.removeprefix("raw ").partition(" ! ")
    wanted = [_compiled(one, concepts) for one in required.split(" & ")]
    return wanted, [_compiled(forbidden, concepts, end="")] if forbidden else [], quotes


def _compiled(
    alternatives: str, concepts: dict[str, str], end: str = "(?![a-z0-9])"
) -> re.Pattern[str]:
    """Whole words; of what may not match, beginnings of words."""
    ways = []
    for way in _alternatives(alternatives):
        reach = GAPS[bool(CJK.search(way) or re.search(r"\{z\w+\}", way))]
        gap = rf"(?![a-z0-9])(?:(?![.!?;] )[^。\n]){{0,{reach}}}?(?<![a-z0-9])"
        ways.append(_UNBOUNDED.sub(_bounded, _filled(way, concepts)).replace(" ~ ", gap))
    return re.compile(rf"(?<![a-z0-9])(?:{'|'.join(ways)}){end}")


_UNBOUNDED = re.compile(r"(\\[wd]|(?<!\\)\])([*+])")


def _bounded(repeated: re.Match[str]) -> str:
    """No word is longer: a text of one character over and over is read in linear time."""
    return f"{repeated[1]}{{{int(repeated[2] == '+')},40}}"


def _filled(pattern: str, concepts: dict[str, str]) -> str:
    return re.sub(r"\{([a-z]+\d?)\}", lambda match: concepts[match[1]], pattern)


def _alternatives(alternatives: str) -> list[str]:
    """Cut at the bars that stand in no bracket."""
    ways, depth, start = [], 0, 0
    for at, char in enumerate(alternatives):
        escaped = at > 0 and alternatives[at - 1] == "\\"
        if char in "([" and not escaped:
            depth += 1
        elif char in ")]" and not escaped:
            depth -= 1
        elif char == "|" and not depth and not escaped:
            ways.append(alternatives[start:at])
            start = at + 1
    return [*ways, alternatives[start:]]
