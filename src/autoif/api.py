"""The Python API: what the commands do, as functions, re-exported by `autoif`.

    import autoif

    result = autoif.synth("smoke", out="runs/smoke")
    for row in result.sft_rows():
        print(row["messages"])

Everything raises `autoif.AutoIFError`: one line that says what is wrong and what to do.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoif.base import jsonl
from autoif.base.errors import RunFailed, UsageError
from autoif.base.loop import asyncio_run
from autoif.base.records import (
    Composition,
    Drop,
    Instruction,
    Sample,
    Verifier,
    composition_from_json,
    drop_from_json,
    instruction_from_json,
    sample_from_json,
    verifier_from_json,
)
from autoif.base.toml import merge
from autoif.engine.local import Run, Stopped
from autoif.models import Backend
from autoif.models.budget import Budget
from autoif.run.directory import DROPS, RunDir
from autoif.run.recipe import PRESETS, Recipe

Row = dict[str, Any]
_log = logging.getLogger("autoif")


def synth(
    recipe: Recipe | str | Path | None = None,
    *,
    out: str | Path,
    update: bool = False,
    calls: str | Path | None = None,
    budget: str = "",
    backends: Mapping[str, Backend] | None = None,
    on_notice: Callable[[str], None] = _log.info,
    **settings: Any,
) -> Result:
    """Makes data in the directory `out`; called again with the same arguments, it resumes.

    recipe: a Recipe, the name of a preset, or a TOML file; None is the preset `demo`.
    update: another recipe may go on in a directory that one has made; answered calls are kept.
    calls: a call store to be shared between runs, instead of the directory's own.
    budget: "5USD" or "2Mtok": no call is paid beyond it; RunFailed says that it is spent.
    backends: models of your own, by the name that the recipe calls them.
    on_notice: hears one line when a user should know something (a download, a server that waits).
    settings: keys of the recipe, laid over it: `target=50`, `responses={"waves": (2, 2)}`.

    Raises UsageError for a wrong recipe, setting or input file, and for a directory that another
    recipe made; SetupError where this machine, a server or a model cannot do it; RunFailed for an
    empty dataset. After Ctrl-C what is in flight ends and is stored before KeyboardInterrupt is
    raised; a second one does not wait. Blocks, also where an event loop is running (a notebook).
    """
    directory = RunDir(Path(out))
    whole = _recipe(recipe, settings)
    limit = Budget.parse(budget) if budget else None
    with directory.locked():
        directory.claim(whole, update=update)
        store = Path(calls) if calls else None
        _complete(Run(whole, directory, store, on_notice, dict(backends or {}), limit))
    return Result(directory.path)


@dataclass(frozen=True, slots=True)
class Result:
    """A run directory, made by this process or any other. Files are read as you iterate.

    Rows are dictionaries as docs/data-formats.md describes them; the others are records.
    """

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))

    @property
    def report(self) -> Row:
        """The funnel, calls, tokens, cost; also in mid-run. Raises UsageError: no run there."""
        return RunDir(self.path).report()

    @property
    def sft(self) -> Path:
        return self.path / "data/sft.jsonl"

    @property
    def dpo(self) -> Path:
        return self.path / "data/dpo.jsonl"

    @property
    def rlvr(self) -> Path:
        return self.path / "data/rlvr.jsonl"

    def sft_rows(self) -> Iterator[Row]:
        return _rows(self.sft)

    def dpo_rows(self) -> Iterator[Row]:
        return _rows(self.dpo)

    def rlvr_rows(self) -> Iterator[Row]:
        return _rows(self.rlvr)

    def instructions(self) -> Iterator[Instruction]:
        return map(instruction_from_json, _rows(self.path / "01-instructions.jsonl"))

    def verifiers(self) -> Iterator[Verifier]:
        return map(verifier_from_json, _rows(self.path / "02-verifiers.jsonl"))

    def samples(self) -> Iterator[Sample]:
        """Every response that was checked, kept or not."""
        return map(sample_from_json, _rows(self.path / "03-samples.jsonl"))

    def compositions(self) -> Iterator[Composition]:
        """Constraints put together, of which a sample came."""
        return map(composition_from_json, _rows(self.path / "04-compositions.jsonl"))

    def drops(self) -> Iterator[Drop]:
        """Everything that fell out, in the order of the stages' files."""
        for name in DROPS:
            yield from map(drop_from_json, _rows(self.path / f"{name}.jsonl"))


def _recipe(recipe: Recipe | str | Path | None, settings: Mapping[str, Any]) -> Recipe:
    if isinstance(recipe, Recipe):
        return Recipe.of(merge(recipe.model_dump(), settings))
    if recipe is None or recipe in PRESETS:
        return Recipe.load(None if recipe is None else str(recipe), None, settings)
    if isinstance(recipe, str) and not Path(recipe).exists():
        raise UsageError(
            f"{recipe}: no such recipe file, and no preset; those are {', '.join(PRESETS)}"
        )
    return Recipe.load(None, Path(recipe), settings)


def _rows(path: Path) -> Iterator[Row]:
    return (row for _, row in jsonl.read(path))


def _complete(run: Run) -> None:
    again = "what was answered is stored; the same call goes on from there"
    try:
        _wait(run)
    except Stopped as stopped:
        if str(stopped) == "budget":
            raise RunFailed(f"the budget is spent; {again}, with a larger one") from None
        raise KeyboardInterrupt(f"stopped; {again}") from None


def _wait(run: Run) -> None:
    """Executes the run in a loop of its own; in a thread where this one has a loop already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio_run(_stoppable(run))
        return
    loops: list[asyncio.AbstractEventLoop] = []

    async def execute() -> None:
        loops.append(asyncio.get_running_loop())
        await run.execute()

    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(asyncio_run, execute())
        try:
            while not done.done():  # a signal may not wake a lock, so it is asked now and then
                wait([done], timeout=0.2)
        except KeyboardInterrupt:
            with suppress(IndexError, RuntimeError):  # not begun, or over
                loops[0].call_soon_threadsafe(run.stop)
        done.result()


async def _stoppable(run: Run) -> None:
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        run.stop()
        loop.remove_signal_handler(signal.SIGINT)  # the next one is Python's own again

    with suppress(RuntimeError, ValueError):  # signals are the main thread's
        loop.add_signal_handler(signal.SIGINT, interrupted)
    await run.execute()
