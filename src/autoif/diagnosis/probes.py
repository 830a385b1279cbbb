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

from autoif.base.records import Case
from autoif.diagnosis.chinese import expected
from autoif.diagnosis.reading import GAP, STOP, Reading, in_order
from autoif.diagnosis.stated import stated
from autoif.diagnosis.strict import keyed, strict

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


@dataclass(frozen=True, slots=True)
class Probes:
    """Indices into `texts`, by purpose."""

    texts: list[str]
    terms: list[str]  # what the instruction quotes, and the constants of the sources
    pool: list[int]  # real replies in the language of the instruction
    other: list[int]  # real replies in the other language
    made: list[int]  # built from the words of the instruction and the constants of the sources
    empty: list[int]
    copies: list[int]
    joined: list[int]  # two positive cases put together, in three ways
    cases: list[tuple[int, bool]]
    variants: list[tuple[str, int, int]]  # kind, text, the same text changed
    expected: list[tuple[int, bool]]  # Chinese texts of which the instruction says what they are
    stated: list[tuple[int, bool]]  # texts that follow or break the words of the instruction
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
    samples: Sequence[Sequence[str]] = (),
    replies: Sequence[str] = (),
) -> Probes:
    """strings, numbers: the constants of all sources. samples: of each pattern of theirs, texts
    that match. replies: more real ones, of a run."""
    texts: dict[str, int] = {}

    def add(more: Iterable[str]) -> list[int]:
        return [texts.setdefault(text, len(texts)) for text in more]

    def add_labelled(more: Iterable[tuple[str, bool]]) -> list[tuple[int, bool]]:
        return [(add([text])[0], label) for text, label in more]

    mine, others = ("zh", "en") if reading.zh else ("en", "zh")
    real = add([*pool(mine), *replies])
    other = add(pool(others))
    labelled = add_labelled((case.text, case.expected) for case in cases)
    terms = terms_of(reading, strings)
    all_numbers = list(dict.fromkeys([*reading.numbers, *numbers]))
    matching = dict.fromkeys(_matching(reading, samples, all_numbers))
    made = add([*matching, *list(dict.fromkeys(_made(reading, terms, all_numbers)))[:MOST_MADE]])
    few = [n for n in all_numbers if 1 < n <= 12][:4]
    text = reading.text.lower()
    named = sorted((t for t in terms if t.isalpha() and t.lower() in text),
                   key=lambda t: text.find(t.lower()))  # fmt: skip
    bound = add(t for keys in (reading.quoted, named) for t in keyed(keys, few, reading.zh))
    made += [*bound, *add(strict(terms, in_order(reading.text), few, reading.zh))]
    empty = add(EMPTY)
    copies = add([reading.text, reading.text.rstrip(".。")]) if reading.text else []
    expected_, stated_ = add_labelled(expected(reading)), add_labelled(stated(reading))
    positive = [index for index, label in labelled if label][:8]
    negative = [index for index, label in labelled if not label][:8]
    bases = [*positive, *negative, *made[: MOST_BASES - len(positive)], *bound]
    joined = add(_joined([case.text for case in cases if case.expected][:4], reading.zh))
    by_index = list(texts)
    variants = [
        (kind, base, add([text])[0])
        for base in dict.fromkeys(bases)
        for kind, text in _variants(by_index[base], reading)
    ]
    return Probes(
        list(texts), terms, real, other, made, empty, copies, joined, labelled, variants,
        expected_, stated_, list(_slow(reading.zh)),
    )  # fmt: skip


# ---- texts made for the instruction ------------------------------------------------------------


def terms_of(reading: Reading, strings: Sequence[str]) -> list[str]:
    """What is quoted in the instruction or stands in the sources, patterns made plain."""
    terms = list(reading.quoted)
    for text in strings:
        plain = re.sub(r"\\[bsSwWdDAZ][*+?]?|[\^$]", "", text)
        plain = re.sub(r"\\(\W)", r"\1", plain)
        if re.search(r"\[[^\]]{0,200}\][+*?{]|\.[*+]|\(\?", plain):
            continue  # a pattern, whatever is left of it
        if plain.strip() and (plain == text or not re.search(r"[\\()\[\]{}|*+?]", plain)):
            terms.append(plain)
    return list(dict.fromkeys(terms))[:MOST_TERMS]


