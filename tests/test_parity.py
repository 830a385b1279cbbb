"""In the sandbox as outside: honest functions say of real texts what plain CPython says."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autoif.base.errors import SandboxUnavailable
from autoif.base.records import Status
from autoif.sandbox import Limits, Sandbox
from honest import FUNCTIONS, TEXT_PROFILE

ODD_TEXTS = [
    "",
    " ",
    "Word",
    '"Quoted."',
    '{"a": [1, 2]}',
    "1+1: Apple\n2*3: Banana\n7-4: Cherry",
    "#one #two? #three?",
    "Dear reader,\n\n- a\n- b\n\nP.S. 2024-05-06 at 10:00 on May 6, 2024. 😀",
    "世界 Straße naïve e\u0301\r\n\tnull:\x00 end",
    "Level noon civic.\nThe cat sat.\nThe hat sat.\n| a | b |\n|---|---|\n| 1 | 2 |",
    "mow wow alpha bravo, alpha bravo charlie",
    "<b>bold</b> &amp; <i>open",
]


@pytest.fixture(scope="module")
def texts(data_dir: Path) -> list[str]:
    lines = (data_dir / "ifeval" / "gpt4_responses.jsonl").read_text().splitlines()
    return ODD_TEXTS + [json.loads(line)["response"] for line in lines[::12]]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    limits = Limits(cpu_seconds=5.0, wall_seconds=30.0, total_seconds=60.0, memory_mb=512)
    try:
        with Sandbox(workers=1, limits=limits) as sandbox:
            yield sandbox
    except SandboxUnavailable as missing:
        pytest.skip(f"no sandbox here: {missing}")


def plain(source: str, texts: list[str]) -> list[Status]:
    """The reference: one namespace, no isolation. For code that somebody has read, only."""
    space: dict[str, Any] = {"__name__": "verifier"}
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(source, "<verifier>", "exec", dont_inherit=True), space)
        return [_status(space["evaluate"], text) for text in texts]


def _status(function: Any, text: str) -> Status:
    try:
        value = function(text)
    except Exception:
        return Status.ERROR
    if type(value).__name__ in ("bool", "bool_") or (type(value) is int and value in (0, 1)):
        return Status.TRUE if value else Status.FALSE
    return Status.ERROR


def assert_same(sandbox: Sandbox, source: str, texts: list[str]) -> None:
    got = sandbox.evaluate(source, texts)
    assert [(o.status, t) for o, t in zip(got, texts, strict=True)] == list(
        zip(plain(source, texts), texts, strict=True)
    ), {o.detail for o in got}


@pytest.mark.parametrize(("name", "source"), FUNCTIONS, ids=[name for name, _ in FUNCTIONS])
def test_same_verdicts(sandbox: Sandbox, texts: list[str], name: str, source: str) -> None:
    assert_same(sandbox, source, texts)


@pytest.mark.parametrize(("name", "source"), TEXT_PROFILE, ids=[name for name, _ in TEXT_PROFILE])
def test_same_verdicts_text_profile(
    sandbox: Sandbox, texts: list[str], name: str, source: str
) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    if plain(source, ["One. Two."]) == [Status.ERROR]:
        pytest.skip(f"{name} lacks its data here")
    assert_same(sandbox, source, texts)


def test_same_verdicts_reference_sample(sandbox: Sandbox, texts: list[str], data_dir: Path) -> None:
    sources = sorted(reference_functions(data_dir / "autoif_reference"))
    assert len(sources) >= 70
    for source in sources:
        assert_same(sandbox, source, texts if is_plain(source) else ODD_TEXTS)


def test_enough_functions() -> None:
    names = [name for name, _ in FUNCTIONS]
    assert len(names) == len(set(names)) >= 70


def test_both_answers_occur(sandbox: Sandbox, texts: list[str]) -> None:
    """The comparison has something to compare: most functions both accept and refuse."""
    both = [
        {Status.TRUE, Status.FALSE} <= {o.status for o in sandbox.evaluate(source, texts)}
        for _, source in FUNCTIONS
    ]
    assert sum(both) >= 0.85 * len(both)


def reference_functions(folder: Path) -> set[str]:
    """Every function of the official sample that compiles, those inside JSON answers included."""
    found: set[str] = set()

    def visit(value: object) -> None:
        if isinstance(value, str) and "def evaluate" in value:
            for fence in re.findall(r"```json\s*(.*?)```", value, re.S):
                with contextlib.suppress(ValueError):
                    visit(json.loads(fence)["func"])
            if "```" not in value:
                found.add(value)
        elif isinstance(value, list):
            for item in value:
                visit(item)
        elif isinstance(value, dict):
            for item in value.values():
                visit(item)

    for path in sorted(folder.rglob("*.json*")):
        lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        for line in filter(None, lines):
            visit(json.loads(line))
    return {source for source in found if _compiles(source)}


def _compiles(source: str) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def is_plain(source: str) -> bool:
    """Nothing here evaluates or opens what a text says, so that any text may be given to it."""
    tree = ast.parse(source)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    fields = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return not names & {"eval", "exec", "compile", "open", "getattr", "__import__"} and not any(
        field.startswith("__") for field in fields
    )
