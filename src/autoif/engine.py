"""Runs a recipe in a directory: opens what it needs, works through the shards, merges, reports.

The unit of distribution is a shard: a range of instructions in the order of their ids. Within a
process the shards interleave: `in_flight` instructions are worked on, their products are committed
in order, so a stop, a target and the artefacts depend on the answers alone, never on which came
first. The call store is the checkpoint; a finished shard is skipped.
"""

from __future__ import annotations

import asyncio
import platform
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from autoif import __version__
from autoif.calls import CallStore
from autoif.chat import Backend
from autoif.chat.open import open_backend
from autoif.chat.stored import Counts, StoredChat
from autoif.errors import AutoIFError, RunFailed
from autoif.ledger import FILES, Ledger
from autoif.recipe import Recipe
from autoif.records import Instruction, Reply, Request, Usage, content_id
from autoif.rundir import Part, RunDir, write_json, write_whole
from autoif.sandbox import Limits, Sandbox
from autoif.synth import brought, card, evidence, flow, instructions, queries
from autoif.synth.flow import Product
from autoif.synth.tools import Relate, Tools
from autoif.synth.wording import Wording
from autoif.tables import builtin

ROLES = ("propose", "code", "respond", "judge")
# A function that a model wrote gets this much for one text. Honest ones need a thousandth of it.
LIMITS = Limits(cpu_seconds=1.0, wall_seconds=10.0, total_seconds=60.0, memory_mb=256, strikes=2)
AHEAD = 4  # products done but waiting for an earlier one to be committed, per one in flight


class Stopped(AutoIFError):
    """The run was told to stop; nothing new is asked."""


@dataclass
class Progress:
    """What a display shows and `status` reads: the books of what is done and of what is at work."""

    started: float = field(default_factory=time.monotonic)
    phase: str = "starting"
    instructions: int = 0
    done: int = 0
    ledger: Ledger = field(default_factory=Ledger)
    at_work: list[Product] = field(default_factory=list)
    counts: dict[str, dict[str, Counts]] = field(default_factory=dict)  # model -> stage -> counts
    notices: list[str] = field(default_factory=list)

    def books(self) -> Ledger:
        books = Ledger()
        books.add(self.ledger)
        for product in self.at_work:
            books.add(product.ledger)
        return books

    def calls(self) -> dict[str, int]:
        every = [c for stages in self.counts.values() for c in stages.values()]
        return {"asked": sum(c.asked for c in every), "replayed": sum(c.replayed for c in every)}

    def usage(self, stage: str | None = None, *, paid: bool = False) -> Usage:
        """Tokens of this run's calls; those read back count too, unless `paid`."""
        total = Usage()
        for stages in self.counts.values():
            for name, c in stages.items():
                if stage in (None, name):
                    total += c.usage if paid else c.usage + c.replayed_usage
        return total

    def cost(self, recipe: Recipe) -> float | None:
        """USD of this run's calls, read back ones too; None where a model has no price."""
        total = 0.0
        for model, stages in self.counts.items():
            for c in stages.values():
                usage = c.usage + c.replayed_usage
                if model not in recipe.models.prices:
                    return None if not model.startswith(("local:", "scripted:", "hf:")) else 0.0
                into, out = recipe.models.prices[model]
                total += (usage.prompt * into + usage.completion * out) / 1e6
        return round(total, 6)

    def report(self, recipe: Recipe, state: str) -> dict[str, Any]:
        usage = self.usage()
        return {
            "state": state,
            "phase": self.phase,
            "instructions": {"total": self.instructions, "done": self.done},
            "stages": self.books().to_json(),
            "calls": self.calls(),
            "tokens": {
                "prompt": usage.prompt,
                "cached": usage.cached,
                "completion": usage.completion,
                "reasoning": usage.reasoning,
            },
            "cost": self.cost(recipe),
            "seconds": round(time.monotonic() - self.started, 3),
        }


class Gate:
    """A chat that can be shut: what is in flight ends and is stored, nothing new begins."""

    def __init__(self, chat: StoredChat, shut: asyncio.Event) -> None:
        self.chat, self.shut = chat, shut
        self._in_flight: set[asyncio.Task[Reply]] = set()

    async def __call__(self, request: Request) -> Reply:
        if self.shut.is_set():
            raise Stopped("stopped")
        call = asyncio.create_task(self.chat(request))
        self._in_flight.add(call)
        call.add_done_callback(self._landed)
        # Whoever asked may be cancelled; the call is paid for and goes on.
        return await asyncio.shield(call)

    def _landed(self, call: asyncio.Task[Reply]) -> None:
        self._in_flight.discard(call)
        if not call.cancelled():
            call.exception()  # looked at, if nobody waits for it any more

    async def close(self) -> None:
        self.shut.set()
        if self._in_flight:
            await asyncio.wait(self._in_flight)
        await self.chat.close()


