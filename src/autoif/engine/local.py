"""Runs a recipe in a directory: opens what it needs, works through the shards, merges, reports.

The unit of distribution is a shard: a range of instructions in the order of their ids. Within a
process the shards interleave: `in_flight` instructions are worked on, their products are committed
in order, so a stop, a target and the artefacts depend on the answers alone, never on which came
first. The call store is the checkpoint; a finished shard is skipped. Where the recipe composes
constraints, the compositions are worked through in the same way when the instructions are done.
"""

from __future__ import annotations

import asyncio
import platform
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoif.base.errors import AutoIFError, CallPending, RunFailed
from autoif.base.inputs import builtin
from autoif.base.records import Usage, Verifier
from autoif.base.version import __version__
from autoif.clean.final import refine
from autoif.engine.late_files import late_files
from autoif.engine.shards import WorkPlan, trim
from autoif.models import Backend
from autoif.models.batch import PendingBackend
from autoif.models.budget import Budget, BudgetGuard
from autoif.models.cached import CachedChat
from autoif.models.open import open_backend
from autoif.report import dataset_card as dataset_card
from autoif.run.directory import RunDir, ShardFiles, write_json, write_whole
from autoif.run.funnel import Funnel
from autoif.run.progress import Progress
from autoif.run.recipe import Recipe
from autoif.sandbox import Limits, Sandbox
from autoif.store import open_store
from autoif.store.base import Store
from autoif.synthesis.compositions import draw as draw
from autoif.synthesis.context import Context, Relate
from autoif.synthesis.instructions import propose as propose
from autoif.synthesis.instructions import user_files as user_files
from autoif.synthesis.product import Product
from autoif.synthesis.prompts.templates import PromptTemplates
from autoif.synthesis.responses import queries
from autoif.synthesis.responses import sample as sample
from autoif.synthesis.verifiers import evidence

ROLES = ("propose", "code", "respond", "judge")
# A function that a model wrote gets this much for one text. Honest ones need a thousandth of it.
LIMITS = Limits(cpu_seconds=1.0, wall_seconds=10.0, total_seconds=60.0, memory_mb=256, strikes=2)
AHEAD = 4  # products begun or waiting to be committed, per one in flight


class Stopped(AutoIFError):
    """Stopped, or the budget spent, before the run was through. What there is has been written."""


