"""Which benchmark's constraint a verifier tests, by what it says of texts.

    trial = TypeTrial.of(instruction, sources, own, replies)   what to try it on
    verdicts = ... on trial.texts                          run in the sandbox, by the caller
    decide(trial, verdicts, instruction)                   the type whose checker says the same

A verifier whose verdicts are those of a benchmark's checker tests that benchmark's constraint,
whatever its words are; one that says something else does not, however like the words are.
Arguments of the checker (numbers, words, marks) are those that stand in the instruction and in the
function. A demand on the same quantity is the same type whatever its bound is: "exactly five
sentences" is as much `number_sentences` as "at least five". What demands something beside it is
another: "no comma, no full stop" is not `no_comma`. Yet a whole form (JSON, capitals, a language)
stays that form with more demands upon it, since nothing follows them that is not of that form.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Literal

from autoif.base.errors import SetupError, UsageError
from autoif.base.language import CJK
from autoif.base.records import Verdict
from autoif.constraints.arguments import numbers_of, words_of
from autoif.constraints.checkers import CHECKERS, bind
from autoif.constraints.counts import Demand, demands
from autoif.constraints.forms import forms
from autoif.constraints.trial_texts import OWN, trial_texts
from autoif.constraints.types import checked_type, followbench_kind

AGREEMENT = 0.9  # of those that either of the two accepts, or rejects
OF_A_KIND = 0.8  # of the texts of one kind, such as the verifier's own
EACH = 3  # texts at least that follow, and that do not
FORMS = (
    "detectable_format:json_format", "change_case:english_capital", "combination:two_responses",
    "change_case:english_lowercase", "language:response_language", "startend:quotation",
    "detectable_format:title",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Decision:
    """type: of IFEval or IFBench, or "". followbench: its kind, or "", always by words, as no
    program decides it. by: what decided the type."""

    type: str
    followbench: str
    by: Literal["execution", "words"]

    @property
    def mark(self) -> str:
        return self.type or self.followbench


@dataclass(frozen=True, slots=True)
class TypeTrial:
    """The texts to run a verifier on, and what kind each is; "own" are those that it brought."""

    texts: list[str]
    kinds: list[str]
    terms: list[str]
    numbers: list[int]
    zh: bool

    @classmethod
    def of(
        cls,
        instruction: str,
        sources: Sequence[str],
        own: Iterable[str],
        replies: Iterable[str],
    ) -> TypeTrial:
        """own: texts that came with the verifier, such as its cases; replies: real ones."""
        terms, numbers = words_of(instruction, sources), numbers_of(instruction, sources)
        zh = bool(CJK.search(instruction))
        kinds = dict.fromkeys(own, OWN)
        for text, kind in trial_texts(terms, numbers, replies, zh).items():
            kinds.setdefault(text, kind)
        return cls(list(kinds), list(kinds.values()), terms, numbers, zh)

    def type(self, verdicts: Sequence[bool | None]) -> tuple[str, set[str]]:
        """The type whose checker says the same, or ""; and those of which too little was seen to
        tell. verdicts: for each text whether it follows, None without a conclusion."""
        totals = {v: verdicts.count(v) for v in (True, False)}
        if min(totals.values()) < EACH or 2 * sum(totals.values()) < len(verdicts):
            return "", set(CHECKERS)
        # The verifier's own first, then those that are fewer: what is unlike shows soonest there.
        rare = totals[True] <= totals[False]
        places = sorted(
            (place for place, v in enumerate(verdicts) if v is not None),
            key=lambda place: (self.kinds[place] != OWN, verdicts[place] is not rare),
        )
        best, name, untold = 0.0, "", set()
        given = self.terms, self.numbers
        kinds = dict(zip(self.texts, self.kinds, strict=True))
        for other, follows in chain(forms(*given, kinds, self.zh), demands(*given, self.zh)):
            agreement = self._agreement(verdicts, places, follows, other in FORMS)
            if agreement is None:
                untold.add(other)
            elif agreement > best:
                best, name = agreement, other
        return name, untold

    def _agreement(
        self, verdicts: Sequence[bool | None], places: Sequence[int], follows: Demand, form: bool
    ) -> float | None:
        """The share of texts of which both say the same; 0 where it is too little of those that
        either accepts, or rejects, or of a kind; None where too few say anything. `form`: to reject
        more is no disagreement."""
        most = {v: _few(verdicts.count(v)) for v in (True, False)}
        if form:
            most[False] = len(verdicts)
        same, other = {True: 0, False: 0}, {True: 0, False: 0}  # by the verifier's verdict
        own = 0  # of its own texts those that both accept
        seen: Counter[str] = Counter()
        unlike: Counter[str] = Counter()
        for place in places:
            theirs, mine = follows(self.texts[place]), verdicts[place]
            if theirs is None or mine is None:
                continue
            kind = self.kinds[place]
            seen[kind] += 1
            if mine is theirs:
                same[mine] += 1
                own += mine and kind == OWN
                continue
            other[mine] += 1
            if other[mine] > most[mine]:
                return 0.0
            unlike[kind] += not (form and theirs)
        yes, no, more, less = same[True], same[False], other[True], other[False]
        if min(yes + more, no + less) < EACH:
            return None
        if min(yes, no) < EACH or any(
            n > max(1.0, (1 - OF_A_KIND) * seen[kind]) for kind, n in unlike.items()
        ):
            return 0.0
        alike = max(less, more) <= min(map(_few, (yes + less, yes + more, no + more, no + less)))
        narrower = form and not more and (yes >= less or own >= EACH)
        return (yes + no) / (yes + no + more + less) if alike or narrower else 0.0


def _few(texts: int) -> float:
    """How many of so many texts may be judged otherwise: usual readings part now and then."""
    return max((1 - AGREEMENT) * texts, float(texts >= 2 * EACH))


def followed(verdicts: Sequence[Verdict], least: float) -> list[bool | None]:
    """For each text whether at least this share of the checks accepts it. One on which all raise is
    not accepted; None where they were stopped by a limit, and so concluded nothing."""
    return [
        None
        if v.fraction is None and any(o.status.machine_dependent for o in v.outcomes)
        else v.fraction is not None and v.fraction >= least
        for v in verdicts
    ]


def decide(trial: TypeTrial, verdicts: Sequence[bool | None], instruction: str) -> Decision:
    """What the verifier tests; where running it cannot tell, what the instruction's words state.

    verdicts: for each text of the trial whether it follows, None without a conclusion.
    """
    name, untold = trial.type(verdicts)
    stated, kind = checked_type(instruction), followbench_kind(instruction)
    nothing = untold >= set(CHECKERS)
    if not name and (nothing or stated in untold or not _runs(stated)):
        return Decision(stated, kind, "words")
    return Decision(name, kind, "execution")


@cache
def _runs(name: str) -> bool:
    """Whether this machine has what the checker needs, such as the tagger of `words:start_verb`."""
    if not name:
        return True
    try:
        bind(name, {})
    except SetupError:
        return False
    except UsageError:  # it takes arguments
        return True
    return True
