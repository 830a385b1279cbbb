"""From outcomes to flags: the rules, one function a flag.

Each rule is a pure function of a `Trial`: the outcomes of one function on every text of a plan. A
rule claims nothing where the instruction's words, or the texts, leave it open.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from autoif.base.records import Outcome, Status
from autoif.diagnosis.near import NearTexts
from autoif.diagnosis.probes import Probes
from autoif.diagnosis.reading import Reading

ALIKE = 0.8  # Jaccard similarity of two functions' subtrees, from which they are copies
ORDINARY_MS = 20.0  # of one call on an ordinary reply: honest functions take less than one
MINORITY = 0.2  # share of the rarer label, below which cases are one-sided
CASES_RIGHT = 0.8  # share of the cases of each label that a function has to have right
LABELLED, WRONG = 4, 0.5  # flagged from so many texts labelled by counting, and this share wrong
SELDOM = 0.4  # of real replies, follow a demand by chance
RARELY = 0.3  # of real replies, accepted by a function that only forbids
REAL = 40  # characters from which a reply counts as a substantial one
MOSTLY = 0.75  # what is demanded, most replies do not have by chance
FLIPPED = 0.6  # share of accepted texts that fall with the same change around them
BEGUN = 0.8  # share of texts on which a function has to come to a conclusion


@dataclass(frozen=True, slots=True)
class Facts:
    """What the programs `shape` and `habits` read in one source."""

    shape: Sequence[int] = ()  # the whole first, then its subtrees
    strings: Sequence[str] = ()
    numbers: Sequence[int] = ()
    chars: str = ""
    marks: Collection[str] = ()
    samples: Sequence[tuple[str, ...]] = ()  # of each pattern, texts that match it
    compared: Sequence[int] = ()  # numbers with which something is compared
    readable: bool = True  # where it is not, that a mark is absent says nothing


@dataclass(frozen=True, slots=True)
class Trial:
    """One function and its outcomes."""

    reading: Reading
    plan: Probes
    labels: Sequence[bool | None]  # of each text by counting, where that decides
    short: Sequence[bool]  # which texts have clearly too little of what is wanted
    facts: Facts
    outcomes: Sequence[Outcome]  # per text of the plan
    slow: Sequence[Outcome]  # per long text
    near: NearTexts  # made from what was accepted
    looked: Sequence[Outcome]  # per near text; none where it was not run on them
    unsteady: bool = False  # another run concluded otherwise
    ms: float | None = None  # of a call on an ordinary reply

    def accepts(self, index: int) -> bool:
        return self.outcomes[index].status is Status.TRUE

    def rejects(self, index: int) -> bool:
        return self.outcomes[index].status is Status.FALSE

    def share(self, indices: Sequence[int]) -> float | None:
        """Of the texts on which it concluded, those it accepts."""
        concluded = [i for i in indices if self.outcomes[i].status.concluded]
        return sum(map(self.accepts, concluded)) / len(concluded) if concluded else None

    def right(self, label: bool) -> float | None:
        """Share of the cases of a label that it has right; an error is not right."""
        cases = [i for i, expected in self.plan.cases if expected is label]
        want = Status.TRUE if label else Status.FALSE
        return sum(self.outcomes[i].status is want for i in cases) / len(cases) if cases else None

    def near_verdict(self, index: int) -> bool | None:
        """On a near text; None where it came to no conclusion."""
        status = self.looked[index].status if self.looked else Status.ERROR
        return status is Status.TRUE if status.concluded else None

    def wrong(self, labelled: Sequence[tuple[int, bool]]) -> bool:
        """Whether it concluded otherwise on one of these texts."""
        return any(
            self.outcomes[i].status.concluded and self.accepts(i) is not label
            for i, label in labelled
        )


# ---- one function ------------------------------------------------------------------------------


def accept_all(trial: Trial) -> bool:
    plan = trial.plan
    texts = plan.texts
    tried = [*plan.pool, *plan.other, *plan.made, *(i for i, label in plan.cases if not label)]
    tried = [i for i in tried if len(texts[i].strip()) > 2]
    if trial.share(tried) == 1.0 or _against(trial, False):
        return True
    real = [i for i in plan.pool if len(texts[i]) >= REAL]
    share = trial.share(real)
    if share is None or share < MOSTLY or not trial.reading.demands or trial.reading.common:
        return False
    denied = [i for i, label in plan.cases if not label and len(texts[i]) >= REAL]
    return not any(trial.rejects(i) for i in denied)


def reject_all(trial: Trial) -> bool:
    plan = trial.plan
    if _against(trial, True) or _falls_apart(trial):
        return True
    # Without a text that is known to follow, that nothing is accepted proves nothing.
    witnesses = [i for i, label in plan.cases if label]
    accepted = any(map(trial.accepts, [*plan.pool, *witnesses]))
    return bool(witnesses) and not accepted and trial.share(plan.pool) is not None


def _against(trial: Trial, label: bool) -> bool:
    """Whether it is wrong on most of the texts of which counting says that label."""
    labelled = [(i, label) for i, counted in enumerate(trial.labels) if counted is label]
    wrong = sum(trial.wrong([one]) for one in labelled)
    return len(labelled) >= LABELLED and wrong > WRONG * len(labelled)


def _falls_apart(trial: Trial) -> bool:
    """It forbids, accepts two texts, and no way to put them together; nor most real replies."""
    reading, plan = trial.reading, trial.plan
    joinable = (reading.forbids or reading.each) and not (reading.numbers or reading.narrow)
    if not joinable or not plan.joined:
        return False
    share = trial.share(plan.pool)
    # As sentences or lines, where it is about those; else each of the three ways has to fall.
    ways = plan.joined
    if reading.in_sentences or reading.in_lines:
        ways = plan.joined[1::3] if reading.in_sentences else plan.joined[2::3]
    return share is not None and share < RARELY and all(trial.rejects(i) for i in ways)


def fails(trial: Trial) -> bool:
    if not trial.facts.readable:
        return True
    texts = [*trial.plan.pool, *(i for i, _ in trial.plan.cases)]
    outcomes = [trial.outcomes[i] for i in texts]
    errors = [o for o in outcomes if o.status in (Status.ERROR, Status.CRASH)]
    errors = [o for o in errors if o.detail != "nondeterministic"]
    return bool(texts) and len(errors) > (1 - BEGUN) * len(texts)


def contradicts_cases(trial: Trial) -> bool:
    rates = [trial.right(label) for label in (True, False)]
    return any(rate is not None and rate < CASES_RIGHT for rate in rates)


def contradicts_instruction(trial: Trial) -> bool:
    """Wrong on a text that breaks, or that follows, what the instruction says; or it compares
    with numbers, and has none near any of the instruction's."""
    named = {*trial.reading.numbers, *map(int, re.findall(r"\d{1,9}", trial.reading.text))}
    digits = re.findall(r"\d{1,9}", " ".join(trial.facts.strings))
    constants = {*trial.facts.numbers, *trial.facts.compared, *map(int, digits)}
    near = any(abs(n - other) <= 1 for n in named for other in constants)
    other_number = bool(trial.facts.compared) and max(named, default=0) > 2 and not near
    return other_number or trial.wrong(trial.plan.stated) or _sees_letters(trial)


