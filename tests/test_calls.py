"""The call store: what was answered is durable, found again, and nobody's but its writer's."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoif.base.errors import CallFailed, StoreError
from autoif.base.records import Message, Reply, Request, Usage
from autoif.models.cached import CachedChat
from autoif.models.scripted import ScriptedBackend
from autoif.store import open_store
from autoif.store.base import ReplyStore, call_key, canonical


def ask(text: str, *, index: int = 0, record: str = "r", stage: str = "s") -> Request:
    return Request((Message("user", text),), index=index, record=record, stage=stage)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calls.sqlite"


async def test_an_answer_is_paid_once_and_read_back_by_the_next_run(where: str) -> None:
    asked = []

    def answer(request: Request) -> str:
        asked.append(request)
        return f"answer {request.index}"

    for run in range(2):
        async with open_store(where) as store:
            chat = CachedChat(ScriptedBackend(answer), store)
            replies = [await chat(ask("hello", index=i)) for i in range(3)]
            assert [r.text for r in replies] == ["answer 0", "answer 1", "answer 2"]
            counts = chat.counts["s"]
            assert (counts.asked, counts.replayed) == ((3, 0), (0, 3))[run]
            assert counts.usage.completion == (6, 0)[run]
            assert counts.replayed_usage.completion == (0, 6)[run]
    assert len(asked) == 3


async def test_identical_requests_in_flight_are_asked_once(where: str) -> None:
    asked = []

    async def answer(request: Request) -> str:
        asked.append(request)
        await asyncio.sleep(0.01)
        return "yes"

    async with open_store(where) as store:
        chat = CachedChat(ScriptedBackend(answer), store)
        replies = await asyncio.gather(*(chat(ask("same")) for _ in range(20)))
    assert len(asked) == 1
    assert {r.text for r in replies} == {"yes"}


async def test_when_the_asking_task_is_cancelled_another_asks(where: str) -> None:
    async def answer(request: Request) -> str:
        await asyncio.sleep(0.02)
        return "yes"

    async with open_store(where) as store:
        chat = CachedChat(ScriptedBackend(answer), store)
        first, second = (asyncio.create_task(chat(ask("same"))) for _ in range(2))
        await asyncio.sleep(0.005)
        first.cancel()
        assert (await second).text == "yes"


async def test_an_empty_or_withheld_answer_fails_but_is_not_paid_again(where: str) -> None:
    asked = []

    def answer(request: Request) -> Reply:
        asked.append(request)
        return Reply("", "stop" if request.index == 0 else "content_filter")

    async with open_store(where) as store:
        chat = CachedChat(ScriptedBackend(answer), store)
        for _ in range(2):
            with pytest.raises(CallFailed, match="empty"):
                await chat(ask("a"))
            with pytest.raises(CallFailed) as e:
                await chat(ask("a", index=1))
            assert e.value.reason == "refused"
        assert chat.counts["s"].failed == 4
    assert len(asked) == 2


async def test_show_finds_the_calls_of_a_record_also_those_it_shares(where: str) -> None:
    async with open_store(where) as store:
        chat = CachedChat(ScriptedBackend(lambda r: "yes"), store)
        await chat(ask("one", record="a", stage="x"))
        await chat(ask("two", record="a", stage="y"))
        await chat(ask("two", record="b", stage="y"))
        async with open_store(where, read_only=True) as reader:  # while the writer holds the lock
            calls = await reader.calls_for("a")
            assert [c.stage for c in calls] == ["x", "y"]
            assert calls[0].body["messages"] == [{"role": "user", "content": "one"}]
            assert calls[0].reply.text == "yes"
    async with open_store(where, read_only=True) as reader:
        assert [c.body["messages"][0]["content"] for c in await reader.calls_for("b")] == ["two"]
        with pytest.raises(StoreError, match="reading only"):
            await reader.put_outcomes(b"k", b"v")


async def test_outcomes_are_kept_beside_the_calls_and_the_first_stay(where: str) -> None:
    async with open_store(where) as store:
        assert await store.get_outcomes(b"k") is None
        assert await store.put_outcomes(b"k", b"TIMEOUT") == b"TIMEOUT"
        assert await store.put_outcomes(b"k", b"PASS") == b"TIMEOUT"
        values = [b"1", b"2", b"3"]
        stand = await asyncio.gather(*(store.put_outcomes(b"other", value) for value in values))
        assert set(stand) == {b"1"}
    async with open_store(where) as store:
        assert await store.get_outcomes(b"k") == b"TIMEOUT"


async def test_the_first_answer_to_a_key_stays(where: str) -> None:
    replies = [Reply("one"), Reply("two"), Reply("three")]
    async with open_store(where) as store:

        async def put(key: bytes, reply: Reply) -> Reply:
            return await store.put(key.rjust(16), ask("?"), b"{}", "n", reply)

        assert await put(b"a", replies[0]) is replies[0]
        assert await put(b"a", replies[1]) == replies[0]
        asked = [put(b"a", replies[2]), *(put(b"b", reply) for reply in replies)]
        assert await asyncio.gather(*asked) == [replies[0]] * 4
        assert await put(b"c", replies[1]) is replies[1]


class MemoryStore(ReplyStore):
    """A store whose look-ups and writes wait, as those over a network do."""

    def __init__(self) -> None:
        self.replies: dict[bytes, Reply] = {}
        self.looks = 0

    async def get(self, key: bytes, record: str = "") -> Reply | None:
        self.looks += 1
        await asyncio.sleep(0.01)
        return self.replies.get(key)

    async def put(
        self, key: bytes, request: Request, body: bytes, namespace: str, reply: Reply
    ) -> Reply:
        await asyncio.sleep(0.01)
        return self.replies.setdefault(key, reply)


async def test_tasks_that_ask_the_same_pay_once_where_the_look_up_waits() -> None:
    asked = []

    def answer(request: Request) -> str:
        asked.append(request)
        return f"answer {len(asked)}"

    chat = CachedChat(ScriptedBackend(answer), MemoryStore())
    replies = await asyncio.gather(*(chat(ask("same")) for _ in range(5)))
    assert {reply.text for reply in replies} == {"answer 1"}
    assert (chat.counts["s"].asked, chat.counts["s"].replayed) == (1, 4)


async def test_a_look_up_that_is_cancelled_or_fails_holds_nobody_up() -> None:
    store = MemoryStore()
    chat = CachedChat(ScriptedBackend(lambda request: "yes"), store)
    first, second = (asyncio.create_task(chat(ask("same"))) for _ in range(2))
    await asyncio.sleep(0.005)
    assert store.looks == 1
    first.cancel()
    assert (await second).text == "yes"

    class Broken(MemoryStore):
        async def get(self, key: bytes, record: str = "") -> Reply | None:
            self.looks += 1
            await asyncio.sleep(0.01)
            raise StoreError("the network is down")

    chat = CachedChat(ScriptedBackend(lambda request: "yes"), Broken())
    tasks = [chat(ask("same")) for _ in range(3)]
    async with asyncio.timeout(5):
        errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(error) for error in errors] == ["the network is down"] * 3


async def test_an_answer_that_stood_already_is_the_one_that_is_used() -> None:
    """Of two processes with one store that asked the same, the second uses the first's answer."""
    store = MemoryStore()
    asked = asyncio.Event()

    async def answer(request: Request) -> Reply:
        (key,) = [call_key("scripted", canonical(chat.backend.body(request)), 0)]
        store.replies[key] = Reply("the other's")
        asked.set()
        return Reply("mine", usage=Usage(completion=7))

    chat = CachedChat(ScriptedBackend(answer), store)
    assert (await chat(ask("same"))).text == "the other's"
    assert asked.is_set()
    assert chat.counts["s"].usage.completion == 7  # what was paid


