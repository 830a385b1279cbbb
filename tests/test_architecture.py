"""The house stays as it was drawn: imports run downwards, those within functions included."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import autoif

SRC = Path(autoif.__file__).parent
LINES = 320  # of code: a module is read at one sitting
TABLES = {"recipe.py"}  # a table of keys and one of presets, to be looked up rather than read

# Each layer may import from those before it, and from its own.
LAYERS: list[tuple[str, ...]] = [
    ("errors", "records", "words", "loop", "lock"),
    ("calls", "callfile", "calllog", "callrescue", "calltools", "models"),
    ("chat", "sandbox"),
    ("verify", "pairs"),
    ("ledger", "recipe", "tables", "decontaminate", "overlap", "diagnose"),
    ("synth", "train", "evals", "export", "report"),  # the rooms
    ("progress", "rundir", "shards", "hygiene"),
    ("engine", "training", "estimate", "show", "doctor"),
    ("display", "api"),
    ("cli", "__main__"),
]
ROOMS = LAYERS[5]
SHARED = {"autoif"}  # the package itself: its version
CHAIN = {"flow", "compose"}  # of an instruction, of a composition: what knows the stages
# Of a room: what is no stage but is used by stages.
COMMON = {
    "examples",
    "grounding",
    "tools",
    "parsing",
    "wording",
    "rows",
    "consensus",
    "nli",
    "card",
    "prompts",
    "product",
    "pool",
    "slots",
}
# One stage that is a part of another one's work.
PART_OF = {("responses", "judge"), ("rows", "responses"), ("product", "responses")}
TORCH = {"chat/hf_model.py", "synth/nli.py"}


def modules() -> list[Path]:
    return sorted(SRC.rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def imports(path: Path) -> Iterator[str]:
    """Full names of all that is imported, wherever in the file."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(path: Path) -> set[tuple[str, ...]]:
    """Our own modules that a file imports, in parts: ("synth", "flow")."""
    found = set()
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "autoif" and len(parts) > 1:
            file = SRC.joinpath(*parts[1:])
            if file.is_dir() or file.with_suffix(".py").is_file():
                found.add(tuple(parts[1:]))
    return found


def layer(name: str) -> int:
    return next(n for n, names in enumerate(LAYERS) if name in names)


def name_of(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SRC)))
def test_imports_run_downwards(path: Path) -> None:
    name = name_of(path)
    if name == "__init__":
        return  # the public names, loaded when they are used
    for other in ours(path):
        if other[0] == "__init__" or other[0] == name:
            continue
        assert layer(other[0]) <= layer(name), f"{path}: {'.'.join(other)} is above it"
        both_rooms = other[0] in ROOMS and name in ROOMS
        assert not both_rooms, f"{path}: rooms do not import rooms ({'.'.join(other)})"


def test_nothing_is_imported_in_a_circle() -> None:
    """Among the modules of the top level; deferred imports count."""
    edges = {name_of(p): set[str]() for p in modules()}
    for path in modules():
        edges[name_of(path)] |= {o[0] for o in ours(path)} - {name_of(path)}
    del edges["__init__"]  # its public names are loaded when they are used
    while edges:
        free = [n for n, wanted in edges.items() if not wanted & edges.keys()]
        assert free, f"a circle among {sorted(edges)}"
        for name in free:
            del edges[name]


def test_stages_meet_through_records() -> None:
    """Only the chain knows the stages, but for a stage that is a part of another."""
    for path in sorted((SRC / "synth").glob("*.py")):
        stage = path.stem
        if stage in CHAIN:
            continue
        for other in ours(path):
            if other[0] == "synth" and len(other) > 1 and other[1] not in COMMON:
                assert (stage, other[1]) in PART_OF or (stage, other[1]) == (
                    "crossval",
                    "consensus",
                ), f"{path}: the stage {stage} imports the stage {other[1]}"


def test_torch_stays_in_its_places() -> None:
    for path in modules():
        where = str(path.relative_to(SRC))
        heavy = {n.split(".")[0] for n in imports(path)} & {"torch", "transformers", "trl"}
        if heavy and not where.startswith("train/"):
            assert where in TORCH, f"{where} imports {heavy}"
            top = {
                alias.name.split(".")[0]
                for node in tree(path).body
                if isinstance(node, (ast.Import, ast.ImportFrom))
                for alias in node.names
            } | {
                (node.module or "").split(".")[0]
                for node in tree(path).body
                if isinstance(node, ast.ImportFrom)
            }
            assert not heavy & top, f"{where} loads {heavy} before it is needed"


def test_only_the_commands_write_to_stdout() -> None:
    for path in modules():
        where = str(path.relative_to(SRC))
        if where.startswith("cli") or where == "__main__.py":
            continue
        for node in ast.walk(tree(path)):
            printed = (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "print"
            )
            stdout = isinstance(node, ast.Attribute) and node.attr == "stdout"
            if where in CHILDREN and stdout:
                continue
            assert not printed, f"{where}: print"
            assert not stdout, f"{where}: stdout"


# Programs of their own: their stdout is a pipe to us, or a child's that we hold.
CHILDREN = {"chat/local_worker.py", "chat/local.py", "sandbox/child.py", "sandbox/zygote.py",
            "sandbox/worker.py"}  # fmt: skip


def code_lines(path: Path) -> int:
    """Lines that hold code: no blank ones, no comments, no docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docs: set[int] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            docs |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    idle = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline):
        if token.type not in (*idle, tokenize.ENDMARKER):
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - docs)


def test_a_module_can_be_read_at_one_sitting() -> None:
    long = {str(p.relative_to(SRC)): n for p in modules() if (n := code_lines(p)) > LINES}
    assert long.keys() <= TABLES, long


def test_an_error_that_is_raised_on_purpose_is_one_of_ours() -> None:
    """Nothing raises a bare Exception or RuntimeError: a user would see its trace."""
    for path in modules():
        if str(path.relative_to(SRC)) in CHILDREN:
            continue
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                name = getattr(node.exc.func, "id", "")
                assert name not in ("Exception", "RuntimeError", "SystemExit"), f"{path}: {name}"
