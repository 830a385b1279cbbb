"""Reference data for the tests (`AUTOIF_DATA`, by default `../shared/data` beside the project), one
run of `smoke` for all of them, a stage's context, and the command in this process."""

from __future__ import annotations

import gc
import importlib.util
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import pytest

from autoif.base.records import Query, Request
from autoif.cli import main
from autoif.engine.resources import ROLES
from autoif.models.scripted import Answer, ScriptedBackend
from autoif.run.recipe import Recipe
from autoif.sandbox import Sandbox
from autoif.store import open_store
from autoif.synthesis.context import Context
from autoif.synthesis.prompts.templates import PromptTemplates
from postgres import Postgres, binaries
from runs import Done, artefacts

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For `-n 2 --dist loadgroup`: a file's tests run in one worker, which makes its fixtures once;
    pages of the documents, which take long and have none, go to whichever worker is free."""
    for item in items:
        group = item.nodeid if item.path.name == "test_docs.py" else item.path.name
        item.add_marker(pytest.mark.xdist_group(group))


def absent(what: str) -> NoReturn:
    """Skips for what is not here; in CI its absence is a failure."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    path = Path(os.environ.get("AUTOIF_DATA") or ROOT.parent / "shared" / "data")
    if path.is_dir():
        return path
    absent(f"reference data not at {path} (set AUTOIF_DATA)")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server for all tests that leave it running; those that kill it start their own."""
    binaries = postgres_binaries()
    with closing(Postgres(binaries)) as server:
        yield server


def postgres_binaries() -> Path:
    if importlib.util.find_spec("asyncpg") is None:
        absent("asyncpg is not installed (pip install 'autoif[cluster]')")
    return binaries() or absent("PostgreSQL is not installed (apt-get install postgresql)")


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A call store of each kind, not made yet."""
    if request.param == "sqlite":
        return str(tmp_path / "calls.sqlite")
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_url()


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run of the preset `smoke`, to be read; what writes takes `smoke_copy`."""
    out = tmp_path_factory.mktemp("smoke") / "run"
    assert main(["synth", "--preset", "smoke", "--out", str(out), "--quiet"]) == 0
    before = artefacts(out)
    yield out
    assert artefacts(out) == before, "a test has written into the run that all tests share"


@pytest.fixture
def smoke_copy(smoke: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(smoke, tmp_path / "smoke"))


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(1) as opened:
        yield opened


@pytest.fixture
async def context(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Callable[..., Context]]:
    """What a stage is handed, around a model that answers by a function and remembers nothing; its
    answers of a word or two are no filler. Settings by section or key: `context(answer,
    judge={"votes": 2})`."""
    async with open_store(tmp_path / "calls.sqlite") as store:

        def of(
            answer: Callable[[Request], Answer] = lambda request: "",
            preset: str = "strict",
            queries: tuple[str, ...] = (),
            **settings: object,
        ) -> Context:
            recipe = Recipe.load(preset, None, {"judge.floor": False} | settings)
            chats = dict.fromkeys(ROLES, ScriptedBackend(answer))
            asked = {"en": [Query(text) for text in queries]}
            return Context(recipe, PromptTemplates(), chats, sandbox, store, None, asked)

        yield of


@pytest.fixture
def here(
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Done]:
    """`autoif ARGS` in this process. `err`: stderr, and what Python's own logging says, such as of
    exceptions that were never retrieved."""

    def run(*args: object, **environment: str) -> Done:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        gc.collect()
        capsys.readouterr()
        caplog.clear()
        code = main([str(a) for a in args])
        gc.collect()
        said = capsys.readouterr()
        return Done(code, said.out, said.err + caplog.text)

    return run
