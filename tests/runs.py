"""What the tests of whole runs share: the command as a process, artefacts, scripts that follow the
prompts as they are shipped."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from autoif.run.directory import ARTEFACTS, RunDir

SMOKE = Path(str(files("autoif") / "data" / "smoke" / "script.jsonl"))
Row = dict[str, Any]
# For a run of which only that it is made matters: a seventh of `smoke`.
FEW = ("--set", "instructions.limit=2", "--set", "instructions.rounds=0")


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def command(*args: object, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """`autoif ARGS` as a process of its own, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "autoif", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
        start_new_session=True,
    )


def autoif(*args: object, env: Mapping[str, str] | None = None, timeout: float = 100) -> Done:
    with command(*args, env=env) as process:
        out, err = process.communicate(timeout=timeout)
    return Done(process.returncode, out, err)


def artefacts(out: Path, *, card: bool = True) -> dict[str, bytes]:
    """Everything that has to be the same whenever the answers are."""
    names = [f"{name}.jsonl" for name in ARTEFACTS] + (["data/README.md"] if card else [])
    return {name: (out / name).read_bytes() for name in names}


def rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


def write_rows(path: Path, content: Iterable[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return path


def report(out: Path) -> Row:
    """What `autoif status OUT --json` says."""
    return RunDir(out).report()


def stages(found: Row) -> dict[str, Row]:
    return {stage["name"]: stage for stage in found["stages"]}


def balanced(found: Row) -> bool:
    return all(s["in"] == s["kept"] + sum(s["dropped"].values()) for s in found["stages"])


def marker(prompt: str) -> str:
    """A stretch of a prompt that its requests alone contain: the longest one without holes."""
    text = (files("autoif.synthesis") / "prompts" / "en" / f"{prompt}.md").read_text("utf-8")
    return max(re.split(r"\{\{\w+\}\}|\n", text), key=len)
