"""Recipes on the command line: the options that make one, and `autoif recipe`, which prints it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import tomli_w

from autoif.base.toml import parse_settings
from autoif.cli.common import command, say
from autoif.run.recipe import PRESETS, Recipe, describe


def add(commands: Any) -> None:
    parser = command(
        commands, "recipe", _print, "print a whole recipe as TOML, with the meaning of each key",
        "autoif recipe --preset strict > recipe.toml", "autoif recipe mine.toml --set target=50",
    )  # fmt: skip
    recipe_options(parser.add_argument_group("recipe"))


def recipe_options(group: Any) -> None:
    """What `load_recipe` reads; `synth` has them too."""
    group.add_argument(
        "recipe",
        nargs="?",
        metavar="RECIPE.toml",
        help="TOML file with keys that change the preset",
    )
    group.add_argument("--preset", help=f"{', '.join(PRESETS)}; default: the file's, or demo")
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="K=V",
        help="set a recipe key, as in responses.waves=[2,2]; may be repeated",
    )


def load_recipe(args: argparse.Namespace, flags: dict[str, Any]) -> Recipe:
    """Preset, file, `--set`, then the options that stand for a key (None: not given)."""
    given = {key: value for key, value in flags.items() if value is not None}
    file = Path(args.recipe) if args.recipe else None
    return Recipe.load(args.preset, file, parse_settings(args.set) | given)


def _print(args: argparse.Namespace) -> int:
    say("\n".join(_lines(load_recipe(args, {}))))
    return 0


def _lines(recipe: Recipe) -> Iterator[str]:
    """Keys in the order of docs/recipe.md; tables last in their section, as TOML wants them."""
    values = recipe.model_dump(mode="json")
    for section, rows in groupby(describe(), lambda row: row[0].rpartition(".")[0]):
        table = values[section] if section else values
        if section:
            yield f"\n[{section}]"
        keys = [(name.rpartition(".")[2], meaning) for name, _, _, meaning in rows]
        for key, meaning in sorted(keys, key=lambda row: isinstance(table[row[0]], dict)):
            yield f"# {meaning}"
            one = {key: table[key]}
            if table[key] == {}:
                yield f"{key} = {{}}"
            elif isinstance(table[key], dict) and section:
                yield tomli_w.dumps({section: one}).rstrip()
            else:
                yield tomli_w.dumps(one).rstrip()