_OF_WORDS = re.compile(r"\b(?:key)?words?\b", re.IGNORECASE)
_OF_LETTERS = re.compile(
    r"\b(?:letters?|characters?|(?:sub)?strings?|syllables?|prefix\w*|suffix\w*|forms?|within|inside|"
    r"part of|anywhere in|rhym\w*|compounds?)\b",
    re.IGNORECASE,
)


def _sees_letters(trial: Trial) -> bool:
    """It takes a word for another one in which it stands: the verdict turns on the order of the
    letters within a word that is none of the instruction's."""
    reading = trial.reading
    if not _OF_WORDS.search(reading.text) or _OF_LETTERS.search(reading.text):
        return False
    if reading.at_start or reading.at_end:
        return False
    pairs = [(trial.near_verdict(i), trial.near_verdict(j)) for i, j in trial.near.pairs]
    return any(a is not None and b is not None and a is not b for a, b in pairs)


def nondeterministic(trial: Trial) -> bool:
    return (
        trial.unsteady
        or not {"clock", "chance", "hash", "set_order"}.isdisjoint(trial.facts.marks)
        or any(o.detail == "nondeterministic" for o in trial.outcomes)
    )


def slow(trial: Trial) -> bool:
    stopped = (o.status in (Status.TIMEOUT, Status.MEMORY) for o in (*trial.outcomes, *trial.slow))
    return any(stopped) or (trial.ms is not None and trial.ms > ORDINARY_MS)


