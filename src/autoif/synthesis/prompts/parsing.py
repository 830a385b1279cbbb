"""What a model's answer means: JSON, code, a score, a word. Tolerant; None where it is not there.

Answers are untrusted text. Nothing here evaluates or compiles them; Python literals (`True`, single
quotes) are read by a small scanner of our own, since `ast.literal_eval` of a large hostile answer
can exhaust the stack or the memory of the process that calls it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from autoif.base.code import code_defining, fenced_blocks

MAX_ANSWER = 64_000  # characters; a longer answer is no answer

_PYTHON_WORDS = {"True": "true", "False": "false", "None": "null"}
_TOKEN = re.compile(
    r"""(?P<triple>\"\"\".*?\"\"\"|'''.*?''')
      | (?P<double>"(?:[^"\\]++|\\.)*+")
      | (?P<single>'(?:[^'\\]++|\\.)*+')
      | (?P<escape>\\.)
      | (?P<word>\b(?:True|False|None)\b)
      | (?P<comma>,(?=\s*[\]}]))""",
    re.DOTALL | re.VERBOSE,
)


def parse_json(answer: str, *, tolerant: bool = True) -> Any | None:
    """The JSON value of an answer: bare or fenced; if tolerant, amid prose or spelt as Python."""
    if len(answer) > MAX_ANSWER:
        return None
    fenced = fenced_blocks(answer)
    for text in [*fenced, answer]:
        value = _loads(text.strip())
        if value is not None:
            return value
    if not tolerant:
        return None
    spans = [_outermost(text) for text in [*fenced, answer]]
    for text in filter(None, spans):
        for candidate in (text, _unpythoned(text)):
            value = _loads(candidate, strict=False)
            if value is not None:
                return value
    return None


def parse_code(answer: str, function: str) -> str | None:
    """The source that defines `function`: bare, fenced, or a text within JSON."""
    if len(answer) > MAX_ANSWER:
        return None
    for text in (*fenced_blocks(answer), answer):
        if text.lstrip().startswith(("{", "[")) and (source := _code_in_json(text, function)):
            return source
    return code_defining(answer, function) or _code_in_json(answer, function)


def _code_in_json(text: str, function: str) -> str | None:
    sources = (code_defining(value, function) for value in _texts(parse_json(text)))
    return next(filter(None, sources), None)


def _texts(value: Any) -> Iterator[str]:
    """All texts within a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


_NUMBER = r"(\d{1,3}(?:\.\d+)?)"
_SCORE = re.compile(
    rf"(?:score|rating|评分|得分|分数)\W{{0,12}}(?:is|of|为|是)?\W{{0,6}}{_NUMBER}"
    rf"(?:\s*(?:/|out\s+of|分?\s*[/／])\s*{_NUMBER})?",
    re.IGNORECASE,
)
_BARE = re.compile(
    rf"^\W*{_NUMBER}(?:\s*(?:/|out\s+of)\s*{_NUMBER})?\s*(?:points?|分)?\W*$", re.IGNORECASE
)


def parse_score(answer: str) -> float | None:
    """0-10: the last `Score: N` (8.5, 9/10, **9**, 85/100 too), else a number as the last line."""
    match = next(reversed(list(_SCORE.finditer(answer[-4000:]))), None)
    if match is None:
        lines = [line for line in answer[-4000:].splitlines() if line.strip()]
        match = _BARE.match(lines[-1]) if lines else None
    if match is None:
        parsed = parse_json(answer) if "{" in answer else None
        value = parsed.get("score") if isinstance(parsed, dict) else None
        return _in_range(value, None) if isinstance(value, (int, float)) else None
    return _in_range(float(match[1]), float(match[2]) if match[2] else None)


def _in_range(score: float, scale: float | None) -> float | None:
    if scale and scale != 10:
        score = 10 * score / scale
    return float(score) if 0 <= score <= 10 else None


_RELATIONS = {
    "entailment": "entailment",
    "yes": "entailment",
    "neutral": "neutral",
    "partly": "neutral",
    "contradiction": "contradiction",
    "no": "contradiction",
    "不一致": "contradiction",
    "部分一致": "neutral",
    "一致": "entailment",
}
_RELATION = re.compile(
    r"\b(?:entailment|yes|neutral|partly|contradiction|no)\b|不一致|部分一致|一致"
)


def parse_relation(answer: str) -> str | None:
    """entailment, neutral or contradiction: the first that the answer names, or None."""
    match = _RELATION.search(answer.lower())
    return _RELATIONS[match[0]] if match else None


_YES = re.compile(r"\b(yes|no)\b|(不能|不可以|不行)|(能|可以)")


def parse_yes(answer: str) -> bool | None:
    """The first yes or no of an answer, in English or Chinese; None where there is neither."""
    match = _YES.search(answer.lower())
    if not match:
        return None
    return match[1] == "yes" or bool(match[3])


def parse_lines(answer: str) -> list[str]:
    """The items of a list: lines headed by "- ", "* ", "1." or "1)"; a JSON list of strings too."""
    if answer.lstrip().startswith(("[", "```", "{")):
        value = parse_json(answer)
        if isinstance(value, dict):
            value = next((v for v in value.values() if isinstance(v, list)), None)
        if isinstance(value, list):
            return [v.strip() for v in value if isinstance(v, str) and v.strip()]
    items = re.findall(r"^[ \t]*(?:[-*•]|\d{1,3}[.)、])[ \t]*(.+)$", answer, re.MULTILINE)
    return [clean for item in items if (clean := item.strip().strip('"“”').strip("*").strip())]


def _loads(text: str, *, strict: bool = True) -> Any | None:
    if not text:
        return None
    try:
        value = json.loads(text, strict=strict)
        if _SURROGATE.search(text):
            value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
        return value
    except (ValueError, RecursionError):
        return None


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # a lone one is no text: no file can hold it


def _outermost(text: str) -> str | None:
    """From the first bracket to the last one of its kind."""
    starts = [i for i in (text.find("{"), text.find("[")) if i >= 0]
    if not starts:
        return None
    start = min(starts)
    end = text.rfind("}" if text[start] == "{" else "]")
    return text[start : end + 1] if end > start else None


def _unpythoned(text: str) -> str:
    """Python literals as JSON: words, quotes, trailing commas; what is in strings stays."""

    def replace(match: re.Match[str]) -> str:
        token = match[0]
        if match["escape"]:
            return token
        if match["double"]:
            return re.sub(r"(?<!\\)((?:\\\\)*)\\'", r"\1'", token)  # \' is no escape in JSON
        if match["word"]:
            return _PYTHON_WORDS[token]
        if match["comma"]:
            return ""
        inner = token[3:-3] if match["triple"] else token[1:-1]
        plain = re.sub(r"\\(['\"])", r"\1", inner)
        # Escapes other than quotes mean the same in JSON, so only quotes need new ones.
        return '"' + re.sub(r'(?<!\\)"', r"\"", plain) + '"'

    return _TOKEN.sub(replace, text)