@dataclass
class Run:
    """One start of a recipe in a directory. `execute` does all of it."""

    recipe: Recipe
    out: RunDir
    calls: Path | None = None  # another call store than the directory's own
    on_notice: Callable[[str], None] = lambda line: None
    backends: dict[str, Backend] = field(default_factory=dict)  # by model; opened where not given
    progress: Progress = field(default_factory=Progress)
    shut: asyncio.Event = field(default_factory=asyncio.Event)

    def stop(self) -> None:
        """Finish what is in flight, write what there is."""
        self.shut.set()

    async def execute(self) -> dict[str, Any]:
        """The manifest. Raises RunFailed for an empty dataset, Stopped after `stop()`."""
        store = CallStore.open(self.calls or self.out.calls)
        gates: dict[str, Gate] = {}
        ticker: asyncio.Task[None] | None = None
        try:
            with Sandbox(self.recipe.engine.sandbox_workers or None, LIMITS) as sandbox:
                for model in sorted({self.recipe.models.role(role) for role in ROLES}):
                    backend = self.backends.get(model) or _open(self.recipe, model, self.on_notice)
                    gates[model] = Gate(StoredChat(backend, store), self.shut)
                    self.progress.counts[model] = gates[model].chat.counts
                tools = Tools(
                    self.recipe,
                    Wording(self.recipe.prompts),
                    {role: gates[self.recipe.models.role(role)] for role in ROLES},
                    sandbox,
                    store,
                    _nli(self.recipe),
                    queries.load(self.recipe),
                )
                ticker = asyncio.create_task(self._tick())
                return await self._synthesise(tools, sandbox)
        except (AutoIFError, OSError):
            self._write_progress("failed")
            raise
        finally:
            if ticker:
                ticker.cancel()
            for gate in gates.values():
                await gate.close()
            store.close()

    async def _tick(self) -> None:
        while True:
            self._write_progress("running")
            await asyncio.sleep(1)

    def _write_progress(self, state: str) -> None:
        report = self.progress.report(self.recipe, state)
        with suppress(OSError):  # a full disk must not hide the error that matters
            write_json(self.out.path / "progress.json", report)

    async def _synthesise(self, tools: Tools, sandbox: Sandbox) -> dict[str, Any]:
        recipe, progress = self.recipe, self.progress
        head = Ledger()
        progress.at_work.append(Product(Instruction(""), ledger=head))
        tools.plain = {
            lang: asyncio.ensure_future(evidence.plain_replies(tools, lang, head))
            for lang in recipe.langs
            if recipe.verifiers.plain and not recipe.verifiers.own
        }
        progress.phase = "instructions"
        todo = await self._todo(tools, head)
        progress.instructions = len(todo)
        self.out.write_lines("01-instructions", [p.instruction for p in todo])
        progress.phase = "synthesis"
        parts, stopped = await self._work(tools, todo)
        await asyncio.gather(*tools.plain.values(), return_exceptions=True)
        head.check()
        by_file = {
            name: [d for d in head.drops if d.stage in stages] for name, stages in FILES.items()
        }
        self.out.write_lines("01-instructions.dropped", by_file["01-instructions"])
        self.out.merge(parts, by_file["02-verifiers"])
        progress.ledger.add(head)
        progress.at_work = [p for p in progress.at_work if p.ledger is not head]
        report = progress.report(recipe, "stopped" if stopped else "done")
        write_whole(self.out.path / "data" / "README.md", card.render(recipe, report).encode())
        if stopped:
            write_json(self.out.path / "progress.json", report)
            raise Stopped(stopped)
        manifest = {
            **report,
            "recipe": recipe.hash,
            "versions": {"autoif": __version__, "python": platform.python_version()},
            "sandbox": dict(sandbox.layers),
        }
        (self.out.path / "progress.json").unlink(missing_ok=True)
        write_json(self.out.path / "manifest.json", manifest)
        if not progress.ledger.counts["samples"].kept:
            raise RunFailed("no sample survived; the funnel above says where they were lost")
        return manifest

    async def _todo(self, tools: Tools, head: Ledger) -> list[Product]:
        """A product to fill for every instruction, in the order of their ids."""
        if self.recipe.verifiers.own:
            own = brought.verifiers(self.recipe, head)
            return sorted(own, key=lambda p: p.instruction.id)
        seeds = instructions.load(self.recipe, head)
        found = await instructions.augment(tools, seeds, head)
        return [Product(i) for i in sorted(found, key=lambda i: i.id)]

    async def _work(self, tools: Tools, todo: list[Product]) -> tuple[list[Path], str]:
        """Works through the shards in order; the directories to merge, and why it stopped early."""
        size = self.recipe.engine.shard_size
        stamp = _stamp(tools, todo)
        self.out.drop_parts(stamp)
        parts = [self.out.part(n, stamp) for n in range(-(-len(todo) // size))]
        finished = {n for n, part in enumerate(parts) if part.finished()}
        jobs = [p for n, p in enumerate(todo) if n // size not in finished]
        places = {id(p): n for n, p in enumerate(todo)}
        merged: list[Path] = []
        shard, kept, stopped = 0, 0, ""
        products = in_order(
            jobs, lambda p: self._process(tools, p), self.recipe.engine.in_flight, self.shut
        )
        while shard < len(parts):
            part = parts[shard]
            if shard in finished:
                self.progress.ledger.add(part.ledger)
                self.progress.done += min(size, len(todo) - shard * size)
                kept += part.ledger.counts["samples"].kept
                merged.append(part.path)
                shard += 1
                continue
            part.begin()
            last = min((shard + 1) * size, len(todo)) - 1
            full = False
            try:
                async for product in products:
                    room = self.recipe.target - kept if self.recipe.target else None
                    self._commit(part, product, room)
                    kept += product.ledger.counts["samples"].kept
                    full = bool(self.recipe.target) and kept >= self.recipe.target
                    if full or places[id(product)] == last:
                        break
                else:
                    stopped = "stopped"
            except Stopped:
                stopped = "stopped"
            if full or stopped:
                self.shut.set()
                merged.append(part.end())
                break
            merged.append(part.finish())
            shard += 1
        await products.aclose()
        return merged, stopped

    async def _process(self, tools: Tools, product: Product) -> None:
        self.progress.at_work.append(product)
        await flow.process(tools, product)

    def _commit(self, part: Part, product: Product, room: int | None) -> None:
        if room is not None and len(product.sft) > room:
            _trim(product, room)
        part.write("02-verifiers", [product.verifier] if product.verifier else [])
        part.write("03-samples", product.samples)
        for name in ("sft", "dpo", "rlvr"):
            part.write(f"data/{name}", getattr(product, name))
        for name, stages in FILES.items():
            if name != "01-instructions":
                drops = [d for d in product.ledger.drops if d.stage in stages]
                part.write(f"{name}.dropped", drops)
        part.ledger.add(product.ledger)
        self.progress.ledger.add(product.ledger)
        self.progress.at_work.remove(product)
        self.progress.done += 1


async def in_order(
    jobs: Sequence[Product],
    work: Callable[[Product], Any],
    in_flight: int,
    shut: asyncio.Event,
) -> AsyncGenerator[Product, None]:
    """Works on `in_flight` jobs at a time and gives them back in their order.

    When shut, nothing more is begun, what has begun is waited for, and `Stopped` is raised at the
    first job that was not done. Closing the iterator cancels what is still at work.
    """
    slots = asyncio.Semaphore(in_flight)
    waiting: deque[tuple[Product, asyncio.Task[None]]] = deque()
    ahead = iter(jobs)

    async def one(job: Product) -> None:
        async with slots:
            if shut.is_set():
                raise Stopped("stopped")
            await work(job)

    try:
        while True:
            while len(waiting) < in_flight * AHEAD and (job := next(ahead, None)) is not None:
                waiting.append((job, asyncio.create_task(one(job))))
            if not waiting:
                return
            job, task = waiting[0]
            await task
            waiting.popleft()
            yield job
    finally:
        if shut.is_set():
            await asyncio.gather(*(t for _, t in waiting), return_exceptions=True)
        for _, task in waiting:
            task.cancel()
        await asyncio.gather(*(t for _, t in waiting), return_exceptions=True)


def _trim(product: Product, room: int) -> None:
    """Keeps the first `room` samples: a target is met to the sample."""
    over = {row["id"] for row in product.sft[room:]}
    product.sft = product.sft[:room]
    count = product.ledger.counts["samples"]
    for n, sample in enumerate(product.samples):
        if sample.id in over:
            product.samples[n] = replace(sample, kept=False, reason="over_target")
            count.kept -= 1
            product.ledger.drop(
                "samples", sample.id, "over_target", sample.response, product.instruction.id
            )


def _open(recipe: Recipe, model: str, on_notice: Callable[[str], None]) -> Backend:
    part = recipe.models
    if model.startswith("scripted:builtin"):
        model = f"scripted:{builtin(model.partition(':')[2], 'script.jsonl')}"
    return open_backend(
        model,
        base_url=part.base_url,
        api_key_env=part.api_key_env,
        extra_body=part.extra_body,
        on_notice=on_notice,
    )


def _nli(recipe: Recipe) -> Relate | None:
    if recipe.backtranslate.judge != "nli":
        return None
    from autoif.synth.nli import CrossEncoder

    return CrossEncoder(recipe.backtranslate.nli_model)


def _stamp(tools: Tools, todo: Sequence[Product]) -> str:
    """Names all that decides what a shard holds: recipe, prompts, instructions, queries."""
    return content_id(
        tools.recipe.hash,
        tools.recipe.engine.shard_size,
        tools.wording.id,
        [p.verifier.id if p.verifier else p.instruction.id for p in todo],
        {lang: [q.id for q in pool] for lang, pool in tools.queries.items()},
    )
