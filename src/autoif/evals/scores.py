"""Figures with their 95% intervals, and the paired comparison of two runs.

Intervals are percentile bootstraps over what is drawn as a whole (a prompt, a group of prompts);
the seed is fixed, so the same verdicts give the same interval anywhere.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from autoif.base.records import Score
from autoif.evals.task import Benchmark, Row

RESAMPLES = 1000
_NOT_VERDICTS = ("key", "detail", "instructions")
Figures = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Scores:
    """The result of a benchmark: one `Score` per metric, and the verdicts they rest on."""

    benchmark: str
    scores: tuple[Score, ...]
    verdicts: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()

    def __getitem__(self, metric: str) -> Score:
        """Raises KeyError for a metric that the benchmark does not have."""
        for score in self.scores:
            if score.metric == metric:
                return score
        raise KeyError(metric)

    def to_json(self) -> dict[str, Any]:
        """`scores.json`: the metrics by name, then `low`, `high`, `n` and `by_group` by metric."""
        return {
            "benchmark": self.benchmark,
            **{s.metric: _rounded(s.value) for s in self.scores},
            "low": {s.metric: _rounded(s.low) for s in self.scores},
            "high": {s.metric: _rounded(s.high) for s in self.scores},
            "n": {s.metric: s.n for s in self.scores},
            "by_group": {
                s.metric: {group: _rounded(v) for group, v in s.by_group.items()}
                for s in self.scores
                if s.by_group
            },
            "notes": list(self.notes),
        }

    def table(self) -> str:
        """For a terminal: a line per metric, then one per group."""
        lines = [f"{self.benchmark:<18} {'value':>7}  {'95% interval':>15}  {'n':>5}"]
        for s in self.scores:
            interval = f"{_cell(s.low)} to {_cell(s.high)}"
            lines.append(f"{s.metric:<18} {_cell(s.value):>7}  {interval:>15}  {s.n:>5}")
        grouped = [s for s in self.scores if s.by_group]
        if grouped:
            names = list(dict.fromkeys(g for s in grouped for g in s.by_group))
            width = max(map(len, names))
            lines += ["", f"{'':<{width}}  " + "  ".join(f"{s.metric:>12}" for s in grouped)]
            for name in names:
                cells = "  ".join(f"{_cell(s.by_group.get(name)):>12}" for s in grouped)
                lines.append(f"{name:<{width}}  {cells}")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


@dataclass(frozen=True, slots=True)
class Change:
    """One metric of B less that of A on the same prompts, with its paired 95% interval."""

    metric: str
    a: float | None
    b: float | None
    difference: float | None
    low: float | None
    high: float | None

    @property
    def significant(self) -> bool:
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


@dataclass(frozen=True, slots=True)
class Comparison:
    """A against B. `changed`: keys whose verdict differs, with both rows' verdicts."""

    benchmark: str
    n: int
    changes: tuple[Change, ...]
    changed: tuple[tuple[str, Row, Row], ...]
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        return {
            "benchmark": self.benchmark,
            "n": self.n,
            "metrics": {
                c.metric: {
                    name: _rounded(getattr(c, name))
                    for name in ("a", "b", "difference", "low", "high")
                }
                for c in self.changes
            },
            "changed": [{"key": k, "a": a, "b": b} for k, a, b in self.changed],
            "notes": list(self.notes),
        }

    def table(self) -> str:
        """For a terminal. A star marks an interval that does not hold zero."""
        title = f"{self.benchmark}: B - A"
        lines = [f"{title:<18} {'A':>7} {'B':>7} {'B - A':>7}  {'95% interval':>16}"]
        for c in self.changes:
            cells = f"{_cell(c.a):>7} {_cell(c.b):>7} {_cell(c.difference, '+'):>7}"
            interval = f"{_cell(c.low, '+')} to {_cell(c.high, '+')}"
            star = " *" if c.significant else ""
            lines.append(f"{c.metric:<18} {cells}  {interval:>16}{star}")
        lines += ["", f"{len(self.changed)} of {self.n} prompts changed"]
        for key, a, b in self.changed[:20]:
            lines.append(f"  {key}: {_verdict(a)} -> {_verdict(b)}")
        if len(self.changed) > 20:
            lines.append(f"  and {len(self.changed) - 20} more")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def summarise(task: Benchmark, rows: Sequence[Row], notes: Sequence[str] = ()) -> Scores:
    """All figures of a benchmark, with intervals."""
    sums = [u.sums for u in task.units(rows)]
    total = _total(sums)
    values, counts, groups = task.figures(total), task.counts(total), task.groups(rows)
    bounds = _intervals([sums], lambda totals: task.figures(totals[0]))
    scores = []
    for metric, value in values.items():
        low, high = bounds.get(metric, (None, None))
        by_group = groups.get(metric, {})
        scores.append(Score(task.name, metric, value, counts[metric], low, high, by_group))
    return Scores(task.name, tuple(scores), tuple(rows), (*notes, *task.notes(rows)))


