"""The call store in PostgreSQL where nothing breaks: who makes a call, what is refused and how that
is said. What every store does is in test_calls.py; what breaks is in test_postgres_faults.py."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoif.base.errors import StoreError, UsageError
from autoif.base.loop import asyncio_run
from autoif.base.records import Message, Reply, Request, Usage
from autoif.models.cached import CachedChat
from autoif.models.scripted import ScriptedBackend
from autoif.run.recipe import Recipe
from autoif.store import open_store
from autoif.store.base import Store, call_key
from postgres import LOCKED, Postgres, name_of
from runs import Done, artefacts

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
ANY_TEXT = st.text(st.characters(codec=None), max_size=40)


def key(number: int) -> bytes:
    return call_key("n", b"{}", number)


async def put(store: Store, number: int, text: str, *tokens: int) -> Reply:
    reply = Reply(text, usage=Usage(*tokens))
    return await store.put(key(number), Request((), index=number), b"{}", "n", reply)


async def soon(waiting: Awaitable[object]) -> object:
    """The result, or "waits" where it does not come within a moment."""
    try:
        async with asyncio.timeout(0.3):
            return await waiting
    except TimeoutError:
        return "waits"


# ---- who makes a call --------------------------------------------------------------------------


async def test_a_call_is_one_process_s_to_make_until_it_puts_or_leaves(postgres: Postgres) -> None:
    url = postgres.new_url()
    async with open_store(url) as one, open_store(url) as other:
        assert await one.get(key(1)) is None
        assert await soon(other.get(key(1))) == "waits"
        assert await soon(one.get(key(1))) == "waits"  # another task of the same process
        waiting = asyncio.create_task(other.get(key(1)))
        await put(one, 1, "one's")
        assert await waiting == Reply("one's")

        assert await one.get(key(2)) is None
        waiting = asyncio.create_task(other.get(key(2)))
        await asyncio.sleep(0.1)
        one.leave(key(2))
        async with asyncio.timeout(10):
            assert await waiting is None
        other.leave(key(2))


async def test_what_a_cancelled_task_looked_for_is_free(postgres: Postgres) -> None:
    url = postgres.new_url()
    async with open_store(url) as one, open_store(url) as other:
        chat = CachedChat(ScriptedBackend(lambda r: "yes", latency=60), one)
        for pause in (0, 0.001, 0.003, 0.1):  # in the look-up, or in the call
            request = Request((Message("user", str(pause)),))
            asking = asyncio.create_task(chat(request))
            await asyncio.sleep(pause)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            others = CachedChat(ScriptedBackend(lambda r: "the other's"), other)
            async with asyncio.timeout(10):
                assert (await others(request)).text == "the other's"


async def test_claims_end_with_the_process(postgres: Postgres) -> None:
    url = postgres.new_url()
    async with open_store(url) as one:
        assert await one.get(key(1)) is None
    async with open_store(url) as other:
        assert await soon(other.get(key(1))) is None


async def test_where_the_lock_table_is_full_calls_go_unclaimed(postgres: Postgres) -> None:
    from autoif.store.postgres import PostgresStore

    url, notices = postgres.new_url(), list[str]()
    count = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    opened = open_store(url, on_notice=notices.append)
    assert isinstance(opened, PostgresStore)
    # A connection that is there before, since a new one may find no room in the table either.
    async with opened as store, opened.server.connected() as database:
        assert await database.fetchval(count) <= 2
        free = await asyncio.gather(*(store.get(key(n)) for n in range(30_000)))
        assert set(free) == {None}
        assert [n for n in notices if "max_locks_per_transaction = 1024" in n] == notices
        assert len(notices) == 1
        assert 5_000 < await database.fetchval(count) < 30_000
        for n in range(30_000):
            store.leave(key(n))
        assert await store.get(key(0)) is None
    assert postgres.psql(url, count) == "0"


ACTIONS = st.tuples(
    st.integers(0, 1), st.integers(0, 3), st.sampled_from(["get", "put", "leave", "cancel"])
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(actions=st.lists(ACTIONS, max_size=12))
def test_whatever_two_processes_do_nobody_else_makes_a_claimed_call(
    postgres: Postgres, actions: list[tuple[int, int, str]]
) -> None:
    """And the first answer is everybody's."""

    async def run() -> None:
        async with open_store(url) as one, open_store(url) as other:
            owner: dict[int, Store] = {}
            answers: dict[int, str] = {}
            for at, (who, number, action) in enumerate(actions):
                store = (one, other)[who]
                mine = owner.get(number) is store
                if action == "put":
                    reply = await put(store, number, f"answer {at}")
                    assert reply.text == answers.setdefault(number, f"answer {at}")
                    if mine:
                        del owner[number]
                elif action == "leave":
                    store.leave(key(number))
                    if mine:
                        del owner[number]
                elif number in answers:
                    reply_or_none = await store.get(key(number))
                    assert reply_or_none
                    assert reply_or_none.text == answers[number]
                elif number in owner:
                    assert await soon(store.get(key(number))) == "waits"
                elif action == "cancel":
                    task = asyncio.create_task(store.get(key(number)))
                    await asyncio.sleep(0)
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                    store.leave(key(number))
                else:
                    async with asyncio.timeout(5):
                        assert await store.get(key(number)) is None
                    owner[number] = store

    url = postgres.new_url()
    asyncio_run(run())


