# ruff: noqa: SIM905 -- a list of words reads as words
"""What the benchmarks' counting types count, and the demands on such a count.

The count is the benchmark's own, found by asking its checker; beside it stands the count that a
person would write. Where the two say different things of a demand, the text says nothing of it:
nobody means a difference between two ways to count words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache, partial
from itertools import chain, combinations

from autoif.base.language import CJK_RANGE
from autoif.constraints.checkers import CHECKERS
from autoif.constraints.text import sentences

Count = Callable[[str], int | None]  # None: the usual ways to count part here
Demand = Callable[[str], bool | None]  # whether a text follows; None: it says nothing
TEXTS = 4096  # that are remembered
INF = float("inf")
MOST = 40  # of what is counted one by one
LEAST = 2  # "at least one" and "no" of most units are other demands, and no benchmark's

_END = re.compile(r"[.!?。！？…][\"'”’)*_]*$")
_BETWEEN = re.compile(r"(?<=[.!?。！？])[\"'”’)]*+\s*+(?=\S)")
_CHARACTER = re.compile(f"[{CJK_RANGE}]")
_STARS = re.compile(r"^[^\S\n]*+\*\s|\*{3}", re.MULTILINE)
_FOREIGN = re.compile(r"[^\W\d_a-zA-Z\u00c0-\u024f]")
_BLANK_LINE = re.compile(r"\n\s*\n")
_MARK = re.compile(r"[ \t]*([*•+◎-])(?=[^*])")
_PERSONAL = frozenset(
    (
        "i you he she it we they me him her us them my your his its our their mine yours ours "
        "theirs hers myself yourself himself herself itself ourselves themselves"
    ).split()
)
_FANBOYS = frozenset("for and nor but or yet so".split())


def demands(terms: Sequence[str], numbers: Sequence[int], zh: bool) -> Iterator[tuple[str, Demand]]:
    """Each type with each demand on its count: n or more, n or fewer, exactly n, from n to m."""
    for name, native, plain, least in chain(_units(zh), map(_remembered, _of_terms(terms))):
        for low, high in bounds(numbers, least, exactly=name == "count:numbers"):
            ranged = name == "length_constraints:number_words" and -INF < low < high < INF
            demand = partial(_within, native, plain, low, high)
            yield ("count:word_count_range" if ranged else name), demand


def _within(native: Count, plain: Count, low: float, high: float, text: str) -> bool | None:
    one, other = native(text), plain(text)
    if one is None or other is None or (low <= one <= high) is not (low <= other <= high):
        return None
    return low <= one <= high


Unit = tuple[str, Count, Count, int]  # type, the benchmark's count, a person's, the least n


def bounds(numbers: Sequence[int], least: int, exactly: bool) -> Iterator[tuple[float, float]]:
    """What may be demanded of a count, as the least and the most: n or more, n or fewer, exactly n,
    from n to m, for each number and its neighbours."""
    some = sorted({m for n in numbers for m in (n - 1, n, n + 1) if m >= max(least, 0)})
    for n in some:
        if n or not least:
            yield n, n
        if not exactly:
            if n >= least and n:
                yield n, INF
            yield -INF, n
    for a, b in combinations(sorted({n for n in numbers if n >= 1}), 2):
        if not exactly:
            yield from ((a, b), (a + 1, b - 1), (a, b - 1), (a + 1, b))


# ---- units -------------------------------------------------------------------------------------


def _remembered(unit: Unit) -> Unit:
    """Many demands are made on a count, and most texts come again with the next verifier."""
    name, native, plain, least = unit
    remember = lru_cache(maxsize=TEXTS)
    counted = remember(native)
    return name, counted, counted if plain is native else remember(plain), least


@cache
def _units(zh: bool) -> list[Unit]:
    return [_remembered(unit) for unit in _of_any_text(zh)]


def _of_any_text(zh: bool) -> Iterator[Unit]:
    for name, native, plain, least in _all_units(zh):
        speaks = partial(_in_script, zh)
        yield name, partial(_where, speaks, native), partial(_where, speaks, plain), least


def _where(speaks: Callable[[str], bool], count: Count, text: str) -> int | None:
    return count(text) if speaks(text) else None


def _in_script(zh: bool, text: str) -> bool:
    """Words and sentences of other scripts are cut up in as many ways as there are functions."""
    return bool(_CHARACTER.search(text)) if zh else not _FOREIGN.search(text)


def _all_units(zh: bool) -> Iterator[Unit]:
    number_words = _most("length_constraints:number_words", "num_words", 4096, relation="at least")
    if zh:
        characters = partial(_matches, _CHARACTER)
        yield "length_constraints:number_words", characters, characters, 1
    yield "length_constraints:number_words", number_words, lambda text: len(text.split()), 1
    yield "length_constraints:number_sentences", _sentences, _plain_sentences, 1
    stars = _first("length_constraints:number_paragraphs", "num_paragraphs")
    yield "length_constraints:number_paragraphs", stars, stars, LEAST
    yield "length_constraints:number_paragraphs", _paragraphs, _paragraphs, LEAST
    bullets = _first("detectable_format:number_bullet_lists", "num_bullets")
    yield "detectable_format:number_bullet_lists", bullets, bullets, LEAST
    for mark in "*-•+◎":
        count = partial(_marked, mark)
        yield "detectable_format:number_bullet_lists", count, count, LEAST
    highlights = _most("detectable_format:number_highlighted_sections", "num_highlights", MOST)
    for pattern in (r"(?<!\*)\*[^*\n]+\*(?!\*)", r"\*\*[^*\n]+\*\*", r"\*{1,2}[^*\n]+\*{1,2}"):
        plain = partial(_highlights, re.compile(pattern))
        yield "detectable_format:number_highlighted_sections", plain, plain, LEAST
        yield "detectable_format:number_highlighted_sections", highlights, plain, LEAST
    yield (
        "detectable_content:number_placeholders",
        _most("detectable_content:number_placeholders", "num_placeholders", MOST),
        partial(_matches, re.compile(r"\[[^\[\]\n]+\]")),
        LEAST,
    )
    yield (
        "change_case:capital_word_frequency",
        _most("change_case:capital_word_frequency", "capital_frequency", MOST,
              capital_relation="at least"),
        partial(_matches, re.compile(r"\b[A-Z]{2,}\b")),
        LEAST,
    )  # fmt: skip
    yield "count:unique_word_count", _most("count:unique_word_count", "N", 1024), _different, LEAST
    yield "count:conjunctions", _most("count:conjunctions", "small_n", 9), _conjunctions, LEAST
    names = _most("count:person_names", "N", 51)
    yield "count:person_names", names, names, LEAST
    yield "count:pronouns", _most("count:pronouns", "N", 256), _pronouns, LEAST
    yield "count:numbers", _first("count:numbers", "N"), _numbers, 1
    for length in (3, 4, 5):
        palindromes = partial(_palindromes, length)
        yield "words:palindrome", palindromes, palindromes, LEAST
    yield "words:vowel", _vowels, _vowels, 1
    yield "format:parentheses", _depth, _depth, LEAST
    yield "words:repeats", _repeats, _repeats, 1


def _of_terms(terms: Sequence[str]) -> Iterator[Unit]:
    for term in terms:
        if len(term) == 1 and term.isalpha():
            letters = partial(_letters, term.lower())
            yield "keywords:letter_frequency", letters, letters, 0
        if len(term) > 1 and re.search(r"[^\W\d_]", term) and not re.search("[<>{}#=:]", term):
            often = partial(_matches, re.compile(re.escape(term), re.IGNORECASE))
            whole = re.compile(rf"(?<!\w){re.escape(term)}(?!\w)", re.IGNORECASE)
            as_word = often if _CHARACTER.search(term) else partial(_matches, whole)
            yield "keywords:frequency", often, as_word, 1
        if len(term) > 2 and term.isalpha():
            sections = _most(
                "detectable_format:multiple_sections", "num_sections", MOST,
                section_spliter=re.escape(term),
            )  # fmt: skip
            yield "detectable_format:multiple_sections", sections, sections, LEAST
    names = [re.compile(rf"\b{re.escape(t)}\b") for t in terms if t.istitle() and t.isalpha()]
    if len(names) > 2:
        named = partial(_present, names)
        yield "count:person_names", named, named, LEAST


def _most(name: str, argument: str, most: int, **others: object) -> Count:
    """The largest number with which an "at least" checker accepts."""

    def count(text: str) -> int:
        low, high = 0, 1
        holds = CHECKERS[name]
        while high <= most and holds(text, **{argument: high}, **others):
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            if holds(text, **{argument: middle}, **others):
                low = middle
            else:
                high = middle
        return low

    return count


def _first(name: str, argument: str) -> Count:
    """The number with which an "exactly" checker accepts, if there is one."""
    holds = CHECKERS[name]
    return lambda text: next((n for n in range(MOST) if holds(text, **{argument: n})), None)


def _matches(pattern: re.Pattern[str], text: str) -> int:
    return len(pattern.findall(text))


def _present(patterns: Sequence[re.Pattern[str]], text: str) -> int:
    return sum(1 for pattern in patterns if pattern.search(text))


def _letters(letter: str, text: str) -> int:
    return text.lower().count(letter)


def _sentences(text: str) -> int | None:
    if _CHARACTER.search(text):
        return _plain_sentences(text)
    return len(sentences(text))


def _plain_sentences(text: str) -> int | None:
    """Where each line is prose that ends in a mark."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    mixed = _CHARACTER.search(text) and re.search("[.!?]", text)
    if mixed or not lines or not all(_END.search(line) for line in lines):
        return None
    return sum(len(_BETWEEN.findall(line)) + 1 for line in lines)


