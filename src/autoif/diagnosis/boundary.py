"""Texts one small change away from a text that some function accepts.

Right and wrong functions agree on most texts, and differ where the line runs: one more or one less,
the word inside another word, another case, other marks, another order. Nothing here says which
verdict is right; several sources that know nothing of one another decide that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from autoif.diagnosis.reading import GAP

PREFIX = "mid"  # "midriver" has "river" in it and is another word
# Name of a unit, how it is cut, what joins it again: for Latin and for Chinese text.
UNITS = {
    False: (("sentence", r"(?<=[.!?])\s+", " "), ("line", r"\n+", "\n"),
            ("paragraph", r"\n\s*\n", "\n\n"), ("word", r" +", " ")),
    True: (("sentence", r"(?<=[。！？])", ""), ("line", r"\n+", "\n"),
           ("paragraph", r"\n\s*\n", "\n\n"), ("character", r"(?<=[\u4e00-\u9fff])", "")),
}  # fmt: skip
MARKS: tuple[tuple[str, str, str], ...] = (
    (r"[.。](?=\s*$)", "", "no full stop"),
    (r"[.!?](?=\s|$)", "!", "exclamation marks"),
    (r"[。！？]", "！", "exclamation marks"),
    (r'"', "”", "curly quotation marks"),
    (r"(?m)^(\s*)- ", r"\1* ", "other bullets"),
    (r"(?m)^(\s*\d+)\. ", r"\1) ", "other numbering"),
    (r"\n\s*\n", "\n", "no blank lines"),
    (r"(?<!\n)\n(?!\n)", "\n\n", "blank lines"),
)


def neighbours(text: str, terms: Sequence[str], zh: bool) -> Iterator[tuple[str, str]]:
    """What was changed, and the text. terms: what the instruction quotes, and the sources' strings.
    Deterministic; a change that leaves the text as it is, or empties it, is left out."""
    for change, other in _changes(text, terms, zh):
        if other != text and other.strip():
            yield change, other


def _changes(text: str, terms: Sequence[str], zh: bool) -> Iterator[tuple[str, str]]:
    for term in terms:
        if term.lower() in text.lower():
            yield from _of_term(text, term, zh)
    for name, between, joint in UNITS[zh]:
        pieces = [piece for piece in re.split(between, text.strip()) if piece.strip()]
        if len(pieces) > 1:
            yield f"one {name} less", joint.join(pieces[:-1])
            yield f"the first {name} last", joint.join([*pieces[1:], pieces[0]])
        yield f"one {name} more", joint.join([*pieces, *pieces[-1:]])
    yield from (("small letters", text.lower()), ("capitals", text.upper()))
    for pattern, mark, name in MARKS:
        yield name, re.sub(pattern, mark, text)


def _of_term(text: str, term: str, zh: bool) -> Iterator[tuple[str, str]]:
    occurs = re.compile(re.escape(term), re.IGNORECASE)
    *_, last = occurs.finditer(text)
    before, after = text[: last.start()], text[last.end() :]
    yield f"one {term!r} less", " ".join(f"{before}{after}".split(" "))
    yield f"one {term!r} more", f"{text}{GAP[zh]}{term}"
    yield f"{term!r} in the other case", occurs.sub(lambda m: _other_case(m[0]), text)
    yield f"{term!r} in bold", occurs.sub(lambda m: f"**{m[0]}**", text)
    if is_word(term):
        yield f"{term!r} inside another word", within(text, term, lambda word: PREFIX + word)
    elif " " in term.strip():
        yield f"a word within {term!r}", occurs.sub(lambda m: m[0].replace(" ", " then ", 1), text)


def _other_case(word: str) -> str:
    return word.lower() if word != word.lower() else word.upper()


# ---- a word, or letters -------------------------------------------------------------------------


def is_word(term: str) -> bool:
    """Whether it is one word of at least three letters, all of them Latin."""
    return bool(re.fullmatch(r"[A-Za-z]{3,}", term)) and term.lower() != turned(term.lower())


def within(text: str, term: str, change: Callable[[str], str]) -> str:
    """The text with each occurrence of the word changed."""
    pattern = rf"(?<![^\W_]){re.escape(term)}(?![^\W_])"
    return re.sub(pattern, lambda m: change(m[0]), text, flags=re.IGNORECASE)


def turned(word: str) -> str:
    """The same letters in another order: neither the word nor anything with the word in it."""
    return word[1:] + word[0]


def inside_pairs(text: str, term: str) -> Iterator[tuple[str, str]]:
    """Pairs of texts that differ in the order of the letters within one word, which is none of the
    instruction's: the word stands inside it in the first. Whoever looks for words finds no
    difference; for each text, one pair in place of the word and one beside it."""
    one, other = (PREFIX + letters for letters in (term, turned(term)))
    pair = within(text, term, lambda _: one), within(text, term, lambda _: other)
    if pair[0] != text:
        yield pair
    yield f"{text} {one}", f"{text} {other}"
