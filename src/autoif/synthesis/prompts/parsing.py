"""What a model's answer means: JSON, code, a score, a word. Tolerant; None where it is not there.

Answers are untrusted text. Nothing here evaluates or compiles them; Python literals (`True`, single
quotes) are read by a small scanner of our own, since `ast.literal_eval` of a large hostile answer
can exhaust the stack or the memory of the process that calls it.
"""

from __future__ import annotations

import json
import re
import unicodedata
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


_LONGEST = 4000  # characters: a score stands at the end of what a judge writes
_SCALES = (5, 10, 20, 50, 100)  # what a score may be out of; 3/3 counts something
_NUMBER = r"(?P<n>[-+]?\d++(?:\.\d++)?)(?:\s*(?:/|out\s+of)\s*(?P<of>\d++)|\s*(?P<percent>%))?"
_VALUE = re.compile(
    rf"\W*?{_NUMBER}(?!\s*(?:[-~]|to\b|到|至)\s*\d|\.?\d|e\d|\s+(?:would|means|is)\b)"
)
_ALONE = re.compile(rf"\W*?{_NUMBER}(?:\s*(?:points?|stars?|分))?\W*")
_LAST = re.compile(rf"(?<![A-Za-z\d.+-]){_NUMBER}(?:\s*(?:points?|stars?|分))?\W*\Z")
_FRACTION = re.compile(
    r"(?<![A-Za-z\d.+-])(?P<n>\d++(?:\.\d++)?)\s*(?:/|out\s+of)\s*(?P<of>\d++)(?P<percent>)"
)
_GIVES = re.compile(r"\b(?:score|rating|grade|rate|give)\b|[得打给评总]", re.IGNORECASE)
_LABEL = re.compile(r"\b(?:score|rating|grade)\b|分", re.IGNORECASE)
_PLAIN = re.compile(
    r"\W*(?:(?:so|thus|the|my|your|a|this|its)\W+)*+(?:score|rating|grade|[得评打]?分数?)\W*", re.I
)
_OVERALL = re.compile(r"\b(?:overall|final|total)\b|总|综合|最终|最后|整体", re.IGNORECASE)
_EQUALS = re.compile(r"[:=]|\bis\b|为|是", re.IGNORECASE)
_SCALE = re.compile(  # "on a scale of 0 to 10", "0-10", "/10", "out of 10"
    r"(?:\b(?:on|using)\s+)?(?:\b(?:a|the)\s+)?(?:\bscale\s+)?(?:\b(?:of|from)\s+|从)?"
    r"(?:(?<![\d.])\d++\s*(?:[-~]|to|到|至)|/|\bout\s+of|\bmax\w*|满分)\s*(\d++)",
    re.IGNORECASE,
)
_NO_CLAIM = re.compile(  # of the scale, or of what would have been
    r"\b(?:max\w*|min\w*|perfect|full|highest|lowest|best|worst|possible|scale|range|threshold|if|"
    r"unless|not|never|cannot|no|should|could|might)\b|n't\b"
    r"|满分|最高|最低|及格|范围|如果|若|不",
    re.IGNORECASE,
)
_ASIDE = re.compile(r"\(([^()]*+)\)|\[([^\[\]]*+)\]")
_CLAUSE = re.compile(r"\n|[.!?;,](?=\s|$)|\|")
_SIGNS = str.maketrans("−–—，；。！？、", "---\n\n\n\n\n\n")


def parse_score(answer: str) -> float | None:
    """0-10: what a judge gives the whole, last: `Score: 9`, 8.5, 9/10, 85/100, {"score": 9}.

    What it says of the scale, as in "Score (0-10): 9", is no score, nor is that of a part where
    there is one for the whole. None where nothing is given, several things, or more than 10.
    """
    value = parse_json(answer) if "{" in answer else None
    entries = "\n".join(_entries("", value)) if isinstance(value, dict) else ""
    for text in (entries, _unmarked(answer[-_LONGEST:])):
        claims = list(_claims(text))
        if claims:
            rank = max(rank for rank, _ in claims)
            values = [value for r, value in claims if r == rank]
            sure = rank > 1 or len(set(values)) == 1
            return values[-1] if sure else None
    return None


def _entries(above: str, values: dict[str, Any]) -> Iterator[str]:
    """The numbers and texts of a JSON object as lines "label: value"."""
    for key, value in values.items():
        label = f"{above} {key}".replace("_", " ")
        if isinstance(value, dict):
            yield from _entries(label, value)
        elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
            yield f"{label}: {str(value)[:100]}"


