"""A shard is a pure function of its spec, the recipe and the answers of models."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path

import orjson
import pytest

from autoif.engine.local import Run
from autoif.engine.resources import open_context
from autoif.engine.shards import ShardResult, ShardSpec, UnitRunner, run_shard
from autoif.models import Backend
from autoif.models.batch import PendingBackend
from autoif.run.directory import RunDir
from autoif.run.recipe import Recipe
from autoif.store import open_store
from runs import artefacts, rows

SIZE = 3  # units in a shard


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return Recipe.load("smoke", None, {"engine.shard_size": SIZE, "instructions.limit": 4})


@pytest.fixture(scope="module")
def made(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    out = RunDir(tmp_path_factory.mktemp("shards") / "run")
    out.claim(recipe)
    asyncio.run(Run(recipe, out).execute())
    return out


def specs(made: RunDir) -> list[tuple[ShardSpec, Path]]:
    """Every shard of the run, with the directory that the run made of it."""
    verifiers = {
        str(orjson.loads(line)["id"]): line
        for line in made.artefact("02-verifiers").read_bytes().splitlines(keepends=True)
    }
    found = []
    for stage, under, lines in (
        ("verifiers", "", made.artefact("01-instructions")),
        ("compositions", "compositions", made.artefact("parts/compositions/drawn")),
    ):
        units = lines.read_bytes().splitlines(keepends=True)
        for n in range(-(-len(units) // SIZE)):
            own = tuple(units[n * SIZE : (n + 1) * SIZE])
            named = tuple(verifiers.values()) if under else ()
            (folder,) = (made.path / "parts" / under).glob(f"{n:05d}-*")
            found.append((ShardSpec(stage, n, own, named), folder))
    return found


def test_a_shard_sent_elsewhere_comes_back_with_the_same_bytes(
    recipe: Recipe, made: RunDir
) -> None:

    async def all_of(shards: list[ShardSpec]) -> list[ShardResult]:
        async with open_store(made.calls) as store:

            def nothing_is_asked(model: str, backend: Backend) -> PendingBackend:
                return PendingBackend(backend, store)  # raises when it is asked

            async with open_context(recipe, store, wrap=nothing_is_asked) as context:
                return [await run_shard(UnitRunner(context), spec) for spec in shards]

    sent = specs(made)
    assert {spec.stage for spec, _ in sent} == {"verifiers", "compositions"}
    assert len(sent) > 4
    received = [pickle.loads(pickle.dumps(spec)) for spec, _ in sent]
    results = asyncio.run(all_of(received))
    for (_, folder), result in zip(sent, results, strict=True):
        for name, lines in result.lines.items():
            assert lines == (folder / f"{name}.jsonl").read_bytes(), (folder, name)
        left = orjson.loads((folder / "funnel.json").read_bytes())
        assert result.funnel.to_json() == left["stages"]
        assert len(pickle.dumps(result)) > 100


def test_two_runs_in_one_process_do_not_meet(recipe: Recipe, made: RunDir, tmp_path: Path) -> None:
    other = recipe.changed({"seed": 2})
    outs = [RunDir(tmp_path / "one"), RunDir(tmp_path / "two")]
    for out, its in zip(outs, (recipe, other), strict=True):
        out.claim(its)

    async def side_by_side() -> None:
        runs = [Run(its, out) for its, out in zip((recipe, other), outs, strict=True)]
        await asyncio.gather(*(run.execute() for run in runs))

    asyncio.run(side_by_side())
    assert artefacts(outs[0].path) == artefacts(made.path)
    assert rows(outs[1].artefact("data/sft")) != rows(made.artefact("data/sft"))
