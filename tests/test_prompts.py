"""The prompts: the same in both languages, their examples right, and Chinese runs end to end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import orjson
import pytest

from autoif.base.records import Check, Instruction, Verifier
from autoif.cli import main
from autoif.sandbox import Sandbox
from autoif.synthesis.prompts.examples import shown
from autoif.synthesis.prompts.templates import PromptTemplates, fill_line
from autoif.synthesis.responses.sample import user_message
from autoif.verifier.verify import verify

PROMPTS = files("autoif.synthesis") / "prompts"
NAMES = sorted(p.name for p in (PROMPTS / "en").iterdir())
FENCE = re.compile(r"```python\n(.*?)```", re.DOTALL)


def read(lang: str, name: str) -> str:
    return (PROMPTS / lang / name).read_text("utf-8")


def examples(lang: str, name: str) -> list[str]:
    """The functions that a prompt shows as good answers, or as questions."""
    return [code for code in FENCE.findall(read(lang, name)) if "{{" not in code]


def test_the_languages_have_the_same_prompts() -> None:
    assert sorted(p.name for p in (PROMPTS / "zh").iterdir()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_languages_have_the_same_parts_and_holes(name: str) -> None:
    def shape(text: str) -> tuple[list[str], set[str]]:
        return re.findall(r"(?m)^\[\w+\]$", text), set(re.findall(r"\{\{(\w+)\}\}", text))

    assert shape(read("zh", name)) == shape(read("en", name))


@pytest.mark.parametrize("name", [n for n in NAMES if n != "brief.md"])
def test_chinese_prompts_are_filled_without_leftovers(name: str) -> None:
    holes = dict.fromkeys(re.findall(r"\{\{(\w+)\}\}", read("zh", name)), "甲")
    messages = PromptTemplates().messages(name[:-3], "zh", **holes)
    assert not any("{{" in message.content for message in messages)
    for message in (messages[0], messages[-1]):
        assert re.search(r"[\u4e00-\u9fff]", message.content)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(1) as opened:
        yield opened


TEXTS = {
    "en": [
        "Tides come from the moon. However, the quiet sun adds a part of its own every time.\n\n"
        "Extraordinarily large ones follow a full moon. Nobody has to ask why that is so, for once "
        "you have seen it you know.",
        "One plain sentence about a queen, long enough to go over any short line. " * 4,
    ],
    "zh": [
        "潮汐主要来自月亮的引力，但是太阳也有一份，所以每个月总有那么几天水位涨得特别高。\n"
        "满月之后的潮水最大。这一点不需要多问，看过一次就明白。",
        "这是一句很普通的话，但是写得够长，足以超过任何一行的限制。" * 3,
    ],
}


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("index", range(12))
def test_the_examples_shown_are_right(lang: str, index: int, sandbox: Sandbox) -> None:
    """The program makes a text follow what the function checks, and plain text does not."""
    function = shown(lang, "evaluate", index)
    programs = {
        filled["example_1"]: filled["code_1"]
        for filled in (shown(lang, "comply", n) for n in range(12))
    }
    check = [Check(function["code_1"])]
    plain = verify(check, TEXTS[lang], sandbox=sandbox)
    assert any(v.fraction == 0 for v in plain), function["example_1"]
    assert all(v.fraction is not None for v in verify(check, ["", "\n", "x"], sandbox=sandbox))
    if program := programs.get(function["example_1"]):
        done = [r.text for r in sandbox.transform(program, TEXTS[lang])]
        assert all(v.fraction == 1 for v in verify(check, done, sandbox=sandbox)), done


def test_no_two_asks_in_a_row_show_the_same_example() -> None:
    for kind in ("evaluate", "comply"):
        for n in range(12):
            one, two = shown("en", kind, n), shown("en", kind, n + 1)
            assert one["example_1"] != one["example_2"]
            assert one["example_1"] != two["example_1"]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_functions_in_prompts_conclude(lang: str, sandbox: Sandbox) -> None:
    for source in examples(lang, "backtranslate.md"):
        verdicts = verify([Check(source)], TEXTS[lang], sandbox=sandbox)
        assert all(v.fraction is not None for v in verdicts), source


@pytest.mark.parametrize("langs", ["zh", "en,zh"])
def test_chinese_runs_end_to_end(
    langs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    command = ["synth", "--preset", "smoke", "--lang", langs, "--out", str(out), "--json"]
    assert main(command) == 0
    report = orjson.loads(capsys.readouterr().out)
    for stage in report["stages"]:
        assert stage["in"] == stage["kept"] + sum(stage["dropped"].values()), stage
        if stage["name"] in ("queries", "benchmarks", "controls"):
            continue
        assert stage["kept"], stage
        assert stage["dropped"] or stage["name"] in ("samples", "data"), stage
    rows = [orjson.loads(line) for line in (out / "data/sft.jsonl").read_bytes().splitlines()]
    assert {row["lang"] for row in rows} == set(langs.split(","))
    chinese = [row for row in rows if row["lang"] == "zh"]
    assert all(row["messages"][0]["content"].endswith("。") for row in chinese)
    assert main(command) == 0
    assert orjson.loads(capsys.readouterr().out)["calls"]["asked"] == 0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Use no commas", "Use no commas."),
        ("Use no commas.", "Use no commas."),
        ("Close with exactly: ...", "Close with exactly: ..."),
        ("Ask the reader: are you ready?", "Ask the reader: are you ready?"),
        ("Shout it!", "Shout it!"),
        ('End with "Yes"', 'End with "Yes".'),
        ("Use this layout:\nTITLE\n-----\nBODY", "Use this layout:\nTITLE\n-----\nBODY"),
        ("Use a tab\tbetween columns", "Use a tab\tbetween columns."),
    ],
)
def test_an_instruction_stands_in_a_prompt_as_it_is(text: str, sentence: str) -> None:
    verifier = Verifier(Instruction(text), (Check(""),))
    prompt = user_message("Why?", [verifier, Verifier(Instruction("Be brief"), ())]).content
    gap = "\n" if "\n" in text else " "
    assert prompt == gap.join(["Why?", sentence, "Be brief."])
    assert fill_line("Now: {{instruction}}.", {"instruction": text}) == f"Now: {sentence}"


def test_a_full_stop_does_not_stand_within_brackets() -> None:
    values = {"old": "Use no commas.", "instruction": "不用逗号。"}
    assert (
        fill_line("Not ({{old}}): {{instruction}}。", values) == "Not (Use no commas): 不用逗号。"
    )