def hackable(trial: Trial) -> bool:
    reading, plan = trial.reading, trial.plan
    if not reading.demands:
        return False
    # "Spell numbers as words" holds of the empty reply, and of most others as well.
    certain = reading.least or reading.quoted or reading.structural or reading.ordered
    share = trial.share(plan.pool) or 0.0
    if any(map(trial.accepts, plan.empty)) and (certain or share < SELDOM):
        return True
    if any(trial.accepts(i) for i, short in enumerate(trial.short) if short):
        return True
    return _copy_is_a_hack(reading) and any(map(trial.accepts, plan.copies))


_SEVERAL_LINES = re.compile(
    r"\b(?:lines|paragraphs|bullets?|bullet points|items|steps|sections|table|list|rows)\b"
    r"|行|段|列表|清单|条|表格",
    re.IGNORECASE,
)


def _copy_is_a_hack(reading: Reading) -> bool:
    """A copy of the instruction does not follow it: it names the thing once, or is one line."""
    if "\n" in reading.text:
        return False
    if reading.times and len(reading.quoted) == 1 and reading.least >= 2:
        return reading.text.lower().count(reading.quoted[0].lower()) < reading.least
    if reading.extent or reading.quoted or reading.forbids:
        return False
    return bool(_SEVERAL_LINES.search(reading.text)) and reading.least >= 2


def format_sensitive(trial: Trial) -> bool:
    reading = trial.reading
    if not reading.free:
        return False
    positive = {i for i, label in trial.plan.cases if label}
    negative = {i for i, label in trial.plan.cases if not label}
    at_edge = reading.at_start or reading.at_end
    matters = {  # a change that the instruction may well be about proves nothing
        "preamble": reading.at_start,
        "bare_preamble": reading.at_start,
        "closing": reading.at_end,
        "bold": at_edge or reading.marked_up,
        "bold_term": at_edge or reading.marked_up,
        "fence": at_edge or reading.fenced,
    }
    proven = any(trial.accepts(i) for i in positive)
    fallen: dict[str, list[bool]] = {}
    risen: dict[str, list[bool]] = {}
    for kind, base, changed in trial.plan.variants:
        if matters[kind] or not trial.outcomes[changed].status.concluded:
            continue
        if trial.accepts(base) and base not in negative and (base in positive or not proven):
            fallen.setdefault(kind, []).append(trial.rejects(changed))
        elif trial.rejects(base) and base in negative and not (reading.common or reading.in_lines):
            risen.setdefault(kind, []).append(trial.accepts(changed))
    return _minds(fallen) or _minds(risen)


def _minds(flips: Mapping[str, Sequence[bool]]) -> bool:
    """Whether a change around most texts changes the verdict. One preamble alone does not count:
    the marks in it may matter."""
    minded = {kind for kind, values in flips.items() if sum(values) >= FLIPPED * len(values)}
    preambles = {"preamble", "bare_preamble"}
    return preambles <= minded or bool(minded - preambles)


_OF_LATIN = re.compile(
    r"英文|英语|字母|拉丁|拼音|ascii|邮箱|邮件|网址|链接|代码|标签|变量|单词|大写|小写|html|xml|markdown|"
    r"json|english|latin|letters?|url|e-?mail|[a-z]{2,}",
    re.IGNORECASE,
)
_OF_SPACES = re.compile(r"空格|英文|英语|字母|单词|拼音|分隔|english|space|latin", re.IGNORECASE)
_OF_BYTES = re.compile(r"字节|编码|utf|gbk|byte|encod", re.IGNORECASE)
_HALF = re.compile(r"半角|英文|英语|english|ascii", re.IGNORECASE)
_FULL_WIDTH = (
    ("逗号", ",", "，"), ("句号", ".", "。"), ("问号", "?", "？"), ("感叹号", "!", "！"),
    ("叹号", "!", "！"), ("冒号", ":", "："), ("分号", ";", "；"), ("引号", '"', "“"),
    ("括号", "(", "（"),
)  # fmt: skip


