"""A run at work, counted: what a display shows and `autoif status` reads."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autoif.chat.gate import price
from autoif.chat.stored import Counts
from autoif.ledger import Ledger
from autoif.recipe import Recipe
from autoif.records import Usage, to_json


@dataclass
class Progress:
    """The books of what is done and of what is at work, and the calls of this start."""

    recipe: Recipe
    started: float = field(default_factory=time.monotonic)
    phase: str = "starting"
    instructions: int = 0
    done: int = 0
    ledger: Ledger = field(default_factory=Ledger)
    at_work: list[Ledger] = field(default_factory=list)
    counts: dict[str, Mapping[str, Counts]] = field(default_factory=dict)  # model -> stage

    def books(self) -> Ledger:
        books = Ledger()
        for ledger in (self.ledger, *self.at_work):
            books.add(ledger)
        return books

    def settle(self, ledger: Ledger) -> None:
        """What was at work is done."""
        self.at_work.remove(ledger)
        self.ledger.add(ledger)

    def calls(self) -> dict[str, int]:
        every = [c for stages in self.counts.values() for c in stages.values()]
        return {"asked": sum(c.asked for c in every), "replayed": sum(c.replayed for c in every)}

    def usage(self, stage: str | None = None, *, paid: bool = False) -> Usage:
        """Tokens of this start's calls; those read back count too, unless `paid`."""
        total = Usage()
        for stages in self.counts.values():
            for name, c in stages.items():
                if stage in (None, name):
                    total += c.usage if paid else c.usage + c.replayed_usage
        return total

    def cost(self) -> float | None:
        """USD of this start's calls, those read back too; None where a model has no price."""
        total = 0.0
        for model, stages in self.counts.items():
            usage = Usage()
            for c in stages.values():
                usage += c.usage + c.replayed_usage
            cost = price(self.recipe.models.prices, model, usage)
            if cost is None:
                return None
            total += cost
        return round(total, 6)

    def report(self, state: str) -> dict[str, Any]:
        return {
            "state": state,
            "phase": self.phase,
            "instructions": {"total": self.instructions, "done": self.done},
            "stages": self.books().to_json(),
            "calls": self.calls(),
            "tokens": to_json(self.usage()),
            "cost": self.cost(),
            "seconds": round(time.monotonic() - self.started, 3),
        }
