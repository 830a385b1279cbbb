"""A directory of `autoif eval` as pages: scores with intervals, each prompt with its verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from autoif.base import jsonl
from autoif.base.errors import UsageError
from autoif.base.files import is_plain, read_small
from autoif.base.language import clean_text
from autoif.report import columns
from autoif.report.tables import WORD, Kind, RowTable

Row = dict[str, Any]
TEXTS = 300  # characters of a text in a list
PROMPTS: Mapping[str, Kind] = {
    "id": pl.String(),
    "verdict": WORD,
    "types": WORD,
    "words": pl.Int32(),
    "followed": pl.Float64(),
}
VERDICTS = ("strict", "correct", "passed", "hard")  # of a prompt, by benchmark
NOT_METRICS = ("benchmark", "low", "high", "n", "by_group", "notes")


class EvaluationPages:
    kind = "evaluation"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.prompts = RowTable(PROMPTS)
        self.tables = {"prompts": self.prompts}
        self._rows: dict[str, Row] = {}
        self._scores: Row = {}
        self._missing: list[str] = []
        self._seen: tuple[tuple[int, int], ...] = ()

    def refresh(self) -> bool:
        """Reads all of it where any of it has changed."""
        names = ("scores.json", "verdicts.jsonl", "responses.jsonl")
        paths = [self.path / name for name in names]
        there = [path.is_file() and is_plain(path, hard_links=True) for path in paths]
        stats = [path.stat() for path, is_there in zip(paths, there, strict=True) if is_there]
        seen = tuple((s.st_ino, s.st_mtime_ns) for s in stats)
        if seen == self._seen:
            return False
        self._seen = seen
        self._missing = [f"{n}: not there" for n, ok in zip(names, there, strict=True) if not ok]
        self._scores = self._read_scores(paths[0]) if there[0] else {}
        responses: dict[str, list[Row]] = {}
        for row in self._read(paths[2]) if there[2] else ():
            responses.setdefault(str(row.get("key")), []).append(row)
        self._rows = {}
        for row in self._read(paths[1]) if there[1] else ():
            answers = responses.get(str(row.get("key")), [])
            first = answers[0] if answers else {}
            self._rows[str(row.get("key"))] = {
                "verdict": row,
                "prompt": str(first.get("prompt") or ""),
                "responses": [a.get("response") for a in answers],
            }
        self.prompts.fill(map(_listed, self._rows.items()))
        return True

    def _read_scores(self, path: Path) -> Row:
        try:
            scores = jsonl.loads(read_small(path))
        except (OSError, ValueError):
            scores = None
        if isinstance(scores, dict):
            return scores
        self._missing.append(f"{path.name}: not what `autoif eval` wrote")
        return {}

    def _read(self, path: Path) -> list[Row]:
        try:
            return [row for _, row in jsonl.read(path)]
        except UsageError as error:
            self._missing.append(str(error))
            return []

    def summary(self) -> Row:
        scores = self._scores
        metrics = [
            {
                "name": name,
                "value": value,
                **{k: _of(scores.get(k), name) for k in ("low", "high", "n", "by_group")},
            }
            for name, value in scores.items()
            if name not in NOT_METRICS and isinstance(value, (int, float, type(None)))
        ]
        facets = {column: self.prompts.counts(column) for column in ("verdict", "types")}
        return {
            "kind": self.kind,
            "name": self.path.resolve().name,
            "path": str(self.path),
            "benchmark": str(scores.get("benchmark", "")),
            "metrics": metrics,
            "notes": [str(note) for note in scores.get("notes") or ()],
            "missing": self._missing,
            "totals": {"prompts": len(self.prompts)},
            "facets": {"prompts": facets},
        }

    def listed(self, table: str, number: int) -> Row:
        row = self.prompts.row(number)
        whole = self._rows[row["id"]]
        text = str((whole["responses"] or [""])[0] or "")
        return row | {"query": whole["prompt"][:TEXTS], "response": text[:TEXTS]}

    def record(self, table: str, name: str) -> Row:
        """Raises UsageError where it is not there."""
        numbers = self.prompts.find("id", name)
        if table != "prompts" or not numbers:
            raise UsageError(f"{self.path.name}: nothing with the key {name}")
        return self.prompts.row(numbers[0]) | {"row": self._rows[name], "calls": []}

    def close(self) -> None:
        """Nothing is open."""


def _of(by_metric: object, name: str) -> Any:
    return by_metric.get(name) if isinstance(by_metric, dict) else None


def _listed(item: tuple[str, Row]) -> Row:
    name, whole = item
    verdict = whole["verdict"]
    given = (verdict.get(name) for name in VERDICTS)
    decided = next((v for v in given if v is not None), None)
    strict = [v for v in _list(decided) or [decided] if isinstance(v, bool)]
    answer = str((whole["responses"] or [""])[0] or "")
    return {
        "id": columns.word(name),
        "verdict": "not scored" if not strict else "followed" if all(strict) else "not followed",
        "types": columns.joined(str(t) for t in _list(verdict.get("instructions"))),
        "words": len(answer.split()),
        "followed": sum(strict) / len(strict) if strict else None,
        "text": clean_text("\n".join([name, whole["prompt"], answer])),
    }


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
