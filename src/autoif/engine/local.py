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
from autoif.engine.shards import Todo, trim
from autoif.models import Backend
from autoif.models.batch import PendingBackend, forget_pending
from autoif.models.budget import Budget, Gate
from autoif.models.cached import StoredChat
from autoif.models.open import open_backend
from autoif.report import dataset_card as card
from autoif.run.directory import Part, RunDir, write_json, write_whole
from autoif.run.funnel import Ledger
from autoif.run.progress import Progress
from autoif.run.recipe import Recipe
from autoif.sandbox import Limits, Sandbox
from autoif.store.admin import used_by
from autoif.store.sqlite import CallStore
from autoif.synthesis.compositions import draw as pool
from autoif.synthesis.context import Relate, Tools
from autoif.synthesis.instructions import propose as instructions
from autoif.synthesis.instructions import user_files as brought
from autoif.synthesis.product import Product
from autoif.synthesis.prompts.templates import Wording
from autoif.synthesis.responses import queries
from autoif.synthesis.responses import sample as responses
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
        self.gate = Gate(self.recipe.models.prices, self.budget)
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
        self.gate.shut("stopped")

    async def execute(self) -> dict[str, Any]:
        """The manifest. Raises RunFailed for an empty dataset, Stopped where it was cut short."""
        async with self._open() as tools:
            ticker = asyncio.create_task(self._tick())
            try:
                return await self._synthesise(tools)
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
        async with self._open(pending=True) as tools:
            async with _Plain(tools, Ledger()):
                with suppress(CallPending):
                    todo = await self._todo(tools, Ledger())
                    async for _ in self._in_order(tools, todo):
                        pass
                    if self.recipe.compose.on and not any(b.noted for b in self._notes):
                        drawn = await self._compose(tools, await self._work(tools, todo), Ledger())
                        async for _ in self._in_order(tools, drawn):
                            pass
            # A pending call ends its instruction; what was asked beside it has to be noted too.
            others = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.gather(*others, return_exceptions=True)
            return sum(b.noted for b in self._notes)

    @asynccontextmanager
    async def _open(self, *, pending: bool = False) -> AsyncGenerator[Tools, None]:
        """Store, sandbox and models, closed again whatever happens."""
        if pending and self.store_path.exists():
            forget_pending(self.store_path)
        store = CallStore.open(self.store_path)
        chats: dict[str, StoredChat] = {}
        try:
            with Sandbox(self.recipe.engine.sandbox_workers or None, LIMITS) as sandbox:
                for model in sorted({self.recipe.models.role(role) for role in ROLES}):
                    backend = self.backends.get(model) or _open(self.recipe, model, self.on_notice)
                    if pending:
                        backend = PendingBackend(backend, store)
                        self._notes.append(backend)
                    chats[model] = StoredChat(self.gate.before(model, backend), store)
                    self.progress.counts[model] = chats[model].counts
                    self._models[backend.namespace] = model
                if self.budget:
                    prices = self.recipe.models.prices
                    used = self._used().items()
                    self.gate.spent = sum(self.budget.of(prices, m, usage) for m, usage in used)
                yield Tools(
                    self.recipe,
                    Wording(self.recipe.prompts),
                    {role: chats[self.recipe.models.role(role)] for role in ROLES},
                    sandbox,
                    store,
                    _nli(self.recipe),
                    queries.load(self.recipe),
                )
        finally:
            for chat in chats.values():
                await chat.close()
            store.close()

    async def _tick(self) -> None:
        while True:
            self._write_progress("running")
            await asyncio.sleep(1)

    def _write_progress(self, state: str, **more: str) -> None:
        with suppress(OSError):  # a full disk must not hide the error that matters
            write_json(self.out.path / "progress.json", self.progress.report(state) | more)

    async def _synthesise(self, tools: Tools) -> dict[str, Any]:
        fidelity, benchmarks = await asyncio.to_thread(late_files, self.recipe)
        progress = self.progress
        head = Ledger()
        progress.at_work.append(head)
        async with _Plain(tools, head):
            progress.phase = "instructions"
            todo = await self._todo(tools, head)
            progress.instructions = todo.total
            progress.phase = "synthesis"
            parts = await self._work(tools, todo)
            if self.recipe.compose.on:
                progress.phase = "composition"
                drawn = await self._compose(tools, parts, head)
                progress.compositions = drawn.total
                parts += await self._work(tools, drawn)
        head.check()
        progress.settle(head)
        progress.at_work.clear()  # what a target left behind is in no artefact
        self.out.write_lines("01-instructions.dropped", head.drops_in("01-instructions"))
        # Plain replies of several languages come side by side.
        shared = sorted(head.drops_in("02-verifiers"), key=lambda d: d.record_id)
        undrawn = head.drops_in("04-compositions")
        heads = {"02-verifiers.dropped": shared, "04-compositions.dropped": undrawn}
        self.out.merge(parts, heads)
        self.progress.ledger.add(
            await asyncio.to_thread(refine, parts, self.out, self.recipe, benchmarks)
        )
        return await self._finish(tools, fidelity)

    def _used(self) -> dict[str, Usage]:
        """Tokens by model, of all starts of this run up to its last mark."""
        used = used_by(self.store_path, self._name).items()
        return {self._models[name]: usage for name, usage in used if name in self._models}

    async def _finish(self, tools: Tools, fidelity: str) -> dict[str, Any]:
        """The card and the manifest, written last; or how far it came."""
        cut = bool(self.gate.refused) and self.gate.reason != "target"
        await tools.store.mark(self._name)
        report = self.progress.report("stopped" if cut else "done", self._used())
        text = card.render(self.recipe, report, self.out.path / "data", fidelity)
        write_whole(self.out.path / "data" / "README.md", text.encode())
        if cut:
            write_json(self.out.path / "progress.json", report)
            raise Stopped(self.gate.reason)
        manifest = {
            **report,
            "recipe": self.recipe.hash,
            "versions": {"autoif": __version__, "python": platform.python_version()},
            "sandbox": dict(tools.sandbox.layers),
        }
        (self.out.path / "progress.json").unlink(missing_ok=True)
        write_json(self.out.path / "manifest.json", manifest)
        if not self.progress.ledger.counts["samples"].kept:
            raise RunFailed(
                f"no sample survived; `autoif status {self.out.path}` says where they were lost"
            )
        return manifest

    async def _todo(self, tools: Tools, head: Ledger) -> Todo:
        """Every instruction, in the order of their ids; on disk, so that memory stays flat."""
        own: dict[str, Verifier] = {}
        if self.recipe.verifiers.own:
            own = {v.instruction.id: v for v in brought.verifiers(self.recipe, head)}
            found = [v.instruction for v in own.values()]
        else:
            seeds = instructions.load(self.recipe, head)
            found = await instructions.augment(tools, seeds, head)
        found.sort(key=lambda i: i.id)
        self.out.write_lines("01-instructions", found)
        return Todo.of(self.out, tools, found, own)

    async def _compose(self, tools: Tools, parts: list[Path], head: Ledger) -> Todo:
        """What is drawn from the verifiers of these parts. Samples of compositions come on top of a
        target."""
        if self.gate.reason == "target":
            self.gate.reopen()
        found = await asyncio.to_thread(pool.Pool, parts)
        loop = asyncio.get_running_loop()

        def follows(name: str, text: str) -> bool:
            asked = tools.verdicts(found.verifier(name).checks, [text])
            (verdict,) = asyncio.run_coroutine_threadsafe(asked, loop).result()
            return responses.passes(verdict.fraction, self.recipe.responses)

        drawn = pool.draw(self.recipe, found, tools.queries, head, follows)
        return await asyncio.to_thread(Todo.composed, self.out, tools, found, drawn)

    async def _work(self, tools: Tools, todo: Todo) -> list[Path]:
        """Works through the shards in order; the directories to merge."""
        self.out.drop_parts(todo.under, todo.stamp)
        merged: list[Path] = []
        kept = 0
        async with aclosing(self._in_order(tools, todo)) as products:
            for n in range(todo.shards):
                part = todo.part(n)
                if part.finished():
                    self.progress.ledger.add(part.ledger)
                    self.progress.through(todo.stage, part.ledger.counts[todo.stage].entered)
                    merged.append(part.path)
                else:
                    with part.begun():
                        for _ in range(todo.length(n)):
                            product = await anext(products, None)
                            if product is None:
                                break
                            self._commit(part, product, todo.target and todo.target - kept)
                            if self._full(todo, kept + part.ledger.counts["samples"].kept):
                                break
                    # A shard that was cut short, or some of whose calls got no answer, is not
                    # finished; one that the target ended is: it will always end there.
                    cut = self.gate.failed or self.gate.reason not in ("", "target")
                    if not cut:
                        await tools.store.mark(self._name)
                    merged.append(part.end() if cut else part.finish())
                kept += part.ledger.counts["samples"].kept
                if self._full(todo, kept) or self.gate.refused:
                    break
        return merged

    def _full(self, todo: Todo, kept: int) -> bool:
        full = bool(todo.target) and kept >= todo.target
        if full:
            self.gate.shut("target")
        return full

    def _commit(self, part: Part, product: Product, room: int) -> None:
        """The product's records go to its shard. `room`: samples that a target leaves to the shard;
        0 = there is none."""
        if room:
            trim(product, room - part.ledger.counts["samples"].kept)
        part.write("02-verifiers", [product.verifier] if product.verifier else [])
        part.write("04-compositions", [product.composition] if product.composition else [])
        part.write("03-samples", product.samples)
        for name in ("sft", "dpo", "rlvr"):
            part.write(f"data/{name}", getattr(product, name))
        for name in ("02-verifiers", "03-samples", "04-compositions"):
            part.write(f"{name}.dropped", product.ledger.drops_in(name))
        part.ledger.add(product.ledger)
        self.progress.settle(product.ledger)
        product.forget()

    async def _in_order(self, tools: Tools, todo: Todo) -> AsyncGenerator[Product, None]:
        """Works on `in_flight` units at a time and gives them back in their order.

        Once the gate is shut nothing more begins, and the jobs that had begun come back with what
        they have. Left early, it waits until what is in flight has ended and is stored.
        """
        jobs = todo.products()
        slots = asyncio.Semaphore(self.recipe.engine.in_flight)
        waiting: deque[tuple[Product, asyncio.Task[bool]]] = deque()

        async def one(job: Product) -> bool:
            async with slots:
                if self.gate.reason:
                    self.gate.refused += 1
                    return False
                self.progress.at_work.append(job.ledger)
                with suppress(CallPending):
                    await todo.process(tools, job)
                self.progress.through(todo.stage)
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
                self.gate.shut("stopped")
                await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)


class _Plain:
    """The plain replies of each language, begun at once; awaited by whoever needs them first."""

    def __init__(self, tools: Tools, books: Ledger) -> None:
        self.tools, self.books = tools, books

    async def __aenter__(self) -> None:
        recipe = self.tools.recipe
        if recipe.verifiers.plain and not recipe.verifiers.own:
            self.tools.plain = {
                lang: asyncio.ensure_future(evidence.plain_replies(self.tools, lang, self.books))
                for lang in recipe.langs
            }

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*self.tools.plain.values(), return_exceptions=True)


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
