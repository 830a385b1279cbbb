"""Which benchmark's constraint a verifier tests, by what it says of texts.

    trial = Trial.of(instruction, sources, own, replies, zh)   what to try it on
    verdicts = ... on trial.texts                              run in the sandbox, by the caller
    trial.type(verdicts)                                       the type whose checker says the same

A verifier whose verdicts are those of a benchmark's checker tests that benchmark's constraint,
whatever its words are; one that says something else does not, however like the words are.
Arguments of the checker (numbers, words, marks) are those that stand in the instruction and in the
function. A demand on the same quantity is the same type whatever its bound is: "exactly five
sentences" is as much `number_sentences` as "at least five". What demands something beside it is
another: "no comma, no full stop" is not `no_comma`. Yet a whole form (JSON, capitals, a language)
stays that form with more demands upon it, since nothing follows them that is not of that form.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from autoif.base.language import NUMBERS_EN, NUMBERS_ZH, number_value
from autoif.constraints.counts import Demand, demands
from autoif.constraints.forms import forms
from autoif.constraints.trial_texts import trial_texts

AGREEMENT = 0.9  # of those that one of the two accepts, or rejects, as the other does
OWN_AGREEMENT = 0.8  # on the verifier's own texts
EACH = 3  # texts at least that follow, and that do not
FORMS = (
    "detectable_format:json_format", "change_case:english_capital", "combination:two_responses",
    "change_case:english_lowercase", "language:response_language", "startend:quotation",
    "detectable_format:title",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trial:
    """The texts to run a verifier on; the first `own` of them are its own."""

    texts: list[str]
    own: int
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
        zh: bool,
    ) -> Trial:
        """own: texts that came with the verifier, such as its cases; replies: real ones."""
        terms, numbers = words_of(instruction, sources), numbers_of(instruction, sources)
        mine = list(dict.fromkeys(own))
        made = trial_texts(terms, numbers, replies, zh)
        return cls([*mine, *(t for t in made if t not in set(mine))], len(mine), terms, numbers, zh)

    def type(self, verdicts: Sequence[bool | None]) -> str | None:
        """The type; "" where no checker says the same, None where the verifier concluded on too
        little to tell. verdicts: for each text whether it follows, None without a conclusion."""
        said = [v for v in verdicts if v is not None]
        if min(said.count(True), said.count(False)) < EACH or 2 * len(said) < len(verdicts):
            return None
        # Those that are fewer first: there what is unlike shows soonest.
        rare = said.count(True) <= said.count(False)
        places = sorted(
            (place for place, v in enumerate(verdicts) if v is not None),
            key=lambda place: (place >= self.own, verdicts[place] is not rare),
        )
        best, name = 0.0, ""
        given = self.terms, self.numbers
        for other, follows in chain(
            forms(*given, set(self.texts[: self.own]), self.zh), demands(*given, self.zh)
        ):
            agreement = self._agreement(verdicts, places, follows, other in FORMS)
            if agreement > best:
                best, name = agreement, other
        return name

    def _agreement(
        self, verdicts: Sequence[bool | None], places: Sequence[int], follows: Demand, form: bool
    ) -> float:
        """The least share of agreement among those that the verifier, or the checker, accepts or
        rejects; 0 where it is too little. `form`: to reject more is no disagreement."""
        most = {v: (1 - AGREEMENT) * verdicts.count(v) for v in (True, False)}
        if form:
            most[False] = len(verdicts)
        same, other = {True: 0, False: 0}, {True: 0, False: 0}  # by the verifier's verdict
        own = own_same = 0
        for place in places:
            theirs = follows(self.texts[place])
            if theirs is None:
                continue
            mine = verdicts[place]
            agree = mine is theirs
            (same if agree else other)[mine] += 1
            if other[mine] > most[mine]:
                return 0.0
            if place < self.own:
                own += 1
                own_same += agree or (form and theirs)
        if min(same.values()) < EACH or own_same < OWN_AGREEMENT * own:
            return 0.0
        yes, no, more, less = same[True], same[False], other[True], other[False]
        if form and not more:
            return AGREEMENT + yes / (yes + less) / 100
        least = min(yes / (yes + less), yes / (yes + more), no / (no + more), no / (no + less))
        return least if least >= AGREEMENT else 0.0


# ---- arguments ---------------------------------------------------------------------------------

_QUOTED = re.compile(
    r"\"([^\"\n]{1,160})\"|“([^”\n]{1,160})”|「([^」\n]{1,160})」|`([^`\n]{1,160})`"
    r"|(?<!\w)['‘]([^'’\n]{1,160})['’](?!\w)|«([^»\n]{1,160})»"
)
_STRING = re.compile(r"\"\"\".*?\"\"\"|'''.*?'''|\"((?:[^\"\\\n]|\\.)*)\"|'((?:[^'\\\n]|\\.)*)'|#[^\n]*",
                     re.DOTALL)  # fmt: skip
_DIGITS = re.compile(r"(?<![\w.])\d{1,5}(?![\w.]*\d)")
_ORDINALS = {
    word: n
    for n, word in enumerate(
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split(),
        1,
    )
}
_NUMBER = re.compile(
    rf"(?<![\w.])(\d[\d,]*)|\b({NUMBERS_EN})\b|\b({'|'.join(_ORDINALS)})\b|({NUMBERS_ZH})",
    re.IGNORECASE,
)
_LETTER = re.compile(r"\bletters? ['\"“]?([a-z])\b|['\"“‘]([a-z])['\"”’]", re.IGNORECASE)
MOST_NUMBERS, MOST_TERMS = 8, 12


def words_of(instruction: str, sources: Sequence[str]) -> list[str]:
    """Words and marks that may be arguments: quoted ones, letters, then the functions' strings."""
    terms = [next(filter(None, found.groups())) for found in _QUOTED.finditer(instruction)]
    terms += [next(filter(None, found.groups())) for found in _LETTER.finditer(instruction)]
    plain, broken = [], []
    for string in strings_of(sources):
        if re.search(r"\\|[\[\]()|*+?^$]", string) and len(string) > 2:
            broken += re.findall(r"[^\W\d_]{2,}", re.sub(r"\\[a-zA-Z]", " ", string))
        elif string.strip() and len(string) <= 80:
            plain.append(string)
    in_text = instruction.lower()
    plain.sort(key=lambda s: s.lower() not in in_text)
    terms += [*plain, *(w for w in broken if w.lower() in in_text)]
    return list(dict.fromkeys(terms))[:MOST_TERMS]


def strings_of(sources: Sequence[str]) -> list[str]:
    """What stands in a function's strings, read by the letter: nothing of it is parsed."""
    strings = []
    for source in sources:
        for found in _STRING.finditer(source):
            string = found[1] if found[1] is not None else found[2]
            if string:
                strings.append(re.sub(r"\\(['\"])", r"\1", string).replace("\\n", "\n"))
    return list(dict.fromkeys(strings))


def numbers_of(instruction: str, sources: Sequence[str]) -> list[int]:
    """Numbers that may be arguments, those of the instruction first."""
    numbers: list[int] = []
    for found in _NUMBER.finditer(instruction):
        word = found[0].lower()
        value = _ORDINALS.get(word) or number_value(word)
        if value is not None and value < 5000:
            numbers.append(value)
    for source in sources:
        bare = _STRING.sub(" ", source)
        numbers += [int(n) for n in _DIGITS.findall(bare) if int(n) < 5000]
    # 0 and 1 are in all code.
    return [n for n in dict.fromkeys([*numbers, 1]) if n > 0][:MOST_NUMBERS]
