"""The HTTP backend against a real server process that misbehaves: each fault ends in the right
answer, or in one clear line, and never in a leaked permit or key."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from autoif.base.errors import CallFailed, ModelUnavailable, UsageError
from autoif.base.records import Message, Reply, Request, Usage
from autoif.models.cached import CachedChat
from autoif.models.open import open_backend
from autoif.models.openai.backend import HttpBackend
from autoif.models.scripted import ScriptedBackend
from autoif.store import open_store
from server import Server

PROBED = "Hello#0"  # what a server is asked that may be down
KEY = "sk-very-secret-1234567890"


def ask(text: str = "hello", *, index: int = 0, **more: Any) -> Request:
    return Request((Message("user", text),), index=index, stage="s", **more)


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    shared.chaos()
    yield shared
    shared.chaos()


@asynccontextmanager
async def backend(*servers: Server, **options: Any) -> AsyncIterator[HttpBackend]:
    """Whatever happened within, nothing is left behind: no permit, no waiting call, no task."""
    before = asyncio.all_tasks()
    options = {"timeout": 5.0, "patience": 5.0} | options
    made = HttpBackend(options.pop("model", "any"), [s.url for s in servers], KEY, **options)
    try:
        yield made
    finally:
        await made.close()
        assert [x.in_flight for x in made.admission.limiters] == [0] * len(servers)
        assert made.admission.waiting == 0
        assert asyncio.all_tasks() <= before


async def test_a_server_and_the_script_in_process_answer_alike(server: Server) -> None:
    server.chaos(think=True)
    async with backend(server) as http:
        script = ScriptedBackend.from_file(server.script)
        for index in range(10):
            here, there = await script(ask(index=index)), await http(ask(index=index))
            assert (here.text, here.finish_reason) == (there.text, there.finish_reason)
            assert there.text == f"reply {index % 8}"
            assert (here.usage.prompt, here.usage.completion) == (1, 2)
            assert there.usage == Usage(prompt=1, completion=2, reasoning=2)


FAULTS: dict[str, dict[str, Any]] = {
    "half of all fail": {"error": 0.5},
    "429 storm": {"busy": 0.4},
    "a quota of 200 calls a second": {"rate": 200},
    "429 storm, Retry-After in seconds": {"busy": 0.2, "retry_after": "0.05"},
    "429 storm, Retry-After as a date": {"busy": 0.02, "retry_after": "date:1"},
    "a clock that is a day ahead": {"busy": 0.02, "retry_after": "date:1", "clock": 86400},
    "a clock that is a day behind": {"busy": 0.02, "retry_after": "date:1", "clock": -86400},
    "resets": {"reset": 0.3},
    "hangs": {"hang": 0.05},
    "slow drip": {"drip": 0.3},
    "slower than the deadline": {"drip": 0.1, "drip_seconds": 3},
    "truncated JSON": {"truncate": 0.3},
    "cut connections": {"cut": 0.3},
    "web pages": {"html": 0.3},
    "wrong content type": {"content_type": 0.5},
    "duplicate replies": {"duplicate": 0.5},
    "out of order": {"latency": 0.02, "spread": 1.0},
    "a full server that refuses": {"slots": 4, "full_is_busy": True, "latency": 0.01},
    "everything": {
        "error": 0.1, "busy": 0.1, "reset": 0.1, "drip": 0.1, "truncate": 0.1, "cut": 0.1,
        "html": 0.1, "content_type": 0.1, "duplicate": 0.1, "hang": 0.01,
        "latency": 0.01, "spread": 1.0,
    },
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
async def test_every_call_gets_its_own_answer_whatever_the_server_does(
    server: Server, fault: str, tmp_path: Path
) -> None:
    server.chaos(**FAULTS[fault])
    before = server.stats()
    async with (
        backend(server, timeout=0.5, patience=60) as http,
        open_store(tmp_path / "calls.sqlite") as store,
    ):
        chat = CachedChat(http, store)
        long = "and so on, " * 30  # every other prompt: of those one goes first, streamed
        requests = [ask(f"{long * (i // 4 % 2)}{fault} {i // 4}", index=i % 4) for i in range(120)]
        replies = await asyncio.gather(*(chat(r) for r in requests))
        assert [r.text for r in replies] == [f"reply {i % 4}" for i in range(120)]
        assert chat.counts["s"].asked == 120
        again = await asyncio.gather(*(chat(r) for r in requests))
        assert again == replies
    assert server.stats()["resent"] == before["resent"]  # no attempt is sent twice beneath us


async def test_a_wall_clock_that_jumps_by_hours_changes_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, rng = time.time, random.Random(0)
    monkeypatch.setattr(time, "time", lambda: real() + rng.uniform(-10, 10) * 3600)
    server.chaos(**FAULTS["everything"] | {"retry_after": "date:1", "busy": 0.02})
    async with asyncio.timeout(60), backend(server, timeout=0.5, silence=0.5, patience=30) as http:
        requests = [ask(f"jump {i // 4}", index=i % 4) for i in range(120)]
        for asked in (120, 0):
            async with open_store(tmp_path / "calls.sqlite") as store:
                chat = CachedChat(http, store)
                replies = await asyncio.gather(*(chat(r) for r in requests))
                assert [r.text for r in replies] == [f"reply {i % 4}" for i in range(120)]
                assert chat.counts["s"].asked == asked


# ---- one clear line ----------------------------------------------------------------------------

SETUPS: dict[str, tuple[dict[str, Any], str]] = {
    "wrong key": ({"key": "another", "echo_key": True}, "401.*check .*OPENAI_API_KEY"),
    "forbidden": ({"status": 403}, "403.*OPENAI_API_KEY"),
    "no credit": ({"status": 402, "says": "pay first"}, "no credit left"),
    "no quota": ({"status": 429, "says": "You exceeded your current quota"}, "no credit left"),
    "wrong model": ({"model": "qwen"}, "does not know the model 'any' .404.: it has qwen"),
    "wrong path": ({"status": 404, "model": "any"}, "404.*correct --base-url"),
    "redirected": ({"status": 302}, "takes no chat completions"),
    "a web site": ({"html": 1.0}, "no chat completions.*/v1"),
    "asked to come back tomorrow": ({"busy": 1.0, "retry_after": "86400"}, "asks to wait 86400 s"),
}


@pytest.mark.parametrize("setup", SETUPS)
async def test_a_wrong_setup_is_one_line_without_the_key(server: Server, setup: str) -> None:
    chaos, says = SETUPS[setup]
    server.chaos(**chaos)
    async with backend(server) as http:
        calls = (http(ask(str(i))) for i in range(20))
        for error in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(error, ModelUnavailable)
            assert re.search(says, str(error))
            assert "\n" not in str(error)
            assert KEY not in str(error)


async def test_no_server_at_all_is_one_line() -> None:
    http = HttpBackend("any", ["http://127.0.0.1:9/v1"])
    with pytest.raises(ModelUnavailable, match=r"no server at http://127.0.0.1:9/v1.*--base-url"):
        await http(ask())
    await http.close()


def test_what_is_no_model_or_url_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"local:NAME.*openai:NAME.*scripted:FILE"):
        open_backend("gpt-4")
    with pytest.raises(UsageError, match="no base URL"):
        open_backend("openai:any", base_url="localhost:8000")
    with pytest.raises(UsageError, match="absent: no such file"):
        open_backend(f"scripted:{tmp_path / 'absent'}")


async def test_a_request_the_server_refuses_fails_alone(server: Server) -> None:
    async with backend(server) as http:
        assert (await http(ask())).text == "reply 0"
        for status, reason in ((400, "bad_request"), (422, "bad_request"), (403, "refused")):
            server.chaos(status=status, says="context too long", echo_key=True)
            with pytest.raises(CallFailed, match="context too long") as e:
                await http(ask())
            assert e.value.reason == reason
            assert KEY not in str(e.value)
        server.chaos()
        assert (await http(ask())).text == "reply 0"


async def test_the_key_reaches_the_server_and_nothing_else(server: Server, tmp_path: Path) -> None:
    server.chaos(key=KEY)
    async with backend(server) as http, open_store(tmp_path / "calls.sqlite") as store:
        assert (await CachedChat(http, store)(ask())).text == "reply 0"
    for file in tmp_path.iterdir():
        assert KEY.encode() not in file.read_bytes()


async def test_fields_that_a_server_refuses_are_left_out_under_the_same_key(
    server: Server, tmp_path: Path
) -> None:
    schema = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    requests = [ask(str(i), schema=schema) for i in range(8)]
    notices: list[str] = []
    server.chaos(no_schema=True, no_max_tokens=True, no_temperature=True, odd_usage=True)
    async with (
        backend(server, on_notice=notices.append) as http,
        open_store(tmp_path / "calls.sqlite") as store,
    ):
        chat = CachedChat(http, store)
        await asyncio.gather(*(chat(r) for r in requests))
        body = http.body(requests[0])
        assert body["response_format"]["json_schema"]["strict"]
        assert body["max_tokens"] == requests[0].max_tokens
        assert sorted(n.partition(" ")[2] for n in notices) == [
            "refuses JSON schemas; it is asked without them from now on",
            "takes no temperature; it is asked without it from now on",
        ]
        server.chaos()
        await asyncio.gather(*(chat(r) for r in requests))
        assert chat.counts["s"].replayed == 8


async def test_finish_reasons_arrive(server: Server) -> None:
    rows = [{"contains": [], "replies": [{"text": "cut o", "finish_reason": "length"}]}]
    with Server(rows) as cutting:
        async with backend(cutting) as http:
            assert await http(ask()) == Reply("cut o", "length", Usage(1, 0, 2, 0))


# ---- outages -----------------------------------------------------------------------------------


async def test_a_server_that_is_restarted_in_mid_run_costs_a_pause() -> None:
    notices: list[str] = []
    with Server(latency=0.01) as server:
        async with backend(server, on_notice=notices.append, patience=30) as http:
            await http(ask())
            calls = [asyncio.create_task(http(ask(str(i)))) for i in range(600)]
            await asyncio.sleep(0.05)
            await asyncio.to_thread(server.kill)
            await asyncio.sleep(0.3)
            assert all(x.is_open for x in http.admission.limiters)
            await asyncio.to_thread(server.start)
            replies = await asyncio.gather(*calls)
            assert {r.text for r in replies} == {"reply 0"}
    assert len(notices) == 2
    assert "the run is paused and it is tried again for 30 s" in notices[0]
    assert "answers again after" in notices[1]


async def test_a_server_that_freezes_is_noticed_before_its_calls_time_out() -> None:
    notices: list[str] = []
    with Server(latency=0.01) as server:
        async with backend(server, on_notice=notices.append, silence=0.2, timeout=60) as http:
            await http(ask())
            server.freeze()
            calls = [asyncio.create_task(http(ask(str(i)))) for i in range(100)]
            await asyncio.sleep(0.6)
            assert "silent" in notices[0]
            server.thaw()
            await asyncio.gather(*calls)
            # what was in flight was waited for, not paid twice
            asked = server.stats()["asked"]
            assert {**asked, PROBED: 1} == {f"{x}#0": 1 for x in ("hello", "Hello", *range(100))}
    assert "answers again" in notices[1]


@pytest.mark.parametrize("how", ["freeze", "kill", "hang"])
async def test_an_outage_longer_than_the_patience_ends_the_run(how: str, tmp_path: Path) -> None:
    with Server() as server:
        # a server that hangs still answers /models: there only the deadline can tell
        timeout = 0.5 if how == "hang" else 60
        async with (
            open_store(tmp_path / "calls.sqlite") as store,
            backend(server, patience=1, silence=0.3, timeout=timeout) as http,
        ):
            chat = CachedChat(http, store)
            await chat(ask())
            if how == "hang":
                server.chaos(dead_after=0)
            else:
                getattr(server, how)()
            calls = [asyncio.create_task(chat(ask(str(i)))) for i in range(100)]
            for error in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(error, ModelUnavailable)
                assert "every answer so far is stored" in str(error)
            assert (await chat(ask())).text == "reply 0"


async def test_a_cancelled_run_gives_every_permit_back(server: Server) -> None:
    server.chaos(latency=0.05, error=0.3)
    async with backend(server) as http:
        calls = [asyncio.create_task(http(ask(str(i)))) for i in range(200)]
        await asyncio.sleep(0.2)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        server.chaos()
        assert (await http(ask())).text == "reply 0"


# ---- several endpoints -------------------------------------------------------------------------


async def test_endpoints_share_the_load_and_keep_a_prefix_at_home() -> None:
    with Server(latency=0.01) as a, Server(latency=0.01) as b:
        async with backend(a, b) as http:
            prefixes = [Message("system", f"prefix {p}") for p in range(40)]
            requests = [
                Request((prefix, Message("user", f"{prefix.content}, question {q}")))
                for prefix in prefixes
                for q in range(10)
            ]
            await asyncio.gather(*(http(r) for r in requests))
            asked = [server.stats()["asked"] for server in (a, b)]
            assert sum(map(len, asked)) == 400
            assert min(map(len, asked)) > 100
            homes = [[sum(f"{p.content}, " in q for q in at) for at in asked] for p in prefixes]
            at_home = sum(max(home) for home in homes)
            assert at_home > 0.85 * 400


async def test_when_one_endpoint_dies_the_others_take_its_calls() -> None:
    notices: list[str] = []
    with Server(latency=0.1) as a, Server(latency=0.1) as b:
        async with backend(a, b, on_notice=notices.append) as http:
            calls = [asyncio.create_task(http(ask(str(i)))) for i in range(400)]
            await asyncio.sleep(0.15)
            await asyncio.to_thread(a.kill)
            await asyncio.gather(*calls)
            assert "its calls go to the other endpoints" in notices[0]
            await asyncio.to_thread(a.start)
            await asyncio.sleep(0.6)
            before = a.stats()["answered"]
            await asyncio.gather(*(http(ask(f"again {i}")) for i in range(400)))
            assert a.stats()["answered"] > before
