# ruff: noqa: SIM905 -- a list of words reads as words
"""Texts that tell constraint types apart: so many of each unit, a word in each place, and shapes.

Near a boundary there is one less, as many, one more; and each number of a unit comes in several
arrangements (sentences on one line, on lines of their own, in paragraphs), so that what counts
sentences and what counts lines differ. The words are plain: whoever counts them counts the same.
Nothing is drawn at random.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

from autoif.base.inputs import BUILTIN

OWN, REPLIES = "own", "replies"  # kinds of texts: brought with the verifier; of all shapes
MOST_NUMBERS, MOST_TERMS = 6, 8
FEW, MANY = 24, 700  # items of a list, words of a text

SENTENCES = {
    False: (
        "The museum opens at ten.", "Boats wait near the old bridge.", "Rain fell on Monday.",
        "Nobody knew the way back home.", "Fresh bread smells good.", "Our train left early.",
        "A small dog slept under the table.", "Winter came late this year.", "Birds sing at dawn.",
        "The green door stays shut.", "Some paths lead down to the sea.", "We walked home.",
    ),
    True: (
        "博物馆十点开门。", "小船停在旧桥旁边。", "星期一下了雨。", "没有人记得回家的路。",
        "新面包很香。", "火车开得很早。", "一只小狗睡在桌下。", "今年冬天来得晚。",
        "清晨鸟儿在唱歌。", "绿色的门关着。",
    ),
}  # fmt: skip
WORDS = (
    "garden river stone bridge lamp paper winter morning forest harbor copper silver window "
    "market kettle ladder basket candle thunder meadow pebble blanket feather ribbon pocket "
    "lantern orchard saddle mirror walnut"
).split()
CHARACTERS = "山水木火土日月星云风雨雪花草鸟鱼马牛羊门"
NAMES = "Emma Liam Sophia Noah Olivia Lucas Mia Ethan Chloe Daniel".split()
PRONOUNS = "he she it they we you him her them us".split()
FANBOYS = "and but or so yet for nor".split()
PALINDROMES = "level radar civic refer rotor kayak madam stats tenet solos minim rotator".split()
VOWELS = "aeiou"


@cache
def _shapes() -> dict[str, str]:
    """The shipped texts of unusual form, each with what it is."""
    lines = (BUILTIN / "shapes.jsonl").read_text("utf-8").splitlines()
    return {row["text"]: row["shape"] for row in map(json.loads, lines)}


@cache
def languages() -> dict[str, str]:
    """Those that are there for their language, with its code (ISO 639-1) or "mixed"."""
    return {
        text: shape.removeprefix("language ")
        for text, shape in _shapes().items()
        if shape == "mixed" or shape.startswith("language ")
    }


def trial_texts(
    terms: Sequence[str], numbers: Sequence[int], replies: Iterable[str], zh: bool
) -> dict[str, str]:
    """Each text once, with its kind. terms: words and marks that may matter; numbers: counts that
    may matter, both the likeliest first; replies: real ones."""
    terms, few = terms[:MOST_TERMS], [n for n in numbers if 0 < n <= FEW][:MOST_NUMBERS]
    sizes = sorted({m for n in few for m in (n - 1, n, n + 1, 2 * n + 1) if 0 < m <= FEW} | {1, 2})
    many = [n for n in numbers if 0 < n <= MANY][:MOST_NUMBERS]
    # Common marks are in all texts.
    placed = [term for term in terms if not set(term) <= set(".,;:!?'\"()- ")]
    kinds: dict[str, Iterable[str]] = {
        REPLIES: replies,
        "cases": _cases(SENTENCES[zh]),
        "shapes": _shapes(),
        "sizes": (text for m in sizes for text in _sized(m, zh)),
        "words": (
            text
            for n in many
            for m in (n - 1, n, n + 1, n // 2, 2 * n)
            for text in _of_words(m, zh)
        ),
        "terms": (text for term in placed for text in _with_term(term, sizes, zh)),
        "together": _with_terms(placed, few, zh),
        "counting": _counting([n for n in numbers if 0 < n < 1000]),
    }
    texts: dict[str, str] = {}
    for kind, made in kinds.items():
        for text in made:
            texts.setdefault(text, kind)
    return texts


def _said(m: int, zh: bool) -> list[str]:
    """m sentences; beyond those that there are, over again."""
    own = SENTENCES[zh]
    return [own[i % len(own)] for i in range(m)]


def _words(m: int) -> list[str]:
    return [WORDS[i % len(WORDS)] for i in range(m)]


def _gap(zh: bool) -> str:
    return "" if zh else " "


def _cases(sentences: Sequence[str]) -> Iterator[str]:
    """Case, quotation marks, commas and last marks."""
    one, text = sentences[0], " ".join(sentences[:4])
    for t in (one, text, "\n".join(sentences[:3]), f"{text}\n\n{one}"):
        yield from (f'"{one}" {t}', f'{t} "{one}"')
        yield from (t, t.upper(), t.lower(), t.title(), t.swapcase(), f'"{t}"', f'"{t}', f"({t})")
        yield from (t.upper() + " ok.", t.lower() + " Ok.", t.upper() + "\n\nFINE.", f"{t} FINE")
        yield from (f"{t.rstrip('.。')}?", f"{t.rstrip('.。')}!", t.rstrip(".。"))
        yield t.replace(" ", "").replace("\n", "")
        yield from (f"<<{one}>>\n{t}", f"{t}\n<<{one}>>", f"<{one}>\n{t}", f"## {one}\n{t}")
        yield from (f"{t}\n\nP.S. {one}", f"{t}\n\nPS: {one}", f"{t}\n\n******\n\n{one}")
        yield json.dumps({"answer": t}, ensure_ascii=False)
        yield json.dumps([t, one], ensure_ascii=False)
    for mark in (",", "，", ";", ":", "?", "!", "-", "(", "…"):
        yield f"{one[:-1]}{mark} {one}"
        yield f"{text}\n{one[:-1]}{mark} {one}\n{one}"
        yield "\n".join(f"- {s[:-1]}{mark}" for s in sentences[:3])
        yield f"{one[:6]}{mark}{one[6:]} {text}"


def _sized(m: int, zh: bool) -> Iterator[str]:
    """m of every unit, in several arrangements."""
    said, gap, line = _said(m, zh), _gap(zh), SENTENCES[zh][0]
    yield gap.join(said)
    yield "\n".join(said)
    yield "\n\n".join(said)
    yield gap.join(said[: m // 2]) + "\n\n" + gap.join(said[m // 2 :])
    yield "\n\n".join([gap.join(_said(2, zh))] * m)
    yield "\n\n***\n\n".join(said)
    yield "\n***\n".join([gap.join(_said(2, zh))] * m)
    yield "\n\n***\n\n".join([gap.join(_said(1 + i % 3, zh)) for i in range(m)])
    yield "\n".join(s.rstrip(".。") for s in said)
    yield gap.join(s[:-1] + "!" for s in said)
    yield gap.join(s[:-1] + "?" for s in said)
    yield gap.join(said) + gap + gap.join(s[:-1] + "?" for s in said)
    for mark in ("- ", "* ", "• ", "+ "):
        bullets = "\n".join(mark + s for s in said)
        yield from (bullets, f"{line}\n\n{bullets}", f"{bullets}\n\n{line}")
    yield "\n".join(f"{i}. {s}" for i, s in enumerate(said, 1))
    yield "\n\n".join(f"## {s[:-1]}\n{line}" for s in said)
    words = _words(m)
    base = "The {} stood there."
    for left, right in (("*", "*"), ("**", "**"), ("[", "]"), ("`", "`"), ('"', '"'), ("(", ")")):
        yield " ".join(base.format(f"{left}{w}{right}") for w in words)
        yield "We saw " + " and ".join(f"{left}old {w}{right}" for w in words) + " there."
    yield from (" ".join(base.format(w) for w in own)
                for own in ([*map(str.upper, words)], [*map(str.title, words)], range(3, 3 + m))
                )  # fmt: skip
    yield line + " " + " ".join(w.upper() for w in words)
    yield f"{line} {' '.join(str(7 * i) for i in range(1, m + 1))}"
    for own in (NAMES, PRONOUNS, FANBOYS, PALINDROMES):
        yield " ".join(f"Then {w} came along." for w in own[:m])
        yield " ".join([own[0]] * m)
    yield " ".join(["pebble"] * m) + " rolls."
    yield ("(" * m) + "deep" + (")" * m) + " down."
    yield "".join("([{"[i % 3] for i in range(m)) + "x" + "".join(
        ")]}"[i % 3] for i in reversed(range(m)))  # fmt: skip
    yield " ".join(" ".join(_words(m)).capitalize() + "." for _ in range(3))
    for first in (1, 2, 4):
        yield " ".join(" ".join(_words(first + m * i)).capitalize() + "." for i in range(3))
    yield "\n".join(" " * (m * i) + s for i, s in enumerate(_said(3, zh)))
    yield " ".join(s[:-1] + "." for s in _said(m, False)) + " " + line[:-1] + "?"
    yield ",".join(str(m * i) for i in range(1, 8))
    rows = [",".join(["7", "north", "Oslo"][: max(2, m)]) for _ in range(m)]
    yield "\n".join(["id,side,town", *rows])
    yield "\n".join(["\t".join(["id", "side", "town"]), *(r.replace(",", "\t") for r in rows)])
    yield line[:-1] + "!" * m
    yield " ".join(w for w in WORDS if set(w) & set(VOWELS) <= set(VOWELS[:m]))


def _of_words(m: int, zh: bool) -> Iterator[str]:
    """m words (in Chinese, characters): in one sentence, in sentences and lines of eight."""
    if m < 1:
        return
    if zh:
        own = [CHARACTERS[i % len(CHARACTERS)] for i in range(m)]
        yield "".join(own) + "。"
        yield "。".join("".join(own[i : i + 8]) for i in range(0, m, 8)) + "。"
        return
    yield " ".join(_words(m)).capitalize() + "."
    eights = [" ".join(_words(m)[i : i + 8]).capitalize() + "." for i in range(0, m, 8)]
    yield from (" ".join(eights), "\n".join(eights), "\n\n".join(eights))
    yield "garden " * (m - 1) + "river"
    # So that whoever counts characters says something else.
    yield " ".join(["we", "go", "to", "it"][i % 4] for i in range(m)) + "."
    yield " ".join(["straightforward", "comprehensively"][i % 2] for i in range(m)) + "."
    yield " ".join(f"{WORDS[i % 30]}{'abcdefghijklmnopqrstuvwxyz'[i // 30 % 26]}" for i in range(m))


def _with_term(term: str, sizes: Sequence[int], zh: bool) -> Iterator[str]:
    """The term in each place of a text, alone, and so many times."""
    gap, own = _gap(zh), SENTENCES[zh]
    first, second, third, fourth = own[:4]
    stop = first[-1]
    near = f"{first[:-1]}{gap}{term}{stop}"  # at the end of a sentence
    amid = f"We saw {term} there." if not zh else f"那里有{term}在。"
    open_ = f"{term}{gap}{second}"
    yield from (term, f"{term}{stop}", near, amid, open_, f"{gap.join(own[:3])}{gap}{term}")
    for place in range(4):
        said = list(own[:4])
        for put in (amid, near, open_):
            said[place] = put
            yield from (gap.join(said), "\n".join(said), "\n\n".join(said))
            yield "\n\n***\n\n".join(said)
    yield from (f"{gap.join(own[:3])}\n\n{term}", f"{term}\n\n{gap.join(own[:3])}")
    yield f"{gap.join(own[:3])}\n\n{term}{gap}{third}"
    yield f"{gap.join(own[:3])}\n\n{term}\n\n{fourth}"
    yield "\n".join(f"{term}{gap}{s}" for s in own[:3])
    yield "\n\n".join(f"{term}{gap}{s}" for s in own[:3])
    yield "\n".join(f"{term}{s}" for s in own[:3])
    yield "\n".join(f"{s[:-1]}{gap}{term}{stop}" for s in own[:3])
    yield gap.join(f"{s[:-1]}{gap}{term}{stop}" for s in own[:3])
    for said in (WORDS[:3], WORDS[4:9], WORDS[:0]):
        yield " ".join(["The", term, *said, term, "lamp."])
    for place in sizes[:6]:
        words = [*WORDS[: place - 1], term, *WORDS[place : place + 3]]
        sentence = " ".join(words).capitalize().replace(term.lower(), term) + "."
        for before in range(4):
            yield gap.join([*own[:before], sentence])
            yield gap.join([*own[:before], sentence, fourth])
    yield f"The {term} garden river stone lamp {term}."
    yield term[::-1]
    yield f"{first} {term[::-1]}"
    for m in sizes:
        yield gap.join([first, *[amid] * m])
        yield gap.join([term] * m)
        yield gap.join([*own[: max(1, m)], f"{first[:-1]}{gap}{gap.join([term] * m)}{stop}"])
        yield "\n\n".join(f"{term} {i}\n{s}" for i, s in enumerate(_said(m, zh), 1))
        yield "\n".join(f"{term} {s}" for s in _said(m, zh))
        yield "\n\n".join([*_said(m - 1, zh), f"{term}{gap}{first}", *own[:2]])
        yield "\n\n".join([*_said(m - 1, zh), f"{term}{gap}{first}"])
        yield gap.join([*_said(m - 1, zh), amid, *own[:2]])
        yield " ".join([*_said(m - 1, zh), " ".join([*WORDS[:2], term, *WORDS[3:6]]) + "."])
    if len(term) == 1 and term.isalpha():
        yield from _with_letter(term.lower(), sizes)


def _counting(numbers: Sequence[int]) -> Iterator[str]:
    """By each number, from another to a third."""
    for step in numbers[:4]:
        for low in numbers[:4]:
            for high in numbers[:5]:
                if 1 < step <= low < high and high < 40 * step:
                    counted = [str(n) for n in range(low, high + 1) if n % step == 0]
                    yield from (", ".join(counted), "\n".join(counted), " ".join(counted))
                    yield from (", ".join(counted[:-1]), ", ".join(counted[::-1]))


def _with_letter(letter: str, sizes: Sequence[int]) -> Iterator[str]:
    """The letter so often, in words."""
    without = [w for w in WORDS if letter not in w]
    once = next((w for w in WORDS if w.count(letter) == 1), letter)
    yield " ".join(without).capitalize() + "."
    for m in (*sizes, 40):
        yield " ".join([*without[:5], *[once] * m]).capitalize() + "."
        yield "\n".join([*without[:2], *[once] * m])


def _with_terms(terms: Sequence[str], few: Sequence[int], zh: bool) -> Iterator[str]:
    """Several terms together: all, all but one, in turn, so often each."""
    gap, own = _gap(zh), SENTENCES[zh]
    for many in (terms, terms[:2], terms[:3], terms[:5]):
        put = [f"{s[:-1]}{gap}{t}{s[-1]}" for s, t in zip(own, many, strict=False)]
        yield from (gap.join(put), "\n".join(put), gap.join(put[::-1]), gap.join(many))
        for skipped in range(len(put)):
            yield gap.join(put[:skipped] + put[skipped + 1 :])
        yield "\n".join(f"{t} {s}" for s, t in zip(own, many, strict=False))
        yield "\n\n".join(f"{t}\n{s}" for s, t in zip(own, many, strict=False))
        for times in ((1, 2, 3, 5, 7), (1, 2, 3, 4, 5), tuple(few)):
            said = [
                f"We saw {t} there." for t, n in zip(many, times, strict=False) for _ in range(n)
            ]
            yield from (" ".join(said), "\n".join(said), " ".join(said[::-1]), " ".join(said[1:]))
    letters = [t for t in terms if len(t) > 1]
    if letters:
        yield json.dumps(dict.fromkeys(letters, own[0]), ensure_ascii=False)
