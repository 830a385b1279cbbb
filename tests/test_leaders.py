"""Of many samples of one prompt one goes first. Nobody waits for long, nobody is forgotten, and
what is answered and stored is the same as ever."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoif.base.errors import CallFailed
from autoif.base.records import Message, Reply, Request
from autoif.models.cached import CachedChat
from autoif.models.openai.backend import HttpBackend
from autoif.models.openai.prefix_leaders import REMEMBERED, Lead, Leaders
from autoif.store import open_store
from server import Server

LONG = "a long prompt. " * 20


def prompt(n: object = 0) -> tuple[Message, ...]:
    return (Message("user", f"{LONG}{n}"),)


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def server(shared: Server) -> Server:
    shared.chaos()
    return shared


# ---- who goes when -----------------------------------------------------------------------------


async def gone(*tasks: asyncio.Task[Lead | None]) -> int:
    for _ in range(5):
        await asyncio.sleep(0)
    return sum(task.done() for task in tasks)


async def test_one_goes_first_and_the_rest_with_its_first_token() -> None:
    leaders = Leaders()
    tasks = [asyncio.create_task(leaders.enter(prompt())) for _ in range(8)]
    other = asyncio.create_task(leaders.enter(prompt("another")))
    assert await gone(*tasks, other) == 2
    lead = tasks[0].result()
    assert lead is not None
    assert lead.sent()  # it has followers: its first token is worth seeing
    assert not lead.sent()  # once
    assert await gone(*tasks) == 1
    lead.computed()
    assert await gone(*tasks) == 8
    assert [task.result() for task in tasks[1:]] == [None] * 7
    assert await leaders.enter(prompt()) is None  # from now on at once
    lead.end()
    last = await other
    assert last is not None
    assert not last.sent()  # nobody waits
    last.end()


async def test_where_the_first_one_fails_or_is_cancelled_the_next_one_leads() -> None:
    leaders = Leaders()
    tasks = [asyncio.create_task(leaders.enter(prompt())) for _ in range(4)]
    await asyncio.sleep(0)
    tasks[0].cancel()  # before it has begun
    assert await gone(*tasks) == 2
    second = tasks[1].result()
    assert second is not None
    tasks[2].cancel()  # while it waits
    second.sent()
    second.end()  # without an answer
    assert await gone(*tasks) == 4
    third = tasks[3].result()
    assert third is not None
    third.end()


async def test_nobody_waits_longer_than_the_bound_however_late_he_comes() -> None:
    leaders = Leaders(bound=0.05)
    lead = await leaders.enter(prompt())
    assert lead is not None
    follower = asyncio.create_task(leaders.enter(prompt()))
    await asyncio.sleep(0.1)
    assert not follower.done()  # the first one has not been sent: its place in line is theirs
    lead.sent()
    assert await asyncio.wait_for(follower, 5) is None
    lead.end()
    lead = await leaders.enter(prompt("late"))
    assert lead is not None
    lead.sent()
    assert await asyncio.wait_for(leaders.enter(prompt("late")), 5) is None
    lead.end()


async def test_what_is_remembered_is_bounded() -> None:
    leaders = Leaders()
    for n in range(REMEMBERED + 1):
        lead = await leaders.enter(prompt(n))
        assert lead is not None
        lead.computed()
        lead.end()
    assert await leaders.enter(prompt(1)) is None
    lead = await leaders.enter(prompt(0))  # forgotten
    assert lead is not None
    lead.end()


# ---- over the wire -----------------------------------------------------------------------------


def samples(name: str, prompts: int = 6, each: int = 8) -> list[Request]:
    return [
        Request(prompt(f"{name} {n}"), index=i, stage="s")
        for n in range(prompts)
        for i in range(each)
    ]


async def answers(server: Server, requests: list[Request]) -> list[Reply]:
    http = HttpBackend("any", [server.url])
    try:
        return list(await asyncio.gather(*(http(r) for r in requests)))
    finally:
        await http.close()
        assert (http.admission.limiters[0].in_flight, http.admission.waiting) == (0, 0)


async def test_a_prompt_is_computed_once_and_the_first_answer_is_not_waited_for(
    server: Server,
) -> None:
    server.chaos(prefill=0.02, latency=1.0)
    before, start = server.stats(), asyncio.get_running_loop().time()
    await answers(server, samples("once"))
    took = asyncio.get_running_loop().time() - start
    after = server.stats()
    assert after["prefills"] - before["prefills"] == 6
    assert after["streamed"] - before["streamed"] == 6
    assert took < 1.9  # a second one after the other's first token, not after its end


@pytest.mark.parametrize("think", [False, True])
@pytest.mark.parametrize("stream", ["yes", "refused", "ignored", "endless", "uncounted"])
async def test_whatever_a_server_makes_of_streaming_the_answers_are_the_same(
    server: Server, stream: str, think: bool
) -> None:
    server.chaos(think=think, latency=0.01)
    requests = samples(f"same {stream}")
    alone = [(await answers(server, [r]))[0] for r in requests[:8]] * 6
    server.chaos(think=think, latency=0.01, stream=stream)
    before = server.stats()
    together = await answers(server, requests)
    assert [(r.text, r.finish_reason) for r in together] == [
        (r.text, r.finish_reason) for r in alone
    ]
    if stream != "uncounted":
        assert together == alone
    asked = server.stats()["chats"] - before["chats"]
    assert asked == len(requests) + (6 if stream in ("refused", "endless") else 0)


async def test_a_server_that_refuses_or_does_not_count_is_not_streamed_again(
    server: Server,
) -> None:
    for stream in ("refused", "endless", "uncounted"):
        server.chaos(stream=stream)
        http = HttpBackend("any", [server.url])
        await asyncio.gather(*(http(r) for r in samples(f"first {stream}", prompts=1)))
        before = server.stats()
        await asyncio.gather(*(http(r) for r in samples(f"then {stream}")))
        after = server.stats()
        assert after["chats"] - before["chats"] == 48
        assert after["streamed"] == before["streamed"]
        await http.close()


async def test_what_is_stored_knows_nothing_of_it(server: Server, tmp_path: Path) -> None:
    requests = samples("stored", prompts=2)
    http = HttpBackend("any", [server.url])
    async with open_store(tmp_path / "calls.sqlite") as store:
        chat = CachedChat(http, store)
        first = await asyncio.gather(*(chat(r) for r in requests))
        calls = await store.calls_for("")
        assert len(calls) == len(requests)
        assert not any("stream" in key for call in calls for key in call.body)
        assert await asyncio.gather(*(chat(r) for r in requests)) == first
        assert chat.counts["s"].replayed == len(requests)
    await http.close()


async def test_where_all_are_refused_each_is_told_so(server: Server) -> None:
    server.chaos(status=400, says="context too long")
    http = HttpBackend("any", [server.url])
    calls = (http(r) for r in samples("refused", prompts=2))
    for error in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(error, CallFailed)
        assert re.search("context too long", str(error))
    await http.close()


async def test_calls_that_are_cancelled_hold_nobody_up(server: Server) -> None:
    server.chaos(latency=0.2, prefill=0.05)
    http = HttpBackend("any", [server.url])
    requests = samples("cancelled")
    calls = [asyncio.create_task(http(r)) for r in requests]
    await asyncio.sleep(0.1)
    rng = random.Random(0)
    dropped = [call for n, call in enumerate(calls) if n % 8 == 0 or rng.random() < 0.3]
    for call in dropped:
        call.cancel()
    for call, request in zip(calls, requests, strict=True):
        if call not in dropped:
            assert (await call).text == f"reply {request.index}"
    await asyncio.gather(*dropped, return_exceptions=True)
    await http.close()
    assert (http.admission.limiters[0].in_flight, http.admission.waiting) == (0, 0)
