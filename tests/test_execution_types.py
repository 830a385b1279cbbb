"""Which benchmark's constraint a verifier tests: by what it says of texts, whatever its words are.

`own_verifiers.jsonl` holds verifiers of ours, paraphrases of the benchmarks' types and hard
neighbours of them (`type` null), beside which the rule was made.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoif.base.errors import UsageError
from autoif.base.records import Check, Instruction, Verifier
from autoif.clean.verifier_types import typed_verifiers
from autoif.constraints.arguments import numbers_of, words_of
from autoif.constraints.checkers import CHECKERS
from autoif.constraints.execution import TypeTrial, decide
from autoif.diagnosis.probes import pool
from autoif.sandbox import Sandbox
from autoif.synthesis.context import Context
from autoif.synthesis.verifiers import benchmark
from runs import autoif as command
from runs import rows, write_rows

HERE = Path(__file__).parent
Row = dict[str, Any]
BODY = "def evaluate(response):\n    return {}\n"


def types(tmp_path: Path, sandbox: Sandbox, *verifiers: tuple[str, str]) -> list[Row]:
    source = [{"instruction": text, "checks": [BODY.format(body)]} for text, body in verifiers]
    return list(typed_verifiers(write_rows(tmp_path / "v.jsonl", source), sandbox))


def test_paraphrases_are_found_and_neighbours_left_alone(sandbox: Sandbox, tmp_path: Path) -> None:
    """A third of them: all take long. Words, where nothing can be told by running, flag more."""
    own = rows(HERE / "own_verifiers.jsonl")[::3]
    typed = list(typed_verifiers(write_rows(tmp_path / "v.jsonl", own), sandbox))
    found = [
        row["type"] is not None for row, wanted in zip(typed, own, strict=True) if wanted["type"]
    ]
    false = [
        row["type"] is not None and row["by"] == "execution"
        for row, wanted in zip(typed, own, strict=True)
        if not wanted["type"]
    ]
    assert sum(found) / len(found) >= 0.95
    assert sum(false) / len(false) <= 0.05


def test_what_a_function_does_counts_and_not_what_is_said(sandbox: Sandbox, tmp_path: Path) -> None:
    no_comma = "',' not in response"
    typed = types(
        tmp_path,
        sandbox,
        ("Write as the old telegraph clerks did.", no_comma),  # no word of commas
        ("Do not use any commas.", "';' not in response"),  # the words alone
        ("Do not use any commas.", no_comma),
    )
    assert [row["type"] for row in typed] == ["punctuation:no_comma", None, "punctuation:no_comma"]
    assert {row["by"] for row in typed} == {"execution"}


@pytest.mark.parametrize("bound", ["< 40", "<= 40", "> 40", ">= 40", "== 40"])
def test_every_bound_on_a_quantity_is_its_type(
    bound: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    [row] = types(tmp_path, sandbox, ("Mind the length: forty.", f"len(response.split()) {bound}"))
    assert row["type"] == "length_constraints:number_words"


def test_another_unit_is_another_demand(sandbox: Sandbox, tmp_path: Path) -> None:
    lines = "len([l for l in response.splitlines() if l.strip()]) == 5"
    typed = types(
        tmp_path,
        sandbox,
        ("Exactly five.", lines),
        ("Under 200 in all.", "len(response) < 200"),
        ("Exactly five.", "len(response.split()) % 5 == 0"),
    )
    assert [row["type"] for row in typed] == [None, None, None]


def test_a_stricter_demand_is_another_but_for_a_whole_form(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    typed = types(
        tmp_path,
        sandbox,
        ("No commas, no stops.", "not set(',.') & set(response)"),
        ("Capitals, and not too few.", "response.isupper() and len(response) > 20"),
    )
    assert [row["type"] for row in typed] == [None, "change_case:english_capital"]


def test_where_running_cannot_tell_words_decide(sandbox: Sandbox, tmp_path: Path) -> None:
    typed = types(
        tmp_path,
        sandbox,
        ("Do not use any commas.", "1 / 0"),
        ("Do not use any commas.", "True"),
        ("Put a plus sign first.", "undefined"),
    )
    assert [(row["type"], row["by"]) for row in typed] == [
        ("punctuation:no_comma", "words"),
        ("punctuation:no_comma", "words"),
        (None, "words"),
    ]


def test_followbench_is_told_apart_and_by_words(sandbox: Sandbox, tmp_path: Path) -> None:
    [row] = types(
        tmp_path, sandbox, ("Let no line be longer than 60 characters.", "';' not in response")
    )
    assert (row["type"], row["followbench"]) == (None, "followbench:format")


def test_ones_own_texts_take_part(sandbox: Sandbox, tmp_path: Path) -> None:
    """A form that no text of ours has: what follows is known from the user's texts alone."""
    check = (
        "import json\n\ndef evaluate(response):\n    data = json.loads(response)\n"
        "    return isinstance(data, dict) and 'zone' in data and 'name' in data\n"
    )
    row = {"id": 7, "instruction": "Give the zone.", "checks": [check]}
    row["texts"] = [json.dumps({"zone": f"{n}", "name": f"place {n}"}) for n in range(9)]
    [typed] = typed_verifiers(write_rows(tmp_path / "v.jsonl", [row]), sandbox)
    assert (typed["id"], typed["type"]) == ("7", "detectable_format:json_format")
    with pytest.raises(UsageError, match=r'v\.jsonl:1: "texts"'):
        list(typed_verifiers(write_rows(tmp_path / "v.jsonl", [row | {"texts": [1]}]), sandbox))