def test_the_key_is_the_body_the_index_and_the_namespace() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    swapped = dict(reversed(body.items()))
    wire, more = canonical(body), canonical({**body, "x": 1})
    assert call_key("n", wire, 0) == call_key("n", canonical(swapped), 0)
    others = [call_key("n", wire, 1), call_key("o", wire, 0), call_key("n", more, 0)]
    assert len({call_key("n", wire, 0), *others}) == 4
    assert len(call_key("n", wire, 0)) == 16


@settings(max_examples=40, deadline=None)
@given(
    text=st.text(st.characters(codec=None), min_size=1), prompt=st.text(st.characters(codec=None))
)
def test_any_text_comes_back_as_it_was_first_given(
    tmp_path_factory: pytest.TempPathFactory, text: str, prompt: str
) -> None:
    async def both() -> None:
        path = tmp_path_factory.mktemp("store") / "calls.sqlite"
        seen = []
        for _ in range(2):
            async with open_store(path) as store:
                chat = CachedChat(
                    ScriptedBackend(lambda r: Reply("!" + text, usage=Usage(1))), store
                )
                seen.append(await chat(ask(prompt)))
        assert seen[0] == seen[1]

    asyncio.run(both())


HOLD = """
import sys, time
from autoif.store import open_store
open_store(sys.argv[1])
print("open", flush=True)
time.sleep(60)
"""


def test_a_second_writer_is_refused_by_a_lock_that_dies_with_its_owner(path: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"open\n"
        with pytest.raises(StoreError, match=f"in use by another run \\(pid {owner.pid}\\)"):
            open_store(path)
    finally:
        owner.kill()
        owner.communicate()
    asyncio.run(open_store(path).close())


def test_what_is_not_a_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    for name, content, says in [
        ("empty", b"", "damaged"),
        ("text", b"hello world, this is no database at all " * 50, "damaged"),
    ]:
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(StoreError, match=says):
            open_store(path)
        assert path.read_bytes() == content
    with pytest.raises(StoreError, match="no call store"):
        open_store(tmp_path / "absent", read_only=True)
