"""Who gets which shard, and what becomes of those that are lost: without models and stores, over
machines that do nothing but say so."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from autoif.base.errors import ModelUnavailable, SetupError
from autoif.base.records import Filtered
from autoif.engine.ray_cluster import LostWorker, RayNode
from autoif.engine.ray_crew import Crew
from autoif.engine.ray_worker import Report, ShardReply, WorkerSetup, installation
from autoif.engine.shards import ShardSpec
from autoif.models.budget import BudgetGuard
from autoif.run.funnel import Funnel
from autoif.run.progress import Progress
from autoif.run.recipe import Recipe
from autoif.synthesis.prompts.templates import PromptTemplates

SHARDS = 8
AT_ONCE = 2


class Hand:
    def __init__(self, hands: Hands, host: str) -> None:
        self._hands, self._host = hands, host
        self._told = 0
        self._dead = False

    async def call(self, method: str, *args: Any, seconds: float | None = None) -> Any:
        if method == "installation":
            return installation()
        if method == "run_shard":
            return await self._work(args[0])
        return self._report()

    async def _work(self, spec: ShardSpec) -> ShardReply:
        self._hands.begun.append(spec.number)
        await asyncio.sleep(0.01 if spec.number else 0.1)
        self._dead = self._dead or spec.number == self._hands.poison
        if self._host == self._hands.unfit:
            raise ModelUnavailable("no way to the model")
        report = self._report()
        self._hands.through.append(spec.number)
        return ShardReply({}, Funnel(), 1, False, False, {}, report)

    def _report(self) -> Report:
        if self._dead:
            raise LostWorker("killed")
        self._told += 1
        return Report(number=self._told)

    def kill(self) -> None:
        self._dead = True


class Hands:
    """poison: the shard that kills whoever has it. unfit: the host that cannot reach the model."""

    def __init__(self, hosts: str, poison: int = -1, unfit: str = "") -> None:
        self.hosts, self.poison, self.unfit = hosts, poison, unfit
        self.begun: list[int] = []
        self.through: list[int] = []

    async def connect(self) -> None: ...

    async def nodes(self) -> list[RayNode]:
        return [RayNode(host, host, 1) for host in self.hosts]

    def start(self, node: RayNode, cpus: int) -> Hand:
        return Hand(self, node.host)

    def share(self, value: object) -> object:
        return value

    async def close(self) -> None: ...


async def work(hands: Hands, *, in_order: bool = False) -> list[str]:
    """Has all shards worked through; what was said of it."""
    recipe = Recipe.load("smoke")
    notices: list[str] = []
    setup = WorkerSetup(recipe, "", "run", None, PromptTemplates(), Filtered("queries", []))

    async def spent() -> float:
        return 0.0

    specs = [ShardSpec("verifiers", n, (b'{"id":"unit%d"}' % n,)) for n in range(SHARDS)]
    crew = Crew(hands, setup, {}, BudgetGuard({}), Progress(recipe), spent, notices.append)
    async with crew:
        replies = crew.work(iter(specs), AT_ONCE, in_order=in_order)
        numbers = [spec.number async for spec, _ in replies]
    assert sorted(numbers) == sorted(hands.through)
    return notices


async def test_every_shard_is_worked_through_once() -> None:
    hands = Hands("ab")
    assert await work(hands) == []
    assert sorted(hands.through) == sorted(hands.begun) == list(range(SHARDS))


async def test_in_order_none_begins_far_ahead_of_one_that_is_not_through() -> None:
    hands = Hands("ab")
    await work(hands, in_order=True)
    assert max(hands.begun[: hands.begun.index(AT_ONCE * 2)]) < AT_ONCE * 2
    assert hands.through.index(0) <= AT_ONCE * 2  # the first shard takes the longest
    hands = Hands("ab")
    await work(hands)
    assert hands.through.index(0) > AT_ONCE * 2


async def test_a_shard_that_kills_is_found_and_harms_no_other() -> None:
    hands = Hands("ab", poison=3)
    with pytest.raises(SetupError, match=r"shard verifiers 3 \(unit3\)"):
        await work(hands)
    assert sorted(hands.through) == [n for n in range(SHARDS) if n != 3]
    assert hands.begun.count(3) == 3
    assert max(hands.begun.count(n) for n in range(SHARDS) if n != 3) <= 2  # lost beside it, once


async def test_a_machine_that_cannot_go_on_is_dismissed_once() -> None:
    hands = Hands("abc", unfit="b")
    notices = await work(hands)
    assert sorted(hands.through) == list(range(SHARDS))
    assert [line for line in notices if line.startswith("b does not work for this run")]
    with pytest.raises(ModelUnavailable, match="b: no way to the model"):
        await work(Hands("b", unfit="b"))
