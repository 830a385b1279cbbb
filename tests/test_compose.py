"""Several constraints, turns, numbers and soft constraints: what rows of them promise."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import autoif
from autoif.base.errors import UsageError
from autoif.base.records import (
    Case,
    Check,
    Composition,
    Instruction,
    Message,
    Query,
    Status,
    Turn,
    Verdict,
    Verifier,
    composition_from_json,
    to_json,
)
from autoif.cli import main
from autoif.models.batch import run_batches
from autoif.run.recipe import Recipe
from autoif.sandbox import Sandbox
from autoif.store import open_store
from autoif.synthesis import slots
from autoif.synthesis.compositions import compose
from autoif.synthesis.compositions.draw import Pool, draw, possible
from autoif.synthesis.context import Context
from autoif.synthesis.instructions import propose
from autoif.synthesis.prompts import examples
from autoif.synthesis.prompts.parsing import parse_yes
from autoif.synthesis.prompts.templates import PromptTemplates
from autoif.synthesis.responses import queries
from autoif.verifier.verify import verify_rows
from runs import SMOKE, Row, artefacts, balanced, report, rows, stages, write_rows
from server import Server


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(1) as opened:
        yield opened


# ---- the rows ----------------------------------------------------------------------------------


def test_there_are_rows_of_each_level_and_of_conversations(smoke: Path) -> None:
    for name in ("sft", "dpo", "rlvr"):
        found = rows(smoke / f"data/{name}.jsonl")
        assert {row["level"] for row in found} == {1, 2, 3}, name
        assert {row["turns"] for row in found} == {1, 2}, name
        assert all(row["level"] == len(row["verifiers"]) for row in found)
        assert all(not row["soft"] for row in found)


def test_a_conversation_holds_all_its_turns_and_what_is_in_force(smoke: Path) -> None:
    units = {row["id"]: composition_from_json(row) for row in rows(smoke / "04-compositions.jsonl")}
    found = [r for r in rows(smoke / "data/sft.jsonl") if r["turns"] == 2]
    changes = Counter(units[r["composition"]].turns[1].change for r in found)
    assert set(changes) == {False, True}
    for row in found:
        unit = units[row["composition"]]
        assert [m["role"] for m in row["messages"]] == ["user", "assistant"] * 2
        assert row["messages"][:2] == to_json(list(unit.opening))
        assert row["verifier_ids"] == list(unit.in_force[1])
        assert len(row["instruction_ids"]) == 2
        for verifier in row["verifiers"][-1:]:
            assert verifier["instruction"].rstrip(".") in row["messages"][2]["content"]


def test_every_level_is_derived_again_from_the_rows_alone(smoke: Path, tmp_path: Path) -> None:
    for name in ("sft", "dpo", "rlvr"):
        counts = verify_rows(smoke / f"data/{name}.jsonl")
        assert counts.disagreed == 0
        wanted = Counter(row["level"] for row in rows(smoke / f"data/{name}.jsonl"))
        if name == "rlvr":  # a prompt claims nothing
            assert counts.unclaimed == wanted.total()
        else:
            assert counts.levels == wanted
    row = next(r for r in rows(smoke / "data/sft.jsonl") if r["level"] == 3)
    wrong: list[Row] = [
        {**row, "verifiers": row["verifiers"][:2]},
        {**row, "messages": [*row["messages"][:-1], {"role": "assistant", "content": "No."}]},
    ]
    out = tmp_path / "verdicts.jsonl"
    with out.open("wb") as file:
        assert verify_rows(write_rows(tmp_path / "rows.jsonl", wrong), file).disagreed == 2
    said = rows(out)
    assert [v["agrees"] for v in said] == [False, False]
    # A verdict for each constraint, whether or not the whole passes.
    assert len(said[1]["texts"]["response"]) == 3


def test_a_rejected_response_fails_a_constraint_by_every_check(smoke: Path, tmp_path: Path) -> None:
    several = [r for r in rows(smoke / "data/dpo.jsonl") if r["level"] > 1]
    out = tmp_path / "verdicts.jsonl"
    with out.open("wb") as file:
        verify_rows(write_rows(tmp_path / "rows.jsonl", several), file)
    for row in rows(out):
        fractions = [v["fraction"] for v in row["texts"]["rejected"]]
        assert 0 in fractions
    partly = [r for r in rows(out) if any(v["fraction"] == 1 for v in r["texts"]["rejected"])]
    assert partly, "none follows one constraint and breaks another"


def test_clashes_are_found_by_the_model_and_by_the_responses(smoke: Path, tmp_path: Path) -> None:
    dropped = Counter(r["reason"] for r in rows(smoke / "04-compositions.dropped.jsonl"))
    chinese = autoif.synth("smoke", out=tmp_path / "zh", langs=("zh",)).path
    dropped.update(r["reason"] for r in rows(chinese / "04-compositions.dropped.jsonl"))
    assert dropped.keys() >= {"conflict", "incompatible", "already_followed"}


def test_compositions_come_on_top_of_a_target(tmp_path: Path) -> None:
    found = autoif.synth("smoke", out=tmp_path / "run", target=4)
    levels = Counter(row["composition"] != "" for row in found.sft_rows())
    assert levels[False] == 4
    assert levels[True] > 0
    assert balanced(found.report)
    again = artefacts(found.path)
    autoif.synth("smoke", out=tmp_path / "run", target=4)
    assert artefacts(found.path) == again


def test_compositions_go_by_batches_too(tmp_path: Path) -> None:
    out, whole, file = tmp_path / "run", tmp_path / "whole", tmp_path / "batch.jsonl"
    few = ("--set", "instructions.limit=2", "--set", "compose.per_level=2", "--quiet")
    assert main(["synth", "--preset", "smoke", *few, "--out", str(whole)]) == 0
    assert rows(whole / "04-compositions.jsonl")
    with Server(SMOKE) as server:
        model = ("--model", "openai:scripted", "--base-url", server.url)
        for _ in range(20):
            file.unlink(missing_ok=True)
            args = ("synth", "--preset", "smoke", *few, *model, "--out", out, "--batch", file)
            assert main([*map(str, args)]) == 0
            if not file.exists():
                break
            asyncio.run(run_batches(out / "calls.sqlite", server.url, None, poll=0.01))
    assert report(out)["calls"]["asked"] == 0
    assert artefacts(out, card=False) == artefacts(whole, card=False)


def test_without_the_section_nothing_is_composed(tmp_path: Path) -> None:
    off = {"levels": 1, "turns": 1}
    numbers = {"numbers": 0}
    found = autoif.synth("smoke", out=tmp_path / "run", compose=off, instructions=numbers)
    assert stages(found.report)["compositions"]["in"] == 0
    assert {row["level"] for row in found.sft_rows()} == {1}
    assert stages(found.report)["instructions"]["dropped"]["open_slot"] == 1
    for name in ("paper", "reference", "strict", "demo"):
        preset = Recipe.load(name)
        assert not preset.compose.on
        assert not preset.instructions.numbers


def test_too_few_verifiers_are_in_the_books(tmp_path: Path) -> None:
    found = autoif.synth("smoke", out=tmp_path / "run", compose={"levels": 5}, langs=("zh",))
    dropped = stages(found.report)["compositions"]["dropped"]
    assert dropped["too_few_verifiers"] == 1
    assert balanced(found.report)


# ---- what is drawn -----------------------------------------------------------------------------


def drawn(smoke: Path, parts: list[Path], **settings: object) -> list[Composition]:
    recipe = Recipe.load("smoke", None, {f"compose.{k}": v for k, v in settings.items()})
    pool = Pool(parts)
    kinds = possible(recipe, pool).kept
    asked = queries.by_language(recipe, queries.load(recipe))

    async def follows(name: str, text: str) -> bool:
        return True

    async def all_drawn() -> list[Composition]:
        return [c async for c in draw(recipe, pool, asked, kinds, follows)]

    return asyncio.run(all_drawn())


def test_drawing_depends_on_content_alone(smoke: Path, tmp_path: Path) -> None:
    settings = {"levels": 4, "turns": 4, "per_level": 20}
    one = drawn(smoke, [smoke], **settings)
    halves = [tmp_path / "a", tmp_path / "b"]
    for n, half in enumerate(halves):
        half.mkdir()
        for name in ("02-verifiers", "03-samples"):
            lines = (smoke / f"{name}.jsonl").read_bytes().splitlines(keepends=True)
            (half / f"{name}.jsonl").write_bytes(b"".join(lines[n::2]))
    assert [u.id for u in one] == [u.id for u in drawn(smoke, halves, **settings)]
    assert len({u.id for u in one}) == len(one)


def test_a_prompt_never_states_a_kind_twice_at_once(smoke: Path) -> None:
    of = {r["id"]: r["instruction"] for r in rows(smoke / "02-verifiers.jsonl")}
    units = drawn(smoke, [smoke], levels=4, turns=4, per_level=40)
    renumbered = 0
    for unit in units:
        for held in unit.in_force:
            kinds = [of[name]["template"] or name for name in held]
            assert len(set(kinds)) == len(kinds)
        if len(unit.turns) == 1:
            assert 2 <= len(unit.in_force[0]) <= 4
            continue
        assert unit.opening[-1].role == "assistant"
        first, second = (of[t.verifiers[0]] for t in unit.turns[:2])
        same = first["template"] and first["template"] == second["template"]
        renumbered += bool(same)
        assert unit.turns[1].change or not same
    assert renumbered > 0


def test_a_composition_is_the_same_after_a_journey_through_json() -> None:
    unit = Composition(
        Query("Why?", "en", "us"),
        (Turn(("a", "b")), Turn(("c",)), Turn(("d",), change=True)),
        (Message("user", "Why?"), Message("assistant", "So.")),
        ("Be kind.",),
    )
    again = composition_from_json(json.loads(json.dumps(to_json(unit))))
    assert (again, again.id) == (unit, unit.id)
    assert unit.in_force == (("a", "b"), ("a", "b", "c"), ("a", "b", "d"))


# ---- do they clash? ----------------------------------------------------------------------------


def test_cases_tell_what_says_the_same_and_what_forbids_it(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    def verifier(text: str, condition: str, good: list[str], bad: list[str]) -> Verifier:
        cases = [Case(t, True) for t in good] + [Case(t, False) for t in bad]
        check = Check(f"def evaluate(response):\n    return {condition}")
        return Verifier(Instruction(text), (check,), tuple(cases))

    small = verifier("small", "response.islower()", ["all small", "so"], ["No", "Not so"])
    capital = verifier("capital", "any(c.isupper() for c in response)", ["No", "Ha"], ["no", "ha"])
    lower = verifier("lower", "response == response.lower()", ["a b", "c"], ["A b", "C"])
    tagged = verifier("tag", "'#' in response", ["#a", "B #c"], ["a", "B c"])

    recipe = Recipe.load("strict", None, {"compose.judge": "off", "compose.levels": 2})
    store = open_store(tmp_path / "calls.sqlite")
    tools = Context(recipe, PromptTemplates(), {}, sandbox, store)

    def clash(*together: Verifier) -> str:
        unit = Composition(Query("Why?"), (Turn(tuple(v.id for v in together)),))
        found = {v.id: v for v in together}
        return asyncio.run(compose._clash(tools, unit, found))[0]

    assert clash(small, lower) == "redundant"
    assert clash(small, capital) == "contradictory"
    assert clash(small, tagged) == ""
    assert clash(small, tagged, capital) == "contradictory"


@pytest.mark.parametrize(
    ("answer", "meant"),
    [("yes", True), ("No.", False), ("能。", True), ("不能", False), ("Hard to say", None),
     ("I know", None), ("**Yes**, they can", True)],
)  # fmt: skip
def test_yes_or_no(answer: str, meant: bool | None) -> None:
    assert parse_yes(answer) is meant


# ---- numbers -----------------------------------------------------------------------------------

COUNTING = "    stars = response.count('*')\n"
FUNCTIONS = {
    "at_least": ("stars >= n", "stars > n - 1", "n <= stars"),
    "at_most": ("stars <= n", "not stars > n", "n >= stars"),
    "exactly": ("stars == n", "n - stars == 0", "stars in (n,)"),
}
WRONG = [
    ("at_least", "stars >= 3", "ignores_number"),
    ("at_least", "stars == n", "not_monotone"),
    ("at_least", "stars <= n", "not_monotone"),
    ("at_most", "stars == n or not stars", "not_monotone"),
    ("at_most", "True", "ignores_number"),
    ("exactly", "stars >= n", "not_single"),
    ("exactly", "stars % n == 0", "not_single"),
]
TEXTS = ["no star", "one *", "three ***", "five ***** in", "* and **"]


def edges(tmp_path: Path, sandbox: Sandbox, bound: str, condition: str) -> Counter[str]:
    source = f"def evaluate(response, n):\n{COUNTING}    return {condition}"
    instruction = Instruction(f"{bound} 3", template=f"{bound} {{n}}", n=3, bound=bound)
    check = Check(slots.filled(source, 3) or "")
    store = open_store(tmp_path / "calls.sqlite")
    tools = Context(Recipe.load("strict"), PromptTemplates(), {}, sandbox, store)
    cases = [Case(text, True) for text in TEXTS]
    filtered = asyncio.run(slots.at_edges(tools, instruction, [check], cases))
    asyncio.run(store.close())
    return Counter(d.reason for d in filtered.dropped) + Counter({"kept": len(filtered.kept)})


@pytest.mark.parametrize("bound", FUNCTIONS)
def test_a_function_for_any_number_passes_at_the_edges(
    bound: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    for condition in FUNCTIONS[bound]:
        assert edges(tmp_path, sandbox, bound, condition) == {"kept": 1}


@pytest.mark.parametrize(("bound", "condition", "reason"), WRONG)
def test_a_function_that_misuses_the_number_is_caught(
    bound: str, condition: str, reason: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    assert edges(tmp_path, sandbox, bound, condition) == {reason: 1}


RICH = [
    "What? Why: A1, B22. _one_ _two_\n\nSo? Yes; 3 and 44!\n\nEnd: x.",
    "为什么？怎么办：第1条、第22条。\n\n先做这个。后做那个！\n\n完。",
    "One plain sentence",
    "一句很普通的话",
]
BOUND = {"at_least": ("at least", "至少"), "at_most": ("no more", "at most", "不超过", "最多"),
         "exactly": ("exactly", "恰好")}  # fmt: skip


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_examples_for_any_number_are_right(lang: str, sandbox: Sandbox) -> None:
    for index in range(8):
        shown = examples.shown(lang, "evaluate_n", index)
        (bound,) = (b for b, words in BOUND.items() if any(w in shown["example_1"] for w in words))
        table = [
            [sandbox.evaluate(slots.filled(shown["code_1"], n) or "", [text])[0].status
             for n in range(1, 12)]
            for text in RICH
        ]  # fmt: skip
        assert all(status.concluded for row in table for status in row)
        assert slots._flaw(bound, table) == "", shown["example_1"]


@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=6),
    st.sampled_from(sorted(slots.BOUNDS)),
    st.integers(1, 6),
)
def test_a_right_function_is_never_dropped(counts: list[int], bound: str, n: int) -> None:
    """Whatever the texts hold: it may say the same of all of them only where no n tells apart."""
    right = {"at_least": int.__ge__, "at_most": int.__le__, "exactly": int.__eq__}[bound]
    numbers = range(1, 2 * n + 2)
    table = [[Status.TRUE if right(c, m) else Status.FALSE for m in numbers] for c in counts]
    flaw = slots._flaw(bound, table)
    assert flaw in ("", "ignores_number")
    assert not flaw or all(len(set(row)) == 1 for row in table)


def test_a_number_is_filled_in_and_taken_out_again(sandbox: Sandbox) -> None:
    source = "import re\n\n\ndef evaluate(response, n):\n    return len(response.split()) >= n\n"
    filled = slots.filled(source, 2) or ""
    assert slots.filled(filled, 3) == filled.replace("response, 2", "response, 3")
    assert slots.opened(filled) == source.rstrip()
    assert slots.opened("def evaluate(r):\n    return True") == "def evaluate(r):\n    return True"
    assert slots.filled("def evaluate(response):\n    return True", 2) is None
    verdicts = [
        Verdict.of([o]) for o in sandbox.evaluate(filled, ["one", "one two", "one two three"])
    ]
    assert [v.fraction for v in verdicts] == [0, 1, 1]


def seeds(tmp_path: Path, *lines: Row, **settings: object) -> list[Instruction]:
    file = write_rows(tmp_path / "seeds.jsonl", lines)
    settings = {"instructions.seeds": str(file), "instructions.numbers": 2, **settings}
    return propose.load(Recipe.load("strict", None, settings)).kept


STARS: Row = {"text": "Add {n} stars.", "params": {"n": [1, 2, 3, 4]}, "bound": "at_least"}


def test_numbers_are_drawn_by_the_seed(tmp_path: Path) -> None:
    found = seeds(tmp_path, STARS)
    assert [i.text for i in found] == [f"Add {i.n} stars." for i in found]
    assert {i.template for i in found} == {"Add {n} stars."}
    assert len({i.n for i in found}) == 2
    assert found == seeds(tmp_path, STARS)
    drawn = {tuple(i.n for i in seeds(tmp_path, STARS, seed=s)) for s in range(8)}
    assert len(drawn) > 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"text": "Add stars."}, "a slot is {n} in the text"),
        ({"params": {"m": [1]}}, "a slot is {n} in the text"),
        ({"params": [1]}, "a slot is {n} in the text"),
        ({"params": {"n": [0]}}, "from 1 to 200"),
        ({"params": {"n": ["two"]}}, "from 1 to 200"),
        ({"bound": "roughly"}, "at_least, at_most, exactly"),
    ],
)
def test_a_slot_that_cannot_be_filled(change: Row, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said.replace("{", r"\{")):
        seeds(tmp_path, {**STARS, **change})


def test_functions_for_all_numbers_are_asked_for_once(smoke: Path, tmp_path: Path) -> None:
    numbered = [r for r in rows(smoke / "01-instructions.jsonl") if r["template"]]
    assert len(numbered) == 2
    of = [
        [slots.opened(c["source"]) for c in r["checks"]]
        for r in rows(smoke / "02-verifiers.jsonl")
        if r["instruction"]["template"]
    ]
    assert sorted(of[0]) == sorted(of[1])
    assert report(smoke)["calls"]["replayed"] >= 3


# ---- soft --------------------------------------------------------------------------------------


def test_soft_rows_are_there_on_demand_alone_and_marked(smoke: Path, tmp_path: Path) -> None:
    plain = autoif.Result(smoke)
    assert "no code decides" not in (smoke / "data/README.md").read_text()
    found = autoif.synth("smoke", out=tmp_path / "run", compose={"soft": "builtin"})
    assert "no code decides" in (found.path / "data/README.md").read_text()
    soft = [row for row in found.sft_rows() if row["soft"]]
    assert soft
    for row in soft:
        (wish,) = row["soft"]
        assert wish["score"] >= 8
        assert wish["instruction"].rstrip(".") in row["messages"][0]["content"]
        assert row["level"] == len(row["verifiers"]) == 1
    assert {row["id"] for row in plain.sft_rows()} == {
        row["id"] for row in found.sft_rows() if not row["soft"]
    }
    assert all(row["soft"][0]["score"] is None for row in found.rlvr_rows() if row["soft"])
    assert balanced(found.report)
