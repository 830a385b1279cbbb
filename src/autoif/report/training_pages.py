"""A directory of `autoif train` as pages: what each step and each round measured, as series."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from autoif.base import jsonl
from autoif.base.errors import UsageError
from autoif.base.files import is_plain, read_small
from autoif.report.tables import Table

Row = dict[str, Any]
POINTS = 2_000  # of a series; of a longer one, every so many
FILES = {"metrics.jsonl": "step", "rounds.jsonl": "round"}


class TrainingPages:
    kind = "training"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tables: dict[str, Table] = {}
        self._series: dict[str, list[Row]] = {}
        self._missing: list[str] = []
        self._seen: tuple[tuple[int, int], ...] = ()

    def refresh(self) -> bool:
        """Reads all of it where any of it has grown."""
        paths = [self.path / name for name in FILES]
        there = [p for p in paths if p.is_file() and is_plain(p, hard_links=True)]
        seen = tuple((p.stat().st_ino, p.stat().st_size) for p in there)
        if seen == self._seen:
            return False
        self._seen = seen
        self._missing = []
        self._series = {}
        for path in there:
            self._series[FILES[path.name]] = self._read(path, FILES[path.name])
        return True

    def _read(self, path: Path, x: str) -> list[Row]:
        """A series for each name that has numbers: {"name", "points": [[x, y, n or null]]}. `n` is
        what a figure rests on, where the row says so."""
        series: dict[str, list[list[float | None]]] = {}
        try:
            for _, row in jsonl.read(path):
                at = row.get(x)
                if not _is_number(at):
                    continue
                for name, value in row.items():
                    rests_on = name == "n" or (name.startswith("n_") and name[2:] in row)
                    if name != x and not rests_on and _is_number(value):
                        n = row.get(f"n_{name}", row.get("n"))
                        point = [at, value, n if _is_number(n) else None]
                        series.setdefault(name, []).append(point)
        except UsageError as error:
            self._missing.append(str(error))
        thinned = {k: v[:: 1 + len(v) // POINTS] for k, v in series.items()}
        return [{"name": name, "points": points} for name, points in thinned.items()]

    def summary(self) -> Row:
        config = ""
        with suppress(OSError):
            config = read_small(self.path / "config.toml").decode("utf-8", "replace")
        return {
            "kind": self.kind,
            "name": self.path.resolve().name,
            "path": str(self.path),
            "series": self._series,
            "config": config,
            "missing": self._missing,
            "totals": {},
            "facets": {},
        }

    def listed(self, table: str, number: int) -> Row:
        raise UsageError(f"{table}: no such table")

    def record(self, table: str, name: str) -> Row:
        raise UsageError(f"{table}: no such table")

    def close(self) -> None:
        """Nothing is open."""


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e18
