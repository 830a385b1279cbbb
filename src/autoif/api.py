"""The Python API: what the commands do, as functions, re-exported by `autoif`.

    import autoif

    result = autoif.synth("smoke", out="runs/smoke")
    for row in result.sft_rows():
        print(row["messages"])

Everything raises `autoif.AutoIFError`: one line that says what is wrong and what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from autoif.base.errors import RunFailed, UsageError, did_you_mean
from autoif.base.loop import run_blocking
from autoif.base.printable import log
from autoif.engine.local import Run, Stopped
from autoif.engine.sizing import begin
from autoif.engine.start import open_run
from autoif.models import Backend
from autoif.models.budget import Budget
from autoif.run.directory import RunDir
from autoif.run.reader import Result as Result
from autoif.run.recipe import PRESETS, Recipe


def synth(
    recipe: Recipe | str | Path | None = None,
    *,
    out: str | Path,
    update: bool = False,
    calls: str | Path | None = None,
    budget: str = "",
    backends: Mapping[str, Backend] | None = None,
    on_notice: Callable[[str], None] = log,
    **settings: Any,
) -> Result:
    """Makes data in the directory `out`; called again with the same arguments, it resumes.

    recipe: a Recipe, the name of a preset, or a TOML file; None is the preset `demo`.
    update: another recipe may go on in a directory that one has made; answered calls are kept.
    calls: a call store to be shared between runs, a file or postgresql://USER@HOST/NAME, instead of
    the directory's own.
    budget: "5USD" or "2Mtok": no call is paid beyond it; RunFailed says that it is spent.
    backends: models of your own, by the name that the recipe calls them.
    on_notice: hears one line when a user should know something (a download, a server that waits).
    settings: keys of the recipe, laid over it: `target=50`, `responses={"waves": (2, 2)}`.

    Raises UsageError for a wrong recipe, setting or input file, and for a directory that another
    recipe made; SetupError where this machine, a server or a model cannot do it; RunFailed for an
    empty dataset. After Ctrl-C what ends within seconds is stored before KeyboardInterrupt is
    raised; a second one does not wait. Blocks, also where an event loop is running (a notebook).
    """
    directory = RunDir(Path(out))
    whole = _recipe(recipe, settings)
    limit = Budget.parse(budget) if budget else None
    with directory.locked():
        run = open_run(
            whole,
            directory,
            calls=calls,
            on_notice=on_notice,
            backends=dict(backends or {}),
            budget=limit,
        )
        _complete(run, update)
    return Result(directory.path)


def _recipe(recipe: Recipe | str | Path | None, settings: Mapping[str, Any]) -> Recipe:
    if isinstance(recipe, Recipe):
        return recipe.changed(settings)
    if recipe is None or recipe in PRESETS:
        return Recipe.load(None if recipe is None else str(recipe), None, settings)
    if isinstance(recipe, str) and not Path(recipe).exists():
        raise UsageError(
            f"{recipe}: no such recipe file, and no preset; those are {', '.join(PRESETS)}"
            f"{did_you_mean(recipe, PRESETS)}"
        )
    return Recipe.load(None, Path(recipe), settings)


def _complete(run: Run, update: bool) -> None:
    async def work() -> None:
        await begin(run, update=update)
        await run.execute()

    again = "what was answered is stored; the same call goes on from there"
    try:
        run_blocking(work(), run.stop)
    except Stopped as stopped:
        if str(stopped) == "budget":
            raise RunFailed(f"the budget is spent; {again}, with a larger one") from None
        raise KeyboardInterrupt(f"stopped; {again}") from None