# ---- what it keeps -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one_url(postgres: Postgres) -> str:
    return postgres.new_url()


@settings(max_examples=20, deadline=None)
@given(
    text=TEXT, finish_reason=TEXT, record=ANY_TEXT, stage=ANY_TEXT, number=st.integers(0, 1 << 53)
)
def test_any_text_comes_back_as_it_was_first_given(
    one_url: str, text: str, finish_reason: str, record: str, stage: str, number: int
) -> None:
    """NUL and lone surrogates too, which models, servers and paths may hold."""

    async def both() -> None:
        reply = Reply(text, finish_reason, Usage(number, 0, number, 1))
        request = Request((), index=number, stage=stage, record=record)
        async with open_store(one_url) as store:
            stands = await store.put(key(number), request, b"{}", "n", reply)
        async with open_store(one_url) as store:
            assert await store.get(key(number), record) == stands
            await store.mark(record)
            calls = {call.key: call for call in await store.calls_for(record)}
            if record:  # "" is on nobody's behalf
                assert calls[key(number).hex()].reply == stands
            assert record in (await store.inspect())["runs"]

    asyncio_run(both())


async def test_what_was_paid_is_booked_once_and_by_run(postgres: Postgres) -> None:
    """Double payments too, which are money; what was read back is none."""
    url = postgres.new_url()
    for _ in range(2):
        async with open_store(url, run="a") as store:
            await put(store, 1, "one", 3, 2, 5, 1)
            await put(store, 2, "two", 10, 0, 20)
            await asyncio.gather(*(put(store, 3, "three", 1) for _ in range(3)))
    async with open_store(url, run="b") as store:
        assert await store.get(key(1))
        await store.mark("b")
        assert await store.spent("a") == {"n": Usage(32, 4, 50, 2)}
        assert await store.spent("b") == {}
        assert await store.used("b") == {"n": Usage(3, 2, 5, 1)}


async def test_garbage_waits_until_no_run_is_at_work(postgres: Postgres) -> None:
    url = postgres.new_url()
    async with open_store(url) as run, open_store(url) as cleaner:
        await put(run, 1, "one")
        await run.mark("run")
        await put(run, 2, "two")
        with pytest.raises(StoreError, match="in use by a run"):
            await cleaner.collect_garbage()
    async with open_store(url) as cleaner:
        assert (await cleaner.collect_garbage()).dropped == 1


