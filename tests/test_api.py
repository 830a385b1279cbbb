"""The Python API: light to import, the same run as the command's, errors that say what to do."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import autoif
from autoif.base.errors import RunFailed, UsageError
from autoif.models.scripted import ScriptedBackend
from autoif.store import open_store

DATA = ("data/sft.jsonl", "data/dpo.jsonl", "data/rlvr.jsonl", "03-samples.jsonl")


@pytest.fixture
def run(smoke: Path) -> autoif.Result:
    """To be read."""
    return autoif.Result(smoke)


def test_the_import_is_light_and_the_functions_stay_functions() -> None:
    code = (
        "import sys, autoif\n"
        "assert not {'pydantic', 'aiohttp', 'polars', 'rich', 'autoif.engine'} & set(sys.modules)\n"
        "import autoif.synthesis.flow, autoif.verifier.verify\n"
        "from autoif.verifier.verify import averify\n"
        "assert callable(autoif.synth) and callable(autoif.verify)\n"
        "assert set(autoif.__all__) <= set(dir(autoif))\n"
        "assert all(getattr(autoif, name) is not None for name in autoif.__all__)\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_it_makes_what_the_command_makes(smoke: Path, tmp_path: Path) -> None:
    run = autoif.synth("smoke", out=tmp_path / "run")
    for name in DATA:
        assert (run.path / name).read_bytes() == (smoke / name).read_bytes()


def test_a_result_reads_everything(run: autoif.Result) -> None:
    stages = {s["name"]: s for s in run.report["stages"]}
    every = [*run.sft_rows(), *run.dpo_rows(), *run.rlvr_rows()]
    assert len(every) == stages["data"]["kept"]
    assert len(list(run.instructions())) == stages["instructions"]["kept"]
    assert len(list(run.verifiers())) == stages["verifiers"]["kept"]
    assert sum(s.kept for s in run.samples()) == stages["samples"]["kept"]
    assert len(list(run.drops())) == sum(sum(s["dropped"].values()) for s in stages.values())
    assert all(row["rejected"] != row["chosen"] for row in run.dpo_rows())
    assert all(0 < row["pass_rate"] <= 1 for row in run.rlvr_rows())


def test_it_resumes_also_where_a_loop_is_running(smoke_copy: Path) -> None:
    async def cell_of_a_notebook() -> autoif.Result:
        return autoif.synth("smoke", out=smoke_copy)

    again = asyncio.run(cell_of_a_notebook())
    assert again.report["calls"]["asked"] == 0


def test_settings_lie_over_presets_files_and_recipes(smoke_copy: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('preset = "smoke"\ntarget = 2\n')
    store = smoke_copy / "calls.sqlite"
    one = autoif.synth(file, out=tmp_path / "one", calls=store, judge={"threshold": 9.0})
    recipe = autoif.Recipe.load("smoke", None, {"target": 2})
    two = autoif.synth(recipe, out=tmp_path / "two", calls=store, judge={"threshold": 9.0})
    assert one.report["calls"]["asked"] == two.report["calls"]["asked"] == 0
    assert one.sft.read_bytes() == two.sft.read_bytes()
    assert len(list(one.sft_rows())) == 2


def test_a_model_of_ones_own_answers(tmp_path: Path) -> None:
    mine = ScriptedBackend(lambda request: "No.", namespace="mine")
    with pytest.raises(RunFailed, match="no sample survived"):
        autoif.synth(
            "smoke", out=tmp_path / "run", backends={"mine": mine}, models={"default": "mine"}
        )
    assert autoif.Result(tmp_path / "run").report["calls"]["asked"] > 0


def test_a_budget_ends_the_run(tmp_path: Path) -> None:
    few = {"limit": 2, "rounds": 0}
    with pytest.raises(RunFailed, match="the budget is spent"):
        autoif.synth("smoke", out=tmp_path / "run", budget="1ktok", instructions=few)
    again = autoif.synth("smoke", out=tmp_path / "run", instructions=few)
    assert again.report["calls"]["replayed"] > 0


def test_errors_name_what_is_wrong(run: autoif.Result, tmp_path: Path) -> None:
    for recipe, settings, said in (
        ("smokey", {}, "no preset; those are"),
        ("smoke", {"targe": 3}, "unknown key 'targe'"),
        (tmp_path / "none.toml", {}, "no such file"),
    ):
        with pytest.raises(UsageError, match=said):
            autoif.synth(recipe, out=tmp_path / "run", **settings)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="another recipe"):
        autoif.synth("smoke", out=run.path, target=1)
    with pytest.raises(UsageError, match="not a run directory"):
        _ = autoif.Result(tmp_path).report


def test_a_missing_file_says_what_makes_it(tmp_path: Path) -> None:
    nothing = autoif.Result(tmp_path)
    for read in (
        nothing.sft_rows, nothing.dpo_rows, nothing.rlvr_rows, nothing.instructions,
        nothing.verifiers, nothing.samples, nothing.compositions, nothing.drops,
    ):  # fmt: skip
        with pytest.raises(UsageError, match=r"jsonl: no such file; .*`autoif synth`"):
            read()


def test_a_changed_preset_is_called_changed_in_the_card(run: autoif.Result, tmp_path: Path) -> None:
    made = autoif.synth(
        "smoke", out=tmp_path / "run", calls=run.path / "calls.sqlite", judge={"threshold": 7.5}
    )
    card = (made.path / "data/README.md").read_text()
    assert "preset `smoke + judge.threshold`" in card
    assert "preset `smoke`" in (run.path / "data/README.md").read_text()


IFEVAL = {
    "key": 1,
    "prompt": "Go.",
    "instruction_id_list": ["punctuation:no_comma"],
    "kwargs": [{}],
}


def test_a_model_is_evaluated_by_its_name_also_in_a_notebook(tmp_path: Path) -> None:
    data, script = tmp_path / "data.jsonl", tmp_path / "script.jsonl"
    data.write_text(json.dumps(IFEVAL))
    script.write_text(json.dumps({"contains": [], "replies": ["Gone."]}))
    spec, out = f"scripted:{script}", tmp_path / "out"

    async def cell_of_a_notebook() -> float | None:
        return autoif.evaluate("ifeval", model=spec, data=data, out=out)["prompt_strict"].value

    assert asyncio.run(cell_of_a_notebook()) == 100
    again = autoif.evaluate("ifeval", model=spec, data=str(data), calls=out / "calls.sqlite")
    assert again["prompt_strict"].value == 100

    async def calls() -> int:
        async with open_store(out / "calls.sqlite", read_only=True) as store:
            return int((await store.inspect())["calls"])

    assert asyncio.run(calls()) == 1  # the second evaluation read the answer back
    with pytest.raises(UsageError, match=r"script\.jsonl: no such file"):
        autoif.evaluate(
            "ifeval", model=f"scripted:{tmp_path}/other/script.jsonl", data=data, out=out
        )
    with pytest.raises(UsageError, match="a model needs a directory"):
        autoif.evaluate("ifeval", model=spec, data=data)


@pytest.mark.parametrize("notebook", [False, True])
def test_ctrl_c_stores_what_is_in_flight(notebook: bool, tmp_path: Path) -> None:
    script = tmp_path / "script.jsonl"
    slow = {"contains": [], "replies": ["No."], "latency_ms": 1500}
    script.write_text(json.dumps(slow))
    code = (
        "import asyncio, autoif, sys\n"
        f"def go(): autoif.synth('smoke', out={str(tmp_path / 'run')!r},"
        f" models={{'default': 'scripted:{script}'}})\n"
        "async def cell(): go()\n"
        f"asyncio.new_event_loop().run_until_complete(cell()) if {notebook} else go()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    progress = tmp_path / "run/progress.json"
    deadline = time.monotonic() + 30
    while not progress.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert "KeyboardInterrupt: stopped" in said, said
    report = autoif.Result(tmp_path / "run").report
    assert report["state"] == "stopped"
    assert report["calls"]["asked"] > 0  # what was in flight has come in, and is stored