def _paragraphs(text: str) -> int | None:
    """Between blank lines."""
    if "***" in text:
        return None
    return sum(1 for paragraph in _BLANK_LINE.split(text) if paragraph.strip())


def _marked(mark: str, text: str) -> int | None:
    """Lines with this bullet, where there is no other."""
    marks = [found[1] for line in text.splitlines() if (found := _MARK.match(line))]
    return len(marks) if set(marks) <= {mark} else None


def _numbers(text: str) -> int | None:
    """Where each stands alone."""
    return (
        None if re.search(r"\d[^\s\d.]|[^\s\d]\d|\d\.\d", text) else len(re.findall(r"\d+", text))
    )


def _highlights(pattern: re.Pattern[str], text: str) -> int | None:
    """Where stars stand for nothing else."""
    return None if _STARS.search(text) else len(pattern.findall(text))


def _different(text: str) -> int:
    return len(set(re.findall(r"[\w'-]+", text.lower())))


def _conjunctions(text: str) -> int:
    return len(_FANBOYS & set(re.findall(r"\w+", text.lower())))


def _pronouns(text: str) -> int:
    return sum(word in _PERSONAL for word in re.findall(r"\w+", text.lower()))


def _palindromes(length: int, text: str) -> int:
    words = re.findall(r"\w+", text.lower())
    return sum(1 for word in words if len(word) >= length and word == word[::-1])


def _vowels(text: str) -> int:
    return len(set(text.lower()) & set("aeiou"))


def _depth(text: str) -> int:
    depth = deepest = 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        deepest = max(deepest, depth)
    return deepest if depth == 0 else 0


def _repeats(text: str) -> int | None:
    """Where each word is one to everybody: no digits, no lone marks."""
    if re.search(r"\d|(?<!\S)\W+(?!\S)", text):
        return None
    words = re.findall(r"[\w'-]+", text.lower())
    return max(map(words.count, set(words)), default=0)
