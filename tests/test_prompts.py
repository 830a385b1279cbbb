"""The prompts: the same in both languages, their examples right, and Chinese runs end to end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import orjson
import pytest

from autoif.cli import main
from autoif.records import Check
from autoif.sandbox import Sandbox
from autoif.synth.wording import Wording
from autoif.verify import verify

PROMPTS = files("autoif.synth") / "prompts"
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
    messages = Wording().messages(name[:-3], "zh", **holes)
    assert not any("{{" in message.content for message in messages)
    for message in (messages[0], messages[-1]):
        assert re.search(r"[\u4e00-\u9fff]", message.content)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(1) as opened:
        yield opened


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("name", ["function.md", "backtranslate.md"])
def test_example_functions_conclude_and_tell_texts_apart(
    lang: str, name: str, sandbox: Sandbox
) -> None:
    long = "这句话一直写下去没有停顿也没有标点所以它比二十个字长得多" * 2
    texts = {
        "en": ["What? Why?", "word " * 40, "No question. No.\nShort.", '{"a": [1]}', "<b>x</b>"],
        "zh": ["为什么？怎么办？", long + "？？", "很短。", long + "。", "《书》"],
    }[lang]
    shown = examples(lang, name)
    assert len(shown) >= 2
    for source in shown:
        verdicts = verify([Check(source)], texts, sandbox=sandbox)
        assert all(v.fraction is not None for v in verdicts), source
    told = [verify([Check(s)], texts, sandbox=sandbox) for s in shown]
    assert any(len({v.fraction for v in row}) == 2 for row in told)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_example_programs_change_text_and_stay_text(lang: str, sandbox: Sandbox) -> None:
    text = {"en": "One plain sentence. " * 6, "zh": "这是一句很普通的话。" * 6}[lang]
    shown = examples(lang, "comply.md")
    assert len(shown) >= 2
    for source in shown:
        (done,) = sandbox.transform(source, [text])
        assert done.text.strip(), source
        assert done.text != text, source


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
        assert stage["kept"], stage
        assert stage["dropped"] or stage["name"] == "samples", stage
    rows = [orjson.loads(line) for line in (out / "data/sft.jsonl").read_bytes().splitlines()]
    assert {row["lang"] for row in rows} == set(langs.split(","))
    chinese = [row for row in rows if row["lang"] == "zh"]
    assert all(row["messages"][0]["content"].endswith("。") for row in chinese)
    assert main(command) == 0
    assert orjson.loads(capsys.readouterr().out)["calls"]["asked"] == 0
