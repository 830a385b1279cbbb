"""Evidence where functions differ: texts that programs decide, and texts of an adversary."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from autoif.base.records import Case, Check, Instruction, Request
from autoif.diagnosis.boundary import inside_pairs, neighbours
from autoif.run.recipe import Recipe
from autoif.synthesis.context import Context
from autoif.synthesis.verifiers.adversary import adversarial, label
from autoif.synthesis.verifiers.crossval import cross_validate
from autoif.synthesis.verifiers.disputes import disputed

RIVER = Instruction('Include the word "river".')
WORD = Check("import re\ndef evaluate(r):\n    return bool(re.search(r'\\briver\\b', r.lower()))\n")
LETTERS = Check("def evaluate(r):\n    return 'river' in r.lower()\n")
FOUND = Check("def evaluate(r):\n    return r.lower().find('river') >= 0\n")
COUNTED = Check("def evaluate(r):\n    return r.lower().count('river') > 0\n")
ADDS = """
import re
def comply(text):
    return text if re.search(r"\\briver\\b", text.lower()) else text + " A river ran by."
"""
ADDS_AGAIN = "def comply(text):\n    return text + ' A river ran by.'\n"
CASES = [
    Case("We walked home. A river ran by.", True, "comply:0", "Where to?"),
    Case("Nobody knew. A river ran by.", True, "comply:0"),
    Case("We walked home.", False, "plain"),
    Case("Nobody knew.", False, "plain"),
]


def test_neighbours_are_one_change_away() -> None:
    text = 'First, a "river".\n\nThen a lake.'
    changed = dict(neighbours(text, ["river"], False))
    assert changed["'river' inside another word"] == 'First, a "midriver".\n\nThen a lake.'
    assert changed["'river' in the other case"] == 'First, a "RIVER".\n\nThen a lake.'
    assert changed["one paragraph less"] == 'First, a "river".'
    assert changed["the first paragraph last"] == 'Then a lake.\n\nFirst, a "river".'
    assert changed["no blank lines"] == 'First, a "river".\nThen a lake.'
    assert text not in changed.values()
    chinese = dict(neighbours("今天天气很好。我们回家了。", ["天气"], True))
    assert chinese["one sentence less"] == "今天天气很好。"
    assert chinese["one character more"].endswith("。。")
    assert not list(neighbours("", ["x"], False))


def test_a_pair_differs_within_one_word_alone() -> None:
    for one, other in inside_pairs("A river, by the River.", "river"):
        assert "midriver" in one
        assert sorted(one) == sorted(other)
        assert "river" not in other.replace("A river, by the River.", "")


async def test_programs_decide_what_divides_functions(context: Callable[..., Context]) -> None:
    given = context(crossval={"boundary": 6})
    found = await disputed(given, RIVER, [WORD, LETTERS], [ADDS], CASES)
    assert not found.dropped
    claims = {case.text: case.expected for case in found.kept}
    assert claims["We walked home. A midriver ran by."] is False
    assert 0 < len(claims) <= given.recipe.crossval.boundary
    assert {case.origin for case in found.kept} == {"boundary"}
    assert {case.query for case in found.kept} <= {"Where to?", ""}


@pytest.mark.parametrize(
    ("checks", "programs", "settings"),
    [
        ([WORD, WORD], [ADDS], {}),  # nothing divides them
        ([WORD, LETTERS], [ADDS_AGAIN], {}),  # it changes whatever it is given
        ([WORD, LETTERS], [], {}),
        ([WORD], [ADDS], {}),
        ([WORD, LETTERS], [ADDS], {"boundary": 0}),
    ],
)
async def test_where_nobody_can_decide_there_is_no_case(
    context: Callable[..., Context],
    checks: list[Check],
    programs: list[str],
    settings: dict[str, int],
) -> None:
    given = context(crossval={"boundary": 6} | settings)
    found = await disputed(given, RIVER, checks, programs, CASES)
    assert found.kept == []


def test_functions_that_take_letters_for_words_fall() -> None:
    """On plain replies and complied texts all four are alike; the boundary tells them apart."""
    cases = [Case(f"c{n}", True, f"comply:{n % 2}") for n in range(6)]
    cases += [Case(f"p{n}", False, "plain") for n in range(6)]
    right: list[bool | None] = [case.expected for case in cases]
    rules = Recipe.load("strict").crossval
    assert cross_validate([right] * 4, cases, rules).checks == [0, 1, 2, 3]
    cases += [Case(f"b{n}", False, "boundary") for n in range(3)]
    right, wrong = [*right, False, False, False], [*right, True, True, True]
    assert cross_validate([right, right, wrong, wrong], cases, rules).checks == [0, 1]


async def test_a_lone_right_function_is_not_outvoted(context: Callable[..., Context]) -> None:
    """Three take letters for words and the programs do not: that stays open."""
    given = context(crossval={"boundary": 6})
    found = await disputed(given, RIVER, [WORD, LETTERS, FOUND, COUNTED], [ADDS], CASES)
    assert not [case for case in found.kept if "midriver" in case.text]


def reader(follow: list[str], broken: list[str], answers: dict[str, str]) -> Callable[..., str]:
    """Writes these texts, and answers asks whose text holds a word with what is given for it."""

    def answer(request: Request) -> str:
        asked = request.messages[-1].content
        if "JSON object" in asked:
            return json.dumps({"follow": follow, "break": broken})
        inverted = "break the instruction" in asked
        for word, says in answers.items():
            if word in asked.partition("Reply:")[2].partition("(End")[0]:
                return {"yes": "no", "no": "yes"}.get(says, says) if inverted else says
        return "yes"

    return answer


async def test_an_adversarial_text_needs_every_ask(context: Callable[..., Context]) -> None:
    answer = reader(
        ["RIVER one", "lake two"], ["driver three", "unread four"],
        {"one": "yes", "two": "no", "three": "no", "four": "perhaps"},
    )  # fmt: skip
    found = await adversarial(context(answer, verifiers={"adversary": 1}), RIVER)
    assert [(c.text, c.expected, c.origin) for c in found.kept] == [
        ("RIVER one", True, "agreed"),
        ("driver three", False, "agreed"),
    ]
    assert [drop.reason for drop in found.dropped] == ["label_not_agreed"] * 2


async def test_who_says_yes_to_everything_labels_nothing(context: Callable[..., Context]) -> None:
    assert await label(context(lambda request: "yes"), RIVER, "a river") is None
    assert await label(context(reader([], [], {"river": "yes"})), RIVER, "a river") is True


async def test_nothing_is_asked_where_nobody_wants_it(context: Callable[..., Context]) -> None:
    def refuse(request: Request) -> str:
        raise AssertionError(request)

    found = await adversarial(context(refuse), RIVER)
    assert (found.kept, found.dropped) == ([], [])
