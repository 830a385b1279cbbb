"""Reference data for the tests (`AUTOIF_DATA`, by default `../shared/data` beside the project), one
run of `smoke` for all of them, a stage's context, and the command in this process."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

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
from runs import Done, artefacts

UNJUDGED = {"judge.floor": False, "judge.controls": "off"}
ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For `-n 2 --dist loadgroup`: a file's tests run in one worker, which makes its fixtures once;
    pages of the documents, which take long and have none, go to whichever worker is free."""
    for item in items:
        group = item.nodeid if item.path.name == "test_docs.py" else item.path.name
        item.add_marker(pytest.mark.xdist_group(group))


def pytest_collection_finish() -> None:
    """What the test modules have imported, torch among it, stays for good: nobody looks through its
    millions of objects again when garbage is collected, as `here` does twice a command."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Skips where the data is absent; in CI its absence is a failure."""
    path = Path(os.environ.get("AUTOIF_DATA") or ROOT.parent / "shared" / "data")
    if path.is_dir():
        return path
    message = f"reference data not at {path} (set AUTOIF_DATA)"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


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
    answers of a word or two are no filler, its judgements not controlled. Settings by section or
    key: `context(answer, judge={"votes": 2})`."""
    async with open_store(tmp_path / "calls.sqlite") as store:

        def of(
            answer: Callable[[Request], Answer] = lambda request: "",
            preset: str = "strict",
            queries: tuple[str, ...] = (),
            **settings: object,
        ) -> Context:
            recipe = Recipe.load(preset, None, UNJUDGED | settings)
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
