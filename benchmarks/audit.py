"""Checkers that others publish: what `autoif diagnose` says of them, and texts that show it.

    python benchmarks/audit.py rows PACKAGE --out rows.jsonl [--data BENCHMARK.jsonl]
    autoif diagnose --verifiers rows.jsonl --out diagnoses.jsonl
    python benchmarks/audit.py findings    # runs the published code on benchmarks/audit.jsonl
    python benchmarks/audit.py page        # writes the table of docs/audit.md

PACKAGE is `if_verifiable.ifeval`, `if_verifiable.ifbench` (pip install "autoif[crosscheck]"), or
`open_instruct.IFEvalG` of a checkout of open-instruct on PYTHONPATH. A verifier row holds all the
source that a checker needs, so that it runs in the sandbox, and its arguments: those of the
benchmark's first prompt, else those that the package draws.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FINDINGS = ROOT / "benchmarks/audit.jsonl"
PAGE = ROOT / "docs/audit.md"
BEGIN, END = "<!-- made by `python benchmarks/audit.py page` -->", "<!-- end -->"
NAMES = {
    "if_verifiable.ifeval": "IFEval, as if-verifiable 0.1.2 has it",
    "if_verifiable.ifbench": "IFBench, as if-verifiable 0.1.2 has it",
    "open_instruct.IFEvalG": "IF-RLVR, as open-instruct e6c3044a has it (`IFEvalG`)",
}


def says(finding: dict[str, Any]) -> bool | str:
    """What the published checker says of the text of a finding; the name of what it raises."""
    registry = importlib.import_module(f"{finding['package']}.instructions_registry")
    checker = registry.INSTRUCTION_DICT[finding["id"]](finding["id"])
    random.seed(0)
    checker.build_description(**finding["kwargs"])
    try:
        return bool(checker.check_following(finding["text"]))
    except Exception as error:
        return type(error).__name__


# ---- verifier rows -----------------------------------------------------------------------------


class Source:
    """What a package's modules define at their top, each with the names that it uses."""

    def __init__(self, package: str) -> None:
        self.definitions: dict[str, ast.stmt] = {}
        self.imports: dict[str, ast.stmt] = {}
        for name in ("instructions_util", "instructions"):
            module = importlib.import_module(f"{package}.{name}")
            for node in ast.parse(Path(str(module.__file__)).read_text("utf-8")).body:
                match node:
                    case ast.ClassDef() | ast.FunctionDef():
                        self.definitions[node.name] = node
                    case ast.Assign(targets=[ast.Name() as target]):
                        self.definitions[target.id] = node
                    case ast.Import() | ast.ImportFrom():
                        for alias in node.names:
                            self.imports[alias.asname or alias.name.partition(".")[0]] = node

    def of(self, checker: str) -> str:
        """A module that has this class and all that it uses. Draws of arguments are taken out: all
        arguments are given, and a source that names `random` is flagged for it."""
        order: dict[str, None] = {}

        def visit(name: str) -> None:
            if name in self.definitions and name not in order:
                order[name] = None  # before what it uses: a class may name itself
                for used in _names(self.definitions[name]):
                    visit(used)
                del order[name]
                order[name] = None

        visit(checker)
        used = {name for one in order for name in _names(self.definitions[one])}
        imports = sorted({ast.unparse(node) for name, node in self.imports.items() if name in used})
        body = [ast.unparse(_NoDraws().visit(self.definitions[name])) for name in order]
        theirs = re.compile(r"instructions_util|absl|immutable|random")
        kept = [line for line in imports if not theirs.search(line)]
        text = "\n".join([*kept, "import logging", *body])
        text = re.sub(r"\b(?:instructions_util|ifeval_instructions)\.", "", text)
        return text.replace("immutabledict.immutabledict(", "dict(")


class _NoDraws(ast.NodeTransformer):
    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        return ast.Constant(None) if ast.unparse(node.func).startswith("random.") else node


def _names(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            yield inner.id
        elif isinstance(inner, ast.Attribute):
            yield inner.attr


def rows(package: str, data: Path | None) -> Iterator[dict[str, Any]]:
    """A verifier row for each checker whose arguments can be had."""
    source = Source(package)
    registry = importlib.import_module(f"{package}.instructions_registry")
    given = _arguments(data) if data else {}
    for name, kind in registry.INSTRUCTION_DICT.items():
        random.seed(0)
        checker = kind(name)
        try:
            keys = checker.get_instruction_args_keys()
            text = checker.build_description(
                **{key: value for key, value in given.get(name, {}).items() if key in keys}
            )
        except (ValueError, AttributeError, TypeError):  # it wants a prompt to be repeated
            continue
        code = (
            f"{source.of(kind.__name__)}\n\n_checker = {kind.__name__}({name!r})\n"
            f"_checker.build_description(**{checker.get_instruction_args() or {}!r})\n\n"
            "def evaluate(response):\n    return bool(_checker.check_following(response))\n"
        )
        yield {"id": name, "instruction": text, "checks": [code]}


def _arguments(data: Path) -> dict[str, dict[str, Any]]:
    """Of each id those of its first prompt."""
    found: dict[str, dict[str, Any]] = {}
    for line in data.read_text("utf-8").splitlines():
        row = json.loads(line)
        for name, values in zip(row["instruction_id_list"], row["kwargs"], strict=True):
            found.setdefault(name, {k: v for k, v in values.items() if v is not None})
    return found


# ---- findings ----------------------------------------------------------------------------------


def findings() -> list[dict[str, Any]]:
    return [json.loads(line) for line in FINDINGS.read_text("utf-8").splitlines()]


def table() -> str:
    lines = [BEGIN]
    for package, name in NAMES.items():
        lines += [
            "",
            f"### {name}",
            "",
            "| checker, and what is asked | text | it says | because |",
        ]
        lines.append("|---|---|---|---|")
        for one in findings():
            if one["package"] == package:
                cells = (
                    f"`{one['id']}`: {one['asks']}", _code(one["text"]),
                    {True: "yes", False: "no"}.get(one["says"], f"{one['says']}"), one["because"],
                )  # fmt: skip
                lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, "", END])


def _code(text: str) -> str:
    return f"`{json.dumps(text, ensure_ascii=False)[1:-1]}`" if text.strip() else "(blanks)"


def page() -> str:
    head, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    return head + table() + rest.partition(END)[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("rows")
    making.add_argument("package", choices=NAMES)
    making.add_argument("--data", type=Path)
    making.add_argument("--out", type=Path, required=True)
    commands.add_parser("findings")
    commands.add_parser("page")
    args = parser.parse_args()
    if args.command == "rows":
        lines = [json.dumps(row) for row in rows(args.package, args.data)]
        args.out.write_text("\n".join(lines) + "\n", "utf-8")
        print(f"{len(lines)} verifiers")
    elif args.command == "findings":
        for one in findings():
            try:
                seen: bool | str = says(one)
            except ImportError as error:
                seen = f"not run: {error}"
            print("ok  " if seen == one["says"] else "DIFFERS", one["package"], one["id"], seen)
    else:
        PAGE.write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
