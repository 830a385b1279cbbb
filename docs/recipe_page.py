"""Writes docs/recipe.md from the recipe: run `python docs/recipe_page.py` after any change to it.

tests/test_docs.py says when that was forgotten.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from autoif.run.recipe import PRESETS, TRANSPORT, Recipe, describe, preset_values

HEAD = """# Every key of a recipe

<!-- made by `python docs/recipe_page.py`; do not edit -->

A recipe is a TOML file. It stands on a preset and names only what it changes:

```toml file=recipe.toml
preset = "strict"
target = 2000

[models]
default = "openai:Qwen/Qwen2.5-72B-Instruct"
base_url = ["http://127.0.0.1:8000/v1"]

[responses]
waves = [4, 4]
```

```console
$ autoif synth recipe.toml --dry-run --json > plan.json
$ autoif synth recipe.toml --set responses.waves=[2,2] --set judge.threshold=9 --dry-run --quiet
...
```

One is laid over the other: the preset, the file, the options of the command (`--model` is
`models.default`, and so on), `--set key=value`. `--set` takes TOML values; a bare word is a string.
An unknown key or an impossible value is an error that names the key. The whole recipe of a run
stands in its directory, in `recipe.toml`, which can be used as a recipe again. A recipe without
`preset` stands on `demo`; `preset = ""` stands on the defaults.

Read a recipe from somebody else before you run it, as you would a script. It can name any file of
this machine, whose text then goes to the models and into the data: a line at the start names each
that lies outside the recipe's directory. It cannot send your key to a server of its choice
([Servers](servers.md)).

`autoif recipe` prints a whole recipe as TOML, with the meaning of each key:

```console
$ autoif recipe --preset paper --set judge.threshold=9 > whole.toml
$ grep -B 1 '^threshold' whole.toml
# a sample needs this score
threshold = 9.0
```

Where data are described (the dataset card, `autoif status`), a changed preset is called changed:
`paper + judge.threshold`, or `paper, 2 keys changed`. Seed, languages, target, models, the section
`engine` and the files that you bring are not compared.

Two runs may work in one directory if their recipes agree in everything but the section `engine` and
the transport, which changes no answer: {transport}
(see [resuming](resuming-and-cost.md)).

A threshold is a number, which passes itself, or a text such as `"above 0.5"`, where 0.5 itself
fails.

The column "presets" lists who differs from the default (or, for `demo` and `smoke`, from `strict`,
on which they stand). What the presets are for: [presets](presets.md).
"""


def page() -> str:
    parts = [HEAD.format(transport=", ".join(f"`models.{key}`" for key in TRANSPORT))]
    for section, rows in groupby(describe(), lambda row: row[0].rpartition(".")[0]):
        title = f"`[{section}]`" if section else "Top level"
        parts.append(f"\n## {title}\n")
        if section:
            about = Recipe.model_fields[section].annotation.__doc__ or ""  # type: ignore[union-attr]
            parts.append(f"\n{about.splitlines()[0]}\n")
        parts.append("\n| key | type | default | meaning | presets |\n|---|---|---|---|---|\n")
        for key, kind, default, meaning in rows:
            value = "demo" if key == "preset" else ast.literal_eval(default)
            cells = [f"`{key}`", _kind(kind), _toml(value), meaning, _presets(key)]
            parts.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |\n")
    return "".join(parts)


def _kind(kind: str) -> str:
    choices = re.findall(r"'(\w+)'", kind)
    if choices and not kind.startswith("tuple"):
        return " or ".join(f"`{c}`" for c in choices)
    names = {"str": "text", "int": "integer", "float": "number", "bool": "true or false"}
    names["Threshold"] = "threshold"
    if kind.startswith("tuple"):
        return "list of " + (
            " or ".join(f"`{c}`" for c in choices)
            or names[kind.replace("Annotated[", "")[6:9]] + "s"
        )
    return "table" if kind.startswith("dict") else names[kind]


def _presets(key: str) -> str:
    """Who says otherwise than the one it stands on."""
    found = []
    for name in PRESETS:
        value = _at(preset_values(name), key)
        base = PRESETS[name][0]
        if value is not None and value != (_at(preset_values(base), key) if base else None):
            found.append(f"{name} {_toml(value)}")
    return ", ".join(found)


def _toml(value: Any) -> str:
    return f"`{json.dumps(value)}`"


def _at(values: Mapping[str, Any], key: str) -> Any:
    head, _, rest = key.partition(".")
    if not rest or head not in values:
        return values.get(head)
    return _at(values[head], rest)


if __name__ == "__main__":
    Path(__file__).with_name("recipe.md").write_text(page(), "utf-8")
