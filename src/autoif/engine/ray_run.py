"""A run on every machine of a Ray cluster, with its calls in PostgreSQL.

Everything but the shards is done by the driver, as in a run of one process: proposals, the draw of
compositions, merge and hygiene. The driver alone touches the run directory: shards go out as lines
and come back as bytes, and the parts that it writes are those that one process would write.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoif.base.errors import UsageError
from autoif.base.records import Drop, Filtered
from autoif.engine.local import Run
from autoif.engine.ray_cluster import Cluster, RayCluster
from autoif.engine.ray_crew import Crew
from autoif.engine.ray_worker import ShardReply, WorkerSetup
from autoif.engine.shards import WorkPlan
from autoif.run.funnel import Funnel
from autoif.store.address import is_address
from autoif.synthesis.context import Context
from autoif.synthesis.verifiers import evidence

# What workers get of the driver's environment, where they have none of their own.
SECRETS = ("OPENAI_BASE_URL", "PGPASSWORD")


@dataclass
class RayRun(Run):
    """See the module. Raises UsageError where the store is a file, or a model cannot be sent.

    cluster: its machines; Ray's, at the recipe's `engine.cluster`, where not given.
    """

    cluster: Cluster | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_address(self.store_path):
            raise UsageError(
                "--cluster needs a call store that all machines reach: give --calls "
                "postgresql://USER@HOST/NAME"
            )
        if self.backends:
            raise UsageError("models of your own cannot be sent to a cluster: name them by kind")
        self._shared: dict[str, list[Drop]] = {}

    async def collect(self) -> int:
        raise UsageError("--batch makes no calls, so it needs no cluster: leave --cluster out")

    @asynccontextmanager
    async def _open(self, *, pending: bool = False) -> AsyncGenerator[Context, None]:
        cluster = self.cluster or RayCluster(self.recipe.engine.cluster.partition(":")[2])
        await cluster.connect()
        try:
            async with super()._open(pending=pending) as context:
                setup = WorkerSetup(
                    self.recipe,
                    str(self.store_path),
                    self._name,
                    self.budget,
                    context.prompts,
                    context.loaded,
                )
                names = (self.recipe.models.api_key_env, *SECRETS)
                secrets = {name: os.environ[name] for name in names if name in os.environ}
                crew = Crew(
                    cluster,
                    setup,
                    secrets,
                    self.guard,
                    self.progress,
                    lambda: self._spent(context.store),
                    self.on_notice,
                )
                await context.store.hold(self._name)
                async with crew:
                    self._crew = crew
                    yield context
        finally:
            await cluster.close()

    async def _work(self, context: Context, plan: WorkPlan) -> list[Path]:
        """Has the shards worked through, in whatever order; the directories to merge."""
        self.out.drop_shards(plan.under, plan.stamp)
        merged: dict[int, Path] = {}
        samples: dict[int, int] = {}  # of the merged shards, by number
        held: dict[int, ShardReply] = {}  # behind a shard that is not through
        at = before = 0  # every shard before `at` is merged; those have `before` samples

        def book(number: int, path: Path, funnel: Funnel, units: int) -> None:
            merged[number] = path
            samples[number] = funnel.counts["samples"].kept
            self.progress.funnel.add(funnel)
            self.progress.through(plan.stage, units)

        def write(number: int, reply: ShardReply, *, cut: bool) -> None:
            shard = plan.files(number)
            with shard.begun():
                shard.fill(reply.unpacked(), reply.funnel)
            book(number, shard.end() if cut else shard.finish(), reply.funnel, reply.units)

        def met() -> bool:
            """Whether the target is met in shard `at`, after all before it were merged."""
            nonlocal at, before
            while at in merged or at in held:
                if at in held:
                    if before + held[at].funnel.counts["samples"].kept >= plan.target:
                        return True
                    write(at, held[at], cut=held.pop(at).cut)
                before += samples[at]
                at += 1
            return before >= plan.target

        for n in plan.shards:
            shard = plan.files(n)
            if shard.finished():
                book(n, shard.path, shard.funnel, shard.funnel.counts[plan.stage].entered)
        if plan.target and met():
            self.guard.shut("target")
        at_once = 1 + -(-self.recipe.engine.in_flight // plan.size)
        replies = self._crew.work(plan.unfinished(), at_once, in_order=bool(plan.target))
        async with aclosing(replies):
            async for spec, reply in replies:
                self._shared = {**reply.shared, **self._shared}
                self.guard.refused += reply.refused
                if not plan.target:
                    write(spec.number, reply, cut=reply.cut)
                elif self.guard.reason != "target":
                    held[spec.number] = reply
                    if met():
                        self.guard.shut("target")
        self._crew.count()
        if self.guard.reason != "target":
            for number, reply in held.items():  # not finished: the target may be met before it
                write(number, reply, cut=True)
        elif before < plan.target:
            # Here, where all is stored by now: the target is met to the sample, as everywhere.
            self.guard.reopen()
            (merged[at],) = await super()._work(context, plan.only(at, plan.target - before))
        return [merged[n] for n in sorted(merged)]

    async def _book_shared(self, context: Context, head: Funnel) -> None:
        await super()._book_shared(context, head)
        for name, drops in self._shared.items():
            if name not in context.shared:
                head.book(Filtered(evidence.CASES, [], drops))

    def _write_progress(self, state: str, **more: Any) -> None:
        super()._write_progress(state, workers=len(self._crew.hired), **more)
