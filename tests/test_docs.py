"""The documents are run: their commands, their Python, their links, and what they claim to list.

Fences of a page are taken from top to bottom, in one directory of its own:

    ```console          lines after "$ " are run by bash and must succeed; what follows a command is
                        its output, in which a line "..." stands for any lines
    ```console fails    the command must fail, with the output shown (stderr too)
    ```console skip: why   not run here
    ```python           run by Python, in the same directory; `skip: why` as above
    ```LANG file=NAME   written to NAME for the blocks after it

A page that begins with <!-- run: smoke --> finds the run of docs/first-run.md in runs/smoke.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest

from autoif import cli
from autoif.base.records import Status
from autoif.run.funnel import STAGES
from autoif.run.recipe import Flag
from autoif.verifier.intent import REASONS

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
# Written, with their own tests, beside what they describe.
ELSEWHERE = {"security.md", "embedded-model.md", "servers.md", "evaluate.md"}
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = ("bash", "-euo", "pipefail", "-c")


@dataclass(frozen=True)
class Block:
    language: str
    info: str
    body: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    return [Block(lang, info.strip(), body) for lang, info, body in FENCE.findall(text)]


# Said now and then where stderr is no terminal.
PROGRESS = re.compile(r"\w+(: \d+/\d+ instructions\b.*)?( \| .*)? \| \d+ s\b")


def environment() -> dict[str, str]:
    """The installed commands first, a plain terminal, and no key or cache of whoever tests."""
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("OPENAI", "AUTOIF", "COLUMNS"))
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return kept | {"PATH": path, "COLUMNS": "100", "PYTHONWARNINGS": "error"}


def run(command: list[str], where: Path) -> tuple[int, str]:
    done = subprocess.run(
        command, cwd=where, env=environment(), stdin=subprocess.DEVNULL, timeout=300, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    lines = done.stdout.splitlines(keepends=True)
    return done.returncode, "".join(line for line in lines if not PROGRESS.match(line))


def commands(body: str) -> list[tuple[str, str]]:
    """Each command (continued where a line ends in a backslash) with the output shown under it."""
    found: list[tuple[str, str]] = []
    lines = iter(body.splitlines())
    for line in lines:
        if line.startswith("$ "):
            command = line[2:]
            while command.endswith("\\"):
                command = command[:-1] + next(lines).removeprefix("> ")
            found.append((command, ""))
        else:
            command, output = found.pop()
            found.append((command, f"{output}{line}\n"))
    return found


def fits(shown: str, said: str) -> bool:
    """Lines that are "..." stand for any lines, and "..." within a line for anything."""
    lines = [line.rstrip() for line in said.rstrip("\n").split("\n")]
    groups: list[list[str]] = [[]]
    for line in shown.rstrip("\n").split("\n"):
        if line == "...":
            groups.append([])
        else:
            groups[-1].append(".*".join(re.escape(part) for part in line.rstrip().split("...")))

    def stands(group: list[str], at: int) -> bool:
        there = lines[at : at + len(group)]
        return len(there) == len(group) and all(map(re.fullmatch, group, there))

    first, *middle = groups
    at, end = len(first), len(lines)
    if not stands(first, 0):
        return False
    if not middle:
        return at == end
    for group in middle[:-1]:  # each at the first place where it stands
        found = next((n for n in range(at, end) if stands(group, n)), None)
        if found is None:
            return False
        at = found + len(group)
    last = middle[-1]
    return end - len(last) >= at and stands(last, end - len(last))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_shows_happens(
    page: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if page.name in ELSEWHERE:
        pytest.skip("has tests of its own")
    if page.read_text("utf-8").startswith("<!-- run: smoke -->"):
        shutil.copytree(request.getfixturevalue("smoke"), tmp_path / "runs/smoke")
    for block in blocks(page):
        if block.info.startswith("skip:"):
            assert block.info.removeprefix("skip:").strip(), f"{page.name}: no reason given"
        elif block.info.startswith("file="):
            target = tmp_path / block.info.removeprefix("file=")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.body, "utf-8")
        elif block.language == "python":
            code, said = run([sys.executable, "-c", block.body], tmp_path)
            assert code == 0, f"{page.name}:\n{block.body}\n{said}"
        elif block.language == "console":
            assert block.info in ("", "fails"), f"{page.name}: what is {block.info!r}?"
            for command, shown in commands(block.body):
                code, said = run([*SHELL, command], tmp_path)
                assert (code != 0) == (block.info == "fails"), f"{page.name}: $ {command}\n{said}"
                if shown:
                    assert fits(shown, said), f"{page.name}: $ {command}\n{said}\nis not\n{shown}"


def test_links_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "CHANGELOG.md"]:
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            if not link.startswith(("http://", "https://")):
                assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_page_is_reached_from_the_readme() -> None:
    linked = set(re.findall(r"\(docs/([\w-]+\.md)\)", (ROOT / "README.md").read_text("utf-8")))
    assert linked == {page.name for page in (ROOT / "docs").glob("*.md")}


def test_the_recipe_page_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("recipe_page", ROOT / "docs/recipe_page.py")
    assert spec
    assert spec.loader
    recipe_page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe_page)
    page = (ROOT / "docs/recipe.md").read_text("utf-8")
    assert page == recipe_page.page(), "run: python docs/recipe_page.py"


def test_every_command_and_option_is_documented() -> None:
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    for name, parser in _parsers(cli._parser()):
        assert f"autoif {name}" in text, name
        for action in parser._actions:
            for option in action.option_strings:
                if option.startswith("--") and option != "--help":
                    assert re.search(rf"(?<![\w-]){option}(?![\w-])", text), f"{name} {option}"


def _parsers(
    parser: argparse.ArgumentParser, name: str = ""
) -> list[tuple[str, argparse.ArgumentParser]]:
    found = [(name, parser)] if name else []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub, inner in action.choices.items():
                found += _parsers(inner, f"{name} {sub}".strip())
    return found


# ---- every reason for a drop -------------------------------------------------------------------

GIVES_REASONS = {"drop", "dropped", "of", "CallFailed", "_nothing", "Survivors", "_fail"}
WORD = re.compile(r"[a-z]+(_[a-z]+)*")


def emitted() -> set[str]:
    """Reasons in the source: words given to what drops, or put into a `reason`, plus the statuses
    under which a function that never concluded is dropped, the flags of a diagnosis, and what is
    wrong with replies that say nothing."""
    found = {s.value.lower() for s in Status if not s.concluded} | set(get_args(Flag))
    found |= set(REASONS) - {"short"}  # there is no median reply in synthesis
    for file in (ROOT / "src/autoif").rglob("*.py"):
        if file.parent.name in ("evals", "checkers", "sandbox", "cli", "train"):
            continue
        # words alone that a stage returns: a reason
        returns = "synthesis" in file.parts and file.stem != "parsing"
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Return) and not returns:
                continue
            found |= {word for value in _reasons(node) for word in _words(value)}
    return found - set(STAGES)


def _reasons(node: ast.AST) -> list[ast.expr]:
    """The expressions of this node that hold a reason."""
    if isinstance(node, ast.Call):
        name = (
            node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        )
        named = [k.value for k in node.keywords if k.arg == "reason"]
        if name == "CallFailed":
            return [*node.args[:1], *named]
        return [*node.args, *named] if name in GIVES_REASONS else named
    if isinstance(node, ast.Return) and node.value:
        return node.value.elts[:1] if isinstance(node.value, ast.Tuple) else [node.value]
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Subscript) and isinstance(node.value, ast.Tuple):
                return node.value.elts[:1] if ast.unparse(target).startswith("reasons[") else []
            if isinstance(target, ast.Name) and target.id == "reason":
                return [node.value]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = zip(target.elts, node.value.elts, strict=True)
                return [v for t, v in pairs if isinstance(t, ast.Name) and t.id == "reason"]
    return []


def _words(value: ast.expr) -> set[str]:
    if isinstance(value, ast.IfExp):
        return _words(value.body) | _words(value.orelse)
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return {value.value} if WORD.fullmatch(value.value) else set()
    return set()


def documented() -> set[str]:
    text = (ROOT / "docs/reading-a-run.md").read_text("utf-8")
    return set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) - set(STAGES)


def test_every_reason_is_explained() -> None:
    assert emitted() - documented() == set()


def test_every_reason_explained_exists() -> None:
    assert documented() - emitted() == set()


def test_every_stage_is_explained() -> None:
    text = (ROOT / "docs/reading-a-run.md").read_text("utf-8")
    for stage, counted in STAGES.items():
        assert f"| `{stage}` | {counted} |" in text
