"""Writes the map of the house into CONTRIBUTING.md: run `python docs/house.py` after moving a room.

The floors are those of tests/test_architecture.py; what a room is for is its own first line.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "CONTRIBUTING.md"
BEGIN, END = "<!-- made by `python docs/house.py` -->", "<!-- end -->"
sys.path.insert(0, str(ROOT / "tests"))

from test_architecture import FLOORS, SRC, SYNTHESIS  # noqa: E402


def purpose(path: Path) -> str:
    """The first line of a module's docstring, or of a folder's."""
    module = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(module.read_text("utf-8"))) or ""
    return text.partition("\n")[0]


def table(folder: Path, floors: list[tuple[str, ...]]) -> list[str]:
    """From the top floor down, a line for each room."""
    lines = ["| floor | place | is |", "|---|---|---|"]
    for number in range(len(floors), 0, -1):
        for name in floors[number - 1]:
            path = folder / name
            shown = f"{name}/" if path.is_dir() else f"{name}.py"
            lines.append(f"| {number} | `{shown}` | {purpose(path)} |")
    return lines


def house() -> str:
    inside = "Within `synthesis/`, the largest room, the same holds:"
    parts = [*table(SRC, FLOORS), "", inside, "", *table(SRC / "synthesis", SYNTHESIS)]
    return "\n".join([BEGIN, "", *parts, "", END])


def with_house(page: str) -> str:
    """The page with today's map in it."""
    head, _, rest = page.partition(BEGIN)
    return head + house() + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(with_house(PAGE.read_text("utf-8")), "utf-8")
