"""The driver's side of a run on several machines: hires workers, gives them shards, hears them.

A worker is hired on each machine of the cluster, also on one that joins later. Whatever happens to
it is the same to the driver: it is lost, and its shards go to others, who read back what was
answered. A shard that was lost with its worker runs alone from then on, so that it is known which
one it is that kills; after LOSSES it is given up, once all others are through.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from autoif.base.errors import AutoIFError, SetupError
from autoif.base.records import Reply, Request
from autoif.engine.leased_budget import Lender
from autoif.engine.ray_cluster import Cluster, LostWorker, RayNode, Remote
from autoif.engine.ray_worker import FENCE, Order, Report, ShardReply, WorkerSetup, installation
from autoif.engine.shards import ShardSpec
from autoif.models import Backend
from autoif.models.activity import Activity, activity_of, together
from autoif.models.budget import BudgetGuard
from autoif.models.cached import CallCounts
from autoif.run.progress import Progress

BEAT = 0.5  # seconds between two
LOOK = 5.0  # seconds between two looks for machines that have joined, where none was lost
HIRE = 120.0  # seconds that a worker may take to be ready
NOBODY = 60.0  # seconds for which a run goes on without any worker
LOSSES = 3  # of workers that had a shard, after which it is taken to be what kills them
TRIES = 3  # to hire on one machine
NAMED = 64  # shards, and units of each, in an error


@dataclass(eq=False)
class Hired:
    """A worker, as the driver knows it."""

    node: RayNode
    worker: Remote
    report: Report = field(default_factory=Report)
    shards: dict[int, ShardSpec] = field(default_factory=dict)
    alone: bool = False  # with a shard that may kill it
    unfit: bool = False  # it said itself that it cannot go on: no shard is to blame
    lost: asyncio.Event = field(default_factory=asyncio.Event)


class Crew:
    """Used as `async with`. secrets: environment variables for workers that have none of their
    own. spent: what the run has cost by the store's books, those of lost workers too."""

    def __init__(
        self,
        cluster: Cluster,
        setup: WorkerSetup,
        secrets: Mapping[str, str],
        guard: BudgetGuard,
        progress: Progress,
        spent: Callable[[], Awaitable[float]],
        on_notice: Callable[[str], None],
    ) -> None:
        self.hired: list[Hired] = []
        self._cluster, self._setup, self._secrets = cluster, setup, secrets
        self._guard, self._progress, self._on_notice = guard, progress, on_notice
        self._spent = spent
        self._lender = Lender(guard)
        self._own = dict(progress.counts)  # of the driver's own calls
        self._gone: list[Report] = []  # the last ones of workers that are lost
        self._pauses: dict[str, float] = {}  # endpoint -> until when, in the loop's time
        self._said: set[str] = set()
        self._refusals: dict[str, AutoIFError] = {}  # machine -> why it was not hired
        self._tries: Counter[str] = Counter()
        self._nodes: set[str] = set()
        self._hiring: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._vacancy = asyncio.Event()
        self._news = asyncio.Event()  # a worker came or went, a shard is through
        self._failed: BaseException | None = None

    async def __aenter__(self) -> Self:
        self._shared = self._cluster.share(self._setup)
        for model, backend in self._progress.models.items():
            self._progress.models[model] = _Everywhere(model, backend, self.hired)
        self._begin(self._recruit())
        self._begin(self._count())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*map(self._dismiss, self.hired))

    async def _dismiss(self, hired: Hired) -> None:
        with suppress(LostWorker, AutoIFError):
            await hired.worker.call("close", seconds=10)
        hired.worker.kill()

    def _begin(self, work: Coroutine[object, object, None]) -> None:
        """In the background; what it raises ends the run."""

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and task.exception() is not None:
                self._failed = self._failed or task.exception()
            self._news.set()

        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(ended)

    # ---- shards ---------------------------------------------------------------------------------

    async def work(
        self, specs: Iterator[ShardSpec], at_once: int, *, in_order: bool
    ) -> AsyncGenerator[tuple[ShardSpec, ShardReply], None]:
        """Every shard with what it came to, as they come; a worker has `at_once` of them. Once the
        guard is shut none is begun, and those at work come back cut short. in_order: none is begun
        far ahead of one that is not through. Raises SetupError where there is nobody to work, or
        for shards that are given up.
        """
        await asyncio.gather(*map(self._beat, list(self.hired)))  # the guard may have been reopened
        lost: deque[ShardSpec] = deque()
        losses: Counter[int] = Counter()
        given_up: list[ShardSpec] = []
        running: dict[asyncio.Task[ShardReply | None], tuple[Hired, ShardSpec]] = {}
        following = next(specs, None)
        nobody = asyncio.get_running_loop().time()
        try:
            while True:
                while not self._guard.reason:
                    if lost and (idle := self._idle()):
                        spec, hired, idle.alone = lost.popleft(), idle, True
                    elif following and (free := self._free(at_once, bool(lost))):
                        begun = (*(spec for _, spec in running.values()), *lost)
                        oldest = min((spec.number for spec in begun), default=None)
                        window = at_once * len(self.hired)
                        if in_order and oldest is not None and following.number >= oldest + window:
                            break
                        spec, hired, following = following, free, next(specs, None)
                    else:
                        break
                    hired.shards[spec.number] = spec
                    running[asyncio.create_task(self._one(hired, spec))] = hired, spec
                if not running and (self._guard.reason or not (following or lost)):
                    break
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), 1)
                self._news.clear()
                if self._failed:
                    raise self._failed
                if self.hired or self._hiring:
                    nobody = asyncio.get_running_loop().time()
                elif not running:
                    self._look_for_anybody(nobody)
                for task in [t for t in running if t.done()]:
                    (hired, spec), reply = running.pop(task), task.result()
                    if reply is not None:
                        yield spec, reply
                        continue
                    losses[spec.number] += not hired.unfit
                    (given_up if losses[spec.number] >= LOSSES else lost).append(spec)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        if following or lost:
            self._guard.refused += 1
        if given_up:
            raise SetupError(_named(given_up))

    def _idle(self) -> Hired | None:
        return next((h for h in self.hired if not h.shards), None)

    def _free(self, at_once: int, keep_one: bool) -> Hired | None:
        """The worker with the fewest shards. keep_one: one of them is to become idle."""
        by_load = sorted((h for h in self.hired if not h.alone), key=lambda h: len(h.shards))
        least = next(iter(by_load[1:] if keep_one else by_load), None)
        return least if least and len(least.shards) < at_once else None

    async def _one(self, hired: Hired, spec: ShardSpec) -> ShardReply | None:
        """None where the worker was lost."""
        call = asyncio.create_task(hired.worker.call("run_shard", spec))
        lost = asyncio.create_task(hired.lost.wait())
        try:
            await asyncio.wait((call, lost), return_when=asyncio.FIRST_COMPLETED)
            if not call.done():
                return None
            reply: ShardReply = await call
            self._hear(hired, reply.report)
            return reply
        except LostWorker as error:
            self._lose(hired, str(error))
        except AutoIFError as error:
            self._dismiss_unfit(hired, error)
        finally:
            for task in (call, lost):
                task.cancel()
            await asyncio.gather(call, lost, return_exceptions=True)
            hired.shards.pop(spec.number, None)
            hired.alone = False
            self._news.set()
        return None

    def _look_for_anybody(self, since: float) -> None:
        """Raises SetupError where no machine can do the work, or there has been none for long."""
        refusal = next(iter(self._refusals.values()), None)
        if refusal and self._nodes and self._nodes <= self._refusals.keys():
            raise refusal
        if asyncio.get_running_loop().time() - since > NOBODY:
            why = f" ({refusal})" if refusal else ""
            raise SetupError(
                f"no machine of the cluster has taken up work for {NOBODY:.0f} s{why}: look at "
                "`ray status`; every answer so far is stored, and the same command goes on"
            )

    # ---- workers --------------------------------------------------------------------------------

    async def _recruit(self) -> None:
        while True:
            nodes = await self._cluster.nodes()
            self._nodes = {node.id for node in nodes}
            busy = {hired.node.id for hired in self.hired} | self._hiring
            for node in nodes:
                if node.id not in busy and node.id not in self._refusals:
                    self._hiring.add(node.id)
                    self._begin(self._hire(node))
            self._vacancy.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._vacancy.wait(), LOOK)

    async def _hire(self, node: RayNode) -> None:
        workers = min(node.cpus, self._setup.recipe.engine.sandbox_workers or node.cpus)
        worker = self._cluster.start(node, workers)
        self._tries[node.id] += 1
        try:
            theirs = await worker.call("installation", seconds=HIRE)
            if theirs != installation():
                raise SetupError(
                    f"it has {theirs}, and this machine has {installation()}: install the same"
                )
            report = await worker.call("open", self._shared, self._secrets, workers, seconds=HIRE)
        except AutoIFError as error:
            worker.kill()
            self._refuse(node, error)
        except asyncio.CancelledError:
            worker.kill()
            raise
        except LostWorker as error:
            worker.kill()
            if self._tries[node.id] >= TRIES:
                self._refuse(node, SetupError(f"no worker comes up: {error}"))
        else:
            hired = Hired(node, worker)
            self.hired.append(hired)
            self._tries[node.id] = 0
            self._hear(hired, report)
            self._begin(self._beats(hired))
        finally:
            self._hiring.discard(node.id)
            self._news.set()

    def _refuse(self, node: RayNode, error: AutoIFError) -> None:
        kind = type(error) if type(error).__init__ is AutoIFError.__init__ else SetupError
        self._refusals.setdefault(node.id, kind(f"{node.host}: {error}"))
        self._notice(f"{node.host} does not work for this run: {error}")

    async def _beats(self, hired: Hired) -> None:
        while not hired.lost.is_set():
            await self._beat(hired)
            await asyncio.sleep(BEAT)

    async def _beat(self, hired: Hired) -> None:
        now = asyncio.get_running_loop().time()
        pauses = {url: until - now for url, until in self._pauses.items() if until > now}
        limit = self._lender.limit(hired)
        order = Order(self._guard.reason, len(self.hired), limit, pauses)
        try:
            self._hear(hired, await hired.worker.call("beat", order, seconds=FENCE))
        except LostWorker as error:
            self._lose(hired, str(error))
        except AutoIFError as error:
            self._dismiss_unfit(hired, error)

    def _dismiss_unfit(self, hired: Hired, error: AutoIFError) -> None:
        """Its store, its sandbox or its way to a model is gone."""
        hired.unfit = True
        self._refuse(hired.node, error)
        self._lose(hired, str(error))

    def _hear(self, hired: Hired, report: Report) -> None:
        if hired.lost.is_set() or report.number <= hired.report.number:
            return
        self._book(hired, report)
        self._lender.hear(hired, report.account)
        now = asyncio.get_running_loop().time()
        for url, seconds in report.pauses.items():
            self._pauses[url] = max(now + seconds, self._pauses.get(url, 0.0))
        for line in report.notices:
            self._notice(f"{hired.node.host}: {line}")

    def _book(self, hired: Hired, report: Report) -> None:
        """What is at work there, in place of what was."""
        for stage in report.units.keys() | hired.report.units.keys():
            more = report.units.get(stage, 0) - hired.report.units.get(stage, 0)
            self._progress.through(stage, more)
        with suppress(ValueError):
            self._progress.at_work.remove(hired.report.funnel)
        self._progress.at_work.append(report.funnel)
        hired.report = report

    def _lose(self, hired: Hired, why: str) -> None:
        if hired.lost.is_set():
            return
        hired.lost.set()
        self.hired.remove(hired)
        self._vacancy.set()
        calls = hired.report.calls
        self._book(hired, Report(hired.report.number, calls=calls))
        self._progress.at_work.remove(hired.report.funnel)
        self._gone.append(hired.report)
        self._begin(self._audit(hired))
        with suppress(Exception):  # Ray may know already
            hired.worker.kill()
        shards = f"; {len(hired.shards)} shards of it go to others" if hired.shards else ""
        self._notice(f"lost the worker on {hired.node.host} ({why}){shards}")

    async def _audit(self, lost: Hired) -> None:
        """A worker that is lost cannot say what it spent last; until the store has, what it was
        lent counts."""
        self._guard.spent = max(self._guard.spent, await self._spent())
        self._lender.lose(lost)

    def _notice(self, line: str) -> None:
        """Once: what one worker says of a server, all will say."""
        if line not in self._said:
            self._said.add(line)
            self._on_notice(line)

    # ---- counts ---------------------------------------------------------------------------------

    async def _count(self) -> None:
        while True:
            self.count()
            await asyncio.sleep(BEAT)

    def count(self) -> None:
        """The calls of all, the lost ones' too, in the run's progress."""
        reports = [*(hired.report for hired in self.hired), *self._gone]
        for model, own in self._own.items():
            total: defaultdict[str, CallCounts] = defaultdict(CallCounts)
            for stages in (own, *(report.calls.get(model, {}) for report in reports)):
                for stage, counts in stages.items():
                    total[stage].add(counts)
            self._progress.counts[model] = total


class _Everywhere:
    """A model on all machines, for what shows what it does."""

    def __init__(self, model: str, backend: Backend, hired: Sequence[Hired]) -> None:
        self.namespace, self.body, self.close = backend.namespace, backend.body, backend.close
        self._model, self._backend, self._hired = model, backend, hired

    @property
    def activity(self) -> Activity | None:
        reports = (hired.report.activities.get(self._model) for hired in self._hired)
        return together([activity_of(self._backend), *reports])

    async def __call__(self, request: Request) -> Reply:
        return await self._backend(request)


def _named(specs: Sequence[ShardSpec]) -> str:
    """Which shards were given up, and what is in them."""
    names = [f"{spec.stage} {spec.number} ({', '.join(spec.ids()[:NAMED])})" for spec in specs]
    return (
        f"shard {'; shard '.join(names[:NAMED])}: each worker that had it was lost, {LOSSES} "
        "times. The others are finished. Look at `ray logs` and at the memory of the machines; the "
        "same command tries again"
    )
