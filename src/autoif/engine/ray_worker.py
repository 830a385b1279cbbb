"""A worker of a run on several machines: works shards through, and tells the driver how it goes.

It knows nothing of Ray, which makes an actor of it (ray_cluster.py), one a machine. It touches no
run directory: shards come as lines and go back as bytes. It believes that there is a driver as long
as it hears its beat: without one for FENCE seconds it makes no new call, after END its process
ends, since another worker has its shards by then.
"""

from __future__ import annotations

import asyncio
import os
import platform
import zlib
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path

from autoif.base.errors import ModelUnavailable
from autoif.base.records import Drop, Filtered, Query
from autoif.base.version import __version__
from autoif.engine.leased_budget import Account, LeasedGuard
from autoif.engine.local import GRACE
from autoif.engine.resources import open_context
from autoif.engine.shards import ShardSpec, UnitRunner, run_shard
from autoif.models import Backend
from autoif.models.activity import Activity, activity_of
from autoif.models.budget import Budget
from autoif.models.cached import CallCounts
from autoif.models.openai.backend import HttpBackend
from autoif.run.funnel import Funnel
from autoif.run.progress import Progress
from autoif.run.recipe import Recipe
from autoif.store import open_store
from autoif.synthesis.compositions.draw import STAGE as COMPOSITIONS
from autoif.synthesis.prompts.templates import PromptTemplates
from autoif.synthesis.verifiers import evidence
from autoif.synthesis.verifiers.build import VERIFIERS

FENCE = 15.0  # seconds without a beat after which no new call is made
END = 60.0  # seconds without a beat after which the process ends

Calls = Mapping[str, Mapping[str, CallCounts]]  # by model and stage


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker needs, as the driver has read it. calls: the address of the store; run: the
    name under which it notes what was used. The recipe's files are read by the driver alone."""

    recipe: Recipe
    calls: str
    run: str
    budget: Budget | None
    prompts: PromptTemplates
    loaded: Filtered[Query]


@dataclass(frozen=True)
class Order:
    """What the driver says with each beat. reason: why nothing new is to begin, or "". workers: how
    many share the endpoints. limit: `Account.limit`. pauses: seconds for which endpoints have asked
    for silence."""

    reason: str = ""
    workers: int = 1
    limit: float = 0.0
    pauses: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """How it goes: calls since the worker's start; funnel and units of the shards at work (the
    units by the stage that counts them); what the models do now. number: a later one is newer."""

    number: int = 0
    account: Account = field(default_factory=Account)
    calls: Calls = field(default_factory=dict)
    funnel: Funnel = field(default_factory=Funnel)
    units: Mapping[str, int] = field(default_factory=dict)
    activities: Mapping[str, Activity | None] = field(default_factory=dict)
    pauses: Mapping[str, float] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class ShardReply:
    """A shard that is through, or cut short. lines: of each artefact, packed. refused: whether the
    worker's guard has refused anything. shared: drops of what all shards share, by its name."""

    lines: Mapping[str, bytes]
    funnel: Funnel
    units: int
    cut: bool
    refused: bool
    shared: Mapping[str, list[Drop]]
    report: Report

    def unpacked(self) -> dict[str, bytes]:
        return {name: zlib.decompress(content) for name, content in self.lines.items()}


