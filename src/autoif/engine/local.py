"""Runs a recipe in a directory: opens what it needs, works through the shards, merges, reports.

The unit of distribution is a shard: a range of instructions in the order of their ids. Within a
process the shards interleave: `in_flight` instructions are worked on, their products are committed
in order, so a stop, a target and the artefacts depend on the answers alone, never on which came
first. The call store is the checkpoint; a finished shard is skipped. Where the recipe composes
constraints, the compositions are worked through in the same way when the instructions are done.
"""

from __future__ import annotations

import asyncio
import os
import platform
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from autoif.base.errors import AutoIFError, CallPending, RunFailed, UsageError
from autoif.base.files import remove
from autoif.base.records import Filtered, Usage, Verifier
from autoif.base.version import __version__
from autoif.clean.final import refine
from autoif.engine.late_files import late_files
from autoif.engine.resources import open_context
from autoif.engine.shards import UnitRunner, WorkPlan, commit
from autoif.models import Backend
from autoif.models.batch import PendingBackend
from autoif.models.budget import Budget, BudgetGuard
from autoif.report import dataset_card
from autoif.report.pace import TimeLeft
from autoif.run.directory import RunDir, write_json, write_whole
from autoif.run.funnel import Funnel
from autoif.run.progress import Progress
from autoif.run.recipe import Recipe
from autoif.store import open_store
from autoif.store.address import is_address
from autoif.store.base import Store
from autoif.synthesis.compositions import draw
from autoif.synthesis.context import Context
from autoif.synthesis.flow import shared_stages
from autoif.synthesis.instructions import propose, user_files
from autoif.synthesis.product import Product
from autoif.verifier.verify import accepts

GRACE = 5.0  # seconds that calls in flight have left once a run is stopped
REMEMBERED = 4096  # replies with a verifier: a small run draws the same ones again and again
AHEAD = 4  # products begun or waiting to be committed, per one in flight


class Stopped(AutoIFError):
    """Stopped, or the budget spent, before the run was through. What there is has been written."""


