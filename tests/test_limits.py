"""The limiter: what it promises whatever an endpoint does, and that it finds its size."""

from __future__ import annotations

import asyncio
import heapq
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from autoif.models.openai.limiter import CEILING, Admission, CallResult, Limiter, Permit

OUTCOMES = [
    CallResult.ANSWERED,
    CallResult.BUSY,
    CallResult.FAILED,
    CallResult.REFUSED,
    CallResult.ABANDONED,
]


EVENT = st.tuples(st.sampled_from(OUTCOMES), st.booleans(), st.floats(0, 30))


def simulate(
    limiter: Limiter, seconds: float, *, slots: int, latency: float, refuses: bool
) -> tuple[float, float]:
    """A server of `slots` in a world of its own clock. Returns its busy share over the last three
    quarters, and the share of calls that it refused."""
    rng = random.Random(0)
    now, busy_time, refused, asked = 0.0, 0.0, 0, 0
    running: list[tuple[float, int, Permit, bool]] = []
    queued: list[Permit] = []
    number = occupied = 0
    while now < seconds:
        while limiter.free(now):
            permit = limiter.begin(now)
            asked += 1
            number += 1
            if occupied < slots:
                occupied += 1
                end = now + latency * rng.uniform(0.5, 1.5)
                heapq.heappush(running, (end, number, permit, True))
            elif refuses:
                refused += 1
                heapq.heappush(running, (now + 0.001, number, permit, False))
            else:
                queued.append(permit)
        end, _, permit, served = heapq.heappop(running)
        if now > seconds / 4:
            busy_time += (end - now) * occupied / slots
        now = end
        if not served:
            limiter.end(permit, now, CallResult.BUSY, overload=True)
            continue
        limiter.end(permit, now, CallResult.ANSWERED)
        occupied -= 1
        if queued:
            occupied += 1
            number += 1
            end = now + latency * rng.uniform(0.5, 1.5)
            heapq.heappush(running, (end, number, queued.pop(0), True))
    return busy_time / (0.75 * seconds), refused / asked


def test_it_fills_a_server_that_queues() -> None:
    for slots in (8, 64, 300):
        busy, _ = simulate(Limiter("x"), 60, slots=slots, latency=0.2, refuses=False)
        assert busy > 0.99


def test_it_fills_a_server_that_refuses_and_seldom_asks_for_too_much() -> None:
    for slots in (8, 64, 300):
        busy, refused = simulate(Limiter("x"), 60, slots=slots, latency=0.2, refuses=True)
        assert busy > 0.9
        assert refused < 0.12


def test_it_stops_growing_when_queueing_endangers_the_deadline() -> None:
    patient, pressed = Limiter("x"), Limiter("x", deadline=10)
    for limiter in (patient, pressed):
        simulate(limiter, 600, slots=4, latency=0.2, refuses=False)
    assert patient.limit == CEILING
    assert pressed.limit < 200  # 4 slots of 0.2 s: 200 in flight would take 10 s


def test_a_burst_shrinks_it_once() -> None:
    limiter = Limiter("x", start=100)
    permits = [limiter.begin(0.0) for _ in range(100)]
    for permit in permits:
        limiter.end(permit, 0.1, CallResult.BUSY, overload=True)
    assert limiter.limit == 50


def test_one_percent_of_errors_does_not_starve_it() -> None:
    limiter, rng = Limiter("x"), random.Random(0)
    for step in range(20_000):
        permits = [limiter.begin(step) for _ in range(int(limiter.limit))]
        for permit in permits[:200]:
            fails = rng.random() < 0.01
            limiter.end(
                permit,
                step + 1,
                CallResult.FAILED if fails else CallResult.ANSWERED,
                overload=fails,
            )
        for permit in permits[200:]:
            limiter.end(permit, step + 1, CallResult.ABANDONED)
        if step > 100:
            break
    assert limiter.limit > 200


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(OUTCOMES), st.booleans(), st.floats(0, 30)), max_size=300)
)
def test_whatever_happens_it_stays_in_bounds_and_lets_calls_through_again(
    events: list[tuple[CallResult, bool, float]],
) -> None:
    limiter = Limiter("x")
    permits: list[Permit] = []
    now = 0.0
    for outcome, start, wait in events:
        now += wait
        while start and limiter.free(now) and len(permits) < 100:
            permits.append(limiter.begin(now))
        if permits:
            limiter.end(permits.pop(0), now, outcome, overload=outcome is CallResult.BUSY)
        assert 1 <= limiter.limit <= CEILING
        assert limiter.in_flight == len(permits)
        assert limiter.is_open <= (limiter.trouble_since is not None)
    for permit in permits:
        limiter.end(permit, now, CallResult.ABANDONED)
    assert limiter.in_flight == 0
    limiter.answered()  # by a call, or by a probe
    assert limiter.free(max(now, limiter.resume_at))  # never stuck


async def answers(url: str) -> str:
    return ""


async def test_the_entrance_is_fair_and_survives_cancelling() -> None:
    admission = Admission([Limiter("x", start=2)], 60, lambda line: None, answers)
    order: list[int] = []

    async def call(number: int) -> None:
        permit = await admission.enter(0)
        order.append(number)
        await asyncio.sleep(0.001)
        admission.leave(permit, CallResult.ABANDONED)

    calls = [asyncio.create_task(call(i)) for i in range(60)]
    await asyncio.sleep(0.005)
    for call_ in calls[10:60:2]:
        call_.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert order == sorted(order)
    assert set(range(11, 60, 2)) <= set(order)
    assert admission.limiters[0].in_flight == admission.waiting == 0
