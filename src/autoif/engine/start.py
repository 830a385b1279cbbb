"""The run of a recipe: on this machine, or on every one of a cluster."""

from __future__ import annotations

from typing import Any

from autoif.engine.local import Run
from autoif.run.directory import RunDir
from autoif.run.recipe import Recipe


def open_run(recipe: Recipe, out: RunDir, **options: Any) -> Run:
    """`options`: the fields of `Run`. Raises UsageError where they do not suit a cluster."""
    if recipe.engine.cluster:
        from autoif.engine.ray_run import RayRun

        return RayRun(recipe, out, **options)
    return Run(recipe, out, **options)
