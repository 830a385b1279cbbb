"""The house stays as it was drawn: imports run downwards, those within functions included."""

from __future__ import annotations

import ast
import importlib.util
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

import autoif

ROOT = Path(__file__).parents[1]
SRC = Path(autoif.__file__).parent
LINES = 320  # of code: a module is read at one sitting
TABLES = {"run/recipe.py"}  # a table of keys and one of presets, to be looked up rather than read

# The floors of the house from the ground up; each may import from those below it. Rooms of one
# floor do not know one another.
FLOORS: list[tuple[str, ...]] = [
    ("base",),
    ("store", "sandbox", "constraints"),
    ("models",),
    ("verifier",),
    ("diagnosis",),
    ("run",),
    ("synthesis", "clean", "export", "train", "serve", "evals", "report"),
    ("engine", "publish"),
    ("api",),
    ("cli",),
    ("__main__",),
]
# The same within the largest room: each file or folder may import from those below it.
SYNTHESIS: list[tuple[str, ...]] = [
    ("prompts",),
    ("context",),
    ("slots",),
    ("instructions", "verifiers", "responses"),
    ("product",),
    ("compositions", "flow"),
]
TORCH = {"models/transformers/batcher.py", "synthesis/verifiers/nli.py"}


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


def floor(name: str, floors: Sequence[Sequence[str]] = FLOORS) -> int:
    return next(n for n, names in enumerate(floors) if name in names)


def name_of(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def test_every_room_has_its_floor() -> None:
    there = {name_of(path) for path in modules()} - {"__init__"}
    assert there == {name for names in FLOORS for name in names}
    inside = {p.stem for p in (SRC / "synthesis").iterdir() if p.suffix == ".py" or p.is_dir()}
    inside -= {"__init__", "__pycache__"}
    assert inside == {name for names in SYNTHESIS for name in names}


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SRC)))
def test_imports_run_downwards(path: Path) -> None:
    name = name_of(path)
    if name == "__init__":
        return  # the public names, loaded when they are used
    for other in ours(path):
        if other[0] not in (name, "__init__"):
            assert floor(other[0]) < floor(name), f"{path}: {'.'.join(other)} is not below it"


def test_the_map_is_that_of_the_house() -> None:
    """CONTRIBUTING.md shows the floors above: `python docs/house.py` writes them."""
    assert (ROOT / "docs/house.py").exists()
    spec = importlib.util.spec_from_file_location("house", ROOT / "docs/house.py")
    assert spec
    assert spec.loader
    house = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(house)
    page = house.PAGE.read_text("utf-8")
    assert house.with_house(page) == page, "run `python docs/house.py`"


def test_stages_meet_through_records() -> None:
    """Within synthesis: the flow and the compositions alone know several stages."""
    for path in sorted((SRC / "synthesis").rglob("*.py")):
        name = path.relative_to(SRC / "synthesis").parts[0].removesuffix(".py")
        for other in ours(path):
            if other[0] == "synthesis" and len(other) > 1 and name not in ("__init__", other[1]):
                lower = floor(other[1], SYNTHESIS) < floor(name, SYNTHESIS)
                assert lower, f"{path}: {'.'.join(other)} is not below it"


def test_no_module_and_no_class_shares_its_name() -> None:
    """Two things of one name are told apart by nobody who reads an import or a trace."""
    stems: dict[str, list[str]] = defaultdict(list)
    classes: dict[str, list[str]] = defaultdict(list)
    for path in modules():
        where = str(path.relative_to(SRC))
        if path.stem not in ("__init__", "__main__"):
            stems[path.stem].append(where)
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                classes[node.name].append(where)
    del stems["backend"]  # of each kind of model: the same thing three times
    del stems["reward"]  # one thing: for any trainer, and again beside the trainers of ours
    for names in (stems, classes):
        assert not {name: places for name, places in names.items() if len(places) > 1}


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


WRITERS = {
    "base/files.py",
    "sandbox/jail.py",  # the kernel's files below /proc/self
}


def writes(call: ast.Call) -> bool:
    """Whether a call opens a file for writing or removes something."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    values = [*call.args, *(k.value for k in call.keywords)]
    if name == "open":
        modes = [v.value for v in values if isinstance(v, ast.Constant)]
        flags = {n.attr for v in values for n in ast.walk(v) if isinstance(n, ast.Attribute)}
        mode = any(isinstance(m, str) and re.fullmatch(r"[rwaxbt+]*[wax+][bt+]*", m) for m in modes)
        return mode or bool(flags & {"O_WRONLY", "O_RDWR", "O_CREAT"} and "devnull" not in flags)
    return name in (
        *("write_text", "write_bytes", "touch", "unlink", "rmdir", "rmtree", "removedirs"),
        *("copyfile", "copy2", "copytree", "move", "hardlink_to", "mkstemp", "mkdtemp"),
        *("NamedTemporaryFile", "sink_ndjson", "write_ndjson", "write_parquet", "write_csv"),
    )


def test_files_are_written_and_removed_in_one_place() -> None:
    """`base/files.py` follows no link; whoever opens a file himself would."""
    assert all(
        writes(_call(code))
        for code in ("p.open('ab')", "os.open(p, os.O_RDWR)", "open(p, mode='w')")
    )
    assert not any(
        writes(_call(code)) for code in ("p.open('rb')", "os.open(p, os.O_RDONLY)", "open(p)")
    )
    for path in modules():
        where = str(path.relative_to(SRC))
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and writes(node) and where not in WRITERS:
                raise AssertionError(f"{where}:{node.lineno}: {ast.unparse(node)[:80]}")


def _call(code: str) -> ast.Call:
    node = ast.parse(code, mode="eval").body
    assert isinstance(node, ast.Call)
    return node


# Programs of their own: their stdout is a pipe to us, or a child's that we hold.
CHILDREN = {
    "models/openvino/generator.py",
    "models/openvino/backend.py",
    "sandbox/child.py",
    "sandbox/zygote.py",
    "sandbox/worker.py",
}


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
