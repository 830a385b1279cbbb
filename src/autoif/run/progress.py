"""A run at work, counted: what a display shows and `autoif status` reads."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autoif.base.records import Usage, to_json
from autoif.models import Backend
from autoif.models.activity import Activity, activity_of, together
from autoif.models.budget import price
from autoif.models.cached import CallCounts
from autoif.run.funnel import Funnel
from autoif.run.recipe import Recipe


@dataclass
class Progress:
    """The books of what is done and of what is at work, and the calls of this start."""

    recipe: Recipe
    started: float = field(default_factory=time.monotonic)
    phase: str = "starting"
    instructions: int = 0
    done: int = 0
    compositions: int = 0
    composed: int = 0
    funnel: Funnel = field(default_factory=Funnel)
    at_work: list[Funnel] = field(default_factory=list)
    counts: dict[str, Mapping[str, CallCounts]] = field(default_factory=dict)  # model -> stage
    models: dict[str, Backend] = field(default_factory=dict)
    expected_tokens: int = 0  # that all answers of the run will have; 0: unknown
    expected_seconds: float = 0.0  # that a run will take, from when it was sized; 0: it was not

    def total(self) -> Funnel:
        """What is done and what is at work, as one."""
        total = Funnel()
        for funnel in (self.funnel, *self.at_work):
            total.add(funnel)
        return total

    def settle(self, funnel: Funnel) -> None:
        """What was at work is done."""
        self.at_work.remove(funnel)
        self.funnel.add(funnel)

    def through(self, stage: str, n: int = 1) -> None:
        """n more units of the stage are done."""
        if stage == "compositions":
            self.composed += n
        else:
            self.done += n

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

    def activity(self) -> Activity | None:
        """What the models are doing right now; None where none has begun, or none tells."""
        return together(map(activity_of, self.models.values()))

    def generated(self) -> int:
        """Tokens of this start's answers, of unfinished ones too where the model counts them."""
        return sum(at["tokens"] for at in self.by_model().values())

    def by_model(self) -> dict[str, dict[str, Any]]:
        """Of each model: "tokens" of this start's answers, calls "running" and "waiting", None
        where it does not tell."""
        every = {}
        for model, stages in self.counts.items():
            answered = sum(c.usage.completion for c in stages.values())
            now = activity_of(self.models.get(model))
            every[model] = {
                "tokens": max(answered, now.generated if now else 0),
                "running": now.running if now else None,
                "waiting": now.waiting if now else None,
            }
        return every

    def units(self) -> tuple[int, int]:
        """Units of work that are through, and all there are as far as can be seen: of each
        instruction its verifier and its samples; compositions."""
        compose = self.recipe.compose
        planned = compose.per_level * (compose.levels - 1 + (compose.turns > 1))
        drawn = self.compositions if self.phase == "composition" else planned
        verified = max(self.done, self.total().counts["crossval"].entered)
        through = verified + self.done + self.composed
        return through, 2 * self.instructions + drawn if self.instructions else 0

    def report(self, state: str, used: Mapping[str, Usage] | None = None) -> dict[str, Any]:
        """`used`: tokens by model, of all starts of the run; without, those of this start's calls,
        asked and read back. The cost is None where a model has no price."""
        if used is None:
            used = {
                model: sum((c.usage + c.replayed_usage for c in stages.values()), Usage())
                for model, stages in self.counts.items()
            }
        prices = self.recipe.models.prices
        costs = [price(prices, model, usage) for model, usage in used.items()]
        return {
            "state": state,
            "phase": self.phase,
            "instructions": {"total": self.instructions, "done": self.done},
            "compositions": {"total": self.compositions, "done": self.composed},
            "stages": self.total().to_json(),
            "calls": self.calls(),
            "tokens": to_json(sum(used.values(), Usage())),
            "cost": None if None in costs else round(sum(c for c in costs if c), 6),
            "seconds": round(time.monotonic() - self.started, 3),
        }