@cache
def installation() -> str:
    """Names what is installed: machines on which anything of it differs would make other data."""
    digest = blake2b(digest_size=8)
    root = Path(str(files("autoif")))
    for path in sorted(p for p in root.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    minor = ".".join(platform.python_version_tuple()[:2])
    return f"AutoIF {__version__} ({digest.hexdigest()}) on Python {minor}"


class ShardWorker:
    """See the module. All methods are called in one event loop."""

    def __init__(self) -> None:
        self._number = 0
        self._notices: list[str] = []
        self._stack = AsyncExitStack()
        self._watch: asyncio.Task[None] | None = None

    async def installation(self) -> str:
        return installation()

    async def open(
        self, setup: WorkerSetup, secrets: Mapping[str, str], sandbox_workers: int
    ) -> Report:
        """Opens what shards need. secrets: environment variables; what this machine has of its own
        stays. Raises SetupError where something is missing here."""
        for name, value in secrets.items():
            os.environ.setdefault(name, value)
        recipe = setup.recipe.changed({"engine.sandbox_workers": sandbox_workers})
        self._run = setup.run
        self.progress = Progress(recipe)
        self.guard = LeasedGuard(recipe.models.prices, setup.budget)
        store = await self._stack.enter_async_context(
            open_store(
                setup.calls,
                run=setup.run,
                patience=recipe.models.patience,
                on_notice=self._notices.append,
            )
        )
        context = await self._stack.enter_async_context(
            open_context(
                recipe,
                store,
                wrap=self.guard.before,
                counts=self.progress.counts,
                opened=self.progress.models,
                on_notice=self._notices.append,
                prompts=setup.prompts,
                loaded=setup.loaded,
            )
        )
        for backend in self._servers():
            if why := await backend.unreachable():
                raise ModelUnavailable(why)
        self._fill = UnitRunner(context, self.guard, self.progress)
        self._heard = asyncio.get_running_loop().time()
        self._watch = asyncio.create_task(self._watching())
        return self._report()

    async def run_shard(self, spec: ShardSpec) -> ShardReply:
        result = await run_shard(self._fill, spec)
        context = self._fill.context
        queries = {query.id for pool in context.queries.values() for query in pool}
        cut = bool(self.guard.reason) or len(result.units) < len(spec.units)
        cut = cut or not self.guard.unanswered.isdisjoint(queries.union(result.units))
        if not cut:
            await context.store.mark(self._run)
        self.progress.through(spec.stage, -len(result.units))
        return ShardReply(
            {name: zlib.compress(lines, 1) for name, lines in result.lines.items()},
            result.funnel,
            len(result.units),
            cut,
            bool(self.guard.refused),
            await self._shared(),
            self._report(),
        )

    async def _shared(self) -> dict[str, list[Drop]]:
        context = self._fill.context
        names = map(evidence.plain, context.recipe.langs)
        made = {name: context.shared[name] for name in names if name in context.shared}
        return {name: (await replies).dropped for name, replies in made.items()}

    async def beat(self, order: Order) -> Report:
        loop = asyncio.get_running_loop()
        self._heard = loop.time()
        if order.reason and not self.guard.reason:
            self.guard.shut(order.reason)
            if order.reason == "stopped":
                loop.call_later(GRACE, self.guard.give_up)
        elif self.guard.reason and not order.reason:
            self.guard.reopen()
        self.guard.heard(order.limit)
        for backend in self._servers():
            backend.admission.share(order.workers)
            backend.admission.pause(order.pauses)
        return self._report()

    async def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        await self._stack.aclose()

    # ---- what it tells, and what it does where nobody listens -----------------------------------

    def _report(self) -> Report:
        self._number += 1
        notices, self._notices[:] = tuple(self._notices), ()
        progress = self.progress
        pauses: dict[str, float] = {}
        for backend in self._servers():
            for url, seconds in backend.admission.pauses().items():
                pauses[url] = max(seconds, pauses.get(url, 0.0))
        at_work = Funnel()
        for funnel in progress.at_work:
            at_work.add(funnel)
        return Report(
            self._number,
            self.guard.account,
            {model: dict(stages) for model, stages in progress.counts.items()},
            at_work,
            {VERIFIERS: progress.done, COMPOSITIONS: progress.composed},
            {model: activity_of(backend) for model, backend in progress.models.items()},
            pauses,
            notices,
        )

    def _servers(self) -> list[HttpBackend]:
        backends: list[Backend] = list(self.progress.models.values())
        return [backend for backend in backends if isinstance(backend, HttpBackend)]

    async def _watching(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1)
            silent = loop.time() - self._heard
            self.guard.fenced = silent > FENCE
            if silent > END:
                os._exit(1)  # whatever it waits for: nobody wants it