async def test_damage_is_told_and_left_out(postgres: Postgres) -> None:
    url, notices = postgres.new_url(), list[str]()
    async with open_store(url) as store:
        for number in range(4):
            await put(store, number, "right")
        await store.put_outcomes(b"k", b"v")
    postgres.psql(url, "UPDATE autoif.calls SET text = 'wrong' WHERE sample = 1")
    postgres.psql(url, "UPDATE autoif.calls SET body = '{\"a\":1}' WHERE sample = 2")
    postgres.psql(url, "UPDATE autoif.outcomes SET value = 'w'")
    async with open_store(url, read_only=True) as store:
        assert await store.get(key(0))
        with pytest.raises(StoreError, match=r"is damaged .the reply of call"):
            await store.get(key(1))
        with pytest.raises(StoreError, match=r"is damaged .the outcomes"):
            await store.get_outcomes(b"k")
        with pytest.raises(StoreError, match=r"is damaged .a call for"):
            await store.calls_for("")
        rows = [row async for row in store.contents(notices.append)]
        assert [row.key for row in rows] == [key(0).hex(), key(3).hex()]
        (line,) = notices
        assert line.endswith("3 rows are damaged and left out")


# ---- what is refused, and how ------------------------------------------------------------------


async def refusal(url: str, *, read_only: bool = False) -> str:
    with pytest.raises(StoreError) as refused:
        async with open_store(url, read_only=read_only):
            pass
    assert "\n" not in str(refused.value)
    return str(refused.value)


async def test_a_server_that_cannot_keep_calls_is_refused_with_what_to_change(
    postgres: Postgres,
) -> None:
    url = postgres.new_url()
    assert "there is no call store at" in await refusal(url, read_only=True)
    postgres.psql(url, f"ALTER DATABASE {name_of(url)} SET synchronous_commit = off")
    assert "set synchronous_commit = on" in await refusal(url)
    url = postgres.new_url("--encoding", "SQL_ASCII", "--template", "template0")
    assert "createdb --encoding UTF8" in await refusal(url)
    assert "make it with createdb" in await refusal(postgres.url("absent"))
    assert "look at the server" in await refusal("postgresql://me@127.0.0.1:1/calls")
    url = postgres.new_url()
    async with open_store(url):
        pass
    postgres.psql(url, "UPDATE autoif.store SET version = 99")
    assert re.search("schema version 99 .*calls export", await refusal(url))
    assert re.search("schema version 99 .*calls export", await refusal(url, read_only=True))


async def test_it_is_open_for_reading_beside_a_run_and_takes_no_batches(postgres: Postgres) -> None:
    url = postgres.new_url()
    async with open_store(url) as run, open_store(url, read_only=True) as reader:
        assert await run.get(key(1)) is None
        assert await reader.get(key(1)) is None
        for verb in (reader.mark("x"), put(reader, 1, "x"), reader.put_outcomes(b"k", b"v")):
            with pytest.raises(StoreError, match="reading only"):
                await verb
        with pytest.raises(StoreError, match="takes no batches: give a file"):
            await run.batches()


SECRET = "s3cr/et@?#x"


