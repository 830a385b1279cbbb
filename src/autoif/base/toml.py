"""What the two kinds of TOML files share: sections, layers, `--set`, and what is wrong with one."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from autoif.base import jsonl
from autoif.base.errors import UsageError, did_you_mean
from autoif.base.files import read_small

LONGEST = 200_000  # characters of a file
MOST_DOTS = 2_000_000  # squares of the dots of each line, added up


class Section(BaseModel):
    """A table of a TOML file: unknown keys are refused, values do not change."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """`high` laid over `low`, section by section."""
    out = dict(low)
    for key, value in high.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merge(out[key], value) if both else value
    return out


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """`["responses.waves=[2,2]", ...]` -> dotted keys and TOML values (a bare word is a string)."""
    out: dict[str, Any] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign or not key.strip():
            raise UsageError(f"--set wants key=value, got {pair!r}")
        if key.count(".") > jsonl.DEEPEST:
            raise UsageError(f"--set {key:.40}...: nested too deeply")
        try:
            out[key.strip()] = _parse(f"v = {text}")["v"]
        except tomllib.TOMLDecodeError:
            out[key.strip()] = text
        except ValueError as error:
            raise UsageError(f"--set {key.strip()}: {error}") from None
    return out


def _parse(text: str) -> dict[str, Any]:
    """Raises ValueError for what is no TOML, or would keep tomllib busy for long: its work grows
    with the square of the length of a dotted key."""
    if len(text) > LONGEST:
        raise ValueError(f"longer than {LONGEST:,} characters")
    if sum(line.count(".") ** 2 for line in text.splitlines()) > MOST_DOTS:
        raise ValueError("lines with too many dots")
    try:
        values = tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:
        raise ValueError("a number with too many digits") from None
    jsonl.check_depth(values)
    return values


def nested(key: str, value: Any) -> dict[str, Any]:
    head, _, rest = key.partition(".")
    return {head: nested(rest, value)} if rest else {head: value}


def with_settings(values: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with `settings`, whose keys are dotted, laid over them."""
    out = dict(values)
    for key, value in settings.items():
        out = merge(out, nested(key, value))
    return out


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            out |= flat(value, f"{prefix}{key}.")
        else:
            out[prefix + key] = value
    return out


def differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """The dotted keys in which two nested tables differ, each with both values."""
    mine, theirs = flat(here), flat(there)
    return [
        f"{k}: {theirs.get(k)!r} there, {mine.get(k)!r} here"
        for k in sorted(mine.keys() | theirs.keys())
        if mine.get(k) != theirs.get(k)
    ]


def keys_of(table: type[BaseModel]) -> list[str]:
    """Every key of a kind of TOML file, dotted, in the order of its fields."""
    out: list[str] = []
    for name, info in table.model_fields.items():
        inner = getattr(info.annotation, "model_fields", None)
        out += [name] if inner is None else [f"{name}.{key}" for key in inner]
    return out


def problem(error: ValidationError, table: type[BaseModel], page: str) -> str:
    """The first thing that is wrong with values of a TOML file, in TOML's names for their kinds.
    `table` has the keys, `page` says what lists them."""
    first = error.errors()[0]
    key = ".".join(str(p) for p in first["loc"])
    if first["type"] == "extra_forbidden":
        keys = keys_of(table)
        same_end = [k for k in keys if k.rpartition(".")[2] == key]
        near = f"; did you mean {same_end[0]}?" if same_end else did_you_mean(key, keys)
        return f"unknown key {key!r} ({page}){near}"
    message = first["msg"][0].lower() + first["msg"][1:]
    message = re.sub(
        r"dictionary(?: or instance of \w+)?", "table", message.replace("tuple", "list")
    )
    return f"{key}: {message} (got {first['input']!r})"


def read_toml(file: Path) -> dict[str, Any]:
    try:
        return _parse(read_small(file).decode("utf-8-sig"))
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise UsageError(f"{file}: {reason}; a TOML file is wanted here") from None
    except ValueError as error:  # also of an integer with thousands of digits
        raise UsageError(f"{file}: not a TOML file: {error}") from None
