"""The funnel: what went into each stage, what was kept, and why the rest was dropped.

Stages return `Filtered`; the flow books it here. So in = kept + dropped, at every stage, always.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from autoif.base.records import Drop, Filtered

# The stages in the order of the flow, each with what is counted there.
STAGES: Mapping[str, str] = {
    "queries": "rows of query files",
    "benchmarks": "rows of benchmark files",
    "instructions": "seeds and proposals",
    "functions": "candidate functions",
    "programs": "comply programs",
    "cases": "test cases and evidence",
    "crossval": "instructions with functions",
    "backtranslate": "functions back-translated",
    "verifiers": "instructions with a verifier",
    "compositions": "compositions of constraints",
    "controls": "texts the judge must refuse",
    "prompts": "query and instruction",
    "responses": "sampled responses",
    "judge": "responses that passed",
    "samples": "samples",
    "data": "rows of the data files",
}
FILES: Mapping[str, tuple[str, ...]] = {
    "00-inputs": ("queries", "benchmarks"),
    "01-instructions": ("instructions",),
    "02-verifiers": ("functions", "programs", "cases", "crossval", "backtranslate", "verifiers"),
    "03-samples": ("controls", "prompts", "responses", "judge", "samples"),
    "04-compositions": ("compositions",),
    "05-data": ("data",),
}


@dataclass
class Count:
    entered: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def add(self, other: Count) -> None:
        self.entered += other.entered
        self.kept += other.kept
        self.dropped.update(other.dropped)


class Funnel:
    """Counts and drops of one unit of work; funnels add up."""

    def __init__(self) -> None:
        self.counts = {stage: Count() for stage in STAGES}
        self.drops: list[Drop] = []

    def book(self, *stages: Filtered[Any]) -> None:
        """What these stages kept and dropped."""
        for filtered in stages:
            count = self.counts[filtered.stage]
            count.entered += filtered.entered
            count.kept += len(filtered.kept)
            count.dropped.update(drop.reason for drop in filtered.dropped)
            self.drops += filtered.dropped

    def withdraw(self, drop: Drop) -> None:
        """A record that was kept is dropped after all."""
        self.counts[drop.stage].kept -= 1
        self.counts[drop.stage].dropped[drop.reason] += 1
        self.drops.append(drop)

    def drops_in(self, file: str) -> list[Drop]:
        """What belongs in `FILE.dropped.jsonl`, stage by stage."""
        stages = FILES[file]
        return sorted(
            (d for d in self.drops if d.stage in stages), key=lambda d: stages.index(d.stage)
        )

    def add(self, other: Funnel) -> None:
        """Counts alone: drops go to their file with the unit that made them."""
        for stage, count in other.counts.items():
            self.counts[stage].add(count)

    def check(self) -> None:
        for stage, c in self.counts.items():
            if c.entered != c.kept + c.dropped.total():
                raise AssertionError(
                    f"{stage}: {c.entered} in, {c.kept} kept, {c.dropped.total()} dropped"
                )

    def to_json(self) -> list[dict[str, Any]]:
        return [
            {"name": s, "in": c.entered, "kept": c.kept, "dropped": dict(sorted(c.dropped.items()))}
            for s, c in self.counts.items()
        ]

    @classmethod
    def from_json(cls, rows: Iterable[Mapping[str, Any]]) -> Funnel:
        funnel = cls()
        for row in rows:
            funnel.counts[row["name"]] = Count(row["in"], row["kept"], Counter(row["dropped"]))
        return funnel