@dataclass
class Run:
    """One start of a recipe in a directory. `execute` does all of it."""

    recipe: Recipe
    out: RunDir
    calls: Path | None = None  # another call store than the directory's own
    on_notice: Callable[[str], None] = lambda line: None
    backends: dict[str, Backend] = field(default_factory=dict)  # by model; opened where not given
    budget: Budget | None = None

    def __post_init__(self) -> None:
        self.progress = Progress(self.recipe)
        self.guard = BudgetGuard(self.recipe.models.prices, self.budget)
        # What calls this run has used is noted under this name: for `autoif calls gc`, for the
        # tokens of all its starts, and for what is left of the budget.
        self._name = f"{self.out.path.resolve()} {self.recipe.hash}"
        self._models: dict[str, str] = {}  # namespace -> model
        self._notes: list[PendingBackend] = []

    @property
    def store_path(self) -> Path:
        return self.calls or self.out.calls

    def stop(self) -> None:
        """What is in flight ends, what there is gets written; `execute` raises Stopped."""
        self.guard.shut("stopped")

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
            async with _Plain(context, Funnel()):
                with suppress(CallPending):
                    plan = await self._todo(context, Funnel())
                    async for _ in self._in_order(context, plan):
                        pass
                    if self.recipe.compose.on and not any(b.noted for b in self._notes):
                        drawn = await self._compose(
                            context, await self._work(context, plan), Funnel()
                        )
                        async for _ in self._in_order(context, drawn):
                            pass
            # A pending call ends its instruction; what was asked beside it has to be noted too.
            others = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.gather(*others, return_exceptions=True)
            return sum(b.noted for b in self._notes)

    @asynccontextmanager
    async def _open(self, *, pending: bool = False) -> AsyncGenerator[Context, None]:
        """Store, sandbox and models, closed again whatever happens."""
        store = open_store(self.store_path)
        chats: dict[str, CachedChat] = {}
        try:
            if pending:
                await store.forget_pending()  # of an earlier round, maybe of another recipe
            with Sandbox(self.recipe.engine.sandbox_workers or None, LIMITS) as sandbox:
                for model in sorted({self.recipe.models.role(role) for role in ROLES}):
                    backend = self.backends.get(model) or _open(self.recipe, model, self.on_notice)
                    if pending:
                        backend = PendingBackend(backend, store)
                        self._notes.append(backend)
                    chats[model] = CachedChat(self.guard.before(model, backend), store)
                    self.progress.counts[model] = chats[model].counts
                    self._models[backend.namespace] = model
                if self.budget:
                    prices = self.recipe.models.prices
                    used = (await self._used(store)).items()
                    self.guard.spent = sum(self.budget.of(prices, m, usage) for m, usage in used)
                yield Context(
                    self.recipe,
                    PromptTemplates(self.recipe.prompts),
                    {role: chats[self.recipe.models.role(role)] for role in ROLES},
                    sandbox,
                    store,
                    _nli(self.recipe),
                    queries.load(self.recipe),
                )
        finally:
            for chat in chats.values():
                await chat.close()
            await store.close()

    async def _tick(self) -> None:
        while True:
            self._write_progress("running")
            await asyncio.sleep(1)

    def _write_progress(self, state: str, **more: str) -> None:
        with suppress(OSError):  # a full disk must not hide the error that matters
            write_json(self.out.path / "progress.json", self.progress.report(state) | more)

    async def _synthesise(self, context: Context) -> dict[str, Any]:
        fidelity, benchmarks = await asyncio.to_thread(late_files, self.recipe)
        progress = self.progress
        head = Funnel()
        progress.at_work.append(head)
        async with _Plain(context, head):
            progress.phase = "instructions"
            plan = await self._todo(context, head)
            progress.instructions = plan.total
            progress.phase = "synthesis"
            parts = await self._work(context, plan)
            if self.recipe.compose.on:
                progress.phase = "composition"
                drawn = await self._compose(context, parts, head)
                progress.compositions = drawn.total
                parts += await self._work(context, drawn)
        head.check()
        progress.settle(head)
        progress.at_work.clear()  # what a target left behind is in no artefact
        self.out.write_lines("01-instructions.dropped", head.drops_in("01-instructions"))
        # Plain replies of several languages come side by side.
        shared = sorted(head.drops_in("02-verifiers"), key=lambda d: d.record_id)
        undrawn = head.drops_in("04-compositions")
        heads = {"02-verifiers.dropped": shared, "04-compositions.dropped": undrawn}
        self.out.merge(parts, heads)
        self.progress.funnel.add(
            await asyncio.to_thread(refine, parts, self.out, self.recipe, benchmarks)
        )
        return await self._finish(context, fidelity)

    async def _used(self, store: Store) -> dict[str, Usage]:
        """Tokens by model, of all starts of this run up to its last mark."""
        used = (await store.used(self._name)).items()
        return {self._models[name]: usage for name, usage in used if name in self._models}

    async def _finish(self, context: Context, fidelity: str) -> dict[str, Any]:
        """The card and the manifest, written last; or how far it came."""
        cut = bool(self.guard.refused) and self.guard.reason != "target"
        await context.store.mark(self._name)
        report = self.progress.report("stopped" if cut else "done", await self._used(context.store))
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
        (self.out.path / "progress.json").unlink(missing_ok=True)
        write_json(self.out.path / "manifest.json", manifest)
        if not self.progress.funnel.counts["samples"].kept:
            raise RunFailed(
                f"no sample survived; `autoif status {self.out.path}` says where they were lost"
            )
        return manifest

    async def _todo(self, context: Context, head: Funnel) -> WorkPlan:
        """Every instruction, in the order of their ids; on disk, so that memory stays flat."""
        own: dict[str, Verifier] = {}
        if self.recipe.verifiers.own:
            own = {v.instruction.id: v for v in user_files.verifiers(self.recipe, head)}
            found = [v.instruction for v in own.values()]
        else:
            seeds = propose.load(self.recipe, head)
            found = await propose.augment(context, seeds, head)
        found.sort(key=lambda i: i.id)
        self.out.write_lines("01-instructions", found)
        return WorkPlan.of(self.out, context, found, own)

    async def _compose(self, context: Context, parts: list[Path], head: Funnel) -> WorkPlan:
        """What is drawn from the verifiers of these parts. Samples of compositions come on top of a
        target."""
        if self.guard.reason == "target":
            self.guard.reopen()
        found = await asyncio.to_thread(draw.Pool, parts)
        loop = asyncio.get_running_loop()

        def follows(name: str, text: str) -> bool:
            asked = context.verdicts(found.verifier(name).checks, [text])
            (verdict,) = asyncio.run_coroutine_threadsafe(asked, loop).result()
            return sample.passes(verdict.fraction, self.recipe.responses)

        drawn = draw.draw(self.recipe, found, context.queries, head, follows)
        return await asyncio.to_thread(WorkPlan.composed, self.out, context, found, drawn)

    async def _work(self, context: Context, plan: WorkPlan) -> list[Path]:
        """Works through the shards in order; the directories to merge."""
        self.out.drop_parts(plan.under, plan.stamp)
        merged: list[Path] = []
        kept = 0
        async with aclosing(self._in_order(context, plan)) as products:
            for n in range(plan.shards):
                part = plan.part(n)
                if part.finished():
                    self.progress.funnel.add(part.funnel)
                    self.progress.through(plan.stage, part.funnel.counts[plan.stage].entered)
                    merged.append(part.path)
                else:
                    with part.begun():
                        for _ in range(plan.length(n)):
                            product = await anext(products, None)
                            if product is None:
                                break
                            self._commit(part, product, plan.target and plan.target - kept)
                            if self._full(plan, kept + part.funnel.counts["samples"].kept):
                                break
                    # A shard that was cut short, or some of whose calls got no answer, is not
                    # finished; one that the target ended is: it will always end there.
                    cut = self.guard.failed or self.guard.reason not in ("", "target")
                    if not cut:
                        await context.store.mark(self._name)
                    merged.append(part.end() if cut else part.finish())
                kept += part.funnel.counts["samples"].kept
                if self._full(plan, kept) or self.guard.refused:
                    break
        return merged

    def _full(self, plan: WorkPlan, kept: int) -> bool:
        full = bool(plan.target) and kept >= plan.target
        if full:
            self.guard.shut("target")
        return full

    def _commit(self, part: ShardFiles, product: Product, room: int) -> None:
        """The product's records go to its shard. `room`: samples that a target leaves to the shard;
        0 = there is none."""
        if room:
            trim(product, room - part.funnel.counts["samples"].kept)
        part.write("02-verifiers", [product.verifier] if product.verifier else [])
        part.write("04-compositions", [product.composition] if product.composition else [])
        part.write("03-samples", product.samples)
        for name in ("sft", "dpo", "rlvr"):
            part.write(f"data/{name}", getattr(product, name))
        for name in ("02-verifiers", "03-samples", "04-compositions"):
            part.write(f"{name}.dropped", product.funnel.drops_in(name))
        part.funnel.add(product.funnel)
        self.progress.settle(product.funnel)
        product.forget()

    async def _in_order(self, context: Context, plan: WorkPlan) -> AsyncGenerator[Product, None]:
        """Works on `in_flight` units at a time and gives them back in their order.

        Once the gate is shut nothing more begins, and the jobs that had begun come back with what
        they have. Left early, it waits until what is in flight has ended and is stored.
        """
        jobs = plan.products()
        slots = asyncio.Semaphore(self.recipe.engine.in_flight)
        waiting: deque[tuple[Product, asyncio.Task[bool]]] = deque()

        async def one(job: Product) -> bool:
            async with slots:
                if self.guard.reason:
                    self.guard.refused += 1
                    return False
                self.progress.at_work.append(job.funnel)
                with suppress(CallPending):
                    await plan.process(context, job)
                self.progress.through(plan.stage)
                return True

        try:
            while True:
                while len(waiting) < self.recipe.engine.in_flight * AHEAD:
                    job = next(jobs, None)
                    if job is None:
                        break
                    waiting.append((job, asyncio.create_task(one(job))))
                if not waiting or not await waiting[0][1]:
                    return
                yield waiting.popleft()[0]
        finally:
            if waiting:
                self.guard.shut("stopped")
                await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)


