"""Wraps each backend of a run: rejects calls after a stop, or once the budget is spent.

It stands between the call store and the backends, so stored answers cost nothing. A rejected call
fails with the reason; the stage that asked books a drop and goes on with what it has, so everything
that was paid for is used.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass

from autoif.base.errors import CallFailed, UsageError
from autoif.base.records import Reply, Request, Usage
from autoif.models import Backend

Prices = Mapping[str, tuple[float, float]]  # model -> USD per million prompt, completion tokens
CHARS_PER_TOKEN = 3.0  # for what a call may cost before it is made; low, so rather too much
SCALES = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9}


def price(prices: Prices, model: str, usage: Usage) -> float | None:
    """USD; 0 for models that run here, None where the price is not known."""
    if model not in prices:
        return 0.0 if model.startswith(("local:", "scripted:", "hf:")) else None
    into, out = prices[model]
    return (usage.prompt * into + usage.completion * out) / 1e6


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit in USD or in tokens (prompt and completion together)."""

    limit: float
    unit: str  # USD or tok

    @classmethod
    def parse(cls, text: str) -> Budget:
        """`5USD`, `0.5usd`, `2Mtok`, `800ktok`. Raises UsageError for anything else."""
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:(usd|\$)|([kmb]?)tok)\s*", text.lower())
        if not match or float(match[1]) <= 0:
            raise UsageError(f"--budget {text} has no unit or no number: use 5USD or 2Mtok")
        if match[2]:
            return cls(float(match[1]), "USD")
        return cls(float(match[1]) * SCALES[match[3]], "tok")

    def of(self, prices: Prices, model: str, usage: Usage) -> float:
        if self.unit == "tok":
            return usage.prompt + usage.completion
        cost = price(prices, model, usage)
        if cost is None:
            raise UsageError(
                f"--budget in USD needs a price: [models.prices] {model!r} = [in, out]"
            )
        return cost


class BudgetGuard:
    """One for a run, before all of its backends.

    spent: what the run's earlier starts cost. A call in flight counts at the most it can cost, so
    that the budget is met from below.
    """

    def __init__(self, prices: Prices, budget: Budget | None = None, spent: float = 0.0) -> None:
        self.prices, self.budget, self.spent = prices, budget, spent
        self.reason = ""  # why it is shut
        self.refused = 0  # calls that came when it was shut
        # Records whose calls the server gave no answer to: another start asks them again.
        self.unanswered: set[str] = set()
        self.reserved = 0.0  # the most that what is in flight can cost
        self._in_flight: set[asyncio.Timeout] = set()

    def left(self) -> str | None:
        """What may be spent still, with its unit; None without a budget."""
        if self.budget is None:
            return None
        return f"{max(0.0, self.budget.limit - self.spent):,.2f} {self.budget.unit}"

    def shut(self, reason: str) -> None:
        self.reason = self.reason or reason

    def give_up(self) -> None:
        """It is shut, and what is in flight is waited for no longer: it is rejected too."""
        for scope in self._in_flight:
            scope.reschedule(asyncio.get_running_loop().time())

    def reopen(self) -> None:
        """Work of another kind begins: what the last one refused is no longer wanted."""
        self.reason, self.refused = "", 0

    def before(self, model: str, backend: Backend) -> Backend:
        if self.budget:
            self.budget.of(self.prices, model, Usage())  # says now if the price is missing
        return _Guarded(self, model, backend)

    async def admit(self, most: float) -> None:
        """Returns when a call that costs so much at most may be made, or when it is shut."""
        if self.budget and self.spent + self.reserved + most > self.budget.limit:
            self.shut("budget")

    async def ask(self, model: str, backend: Backend, request: Request) -> Reply:
        chars = sum(len(m.content) for m in request.messages)
        usage = Usage(int(chars / CHARS_PER_TOKEN) + 16, 0, request.max_tokens)
        most = self.budget.of(self.prices, model, usage) if self.budget else 0.0
        await self.admit(most)
        if self.reason:
            self.refused += 1
            raise CallFailed(self.reason)
        self.reserved += most
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._in_flight.add(scope)
                reply = await backend(request)
        except CallFailed:
            self.unanswered.add(request.record)
            raise
        except TimeoutError:
            if not scope.expired():
                raise
            self.refused += 1
            raise CallFailed(self.reason) from None
        finally:
            self._in_flight.discard(scope)
            self.reserved -= most
        if self.budget:
            self.spent += self.budget.of(self.prices, model, reply.usage)
        return reply


class _Guarded:
    """A backend behind the guard."""

    def __init__(self, guard: BudgetGuard, model: str, backend: Backend) -> None:
        self.namespace, self.body = backend.namespace, backend.body
        self._guard, self._model, self._backend = guard, model, backend

    async def __call__(self, request: Request) -> Reply:
        return await self._guard.ask(self._model, self._backend, request)

    async def close(self) -> None:
        await self._backend.close()