def test_arguments_are_read_in_words_and_in_code() -> None:
    text = "Use \"amber\" at least twenty-five times and the letter q in the third line; no 'ruby'."
    source = "LIMIT = 140\ndef evaluate(r):\n    return r.count('opal') < LIMIT  # 99 'jade'\n"
    assert words_of(text, [source]) == ["amber", "ruby", "q", "opal"]
    assert numbers_of(text, [source]) == [25, 3, 140, 1]
    assert numbers_of("全文不超过一百二十个字", []) == [120, 1]


def test_a_checker_is_of_its_own_type() -> None:
    """Every checker without arguments, as if it were somebody's verifier: known, or left to words
    where too few of our texts follow it."""
    for name in (
        "punctuation:no_comma",
        "format:title_case",
        "words:last_first",
        "words:palindrome",
    ):
        trial = TypeTrial.of("", [], [], pool("en"))
        verdicts = [CHECKERS[name](text) for text in trial.texts]
        found, untold = trial.type(verdicts)
        assert found == name or name in untold


def test_the_command_writes_a_row_each(tmp_path: Path) -> None:
    source = write_rows(
        tmp_path / "v.jsonl",
        [
            {
                "id": "a",
                "instruction": "No commas.",
                "checks": [BODY.format("',' not in response")],
            },
            {"id": "b", "instruction": "No dots.", "checks": [BODY.format("'.' not in response")]},
        ],
    )
    done = command("decontaminate", "--verifiers", source, "--out", tmp_path / "t.jsonl")
    assert (done.code, done.out) == (0, "")
    assert done.err == "2 verifiers, 1 of a benchmark's constraint type\n"
    assert rows(tmp_path / "t.jsonl") == [
        {"id": "a", "type": "punctuation:no_comma", "followbench": None, "by": "execution"},
        {"id": "b", "type": None, "followbench": None, "by": "execution"},
    ]
    (empty := tmp_path / "empty.jsonl").write_text("")
    for args, code in ((("--verifiers", empty), 2), (("--verifiers", source, "--rows", source), 2)):
        wrong = command("decontaminate", *args)
        assert (wrong.code, wrong.err.count("\n")) == (code, 1)


# ---- in a run ----------------------------------------------------------------------------------


async def test_what_a_verifier_tests_overrules_words_and_no_person(
    context: Callable[..., Context],
) -> None:
    check = (Check(BODY.format("',' not in response")),)
    plain = Instruction("Write as the old telegraph clerks did.")
    mine = [Verifier(plain, check), Verifier(replace(plain, marked_by_hand=True), check)]
    decided = await benchmark.decided(context(), mine)
    types = [verifier.instruction.benchmark_type for verifier in decided.kept]
    assert types == ["punctuation:no_comma", ""]
    clean = await benchmark.decided(context(instructions={"benchmarks": "drop"}), mine)
    assert clean.kept == [mine[1]]
    assert [(d.stage, d.reason) for d in clean.dropped] == [("verifiers", "benchmark_type")]


def test_decide_needs_no_sandbox() -> None:
    trial = TypeTrial.of("No commas.", [], ["a, b", "c"], pool("en"))
    assert trial.texts[:2] == ["a, b", "c"]
    assert decide(trial, ["," not in t for t in trial.texts], "").type == "punctuation:no_comma"
