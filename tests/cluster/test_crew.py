"""What a run on several machines does whatever gives it the machines: here they are in this
process, each with a worker of its own, and its calls go through PostgreSQL."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoif.base.errors import SetupError, UsageError
from autoif.engine.leased_budget import LeasedGuard, Lender
from autoif.engine.local import Run, Stopped
from autoif.engine.ray_cluster import LostWorker, RayNode
from autoif.engine.ray_run import RayRun
from autoif.engine.ray_worker import ShardWorker, installation
from autoif.engine.shards import ShardSpec
from autoif.engine.start import open_run
from autoif.models.budget import Budget, BudgetGuard
from autoif.run.directory import RunDir
from autoif.run.recipe import Recipe
from autoif.store import open_store
from postgres import Postgres
from runs import artefacts, rows

SIZE = 2


class Machine:
    """A worker in this process. What it gets and what it answers is pickled, as on the way."""

    def __init__(self, cluster: Machines, host: str) -> None:
        self._worker, self._cluster, self._host = ShardWorker(), cluster, host
        self._gone = asyncio.Event()

    async def call(self, method: str, *args: object, seconds: float | None = None) -> Any:
        if method == "installation" and self._host in self._cluster.other_versions:
            return "AutoIF 0.0 on Python 3.11"
        work = asyncio.create_task(getattr(self._worker, method)(*pickle.loads(pickle.dumps(args))))
        if method == "run_shard":
            assert isinstance(args[0], ShardSpec)
            self._cluster.begun.append(args[0])
            if self._cluster.poison in args[0].ids():
                self.kill()
        gone = asyncio.create_task(self._gone.wait())
        try:
            await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
            if self._gone.is_set():
                raise LostWorker("killed")
            return pickle.loads(pickle.dumps(await work))
        finally:
            work.cancel()
            gone.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)

    def kill(self) -> None:
        if not self._gone.is_set():
            self._gone.set()
            self._cluster.ends.append(asyncio.create_task(self._worker.close()))


class Machines:
    def __init__(self, *hosts: str, other_versions: tuple[str, ...] = (), poison: str = "") -> None:
        self.there = [RayNode(host, host, 1) for host in hosts]
        self.other_versions, self.poison = other_versions, poison
        self.begun: list[ShardSpec] = []
        self.ends: list[asyncio.Task[None]] = []

    async def connect(self) -> None: ...

    async def nodes(self) -> list[RayNode]:
        return self.there

    def start(self, node: RayNode, cpus: int) -> Machine:
        return Machine(self, node.host)

    def share(self, value: object) -> object:
        return value

    async def close(self) -> None:
        await asyncio.gather(*self.ends)


def recipe(**changes: object) -> Recipe:
    engine = {"engine.shard_size": SIZE, "engine.cluster": "ray"}
    return Recipe.load("smoke", None, engine | changes)


def run_in(out: Path, its: Recipe, **options: Any) -> Run:
    directory = RunDir(out)
    directory.claim(its)
    run = open_run(its, directory, **options)
    asyncio.run(run.execute())
    return run


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("local") / "run"
    run_in(out, recipe(**{"engine.cluster": ""}))
    return out


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.new_url()


def cluster_run(out: Path, url: str, machines: Machines, its: Recipe, **options: Any) -> Run:
    directory = RunDir(out)
    directory.claim(its)
    return RayRun(its, directory, url, cluster=machines, **options)


def test_a_shard_that_kills_its_workers_is_named_when_all_others_are_through(
    local: Path, url: str, tmp_path: Path
) -> None:
    ids = [str(row["id"]) for row in rows(local / "01-instructions.jsonl")]
    poison = ids[4]
    notices: list[str] = []
    machines = Machines("a", "b", poison=poison)
    run = cluster_run(tmp_path, url, machines, recipe(), on_notice=notices.append)
    with pytest.raises(SetupError, match=poison) as given_up:
        asyncio.run(run.execute())
    finished = [p.name for p in (tmp_path / "parts").glob("0*") if p.suffix != ".open"]
    assert len(finished) == len(ids) // SIZE - 1, (given_up.value, notices)
    machines = Machines("a", "b")
    asyncio.run(cluster_run(tmp_path, url, machines, recipe()).execute())
    assert artefacts(tmp_path) == artefacts(local)
    again = [spec for spec in machines.begun if spec.stage == "verifiers"]
    assert [poison in spec.ids() for spec in again] == [True]


def test_a_machine_that_joins_later_is_hired(local: Path, url: str, tmp_path: Path) -> None:
    machines = Machines()
    run = cluster_run(tmp_path, url, machines, recipe())

    async def work() -> None:
        asyncio.get_running_loop().call_later(1, machines.there.append, RayNode("late", "late", 1))
        await run.execute()

    asyncio.run(work())
    assert artefacts(tmp_path) == artefacts(local)


def test_a_machine_with_another_autoif_is_told_so_and_not_hired(
    local: Path, url: str, tmp_path: Path
) -> None:
    notices: list[str] = []
    machines = Machines("old", "new", other_versions=("old",))
    run = cluster_run(tmp_path, url, machines, recipe(), on_notice=notices.append)
    asyncio.run(run.execute())
    assert artefacts(tmp_path) == artefacts(local)
    (line,) = [line for line in notices if line.startswith("old ")]
    assert "AutoIF 0.0 on Python 3.11" in line
    assert installation() in line
    run = cluster_run(tmp_path / "none", url, Machines("old", other_versions=("old",)), recipe())
    with pytest.raises(SetupError, match=r"old: it has AutoIF 0\.0"):
        asyncio.run(run.execute())


def test_a_target_is_met_to_the_sample(url: str, tmp_path: Path) -> None:
    its = recipe(target=8)
    run_in(tmp_path / "local", its.changed({"engine.cluster": ""}))
    asyncio.run(cluster_run(tmp_path / "there", url, Machines("a", "b"), its).execute())
    assert artefacts(tmp_path / "there") == artefacts(tmp_path / "local")


def test_a_budget_holds_over_machines_and_starts(local: Path, url: str, tmp_path: Path) -> None:
    """In tokens; spent is what the store has booked."""

    async def spent(name: str) -> int:
        async with open_store(url) as store:
            return sum(u.prompt + u.completion for u in (await store.spent(name)).values())

    before = 0
    for limit in (7_000, 14_000):
        budget = Budget(limit, "tok")
        run = cluster_run(tmp_path, url, Machines("a", "b"), recipe(), budget=budget)
        with pytest.raises(Stopped, match="budget"):
            asyncio.run(run.execute())
        now = asyncio.run(spent(run._name))
        assert before < now <= limit
        assert run.guard.spent == now
        before = now
    asyncio.run(cluster_run(tmp_path, url, Machines("a", "b"), recipe()).execute())
    assert artefacts(tmp_path) == artefacts(local)


def test_a_cluster_needs_a_store_that_all_reach(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--calls postgresql://"):
        open_run(recipe(), RunDir(tmp_path))


async def test_two_drivers_do_not_work_on_one_run(url: str) -> None:
    async with open_store(url) as one, open_store(url) as two:
        await one.hold("host:/run")
        await two.hold("host:/another")
        with pytest.raises(SetupError, match="another process is at work on this run"):
            await two.hold("host:/run")


# ---- the budget, lent ---------------------------------------------------------------------------


async def test_no_call_is_made_while_the_driver_is_not_heard() -> None:
    guard = LeasedGuard({}, None)
    guard.fenced = True
    call = asyncio.create_task(guard.admit(1.0))
    await asyncio.sleep(0)
    guard.wake()
    await asyncio.sleep(0)
    assert not call.done()
    guard.heard(0.0)
    await call


@settings(deadline=None, max_examples=50)
@given(st.data(), st.integers(1, 4), st.integers(100, 10_000))
def test_workers_together_never_spend_more_than_the_budget(
    data: st.DataObject, workers: int, limit: int
) -> None:
    """Whatever they do, and in whatever order they are heard and lost."""

    async def play() -> None:
        budget = Budget(float(limit), "tok")
        driver = BudgetGuard({}, budget)
        lender = Lender(driver)
        guards = {name: LeasedGuard({}, budget) for name in range(workers)}
        lost = 0.0
        for _ in range(data.draw(st.integers(1, 60))):
            name = data.draw(st.sampled_from(sorted(guards)))
            guard = guards[name]
            guard.heard(lender.limit(name))
            most = data.draw(st.integers(1, limit))
            for _ in range(data.draw(st.integers(0, 3))):
                call = asyncio.create_task(guard.admit(float(most)))
                await asyncio.sleep(0)
                if call.done():
                    guard.spent += data.draw(st.integers(0, most))
                elif data.draw(st.booleans()):
                    lender.hear(name, guard.account)
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)
            if data.draw(st.integers(0, 9)):
                lender.hear(name, guard.account)
            else:
                lost += guard.spent
                guards[name] = LeasedGuard({}, budget)
                booked = lost + sum(g.spent for g in guards.values())
                driver.spent = max(driver.spent, booked)  # as the store has it
                lender.lose(name)
            assert lost + sum(g.spent for g in guards.values()) <= limit

    asyncio.run(play())