@dataclass
class Run:
    """One start of a recipe in a directory. `execute` does all of it."""

    recipe: Recipe
    out: RunDir
    calls: str | Path | None = None  # another call store than the recipe's or the directory's own
    on_notice: Callable[[str], None] = lambda line: None
    backends: dict[str, Backend] = field(default_factory=dict)  # by model; opened where not given
    budget: Budget | None = None
    on_stop: Callable[[], object] = lambda: None  # ends what comes before `execute`

    def __post_init__(self) -> None:
        self.progress = Progress(self.recipe)
        self.guard = BudgetGuard(self.recipe.models.prices, self.budget)
        self._models: dict[str, str] = {}  # namespace -> model
        self._notes: list[PendingBackend] = []

    @property
    def _name(self) -> str:
        """What calls this run has used is noted under this name: for `autoif calls gc`, for the
        tokens of all its starts, and for what is left of the budget. In a store that machines
        share it has the machine's name."""
        host = f"{platform.node()}:" if is_address(self.store_path) else ""
        return f"{host}{self.out.path.resolve()} {self.recipe.hash}"

    @property
    def store_path(self) -> str | Path:
        """Raises UsageError where a recipe, which may be a stranger's, would get a password."""
        file, address = self.recipe.calls_named_in, self.recipe.engine.calls
        if address and file and not self.calls and os.environ.get("PGPASSWORD"):
            raise UsageError(
                f"{file} would send the password in PGPASSWORD to {address}: if you want that, say "
                f"so with --calls {address}"
            )
        return self.calls or address or self.out.calls

    def stop(self) -> None:
        """What is in flight ends, or is given up after GRACE seconds; what there is gets written;
        `execute` raises Stopped. To be called in the loop that executes."""
        self.guard.shut("stopped")
        self.on_stop()
        asyncio.get_running_loop().call_later(GRACE, self.guard.give_up)

    async def execute(self) -> dict[str, Any]:
        """The manifest. Raises RunFailed for an empty dataset, Stopped where it was cut short."""
        async with self._open() as context:
            ticker = asyncio.create_task(self._tick())
            try:
                return await self._synthesise(context)
            except (AutoIFError, OSError) as error:
                if not isinstance(error, (Stopped, RunFailed)):
                    self._write_progress("failed", error=str(error))
                raise
            finally:
                ticker.cancel()

    async def collect(self) -> int:
        """Asks nothing: goes as deep into the flow as the answers so far allow and notes, in the
        store, every call that it would make. Returns how many; 0: `execute` needs no model."""
        await asyncio.to_thread(late_files, self.recipe)
        async with self._open(pending=True) as context:
            with suppress(CallPending):
                plan = await self._instructions(context, Funnel())
                async for _ in self._in_order(context, plan):
                    pass
                if self.recipe.compose.on and not any(b.noted for b in self._notes):
                    shards = await self._work(context, plan)
                    drawn = await self._compositions(context, shards, Funnel())
                    async for _ in self._in_order(context, drawn):
                        pass
            return sum(b.noted for b in self._notes)

    @asynccontextmanager
    async def _open(self, *, pending: bool = False) -> AsyncGenerator[Context, None]:
        """The store and all else, closed again whatever happens."""

        def wrap(model: str, backend: Backend) -> Backend:
            if pending:
                backend = PendingBackend(backend, store)
                self._notes.append(backend)
            self._models[backend.namespace] = model
            return self.guard.before(model, backend)

        async with open_store(
            self.store_path,
            run=self._name,
            patience=self.recipe.models.patience,
            on_notice=self.on_notice,
        ) as store:
            if pending:
                await store.forget_pending()  # of an earlier round, maybe of another recipe
            async with open_context(
                self.recipe,
                store,
                backends=self.backends,
                wrap=wrap,
                counts=self.progress.counts,
                opened=self.progress.models,
                on_notice=self.on_notice,
            ) as context:
                self.guard.spent = await self._spent(store)
                yield context

    async def _tick(self) -> None:
        left = TimeLeft()
        while True:
            self._write_progress(
                "running",
                models=self.progress.by_model(),
                seconds_left=left.at(time.monotonic(), self.progress),
                budget_left=self.guard.left(),
            )
            await asyncio.sleep(1)

    def _write_progress(self, state: str, **more: Any) -> None:
        with suppress(OSError):  # a full disk must not hide the error that matters
            write_json(self.out.path / "progress.json", self.progress.report(state) | more)

    async def _synthesise(self, context: Context) -> dict[str, Any]:
        fidelity, benchmarks = await asyncio.to_thread(late_files, self.recipe)
        progress = self.progress
        head = Funnel()
        head.book(context.loaded, benchmarks.read)
        progress.at_work.append(head)
        progress.phase = "instructions"
        plan = await self._instructions(context, head)
        progress.instructions = plan.total
        progress.phase = "synthesis"
        shards = await self._work(context, plan)
        if self.recipe.compose.on:
            progress.phase = "composition"
            drawn = await self._compositions(context, shards, head)
            progress.compositions = drawn.total
            shards += await self._work(context, drawn)
        head.book(*(await self._shared_stages(context)).values())
        progress.settle(head)
        progress.at_work.clear()  # what a target left behind is in no artefact
        for name in ("00-inputs", "01-instructions"):
            self.out.write_lines(f"{name}.dropped", head.drops_in(name))
        # Plain replies of several languages come side by side.
        shared = sorted(head.drops_in("02-verifiers"), key=lambda d: d.record_id)
        accepted = head.drops_in("03-samples")
        undrawn = head.drops_in("04-compositions")
        heads = {
            "02-verifiers.dropped": shared,
            "03-samples.dropped": accepted,
            "04-compositions.dropped": undrawn,
        }
        self.out.merge(shards, heads)
        progress.funnel.add(
            await asyncio.to_thread(refine, shards, self.out, self.recipe, benchmarks)
        )
        return await self._finish(context, fidelity)

    async def _shared_stages(self, context: Context) -> dict[str, Filtered[Any]]:
        return await shared_stages(context)

    async def _spent(self, store: Store) -> float:
        """What all starts of this run have cost, in the budget's unit; 0 without a budget."""
        if self.budget is None:
            return 0.0
        spent, prices = self._by_model(await store.spent(self._name)), self.recipe.models.prices
        return sum(self.budget.of(prices, model, usage) for model, usage in spent.items())

    def _by_model(self, usage: Mapping[str, Usage]) -> dict[str, Usage]:
        """By namespace -> by model, of the models of this run."""
        return {self._models[name]: u for name, u in usage.items() if name in self._models}

    async def _finish(self, context: Context, fidelity: str) -> dict[str, Any]:
        """The card and the manifest, written last; or how far it came."""
        cut = bool(self.guard.refused) and self.guard.reason != "target"
        await context.store.mark(self._name)
        used = self._by_model(await context.store.used(self._name))
        report = self.progress.report("stopped" if cut else "done", used)
        text = dataset_card.render(self.recipe, report, self.out.path / "data", fidelity)
        write_whole(self.out.path / "data" / "README.md", text.encode())
        if cut:
            write_json(self.out.path / "progress.json", report)
            raise Stopped(self.guard.reason)
        manifest = {
            **report,
            "recipe": self.recipe.hash,
            "versions": {"autoif": __version__, "python": platform.python_version()},
            "sandbox": dict(context.sandbox.layers),
        }
        remove(self.out.path / "progress.json")
        write_json(self.out.path / "manifest.json", manifest)
        if not self.progress.funnel.counts["samples"].kept:
            raise RunFailed(
                f"no sample survived; `autoif status {self.out.path}` says where they were lost"
            )
        return manifest

    async def _instructions(self, context: Context, head: Funnel) -> WorkPlan:
        """Every instruction, in the order of their ids; on disk, so that memory stays flat."""
        own: dict[str, Verifier] = {}
        if self.recipe.verifiers.own:
            brought = user_files.verifiers(self.recipe)
            head.book(brought)
            own = {v.instruction.id: v for v in brought.kept}
            instructions = [v.instruction for v in brought.kept]
        else:
            seeds = propose.load(self.recipe)
            proposals = await propose.augment(context, seeds.kept)
            head.book(seeds, proposals)
            instructions = seeds.kept + proposals.kept
        instructions.sort(key=lambda i: i.id)
        self.out.write_lines("01-instructions", instructions)
        return WorkPlan.of(self.out, context, instructions, own)

    async def _compositions(self, context: Context, shards: list[Path], head: Funnel) -> WorkPlan:
        """What is drawn from the verifiers of these shards. Samples of compositions come on top of
        a target."""
        if self.guard.reason == "target":
            self.guard.reopen()
        pool = await asyncio.to_thread(draw.Pool, shards)

        async def judged(name: str, text: str) -> bool:
            checks = pool.verifier(name).checks
            verdicts = await context.verdicts(checks, [text])
            return accepts(verdicts, [self.recipe.responses.accuracy.share(len(checks))])

        @lru_cache(maxsize=REMEMBERED)
        def follows(name: str, text: str) -> asyncio.Task[bool]:
            return asyncio.create_task(judged(name, text))

        possible = draw.possible(self.recipe, pool)
        head.book(Filtered(draw.STAGE, [], possible.dropped))
        drawn = draw.draw(self.recipe, pool, context.queries, possible.kept, follows)
        return await WorkPlan.composed(self.out, context, pool, drawn)

    async def _work(self, context: Context, plan: WorkPlan) -> list[Path]:
        """Works through the shards in order; the directories to merge."""
        self.out.drop_shards(plan.under, plan.stamp)
        shared = {query.id for pool in context.queries.values() for query in pool}
        merged: list[Path] = []
        kept = 0
        async with aclosing(self._in_order(context, plan)) as products:
            for n in plan.shards:
                shard = plan.files(n)
                if shard.finished():
                    self.progress.funnel.add(shard.funnel)
                    self.progress.through(plan.stage, shard.funnel.counts[plan.stage].entered)
                    merged.append(shard.path)
                else:
                    asked_for = set(shared)
                    with shard.begun():
                        for _ in range(plan.length(n)):
                            product = await anext(products, None)
                            if product is None:
                                break
                            asked_for.add(product.unit.id)
                            here = kept + shard.funnel.counts["samples"].kept
                            commit(product, shard, plan.target and plan.target - here)
                            self.progress.settle(product.funnel)
                            product.forget()
                            if self._full(plan, kept + shard.funnel.counts["samples"].kept):
                                break
                    # A shard that was cut short, or some of whose calls got no answer, is not
                    # finished; one that the target ended is: it will always end there.
                    cut = self.guard.reason not in ("", "target")
                    cut = cut or not asked_for.isdisjoint(self.guard.unanswered)
                    if not cut:
                        await context.store.mark(self._name)
                    merged.append(shard.end() if cut else shard.finish())
                kept += shard.funnel.counts["samples"].kept
                if self._full(plan, kept) or self.guard.refused:
                    break
        return merged

    def _full(self, plan: WorkPlan, kept: int) -> bool:
        full = bool(plan.target) and kept >= plan.target
        if full:
            self.guard.shut("target")
        return full

    async def _in_order(self, context: Context, plan: WorkPlan) -> AsyncGenerator[Product, None]:
        """Works on `in_flight` units at a time and gives them back in their order.

        Once the gate is shut nothing more begins, and the jobs that had begun come back with what
        they have. Left early, it waits until what is in flight has ended and is stored.
        """
        jobs = (product for spec in plan.unfinished() for product in spec.products())
        fill = UnitRunner(context, self.guard, self.progress)
        waiting: deque[tuple[Product, asyncio.Task[bool]]] = deque()

        try:
            while True:
                while len(waiting) < self.recipe.engine.in_flight * AHEAD:
                    job = next(jobs, None)
                    if job is None:
                        break
                    waiting.append((job, asyncio.create_task(fill(job))))
                if not waiting or not await waiting[0][1]:
                    return
                yield waiting.popleft()[0]
        finally:
            if waiting:
                self.guard.shut("stopped")
                await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)