def _unmarked(text: str) -> str:
    """Without emphasis, tags and tables; of an aside stays what it says of the scale."""
    text = unicodedata.normalize("NFKC", text.translate(_SIGNS))
    text = re.sub(r"\\boxed\{([^{}\n]*+)\}", r"\nfinal score: \1\n", text)
    text = re.sub(r"<(\w++)>([^<\n]*+)</\w++>", r"\n\1: \2\n", text)
    text = re.sub(r"^[ \t]*+\|([^|\n]*+)\|([^|\n]*+)\|", r"\1: \2|", text, flags=re.MULTILINE)
    text = re.sub(r"[*`#$\"]+", "", text).replace("_", " ")
    for _ in range(2):  # [[9]]
        text = _ASIDE.sub(lambda match: _aside(match[1] or match[2] or ""), text)
    return re.sub(r":\s*+\n\s*+(?=[-+]?\d)", ": ", text)


def _aside(text: str) -> str:
    scale = None if _ALONE.fullmatch(text) else _SCALE.search(text)
    return f" /{scale[1]} " if scale else text if _ALONE.fullmatch(text) else " "


def _claims(text: str) -> Iterator[tuple[int, float | None]]:
    """Scores with a rank: 5 the overall score, 4 the score, 3 what is overall, 2 a line that is a
    number, 1 the score of something, 0 a number that is given in a sentence. None for a score that
    is out of its scale."""
    lines = [line for line in text.splitlines() if line.strip()]
    for line in (lines[:1], lines[-1:]):
        if line and (number := _ALONE.fullmatch(line[0])):
            yield from _claim(2, number, None)
    for clause in _CLAUSE.split(text):
        equals = _EQUALS.search(clause)
        head = clause[: equals.start()] if equals else ""
        scale = _SCALE.search(head)
        head = _SCALE.sub(" ", head)
        label, overall = _LABEL.search(head), _OVERALL.search(head)
        number = _VALUE.match(clause, equals.end()) if equals else None
        if _NO_CLAIM.search(head if number else clause):
            continue
        if number and (label or overall):
            rank = (5 if label else 3) if overall else 4 if _PLAIN.fullmatch(head) else 1
            yield from _claim(rank, number, scale)
            continue
        given = [*_FRACTION.finditer(clause)]
        if _GIVES.search(clause) and (last := _LAST.search(clause)):
            given.append(last)
        for number in given:
            yield from _claim(0, number, None)


def _claim(
    rank: int, number: re.Match[str], scale: re.Match[str] | None
) -> Iterator[tuple[int, float | None]]:
    of = int(number["of"] or (scale[1] if scale else 0) or (100 if number["percent"] else 10))
    if of in _SCALES:
        value = 10 * float(number["n"]) / of
        yield rank, value if 0 <= value <= 10 else None


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
    """The items of a list: lines headed by "- ", "* ", "1." or "1)"; a JSON list of strings too.

    They stand as proposed, but for marks around the whole of one: "Use a comma." **Use a comma.**
    """
    if answer.lstrip().startswith(("[", "```", "{")):
        value = parse_json(answer)
        if isinstance(value, dict):
            value = next((v for v in value.values() if isinstance(v, list)), None)
        if isinstance(value, list):
            return [v.strip() for v in value if isinstance(v, str) and v.strip()]
    items = (match[1] for line in answer.splitlines() if (match := _ITEM.match(line.strip())))
    return [bare for item in items if (bare := _unwrapped(item))]


_ITEM = re.compile(r"(?:-(?!-)|\*(?=\s)|[•·]|\d{1,3}(?:[.)](?!\d)|、))\s*(.+)")
_PAIRS = [(mark, mark) for mark in ("***", "___", "**", "__", "*", "_", '"', "'", "`")]
_PAIRS += [("“", "”"), ("‘", "’"), ("「", "」"), ("『", "』"), ("«", "»"), ("„", "“")]


def _unwrapped(item: str) -> str:
    """Without up to three pairs of marks that enclose all of it. One quoted word at its beginning
    and another at its end are no pair."""
    text = item.strip()
    for _ in range(3):
        for start, end in _PAIRS:
            inner = text[len(start) : -len(end)]
            if f"{start}{inner}{end}" == text and _whole(inner, start, end):
                text = inner
                break
    return text


def _whole(inner: str, start: str, end: str) -> bool:
    """Whether no mark within closes the first: they come in pairs of their own. An apostrophe is
    no mark."""
    if not inner.strip() or inner != inner.strip():
        return False
    inner = re.sub(r"(?<=\w)['’](?=\w)", "", inner)
    if start == end:  # *a **b** c*
        return start not in inner.replace(2 * start, "") and inner.count(2 * start) % 2 == 0
    depth = 0
    for mark in inner:
        depth += (mark == start) - (mark == end)
        if depth < 0:
            return False
    return depth == 0


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