class _Plain:
    """The plain replies of each language, begun at once; awaited by whoever needs them first."""

    def __init__(self, context: Context, funnel: Funnel) -> None:
        self.context, self.funnel = context, funnel

    async def __aenter__(self) -> None:
        recipe = self.context.recipe
        if recipe.verifiers.plain and not recipe.verifiers.own:
            self.context.plain = {
                lang: asyncio.ensure_future(evidence.plain_replies(self.context, lang, self.funnel))
                for lang in recipe.langs
            }

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*self.context.plain.values(), return_exceptions=True)


def _open(recipe: Recipe, model: str, on_notice: Callable[[str], None]) -> Backend:
    part = recipe.models
    if model.startswith("scripted:builtin"):
        model = f"scripted:{builtin(model.partition(':')[2], 'script.jsonl')}"
    return open_backend(
        model,
        base_url=part.base_url,
        api_key_env=part.api_key_env,
        extra_body=part.extra_body,
        timeout=part.timeout,
        patience=part.patience,
        on_notice=on_notice,
    )


def _nli(recipe: Recipe) -> Relate | None:
    if recipe.backtranslate.judge != "nli":
        return None
    from autoif.synthesis.verifiers.nli import CrossEncoder

    return CrossEncoder(recipe.backtranslate.nli_model)