def _made(reading: Reading, terms: list[str], numbers: Sequence[int]) -> Iterator[str]:
    counts = [n for n in numbers if 0 < n <= 2000]
    bases = BASES[reading.zh]
    lone, two, text, _ = bases
    lines, gap = text.split("\n"), GAP[reading.zh]
    if reading.structural:
        yield from _laid_out(terms, counts, reading.zh)
    for term in terms:
        yield from (f"{lone}{gap}{term}", f"{term}{gap}{lone}", term)
        yield f"{lone}{gap}{term}{gap}{lone}."
        yield from (f"{two}\n{term}", f"{term}\n{two}", f"{two}\n\n{term}", f"## {term}\n\n{two}")
        yield "\n".join(f"{term}{line}" for line in lines)
        yield "\n".join(f"{term} {line}" for line in lines)
        yield "\n".join(f"{line.rstrip('.。')}{term}" for line in lines)
        yield from (f"{term}{two}{term}", f"{lone}{gap}{term.upper()}")
        for n in [n for n in counts if n <= 12][:4]:
            yield gap.join([lone, *[term] * n])
            yield "\n".join(f"{line}{gap}{term}" for line in [lone] * n)
    for one, other in pairwise(terms):
        yield f"{one}{two}{other}"
        yield f"{one} {text}\n{other}"
    if terms:
        yield from (gap.join(terms * n) for n in (1, *counts[:3]) if n <= 12)
        yield "\n".join(f"{term} {lone}" for term in terms)
    yield from _shapes(bases)
    for n in counts:
        more = 2 * n + 1 if n <= 300 else n + 1
        for m in (n, n + 1, n - 1, more) if n <= 60 else (n, more):
            yield from _sized(m, reading.zh)


def _laid_out(terms: Sequence[str], counts: Sequence[int], zh: bool) -> Iterator[str]:
    """Objects, tables, lists and blocks of so many items."""
    line = BASES[zh][0]
    if terms:
        yield json.dumps(dict.fromkeys(terms, line), ensure_ascii=False)
    few = [n for n in counts if n <= 12][:3]
    for n in few:
        row = "| a " * n + "|"
        yield "\n".join([row, "|---" * n + "|", *[row] * 3])
        yield "\n".join(f"{i}. {line}" for i in range(1, n + 1))
        yield "\n".join([f"- {line}"] * n)
        yield json.dumps([line] * n, ensure_ascii=False)
        yield from ("\n\n".join(["\n".join([line] * m)] * n) for m in few if m != n)


def _matching(
    reading: Reading, samples: Sequence[Sequence[str]], numbers: Sequence[int]
) -> Iterator[str]:
    """What the sources look for: each alone, several of one kind, one of each kind."""
    lone, gap = BASES[reading.zh][0], GAP[reading.zh]
    counts = [n for n in numbers if 1 < n <= 8]
    for texts in samples:
        one, other = texts[0], texts[-1]
        yield from (one, f"{lone}{gap}{one}", f"{other}\n{lone}", f"{lone}\n{one}")
        for n in counts:
            yield from (gap.join([lone, *texts[:n]]), "\n".join(texts[:n]))
            yield "\n".join([*texts[:4]] * n)
    firsts = [texts[0] for texts in samples]
    yield from (gap.join(firsts), "\n".join(firsts))


def _shapes(bases: Sequence[str]) -> Iterator[str]:
    lone, two, text, paragraphs = bases
    lines = text.split("\n")
    yield from (lone.lower(), lone.upper(), two.lower(), two.upper(), lone.title())
    yield paragraphs.upper()
    yield from (f"{lone}?", f"{lone}？", f"{lone}!", f"{lone}！", f"{lone}...", f"{lone}……")
    yield from (f'"{two}"', f"“{two}”", f"({two})", f"（{two}）", f"**{two}**")
    yield f"<<{lone}>>\n\n{two}"
    yield from (f"```\n{two}\n```", f"# {lone}\n\n{two}", f"{two}\n\nP.S. {lone}", f"{two} #note")
    yield from ("\n".join(f"{mark}{line}" for line in lines)
                for mark in ("- ", "* ", "• ", "> ", "# "))  # fmt: skip
    yield "\n".join(f"{n}. {line}" for n, line in enumerate(lines, 1))
    yield "\n".join(sorted(("apple", "banana", "cherry", "date")))
    yield "\n".join(("date", "cherry", "banana", "apple"))
    yield from ("1, 2, 3, 4", "10 20 30", "7", "3.14", "2024-05-01", "12:30", "a@b.org", "35%")
    yield json.dumps({"answer": lone, "reason": two}, ensure_ascii=False)
    yield json.dumps([lone, two], ensure_ascii=False)
    yield "The quick brown fox jumps over the lazy dog."


def _joined(texts: Sequence[str], zh: bool) -> Iterator[str]:
    """Three ways to put each two together: side by side, as two sentences, as two lines."""
    for one, other in pairwise(texts):
        yield one + GAP[zh] + other
        yield one.rstrip(" .。") + STOP[zh] + GAP[zh] + other
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
            yield GAP[zh].join([*[sentence] * (n - 1), more])
        yield "\n".join([sentence] * n)
        yield "\n\n".join([sentence] * n)
        yield "\n".join([f"- {sentence}"] * n)
        yield "\n".join([f"* {sentence}"] * n)
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
    # No word twice: a function that stops at the first repetition goes through all of it.
    yield " ".join("".join("bdfklmnprst"[n // 11**k % 11] + "aeiou"[k] for k in range(3))
                   for n in range(600))  # fmt: skip
    for unit, end in MONOTONOUS:
        yield unit * (400 // len(unit)) + end
