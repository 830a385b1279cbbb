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
_NUMBER = (
    r"(?P<n>[-+]?\d++(?:\.\d++)?)(?:\s*(?:/|(?:out\s+)?of\b)\s*(?P<of>\d++)|\s*(?P<percent>%))?"
)
_VALUE = re.compile(
    rf"[^\w<>≤≥]*?{_NUMBER}"
    r"(?!\s*(?:[-~/]|to\b|or\b|到|至|或)\s*\d|\.?\d|e\d|\s+(?:would|means|is)\b)"
)
_ALONE = re.compile(rf"\W*?{_NUMBER}(?:\s*(?:points?|stars?|分))?\W*")
_LAST = re.compile(rf"(?<![A-Za-z\d.+<>≤≥/-]){_NUMBER}(?:\s*(?:points?|stars?|分))?\W*\Z")
_FRACTION = re.compile(
    r"(?<![A-Za-z\d.+<>≤≥/-])(?P<n>\d++(?:\.\d++)?)\s*(?:/|out\s+of)\s*(?P<of>\d++)(?P<percent>)"
    r"(?!\s*/)"
)
# Before a number: the other end of a range, or what makes a date of 9/10.
_RANGE_OR_DATE = re.compile(
    r"(?:\d\s{0,2}(?:[-~]|to|or|and|到|至|或)|\b(?:on|by|dated?|since|until|before|after):?)\s*\Z",
    re.IGNORECASE,
)
_GIVES = re.compile(r"\b(?:score|rating|grade|rate|give)\b|[得打给评总]", re.IGNORECASE)
_LABEL = re.compile(r"\b(?:score|rating|grade)\b|分", re.IGNORECASE)
_PLAIN = re.compile(
    r"\W*(?:(?:so|thus|the|my|your|a|this|its)\W+)*+(?:score|rating|grade|[得评打]?分数?)\W*", re.I
)
_OVERALL = re.compile(
    r"\b(?:overall|final|total|revised|corrected|updated|adjusted)\b"
    r"|总|综合|最终|最后|整体|修正|更正|修改后|调整后",
    re.IGNORECASE,
)
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
_CLAUSE = re.compile(r"(\n|[.!?;,](?=\s|$)|\|)")
_IF = re.compile(r"(?<!even )\b(?:if|unless)\b|^\s*had\b|如果|假如|若", re.IGNORECASE)
_HAD = re.compile(r"\b(?:if|unless)\b.*\b(?:had|were|would)\b", re.IGNORECASE)
_SIGNS = str.maketrans("−–—；。！？、", "---\n\n\n\n\n") | {ord("，"): ",\n"}


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
    text = re.sub(r"<(\w++)>\s*+([^<\n]*+)\s*+</\w++>", r"\n\1: \2\n", text)
    text = re.sub(r"~~[^~\n]*+~~", " ", text)
    text = re.sub(r"(?<![\d.,])(\d{1,2}),(\d{1,2})(?![\d,])", r"\1.\2", text)
    # "6 -> 8" corrects the 6.
    text = re.sub(r"(?:(?<![\d.])\d[\d./]{0,6}\s{0,2})?(?:[-=]>|[→⇒])\s?", ": ", text)
    text = re.sub(r"([<>≤≥])\s(?=\d)", r"\1", text)
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
    clauses = [*_CLAUSE.split(text), "\n", "", ""]
    conditional = False
    for n in range(0, len(clauses) - 3, 2):
        clause, mark = clauses[n : n + 2]
        goes_on = mark == "," or not clause.strip() or clause.rstrip().endswith(":")
        unreal, conditional = conditional, goes_on and (conditional or bool(_IF.search(clause)))
        if unreal or _HAD.search(clause) or (mark == "," and _HAD.search(clauses[n + 2])):
            continue
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
            if not _RANGE_OR_DATE.search(clause[max(0, number.start() - 9) : number.start()]):
                yield from _claim(0, number, None)


def _claim(
    rank: int, number: re.Match[str], scale: re.Match[str] | None
) -> Iterator[tuple[int, float | None]]:
    of = int(number["of"] or (scale[1] if scale else 0) or (100 if number["percent"] else 10))
    if of in _SCALES:
        value = 10 * float(number["n"]) / of
        yield rank, value if 0 <= value <= 10 else None


_RELATION = (
    r"(?P<neutral>\b(?:neutral|partly|partially)\b|部分一致|不(?:完全|全|尽)一致)"
    r"|(?P<contradiction>\b(?:contradiction|no)\b|(?:不|并非)[^\W\d_]{0,3}一致)"
    r"|(?P<entailment>\b(?:entailment|yes)\b|一致(?!性))"
)
_YES = r"(?P<no>\bno\b|不可?能|不可以|不行|无法)|(?P<yes>\byes\b|(?<!可)能(?!否)|可以)"
_DENIED = re.compile(  # "not a contradiction"
    r"\b(?:not|no|than|nor)\s(?:an?\s|the\s)?(?:entailment|neutral|contradiction)\b"
    r"|(?:并非|不是)不[^\W\d_]{0,3}一致"
)
_ENDS = r"(?=[*_\"'`”)\] \t]*+(?:[.,;:!?。，；！\n]|\Z))"  # a clause