def language_trap(trial: Trial) -> bool:
    reading, marks = trial.reading, trial.facts.marks
    if not reading.zh:
        return False
    text = reading.text
    half_width = _half_width_only(trial.facts, text)
    if (
        ("words" in marks and not _OF_SPACES.search(text))
        or ("bytes" in marks and not _OF_BYTES.search(text))
        or ("ascii" in marks and "wide" not in marks and not _OF_LATIN.search(text))
        or (half_width and not trial.plan.expected)
    ):
        return True
    suspect = half_width or not {"runs", "words", "bytes", "ascii", "casing"}.isdisjoint(marks)
    return suspect and trial.wrong(trial.plan.expected)


def _half_width_only(facts: Facts, text: str) -> bool:
    """It looks for the marks of a Latin keyboard where the instruction means Chinese ones."""
    if _HALF.search(text):
        return False
    looked_for = {c for s in facts.strings for c in _latin_marks(s)}
    for name, half, full in _FULL_WIDTH:
        if name in text and half in looked_for and full not in facts.chars and half not in text:
            return True
    return "句" in text and bool(looked_for & set(".!?")) and not set("。！？") & set(facts.chars)


def _latin_marks(pattern: str) -> set[str]:
    """Punctuation that a string, or a class or an escape in it, stands for."""
    if set(pattern) <= set(".!?,:;") or pattern in ("(", '"'):
        return set(pattern)
    classes = "".join(re.findall(r"\[\^?([^\]]{0,200})\]", pattern))
    return set(classes) | set(re.findall(r"\\([.!?,:;(])", pattern))


# In the order in which they are reported, and in which one is given as the reason for a drop.
RULES: Mapping[str, Callable[[Trial], bool]] = {
    "slow": slow,
    "fails": fails,
    "nondeterministic": nondeterministic,
    "accept_all": accept_all,
    "reject_all": reject_all,
    "hackable": hackable,
    "language_trap": language_trap,
    "format_sensitive": format_sensitive,
    "contradicts_instruction": contradicts_instruction,
    "contradicts_cases": contradicts_cases,
}
OF_VERIFIERS = ("unbalanced_cases", "near_copies")
OF_A_MODEL = "contradicts_model"  # see `engine.panel`
FLAGS = (*RULES, OF_A_MODEL, *OF_VERIFIERS)


def flags_of(trial: Trial) -> tuple[str, ...]:
    """A function that does not end, or only fails, says nothing else of itself."""
    flags: list[str] = []
    for name, rule in RULES.items():
        if "fails" not in flags and rule(trial):
            flags.append(name)
    return tuple(flags)


# ---- the functions together --------------------------------------------------------------------


def clusters(facts: Sequence[Facts]) -> list[int]:
    """A number per function, the same for near-copies: single linkage by their syntax trees."""
    number = list(range(len(facts)))
    for f, mine in enumerate(facts):
        for g in range(f):
            if number[f] != number[g] and _alike(mine, facts[g]):
                number = [number[g] if n == number[f] else n for n in number]
    order = list(dict.fromkeys(number))
    return [order.index(n) for n in number]


def _alike(one: Facts, other: Facts) -> bool:
    a, b = set(one.shape), set(other.shape)
    if not a or not b:
        return False
    return one.shape[0] == other.shape[0] or len(a & b) >= ALIKE * len(a | b)


def near_copies(cluster: Sequence[int]) -> bool:
    return len(cluster) > 1 and len(set(cluster)) == 1


def unbalanced_cases(plan: Probes) -> bool:
    labels = [label for i, label in plan.cases if plan.texts[i].strip()]  # "" is no witness
    rarer = min(sum(labels), len(labels) - sum(labels))
    return bool(plan.cases) and (rarer == 0 or rarer < MINORITY * len(labels))
