"""A run on the embedded model is made to fit the time, and stays the run that it was begun as."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import autoif
from autoif.base.errors import SetupError
from autoif.base.inputs import builtin
from autoif.base.records import Reply, Request, Usage
from autoif.cli import main
from autoif.engine import sizing
from autoif.engine.dry_run import plan
from autoif.engine.local import Run, Stopped
from autoif.engine.sizing import BATCH, LEAST, STEPS, Speed, begin, fit
from autoif.models.scripted import ScriptedBackend
from autoif.run.directory import RunDir
from autoif.run.recipe import Recipe
from runs import artefacts

MODEL = "local:of-ours"
PLANNED = {
    "instructions": {"likely": 60, "most": 76},
    "stages": [{"name": "judge", "calls": {"likely": 400}}],
    "total": {"uncached_tokens": {"likely": 120_000}, "completion_tokens": {"likely": 150_000}},
}


class Machine:
    """The prepared answers of `smoke`, from a machine of some speed. Counts what it is asked."""

    def __init__(self, tokens_per_second: float = 1e4) -> None:
        self.script = ScriptedBackend.from_file(Path(builtin("builtin:smoke", "script.jsonl")))
        self.namespace = self.script.namespace
        self.speed = tokens_per_second
        self.trial: list[int] = []
        self.stages: Counter[str] = Counter()

    def body(self, request: Request) -> dict[str, Any]:
        return self.script.body(request)

    async def __call__(self, request: Request) -> Reply:
        self.stages[request.stage] += 1
        if request.stage != "trial":
            return await self.script(request)
        self.trial.append(request.max_tokens)
        await asyncio.sleep(request.max_tokens * BATCH / self.speed)
        return Reply("word", "length", Usage(200, 0, request.max_tokens))

    async def close(self) -> None:
        pass


def smoke(minutes: float = 20) -> Recipe:
    few = {"instructions.limit": 5, "instructions.rounds": 0}
    return Recipe.load("smoke", None, {"models.default": MODEL, "engine.minutes": minutes} | few)


def demo(minutes: float = 20) -> Recipe:
    return Recipe.load("demo", None, {"engine.minutes": minutes})


def test_the_trial_reads_a_prompt_and_generates_a_batch() -> None:
    machine = Machine()
    speed = asyncio.run(sizing.time_backend(machine))
    assert machine.trial == [1, 1] + [STEPS] * BATCH
    assert 0 < speed.generated <= 1e4
    assert speed.prompt > 0


def test_a_fast_machine_makes_all_of_it() -> None:
    size = fit(demo(), PLANNED, Speed(1000, 1000))
    assert size.instructions == 60
    assert not size.recipe.differs(demo())
    assert size.recipe.engine.minutes == 0


def test_a_slower_one_makes_less_and_says_how_much() -> None:
    whole, size = fit(demo(), PLANNED, Speed(1e6, 1e6)), fit(demo(60), PLANNED, Speed(40, 30))
    assert LEAST <= size.instructions < 60
    assert size.seconds <= 60 * 60
    assert size.samples < whole.samples
    settings = size.recipe.instructions
    assert settings.limit < demo().instructions.limit
    assert settings.rounds * settings.asks < demo().instructions.asks


@given(st.floats(1, 300), st.floats(0.5, 3000), st.floats(0.5, 3000))
def test_more_minutes_never_make_less(minutes: float, prompt: float, generated: float) -> None:
    speed = Speed(prompt, generated)
    try:
        size = fit(demo(minutes), PLANNED, speed)
    except SetupError as error:
        enough = int(str(error).partition("--minutes ")[2].split(",")[0])
        assert fit(demo(enough), PLANNED, speed).instructions >= LEAST
        return
    more = fit(demo(2 * minutes), PLANNED, speed)
    assert more.instructions >= size.instructions
    assert size.instructions == LEAST or size.seconds <= minutes * 60 * (1 + 1e-9)
    assert math.isclose(size.seconds / size.instructions, more.seconds / more.instructions)


def test_a_machine_that_is_much_too_slow_gets_one_line_with_ways_out() -> None:
    with pytest.raises(SetupError, match=r"takes .* hours\. Give --minutes \d+, or a server"):
        fit(demo(), PLANNED, Speed(2, 1))


def test_the_plan_says_what_is_read_anew() -> None:
    """Prompts share their beginnings; the embedded engine computes a beginning once."""
    total = plan(demo())["total"]
    assert 0 < total["uncached_tokens"]["likely"] < 0.7 * total["prompt_tokens"]["likely"]


def test_a_run_keeps_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begun small on a slow machine; continued, and made again elsewhere, it is the same run."""
    monkeypatch.setattr(sizing, "LEAST", 3)
    monkeypatch.setattr(sizing, "LONGEST", math.inf)
    slow, lines = Machine(), list[str]()
    out = tmp_path / "run"
    autoif.synth(smoke(1e-6), out=out, backends={MODEL: slow}, on_notice=lines.append)
    assert "3 instructions" in lines[-1]
    made = artefacts(out)
    recipe = RunDir(out).recipe()
    assert recipe
    assert recipe.instructions.limit == 3
    assert recipe.engine.minutes == 0

    fast, lines = Machine(), []
    autoif.synth(smoke(500), out=out, backends={MODEL: fast}, on_notice=lines.append)
    assert not fast.stages, "it was timed again, or asked"
    assert "goes on at the size" in lines[0]
    assert artefacts(out) == made

    autoif.synth(out / "recipe.toml", out=tmp_path / "again", backends={MODEL: fast})
    assert not fast.trial
    assert artefacts(tmp_path / "again") == made

    autoif.synth(smoke(500), out=out, update=True, backends={MODEL: fast})
    assert fast.trial
    assert artefacts(out) != made


def test_another_recipe_is_refused_before_a_model_is_timed(tmp_path: Path) -> None:
    machine = Machine()
    autoif.synth(smoke(0), out=tmp_path, backends={MODEL: machine})
    with pytest.raises(autoif.AutoIFError, match="made by another recipe"):
        autoif.synth(smoke().changed({"seed": 2}), out=tmp_path, backends={MODEL: machine})
    assert not machine.trial


def test_ctrl_c_ends_the_trial(tmp_path: Path) -> None:
    async def stopped() -> None:
        run = Run(smoke(), RunDir(tmp_path), backends={MODEL: Machine(1e-3)})
        asyncio.get_running_loop().call_later(0.5, run.stop)
        await begin(run)

    with pytest.raises(Stopped):
        asyncio.run(asyncio.wait_for(stopped(), 60))
    assert not (tmp_path / "recipe.toml").exists()


def test_only_the_embedded_model_is_timed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["synth", "--minutes", "5", "--model", "openai:m", "--out", str(tmp_path / "r")])
    assert code == 2
    assert "--target or --budget" in capsys.readouterr().err
    server = Machine()
    recipe = smoke().changed({"models.default": "openai:m"})
    autoif.synth(recipe, out=tmp_path / "s", backends={"openai:m": server})
    assert not server.trial
    first, second = Machine(), Machine()
    both = smoke().changed({"models.judge": "local:second"})
    autoif.synth(both, out=tmp_path / "b", backends={MODEL: first, "local:second": second})
    assert not first.trial
    assert not second.trial
    with pytest.raises(autoif.AutoIFError, match="minutes"):
        autoif.synth(recipe.changed({"engine.minutes": -1}), out=tmp_path / "t")