def compare_rows(
    task: Benchmark, a: Sequence[Row], b: Sequence[Row], notes: Sequence[str] = ()
) -> Comparison:
    """B against A over the keys that both have, in A's order."""
    rows_b = {str(row["key"]): row for row in b}
    pairs = [(row, rows_b[str(row["key"])]) for row in a if str(row["key"]) in rows_b]
    ones, twos = [p[0] for p in pairs], [p[1] for p in pairs]
    sums = [[u.sums for u in task.units(rows)] for rows in (ones, twos)]
    before, after = (task.figures(_total(s)) for s in sums)

    def difference(totals: list[list[float]]) -> Figures:
        one, two = (task.figures(t) for t in totals)
        return {m: _minus(two[m], one[m]) for m in one}

    bounds = _intervals(sums, difference)
    changes = tuple(
        Change(m, v, after[m], _minus(after[m], v), *bounds.get(m, (None, None)))
        for m, v in before.items()
    )
    changed = tuple((str(x["key"]), x, y) for x, y in pairs if _verdicts(x) != _verdicts(y))
    return Comparison(task.name, len(pairs), changes, changed, tuple(notes))


def _intervals(
    samples: Sequence[Sequence[tuple[float, ...]]], figures: Callable[[list[list[float]]], Figures]
) -> dict[str, tuple[float, float]]:
    """The 2.5% and 97.5% points of each figure over resamples; all samples are drawn alike."""
    n = len(samples[0])
    draw = random.Random(0)
    drawn: dict[str, list[float]] = {}
    for _ in range(RESAMPLES if n > 1 else 0):
        picks = draw.choices(range(n), k=n)
        for metric, value in figures([_total([s[i] for i in picks]) for s in samples]).items():
            if value is not None:
                drawn.setdefault(metric, []).append(value)
    bounds = {}
    for metric, values in drawn.items():
        values.sort()
        last = len(values) - 1
        bounds[metric] = values[round(0.025 * last)], values[round(0.975 * last)]
    return bounds


def _total(sums: Sequence[tuple[float, ...]]) -> list[float]:
    return [sum(column) for column in zip(*sums, strict=True)]


def _minus(b: float | None, a: float | None) -> float | None:
    return None if a is None or b is None else b - a


def _verdicts(row: Row) -> Row:
    return {k: v for k, v in row.items() if k not in _NOT_VERDICTS}


def _verdict(row: Row) -> str:
    marks = {True: "+", False: "-", None: "?"}
    verdicts = _verdicts(row)
    lists = {n: [v] if isinstance(v, bool) else v for n, v in verdicts.items()}
    shown = [
        f"{name} " + "".join(marks[v] for v in values)
        for name, values in lists.items()
        if isinstance(values, list) and all(v in marks for v in values)
    ]
    return ", ".join(shown) or str(verdicts)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _cell(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.2f}"
