"""A run of `autoif synth` as pages: what it is, its funnel, its tables, its records.

What is missing or damaged is named, and what can be shown is.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import polars as pl

from autoif.base.errors import AutoIFError, UsageError
from autoif.base.files import read_small
from autoif.report import calls_behind, columns, reviewing
from autoif.report.synthesis_records import SynthesisRecords
from autoif.report.synthesis_tables import TEXTS, SynthesisTables
from autoif.report.tables import Table
from autoif.run.directory import DROPS, RECORDS, RunDir

Row = dict[str, Any]
ROLES = ("propose", "code", "respond", "judge")
NAMED = 2_000  # instructions whose texts lists can show


class SynthesisPages:
    kind = "synthesis"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = path / "calls.sqlite"
        self.run = SynthesisTables(path)
        self._records = SynthesisRecords(self.run, self.store)
        self._seen: tuple[Row, int] = ({}, 0)
        self._tokens: tuple[float, list[Row]] = (0.0, [])
        self._unreadable: dict[str, str] = {}  # files of the run, and why

    @property
    def tables(self) -> dict[str, Table]:
        return self.run.by_name

    def refresh(self) -> bool:
        changed = self.run.refresh()
        if changed:
            self._records.forget()
        marks = self.path / "review.jsonl"
        seen = (self.run.report(), marks.stat().st_size if marks.is_file() else 0)
        changed |= seen != self._seen
        self._seen = seen
        return changed

    def listed(self, table: str, number: int) -> Row:
        return self.run.listed(table, number)

    def record(self, table: str, name: str) -> Row:
        return self._records.record(table, name)

    def close(self) -> None:
        self.run.close()
        self._records.close()

    def summary(self) -> Row:
        report = self.run.report()
        recipe, tokens, reviewed = self._recipe(), self._stage_tokens(report), self._reviewed()
        return {
            "kind": self.kind,
            "name": self.path.resolve().name,
            "path": str(self.path),
            "report": report,
            "recipe": recipe,
            "missing": self._missing(),
            "totals": {name: len(table) for name, table in self.tables.items()},
            "facets": self._facets(),
            "plots": self._plots(),
            "tokens": tokens,
            "review": reviewed,
            "instructions": {i: row["text"][:TEXTS] for i, row in self._named()},
        }

    def _named(self) -> list[tuple[str, Row]]:
        """Instructions that lists name: those with a verifier first."""
        verified, every = self.run.verified, self.run.instructions_by_id
        return sorted(every.items(), key=lambda item: item[0] not in verified)[:NAMED]

    def _recipe(self) -> Row:
        try:
            recipe = RunDir(self.path).recipe()
            text = read_small(self.path / "recipe.toml").decode("utf-8", "replace")
        except (AutoIFError, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            self._unreadable["recipe.toml"] = f"recipe.toml: {why}"
            return {}
        self._unreadable.pop("recipe.toml", None)
        if recipe is None:
            return {}
        models = {role: recipe.models.role(role) for role in ROLES}
        return {"preset": recipe.profile, "seed": recipe.seed, "models": models, "text": text}

    def _missing(self) -> list[str]:
        """What is not there, or not as a run writes it."""
        at_work = self.run.report().get("state") in ("running", "interrupted")
        names = [] if at_work else [*RECORDS, *DROPS, "data/dpo"]
        missing = [f"{n}.jsonl: not there" for n in names if not self.run.result.files(n)]
        tables = {"samples": self.run.samples, "verifiers": self.run.verifiers}
        tables |= {"drops": self.run.drops, "pairs": self.run.pairs}
        for name, table in tables.items():
            if table.unreadable:
                missing.append(f"{name}: {table.unreadable:,} lines are not what a run wrote")
                missing += table.damaged[:3]
        if not self.store.is_file():
            missing.append(f"{self.store.name}: not there, so no call is shown")
        missing += self._unreadable.values()
        return missing

    def _facets(self) -> Row:
        """The values of the columns that are filtered by, with their numbers."""
        of = {
            "samples": ("fate", "instruction", "family", "origin", "lang", "level", "turns"),
            "instructions": ("fate", "family", "origin", "lang", "benchmark_type"),
            "pairs": ("kind", "instruction", "family", "lang", "level"),
            "drops": ("stage", "reason", "instruction"),
        }
        return {
            name: {column: self.tables[name].counts(column) for column in wanted}
            for name, wanted in of.items()
        }

    def _plots(self) -> Row:
        frame = self.run.samples.frame
        kept = frame["fate"] == self.run.samples.number(columns.KEPT)
        return {
            "score": _histogram(frame["quality"], kept, 11, (0.0, 11.0)),
            "words": _histogram(frame["words"], kept, 20),
            "pass_rate": _histogram(
                self.run.instructions.frame["pass_rate"],
                self.run.instructions.frame["kept"] > 0,
                10,
                (0.0, 1.0),
            ),
        }

    def _reviewed(self) -> Row | None:
        try:
            self._unreadable.pop("review.jsonl", None)
            return self.review()
        except UsageError as error:
            self._unreadable["review.jsonl"] = f"{error}; no mark is shown"
            return None

    def _stage_tokens(self, report: Row) -> list[Row]:
        """Counted again when that is cheap beside the time since the last count."""
        at, counted = self._tokens
        if time.monotonic() >= at:
            started = time.monotonic()
            try:
                counted = calls_behind.tokens(self.store)
                self._unreadable.pop(self.store.name, None)
            except AutoIFError as error:
                self._unreadable[self.store.name] = f"{error}; no call is shown"
            took = time.monotonic() - started
            again = 2 + 20 * took if report["state"] == "running" else 1e9
            self._tokens = (time.monotonic() + again, counted)
        return counted

    def review(self) -> Row:
        """What people who marked samples say of those that are kept. Raises UsageError for a
        review.jsonl that is none."""
        return reviewing.result(reviewing.read(self.path), self.run.is_kept)


def _histogram(
    values: pl.Series, kept: pl.Series, bins: int, edges: tuple[float, float] | None = None
) -> list[list[float]]:
    """[from, to, kept, not kept] of each bin; the last one holds what is larger."""
    frame = pl.DataFrame({"value": values.cast(pl.Float64), "kept": kept}).drop_nulls("value")
    if not frame.height:
        return []
    low, high = edges or (0.0, max(1.0, float(frame["value"].quantile(0.98) or 1.0)))
    width = (high - low) / bins
    if edges is None:
        width = max(1.0, float(-(-width // 1)))
    index = ((pl.col("value") - low) / width).floor().clip(0, bins - 1).cast(pl.Int32)
    counted = frame.group_by(index.alias("bin"), "kept").len().rows()
    table = [[low + n * width, low + (n + 1) * width, 0.0, 0.0] for n in range(bins)]
    for number, was_kept, n in counted:
        table[number][2 if was_kept else 3] += n
    while len(table) > 1 and edges is None and table[-1][2] == table[-1][3] == 0:
        table.pop()
    return table
