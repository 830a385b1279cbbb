"""Demands of the benchmarks' other types: a checker with its arguments filled in, or a likeness.

A likeness stands where a benchmark has one task in mind (multiples of 7) and the type is the kind
of task (multiples of k), or where its checker looks at words of its own list. Where the usual
readings of a demand part, the text says nothing of it and the verdict is None: one sentence follows
every demand on neighbouring sentences.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, lru_cache, partial
from itertools import pairwise

from autoif.base.errors import SetupError, UsageError
from autoif.base.language import CJK
from autoif.constraints.checkers import CHECKERS, bind
from autoif.constraints.counts import TEXTS, Demand
from autoif.constraints.langid import language
from autoif.constraints.text import sentences
from autoif.constraints.trial_texts import OWN, REPLIES, languages

_PLAIN_WORDS = re.compile(r"[a-zA-Z\u00c0-\u024f\s.,!?']+")
_KEYWORD = re.compile(r"[\w\s'’.,!?-]+")
# Whoever knows a language by its small words mistakes it for one of these.
_NEAR = ("es pt it fr de nl sv", "zh ja")


def forms(
    terms: Sequence[str], numbers: Sequence[int], kinds: Mapping[str, str], zh: bool
) -> Iterator[tuple[str, Demand]]:
    """Type and demand; terms and numbers fill the arguments. kinds: of all texts."""
    yield from _plain(zh)
    for code in sorted({*languages().values()} - {"mixed"}):
        yield "language:response_language", _in_language(code, kinds)
    letters = [t for t in terms if len(t) > 1 and any(map(str.isalpha, t))]
    marks = [t for t in terms if not any(map(str.isalnum, t)) and t.strip()]
    words = [t for t in terms if any(map(str.isalpha, t))]
    yield from _of_terms(letters, words, marks, numbers)
    yield from _of_numbers([n for n in numbers if n > 0])


# ---- no arguments ------------------------------------------------------------------------------

# Types without arguments, each with the texts of which its readings speak alike.
_WHERE: dict[str, Callable[[str], bool]] = {}


def _where(*names: str) -> Callable[[Callable[[str], bool]], Callable[[str], bool]]:
    def enter(speaks: Callable[[str], bool]) -> Callable[[str], bool]:
        _WHERE.update(dict.fromkeys(names, speaks))
        return speaks

    return enter


@_where(
    "ratio:sentence_type", "ratio:sentence_balance", "ratio:sentence_words", "words:last_first",
    "sentence:alliteration_increment", "custom:sentence_alphabet",
)  # fmt: skip
def _several_sentences(text: str) -> bool:
    return len(sentences(text)) > 1 and "\n" not in text


@_where("format:line_indent")
def _several_lines(text: str) -> bool:
    return sum(1 for line in text.split("\n") if line.strip()) > 1


@_where(
    "format:newline", "words:alphabet", "words:no_consecutive", "words:odd_even_syllables",
    "words:consonants", "words:prime_lengths", "format:title_case",
    "words:paragraph_last_first",
)  # fmt: skip
def _several_words(text: str) -> bool:
    return bool(_PLAIN_WORDS.fullmatch(text)) and len(text.split()) + text.count("\n") > 1


@_where("format:sub-bullets")
def _bulleted(text: str) -> bool:
    return bool(re.search(r"^[^\S\n]*+\*", text, re.MULTILINE)) and "**" not in text


@_where("format:quote_unquote")
def _quoting(text: str) -> bool:
    return text.count('"') > 1


@_where("startend:quotation")
def _straight(text: str) -> bool:
    return not re.search("[“”'`]", text) and text.count('"') in (0, 1, 2)


@cache
def _plain(zh: bool) -> list[tuple[str, Demand]]:
    """Most texts come again with the next verifier."""
    return [(name, lru_cache(maxsize=TEXTS)(follows)) for name, follows in _without_arguments(zh)]


def _without_arguments(zh: bool) -> Iterator[tuple[str, Demand]]:
    for name in CHECKERS:
        try:
            holds = bind(name, {})
        except UsageError:
            continue  # it takes arguments
        except SetupError:
            continue  # its model is not on this machine: words decide
        if name in LIKENESSES:
            yield from ((name, likeness) for likeness in LIKENESSES[name])
            continue
        speaks = _WHERE.get(name)
        yield name, holds if speaks is None else _spoken(holds, speaks)
    if zh:
        yield "punctuation:no_comma", lambda text: not set(",，") & set(text)


def _spoken(holds: Callable[[str], bool], speaks: Callable[[str], bool]) -> Demand:
    return lambda text: holds(text) if speaks(text) else None


def _in_language(code: str, kinds: Mapping[str, str]) -> Demand:
    def holds(text: str) -> bool | None:
        spoken = languages().get(text)
        if spoken is None and sum(map(str.isalpha, text)) > 20:
            if kinds[text] == OWN:
                spoken = (language(text.lower()) or "").partition("-")[0]
            elif kinds[text] == REPLIES and text.isascii():
                spoken = "en"
        if not spoken or (spoken != code and any({spoken, code} <= set(n.split()) for n in _NEAR)):
            return None
        return spoken == code

    return holds


def _capital(text: str) -> bool | None:
    """English goes unasked: letters beyond ASCII say nothing."""
    return text == text.upper() if text.isascii() and re.search("[A-Za-z]{2}", text) else None


def _lowercase(text: str) -> bool | None:
    return text == text.lower() if text.isascii() and re.search("[A-Za-z]{2}", text) else None


def _json(text: str) -> bool | None:
    """An object: lists, numbers and fences are read in two ways."""
    text = text.strip()
    if text.startswith(("[", "```")):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True if isinstance(value, dict) and value else None


def _emoji(text: str) -> bool | None:
    """After each mark that ends a sentence stands a picture; before it is read in two ways."""
    ends = re.findall(r"(\S?)\s?[.!?]+\s*(\S?)", text)
    if len(ends) < 2:
        return None
    if all(_picture(after) for _, after in ends):
        return True
    return None if all(_picture(before) or _picture(after) for before, after in ends) else False


def _picture(char: str) -> bool:
    return bool(char) and ord(char) > 0x2190 and not char.isalnum()


def _in_order(backwards: bool, text: str) -> bool | None:
    lines = [line.strip().lower() for line in text.split("\n") if line.strip()]
    if len(lines) < 3 or len(set(lines)) < len(lines):
        return None
    return lines == sorted(lines, reverse=backwards)


def _dates(text: str) -> bool:
    return all(re.fullmatch(r"\d{4}-\d\d-\d\d", entry.strip()) for entry in text.split(","))


def _equal_sentences(text: str) -> bool | None:
    lengths = [len(s.strip()) for s in sentences(text)]
    return len(set(lengths)) == 1 if len(lengths) > 1 else None


LIKENESSES: dict[str, tuple[Demand, ...]] = {
    "change_case:english_capital": (_capital,),
    "change_case:english_lowercase": (_lowercase,),
    "detectable_format:json_format": (_json,),
    "detectable_format:title": (CHECKERS["detectable_format:title"],),
    "format:emoji": (_emoji, CHECKERS["format:emoji"]),
    "custom:reverse_newline": (
        partial(_in_order, True),
        partial(_in_order, False),
        CHECKERS["custom:reverse_newline"],
    ),
    "custom:date_format_list": (_dates, CHECKERS["custom:date_format_list"]),
    "ratio:sentence_words": (_equal_sentences,),
}


# ---- words and marks ---------------------------------------------------------------------------


def _of_terms(
    letters: Sequence[str], words: Sequence[str], marks: Sequence[str], numbers: Sequence[int]
) -> Iterator[tuple[str, Demand]]:
    few = [n for n in numbers if 0 < n < 40]
    labels = [t.strip() for t in letters if t.strip().endswith((":", "："))]
    if len(labels) > 1:
        yield "format:output_template", _all_of(labels)
    for marker in ("P.S.", "P.P.S", "PS"):
        yield "detectable_content:postscript", _postscript(marker)
    for many in _lists([t for t in letters if _KEYWORD.fullmatch(t)]):
        yield "keywords:existence", _all_of(many)
    for many in _lists(words):
        yield "keywords:forbidden_words", _none_of(many)
    for term in letters:
        yield "startend:end_checker", _ends_in(term)
        placed = bind("words:words_position", {"keyword": term})
        yield "words:words_position", _spoken(placed, lambda text: len(text.split()) > 3)
        for n in few:
            yield "sentence:keyword", _in_sentence(term, n)
            for m in few if n > 1 else [m for m in few if m > 1]:  # else the head of the text
                arguments = {"keyword": term, "n": n, "m": m}
                yield (
                    "words:keywords_specific_position",
                    _bound("words:keywords_specific_position", arguments),
                )
                if m <= n > 1:
                    yield (
                        "length_constraints:nth_paragraph_first_word",
                        _opens_paragraph(term, n, m),
                    )
            if n > 1:
                yield "length_constraints:nth_paragraph_first_word", _opens_paragraph(term, 0, n)
        if term.strip().endswith("?") and len(term.split()) > 3:
            yield (
                "combination:repeat_prompt",
                _bound("combination:repeat_prompt", {"prompt_to_repeat": term}),
            )
        if len(term.split()) > 3:
            yield "repeat:repeat_simple", partial(_is, term)
        yield "custom:character_reverse", _all_of([term[::-1]])
    for many in _lists(letters):
        if len(many) > 1:
            sentences_ = all(len(t.split()) > 1 for t in many)
            name = "detectable_format:constrained_response" if sentences_ else "format:options"
            yield name, _one_of(many)
            for counts in ((1, 2, 3, 5, 7), (1, 2, 3, 4, 5), tuple(few)):
                yield "count:keywords_multiple", _so_often(many, counts)
            listed = {t.lower() for t in many}
            for n in numbers:
                yield "ratio:stop_words", _share(listed, n)
    for mark in marks:
        yield "format:list", _listed(mark)
    single = [mark for mark in marks if len(mark) == 1 and mark in ".,;:?!"]
    if len(single) > 3:
        yield "count:punctuation", lambda text: set(single) <= set(text)


def _lists(terms: Sequence[str]) -> Iterator[Sequence[str]]:
    """Each term, and all that stand together from the first on."""
    yield from ([term] for term in terms)
    yield from (terms[:n] for n in range(2, len(terms) + 1))
    yield from (terms[n:] for n in range(1, len(terms) - 1))


def _bound(name: str, arguments: dict[str, object]) -> Demand:
    try:
        return bind(name, arguments)
    except UsageError:
        return lambda text: None


def _bare(text: str) -> str:
    return text.strip().strip(".!\"'“”").strip().lower()


def _all_of(terms: Sequence[str]) -> Demand:
    holds = _bound("keywords:existence", {"keywords": [re.escape(t) for t in terms]})
    whole = [re.compile(rf"(?<!\w){re.escape(t)}(?!\w)", re.IGNORECASE) for t in terms]
    if any(CJK.search(t) for t in terms):
        return holds

    def both(text: str) -> bool | None:
        one = holds(text)
        return one if one == all(w.search(text) for w in whole) else None

    return both


def _none_of(terms: Sequence[str]) -> Demand:
    if any(CJK.search(t) for t in terms):
        return lambda text: not any(t in text for t in terms)
    holds = _bound("keywords:forbidden_words", {"forbidden_words": [re.escape(t) for t in terms]})
    long = [t.lower() for t in terms if len(t) > 3]  # short ones stand in too many words

    def both(text: str) -> bool | None:
        one = holds(text)
        return one if one == (not any(t in text.lower() for t in long)) or not one else None

    return both


def _ends_in(phrase: str) -> Demand:
    holds = _bound("startend:end_checker", {"end_phrase": phrase})
    bare = _bare(phrase)

    def both(text: str) -> bool | None:
        one = holds(text)
        return one if one == _bare(text).endswith(bare) else None

    return both


def _postscript(marker: str) -> Demand:
    """Near the end, at the head of a line: there all readings agree."""
    holds = _bound("detectable_content:postscript", {"postscript_marker": marker})
    at_head = re.compile(rf"^{re.escape(marker)}.+\Z", re.MULTILINE | re.IGNORECASE)

    def both(text: str) -> bool | None:
        one = holds(text)
        return one if one == bool(at_head.search(text.strip())) else None

    return both


def _in_sentence(term: str, n: int) -> Demand:
    holds = _bound("sentence:keyword", {"word": term, "N": n})

    def spoken(text: str) -> bool | None:
        return holds(text) if text and text.rstrip()[-1:] in ".!?" and "\n" not in text else None

    return spoken


def _opens_paragraph(term: str, paragraphs: int, nth: int) -> Demand:
    """The nth paragraph opens with the word; so many in all, or any number of them."""

    def holds(text: str) -> bool | None:
        if "***" in text or re.search(r"\n\n\n|(?<!\n)\n(?!\n)", text):
            return None
        own = [p for p in text.split("\n\n") if p.strip()]
        if len(own) < nth or (paragraphs and len(own) != paragraphs):
            return False
        word = re.match(r"\W*([\w'-]*)", own[nth - 1])
        return word is not None and word[1].lower() == term.lower()

    return holds


def _is(term: str, text: str) -> bool:
    return _bare(text) == _bare(term)


def _one_of(terms: Sequence[str]) -> Demand:
    """Nothing but one of them. Whether its case and last mark may differ is read in two ways."""
    bare = {_bare(t) for t in terms}

    def holds(text: str) -> bool | None:
        return True if text.strip() in terms else None if _bare(text) in bare else False

    return holds


def _so_often(terms: Sequence[str], counts: Sequence[int]) -> Demand:
    if len(terms) > len(counts):
        return lambda text: None
    wanted = list(zip([t.lower() for t in terms], counts, strict=False))
    return lambda text: all(text.lower().count(term) == n for term, n in wanted)


def _share(listed: set[str], percentage: int) -> Demand:
    def holds(text: str) -> bool | None:
        words = re.findall(r"[\w']+", text.lower())
        return sum(w in listed for w in words) * 100 <= percentage * len(words) if words else None

    return holds


def _listed(mark: str) -> Demand:
    """At least two lines, each with this mark in front; dots, dashes and stars are mere bullets."""
    if mark.strip() in ("-", "*", "•", "#", ">", "|", '"'):
        return lambda text: None

    def holds(text: str) -> bool | None:
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        marked = sum(line.startswith(mark.strip()) for line in lines)
        return None if 0 < marked < len(lines) or (text.count(mark) and not marked) else marked > 1

    return holds


# ---- numbers -----------------------------------------------------------------------------------


def _of_numbers(numbers: Sequence[int]) -> Iterator[tuple[str, Demand]]:
    for n in [n for n in numbers if n < 40]:
        yield "sentence:increment", _increment(n)
        yield "ratio:sentence_type", _ratio(n)
        yield "count:words_japanese", _bound("count:words_japanese", {"N": n})
    yield "ratio:sentence_type", _ratio(2)
    for n in numbers:
        yield "ratio:stop_words", _bound("ratio:stop_words", {"percentage": n})
        for low in numbers:
            for high in numbers:
                if 1 < n <= low < high and n < 20:
                    yield "custom:multiples", _multiples(n, low, high)
    few = [n for n in numbers if 1 < n < 30]
    for columns in {*few, *(n + 1 for n in few)}:
        for rows in few:
            yield "custom:csv_city", _csv(columns, rows, ",")
            yield "custom:csv_quotes", _csv(columns, rows, "\t")


def _increment(n: int) -> Demand:
    def holds(text: str) -> bool | None:
        own = sentences(text)
        if len(own) < 2 or "\n" in text:
            return None
        counts = [len(s.split()) for s in own]
        return all(b - a == n for a, b in pairwise(counts))

    return holds


def _ratio(n: int) -> Demand:
    """n statements to each question."""

    def holds(text: str) -> bool | None:
        ends = [s.rstrip()[-1:] for s in sentences(text)]
        if not ends.count("?") or "\n" in text:
            return None
        return ends.count(".") == n * ends.count("?")

    return holds


def _multiples(k: int, low: int, high: int) -> Demand:
    wanted = [str(n) for n in range(low, high + 1) if n % k == 0]
    return lambda text: re.findall(r"\d+", text) == wanted


def _csv(columns: int, rows: int, delimiter: str) -> Demand:
    def holds(text: str) -> bool | None:
        try:
            table = list(csv.reader(text.strip().splitlines(), delimiter=delimiter))
        except csv.Error:
            return False
        if not all(len(row) == columns for row in table):
            return False
        return len(table) == rows + 1

    return holds
