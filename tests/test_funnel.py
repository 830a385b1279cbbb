"""In = kept + dropped, at every step of every stage; tasks that wait for one another leave none."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoif.base.records import DETAIL, Drop, Filtered
from autoif.run.funnel import Funnel
from autoif.synthesis.context import together


def sieve(items: list[int], divisor: int) -> Filtered[int]:
    return Filtered(
        "cases",
        [n for n in items if n % divisor],
        [Drop.of("cases", str(n), f"by_{divisor}") for n in items if not n % divisor],
    )


@given(st.lists(st.integers(0, 50)), st.lists(st.integers(0, 50)))
def test_nothing_leaves_a_stage_without_a_reason(one: list[int], other: list[int]) -> None:
    both = sieve(one, 2) + sieve(other, 2)
    whole = both >> sieve(both.kept, 3)
    funnel = Funnel()
    funnel.book(whole)
    count = funnel.counts["cases"]
    assert count.entered == len(one) + len(other)
    assert count.entered == count.kept + count.dropped.total()
    assert len(funnel.drops_in("02-verifiers")) == count.dropped.total()
    assert Funnel.from_json(funnel.to_json()).to_json() == funnel.to_json()


def test_a_step_that_loses_a_record_is_noticed() -> None:
    first = sieve([1, 2, 3], 2)
    with pytest.raises(AssertionError, match="2 kept, then 1"):
        first >> sieve([1], 3)
    with pytest.raises(AssertionError):
        first >> Filtered("functions", first.kept)
    with pytest.raises(AssertionError):
        _ = first + Filtered[int]("functions", [])


def test_what_is_withdrawn_is_dropped() -> None:
    funnel = Funnel()
    funnel.book(Filtered("samples", ["a", "b"]))
    funnel.withdraw(Drop.of("samples", "b", "over_target"))
    assert funnel.to_json()[-2] == {
        "name": "samples", "in": 2, "kept": 1, "dropped": {"over_target": 1}
    }  # fmt: skip


def test_a_drop_shows_as_much_as_a_reader_wants() -> None:
    assert len(Drop.of("cases", "x", "duplicate", "long " * 1000).detail) == DETAIL


async def test_a_failure_leaves_no_task_behind() -> None:
    ended: list[str] = []

    async def slow() -> str:
        await asyncio.sleep(0.02)
        ended.append("slow")
        return "slow"

    async def fails() -> str:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await together(fails(), slow())
    assert ended == ["slow"]
    assert await together(slow(), slow()) == ("slow", "slow")
    assert await together() == ()


async def test_cancelling_reaches_everyone_who_is_waited_for() -> None:
    cancelled: list[int] = []

    async def waits(n: int) -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.append(n)
            raise

    task = asyncio.ensure_future(together(waits(1), waits(2)))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(cancelled) == [1, 2]