def parse_relation(answer: str) -> str | None:
    """entailment, neutral or contradiction, as the answer states it; None where it names none, or
    several and states none of them."""
    return _stated(answer, _RELATION)


def parse_yes(answer: str) -> bool | None:
    """The yes or no of an answer, in English or Chinese; None where there is neither, or both and
    neither is stated."""
    stated = _stated(answer, _YES)
    return stated == "yes" if stated else None


def chance_of_yes(answer: str) -> float | None:
    """0 to 1: the share of yes in what `Request.first_token` is answered with, or in a plain yes or
    no. None where it is neither."""
    chances = parse_json(answer) if answer.lstrip().startswith("{") else None
    if not isinstance(chances, dict):
        sure = parse_yes(answer)
        return None if sure is None else float(sure)
    agreed, denied = (
        sum(c for word, c in chances.items() if word == sign and isinstance(c, float))
        for sign in ("yes", "no")
    )
    if agreed and denied:
        return agreed / (agreed + denied)
    # One of the two is not among the likeliest: it has at most what the other one left.
    return agreed or (1 - denied if denied else None)


def _stated(answer: str, words: str) -> str | None:
    """The name of the group of words that an answer means: the last that stands alone behind a
    colon, "so" or "is"; else one alone at the beginning; else the only one that occurs."""
    text = _DENIED.sub(" ", unicodedata.normalize("NFKC", answer).lower())
    final = rf"(?:[:=]|\b(?:so|thus|hence|therefore|is|answer)\b|是|为)\W{{0,9}}(?:{words}){_ENDS}"
    if last := [match.lastgroup for match in re.finditer(final, text)]:
        return last[-1]
    if first := re.match(rf"\W*+(?:{words}){_ENDS}", text):
        return first.lastgroup
    names = {match.lastgroup for match in re.finditer(words, text)}
    return names.pop() if len(names) == 1 else None


def parse_lines(answer: str) -> list[str]:
    """The items of a list: lines headed by "- ", "* ", "1.", "1)" and the like, each with the lines
    below it that are indented more; a JSON list of strings, or of objects with one text each, too.

    They stand as proposed, but for marks around the whole of one: "Use a comma." **Use a comma.**
    """
    if answer.lstrip().startswith(("[", "```", "{")):
        value = parse_json(answer)
        if isinstance(value, dict):
            value = next((v for v in value.values() if isinstance(v, list)), None)
        if isinstance(value, list):
            return [text.strip() for v in value if (text := _only_text(v)).strip()]
    items: list[str] = []
    margin = MAX_ANSWER  # of the item above, where the next line can belong to it
    for line in answer.splitlines():
        text, indent = line.strip(), len(line) - len(line.lstrip())
        if text.startswith("**") and text.endswith("**"):  # **1. Use a comma.**
            text = _unwrapped(text)
        if item := _ITEM.match(text):
            items.append(item[1])
            margin = indent
        elif text and indent > margin:
            items[-1] += text if _wide(items[-1][-1]) else f" {text}"
        else:
            margin = MAX_ANSWER
    return [bare for item in items if (bare := _unwrapped(item))]


def _only_text(value: Any) -> str:
    texts = value.values() if isinstance(value, dict) else [value]
    texts = [text for text in texts if isinstance(text, str)]
    return texts[0] if len(texts) == 1 else ""


def _wide(character: str) -> bool:
    """Whether it is of a script that has no space at the end of a line."""
    return unicodedata.east_asian_width(character) in "WF"


_COUNT = r"(?:\d{1,3}|[一二三四五六七八九十]{1,3}|[a-z]|[ivx]{2,4})"
_COUNTED = (
    rf"\d{{1,3}}(?:[.)．）](?!\d)|、)|[一二三四五六七八九十]{{1,3}}[、.．]|[(（]{_COUNT}[)）]"
    rf"|{_COUNT}[.)](?=\s)|[①-⑳]|\*\*\d{{1,3}}[.)]\*\*"
)
_BULLET = r"-(?![-\d])|[*+–—](?=\s)|[•·●▪◦‣■]"
_ITEM = re.compile(  # "- 1. x" and "1. - x" have two markers; what "-5" begins with is a minus
    rf"(?:(?:{_BULLET})(?:\s*(?:{_COUNTED})(?=\s))?|(?:{_COUNTED})(?:\s*(?:{_BULLET})(?=\s\w))?"
    r"|(?=-\d))\s*(?:\[[ xX✓]\]\s+)?(.+)"
)
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
