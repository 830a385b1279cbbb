"""A budget that several machines spend: the driver lends each worker a part of what is left.

A worker's calls are admitted against what it was lent, as those of one process are against the
budget; one that does not fit waits for more. What is lent counts as spent at the driver, so the
budget is met from below however many workers there are and whatever becomes of them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from autoif.models.budget import Budget, BudgetGuard, Prices

SHARE = 4  # a worker gets its share of a quarter of what is left: the others are to find some too


@dataclass(frozen=True, slots=True)
class Account:
    """A worker's: in the budget's unit, since its start. limit: what it may spend; spent; reserved:
    the most that its calls in flight cost; short: that of a call which waits for a higher limit."""

    limit: float = 0.0
    spent: float = 0.0
    reserved: float = 0.0
    short: float = 0.0

    @property
    def lent(self) -> float:
        """What it may spend still."""
        return self.limit - self.spent


class LeasedGuard(BudgetGuard):
    """Stands before a worker's backends. No call passes while the driver is not heard (`fenced`),
    nor beyond what it has lent; both wait. What the driver refuses is rejected, as elsewhere."""

    def __init__(self, prices: Prices, budget: Budget | None) -> None:
        super().__init__(prices, budget)
        self.limit = 0.0
        self.fenced = False
        self._waiting: dict[object, float] = {}  # who -> the most that the call may cost
        self._changed = asyncio.Event()

    async def admit(self, most: float) -> None:
        who = object()
        try:
            while not self.reason and (self.fenced or not self._fits(most)):
                self._waiting[who] = most
                self._changed.clear()
                await self._changed.wait()
        finally:
            self._waiting.pop(who, None)

    def _fits(self, most: float) -> bool:
        return self.budget is None or self.spent + self.reserved + most <= self.limit

    def heard(self, limit: float) -> None:
        """The driver is there. Its limit holds, but for what is spent or on its way already."""
        self.fenced = False
        self.limit = max(limit, self.spent + self.reserved)
        self.wake()

    def shut(self, reason: str) -> None:
        super().shut(reason)
        self.wake()

    def wake(self) -> None:
        """Lets those that wait look again."""
        self._changed.set()

    @property
    def account(self) -> Account:
        short = max((m for m in self._waiting.values() if not self._fits(m)), default=0.0)
        return Account(self.limit, self.spent, self.reserved, short)


class Lender:
    """The driver's side. What is lent is reserved in the run's guard, as calls in flight are."""

    def __init__(self, guard: BudgetGuard) -> None:
        self._guard = guard
        self._accounts: dict[object, Account] = {}
        self._reserved: dict[object, float] = {}  # worker -> what the guard has reserved for it

    def limit(self, worker: object) -> float:
        """What to tell a worker that it may spend. Shuts the guard where a call that waits cannot
        be paid."""
        if self._guard.budget is None:
            return 0.0
        account = self._accounts.get(worker, Account())
        others = [a for w, a in self._accounts.items() if w is not worker]
        used = self._guard.spent + sum(a.reserved for a in (account, *others))
        if account.short and used + account.short > self._guard.budget.limit:
            self._guard.shut("budget")
        left = max(0.0, self._guard.budget.limit - self._guard.spent)
        spare = left / (SHARE * max(1, len(self._accounts)))
        if any(a.short for a in others) and not account.short:
            spare = 0.0  # others need it
        wanted = account.spent + account.reserved + max(2 * account.short, spare)
        free = max(0.0, self._guard.budget.limit - self._guard.spent - self._guard.reserved)
        limit = min(wanted, account.limit + free)
        self._reserve(worker, max(account.lent, limit - account.spent))
        return limit

    def hear(self, worker: object, account: Account) -> None:
        """What the worker has come to."""
        before = self._accounts.get(worker, Account())
        self._guard.spent += account.spent - before.spent
        self._accounts[worker] = account
        self._reserve(worker, account.lent)

    def lose(self, worker: object) -> None:
        """It spends no more."""
        self._reserve(worker, 0.0)
        self._accounts.pop(worker, None)

    def _reserve(self, worker: object, amount: float) -> None:
        self._guard.reserved += amount - self._reserved.get(worker, 0.0)
        self._reserved[worker] = amount