async def test_a_password_is_shown_nowhere(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.new_url()
    name = name_of(url)
    postgres.psql(url, f"CREATE ROLE {LOCKED} LOGIN PASSWORD '{SECRET}'")
    postgres.psql(url, f"ALTER DATABASE {name} OWNER TO {LOCKED}")
    host = f"host={postgres.where}"
    quoted = quote(SECRET, safe="")
    async with open_store(f"postgresql://{LOCKED}:{quoted}@/{name}?{host}") as store:
        assert SECRET not in repr(await store.inspect())
    async with open_store(f"postgresql://{LOCKED}@/{name}?{host}&password={quoted}"):
        pass
    wrong = [
        f"postgresql://{LOCKED}:x{quoted}@/{name}?{host}",  # not the password
        f"postgresql://{LOCKED}:{SECRET}@/{name}?{host}",  # not quoted
        f"postgresql://{LOCKED}:{quoted}@/absent?{host}",
        f"postgresql://{LOCKED}:{quoted}@127.0.0.1:1/{name}",
        f"postgresql://{LOCKED}:{quoted}@127.0.0.1:port/{name}",
        f"postgresql://{LOCKED}:{quoted}@[::1/{name}",
    ]
    for where in wrong:
        line = await refusal(where)
        assert "s3cr" not in line, line
    assert "PGPASSWORD or ~/.pgpass" in await refusal(f"postgresql://{LOCKED}@/{name}?{host}")
    monkeypatch.setenv("PGPASSWORD", SECRET)
    async with open_store(f"postgresql://{LOCKED}@/{name}?{host}"):
        pass
    with pytest.raises(UsageError, match=r"engine\.calls holds a password") as refused:
        Recipe.load("smoke", None, {"engine.calls": wrong[0]})
    assert "s3cr" not in str(refused.value)


def test_a_command_shows_no_password(here: Callable[..., Done], tmp_path: Path) -> None:
    where = "postgresql://me:s3cr%2Fet@127.0.0.1:1/calls"
    run = ("synth", "--preset", "smoke", "--out", tmp_path, "--calls", where)
    for command in (("calls", "inspect", where), ("calls", "gc", where), run):
        done = here(*command)
        assert done.code == 1
        assert re.search("postgresql://me@127.0.0.1:1/calls fails .*look at the server", done.err)
        assert "s3cr" not in done.out + done.err
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert files
    assert not [file for file in files if b"s3cr" in file.read_bytes()]


def test_a_recipe_gets_no_password_unless_a_person_names_the_store(
    here: Callable[..., Done], tmp_path: Path
) -> None:
    where = "postgresql://me@127.0.0.1:1/calls"
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'preset = "smoke"\nengine.calls = "{where}"\n')
    run = ("synth", recipe, "--out", tmp_path / "run")
    assert "look at the server" in here(*run).err
    refused = here(*run, PGPASSWORD="s3cret")
    assert refused.code == 2
    assert f"PGPASSWORD to {where}: if you want that, say so with --calls" in refused.err
    for confirmed in (("--calls", where), ("--set", f"engine.calls={where}")):
        assert "look at the server" in here(*run, *confirmed).err
    done = here("synth", "--preset", "smoke", "--set", "engine.calls=/etc/cron.d/calls")
    assert "engine.calls takes postgresql://...: give a file with --calls" in done.err


# ---- a whole run -------------------------------------------------------------------------------


def test_a_run_makes_the_same_bytes_and_its_store_comes_to_a_laptop(
    postgres: Postgres, smoke: Path, here: Callable[..., Done], tmp_path: Path
) -> None:
    url = postgres.new_url()
    run = ("synth", "--preset", "smoke", "--json")
    paid = here(*run, "--out", tmp_path / "a", "--calls", url)
    assert json.loads(paid.out)["calls"]["asked"] > 200
    assert artefacts(tmp_path / "a") == artefacts(smoke)

    lines, file = tmp_path / "calls.jsonl", tmp_path / "calls.sqlite"
    assert here("calls", "export", url, "--out", lines).code == 0
    assert here("calls", "import", file, lines).code == 0
    again = here(*run, "--out", tmp_path / "b", "--calls", file)
    assert json.loads(again.out)["calls"]["asked"] == 0
    assert artefacts(tmp_path / "b") == artefacts(smoke)

    sample = json.loads((smoke / "03-samples.jsonl").read_text().splitlines()[0])["id"]
    shown = here("show", tmp_path / "a", sample, "--calls", url, "--json")
    kept = here("show", smoke, sample, "--json")
    assert len(json.loads(shown.out)["calls"]) == len(json.loads(kept.out)["calls"]) > 0
    seen = json.loads(here("calls", "inspect", url, "--json").out)
    assert seen["calls"] == json.loads(here("calls", "inspect", smoke, "--json").out)["calls"]
