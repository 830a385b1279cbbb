"""A verifier row means the same wherever it is read, and a bad value is one line."""

from __future__ import annotations

from typing import Any

import pytest

from autoif.base.errors import UsageError
from autoif.base.records import Case, Check, Instruction, Verifier, to_json
from autoif.verifier.schema import parse_verifier, parse_verifiers

SOURCE = "def evaluate(response):\n    return True\n"


def row(**columns: Any) -> dict[str, Any]:
    return {"checks": [SOURCE], **columns}


def test_a_row_needs_checks_alone() -> None:
    parsed = parse_verifier(row(), "f:1")
    assert parsed.checks == (Check(SOURCE),)
    assert (parsed.min_fraction, parsed.instruction, parsed.cases) == (0.5, None, ())
    assert parse_verifier({"checks": [{"source": SOURCE}]}, "f:1") == parsed
    empty = dict.fromkeys(("min_fraction", "instruction", "lang", "cases", "accuracy"))
    assert parse_verifier(row(**empty), "f:1") == parsed


def test_what_a_run_writes_comes_back() -> None:
    instruction = Instruction("Zwei Zeilen.", "en", "augmented", "lines", "", ("p",), "{n} Z.", 2)
    verifier = Verifier(
        instruction, (Check(SOURCE),), (Case("a", True, "plain", "q"),), (0.9,), ("two lines",)
    )
    parsed = parse_verifier(to_json(verifier), "f:1")
    assert parsed.instruction == instruction
    assert (parsed.checks, parsed.cases) == (verifier.checks, verifier.cases)
    assert (parsed.accuracy, parsed.back_translations) == ((0.9,), ("two lines",))


def test_an_instruction_is_a_text_or_a_record() -> None:
    text = parse_verifier(row(instruction=" Use no commas. "), "f:1")
    assert text.instruction == Instruction("Use no commas.", origin="user")
    assert text.lang == ""
    assert parse_verifier(row(instruction="不要用逗号。"), "f:1").instruction == Instruction(
        "不要用逗号。", "zh", "user"
    )
    for record in (row(instruction={"text": "x", "lang": "zh"}), row(instruction="x", lang="zh")):
        parsed = parse_verifier(record, "f:1")
        assert parsed.instruction is not None
        assert (parsed.instruction.lang, parsed.lang) == ("zh", "zh")


@pytest.mark.parametrize("label", [True, "True", "true", "yes", 1, "'True'."])
@pytest.mark.parametrize("names", [("text", "expected"), ("input", "output")])
def test_cases_by_either_name_with_labels_or_words_for_them(
    label: object, names: tuple[str, str]
) -> None:
    case = dict(zip(names, ("a", label), strict=True))
    assert parse_verifier(row(cases=[case]), "f:1").cases == (Case("a", True, "user"),)


@pytest.mark.parametrize("value", [True, "0.5", 0, 0.0, -0.1, 1.5, float("nan"), [1]])
def test_a_min_fraction_is_a_number_above_0_and_up_to_1(value: object) -> None:
    with pytest.raises(UsageError, match='f:1: "min_fraction" has to be a number above 0'):
        parse_verifier(row(min_fraction=value), "f:1")
    assert parse_verifier(row(min_fraction=1), "f:1").min_fraction == 1.0


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([], "an object"),
        ({}, '"checks"'),
        ({"checks": SOURCE}, '"checks"'),
        ({"checks": [SOURCE, 3]}, '"checks"'),
        (row(instruction=7), '"instruction"'),
        (row(instruction={"text": "x", "parents": "y"}), '"instruction"'),
        (row(instruction="x", lang=["en"]), '"instruction"'),
        (row(cases={"text": "a"}), '"cases"'),
        (row(cases=[{"text": "a", "expected": "perhaps"}]), "a case is"),
        (row(cases=[{"expected": True}]), "a case is"),
        (row(accuracy=[0.5, 0.5]), '"accuracy"'),
        (row(accuracy=[True]), '"accuracy"'),
        (row(back_translations=[1]), '"back_translations"'),
    ],
)
def test_a_bad_value_is_one_line_that_says_where(value: object, says: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_verifier(value, "f:1")
    assert str(error.value).startswith("f:1: ")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_data_row_carries_a_list_of_them() -> None:
    assert parse_verifiers({"verifiers": [row(), row()]}, "f:1") == [parse_verifier(row(), "")] * 2
    bad: list[object] = [None, {}, "x"]
    for value in bad:
        with pytest.raises(UsageError, match='f:1: "verifiers" has to be a list'):
            parse_verifiers({"verifiers": value}, "f:1")
