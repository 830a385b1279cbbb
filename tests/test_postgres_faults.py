"""The call store in PostgreSQL when things break: no answer that was used is lost, no other one
stands in its place, and what is booked is what was paid."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from autoif.base.errors import StoreError
from autoif.base.loop import asyncio_run
from autoif.base.records import Reply, Request
from autoif.models.cached import CachedChat
from autoif.models.scripted import ScriptedBackend
from autoif.store import open_store
from autoif.store.base import StoredCall, call_key
from conftest import postgres_binaries
from postgres import USER, Postgres, name_of
from store_worker import IN_FLIGHT, RUN

WORKER = Path(__file__).with_name("store_worker.py")


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """One that tests stop and kill, and start again."""
    with closing(Postgres(postgres_binaries())) as server:
        yield server


@dataclass
class Fleet:
    """Worker processes on one store and one log."""

    url: str
    log: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, calls: int, patience: float = 60) -> subprocess.Popen[str]:
        name = f"w{len(self.processes)}"
        command = [sys.executable, WORKER, self.url, self.log, name, calls, patience]
        process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
        self.processes.append(process)
        return process

    def lines(self, kind: str) -> list[list[str]]:
        text = self.log.read_text() if self.log.exists() else ""
        return [line.split(" ")[1:] for line in text.splitlines() if line.startswith(kind)]

    def wait_for(self, used: int) -> None:
        while len(self.lines("used")) < used:
            assert any(p.poll() is None for p in self.processes), "they have ended"
            time.sleep(0.01)

    def ends(self) -> list[str]:
        """What each said, once all have ended well."""
        said = [process.communicate(timeout=100)[1] for process in self.processes]
        for process, words in zip(self.processes, said, strict=True):
            assert process.returncode in (0, -signal.SIGKILL), words
        return said

    def check(self, calls: int, paid_twice: int) -> None:
        """Everything was answered, each used answer stands, and what was paid is booked."""
        answers = asyncio_run(stored(self.url))
        assert sorted(answers, key=int) == [str(n) for n in range(calls)]
        used = self.lines("used")
        assert {number for number, _ in used} == answers.keys()
        assert [answer for number, answer in used if answers[number] != answer] == []
        paid = [number for (number,) in self.lines("paid")]
        assert len(paid) - calls <= paid_twice
        assert asyncio_run(booked(self.url)) == len(paid)


async def stored(url: str) -> dict[str, str]:
    """Number -> answer."""
    async with open_store(url, read_only=True) as store:
        calls = [row async for row in store.contents(pytest.fail) if isinstance(row, StoredCall)]
    return {call.body["messages"][0]["content"]: call.reply.text.rstrip("x") for call in calls}


async def booked(url: str) -> int:
    async with open_store(url, read_only=True) as store:
        return sum([usage.prompt for usage in (await store.spent(RUN)).values()])


@pytest.fixture
def fleet(server: Postgres, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(server.new_url(), tmp_path / "log")
    yield fleet
    for process in fleet.processes:
        if process.poll() is None:
            process.kill()
            process.communicate()


# ---- processes ---------------------------------------------------------------------------------


def test_processes_with_one_store_pay_each_call_once(fleet: Fleet) -> None:
    for _ in range(3):
        fleet.start(400)
    fleet.ends()
    fleet.check(400, paid_twice=0)


def test_a_killed_worker_s_calls_are_read_back_or_made_by_others(fleet: Fleet) -> None:
    first = fleet.start(600)
    second = fleet.start(600)
    fleet.wait_for(150)
    first.kill()
    fleet.wait_for(400)
    second.kill()
    fleet.start(600)
    fleet.ends()
    answers = asyncio_run(stored(fleet.url))
    assert len(answers) == 600
    assert [used for used in fleet.lines("used") if answers[used[0]] != used[1]] == []
    assert len(fleet.lines("paid")) - 600 <= 2 * IN_FLIGHT


# ---- servers -----------------------------------------------------------------------------------


def test_a_server_that_is_killed_or_restarted_costs_a_pause(fleet: Fleet, server: Postgres) -> None:
    """Calls in flight at that moment are ours still, so hardly any is paid twice."""
    fleet.start(700)
    fleet.start(700)
    for used, end in (
        (150, server.kill),
        (500, server.stop),
        (800, lambda: server.stop("immediate")),
    ):
        fleet.wait_for(used)
        end()
        server.start()
    said = fleet.ends()
    fleet.check(700, paid_twice=3 * IN_FLIGHT)
    lines = "".join(said).splitlines()
    assert sum("what is paid waits in memory, no new call is made" in line for line in lines) >= 3
    assert sum(line.endswith("answers again") for line in lines) >= 3
    assert all(line.startswith("postgresql://") for line in lines)


async def test_while_the_server_is_away_nothing_new_is_paid_and_nothing_is_lost(
    server: Postgres,
) -> None:
    notices: list[str] = []
    async with open_store(server.new_url(), on_notice=notices.append) as store:
        asked: list[Request] = []
        begun, answer = asyncio.Event(), asyncio.Event()

        async def model(request: Request) -> str:
            asked.append(request)
            begun.set()
            await answer.wait()
            return "paid"

        chat = CachedChat(ScriptedBackend(model), store)
        before = asyncio.create_task(chat(Request((), record="before")))
        await begun.wait()
        await asyncio.to_thread(server.stop)
        answer.set()
        after = asyncio.create_task(chat(Request((), index=1, record="after")))
        await asyncio.sleep(0.5)
        assert len(asked) == 1
        assert not before.done()
        assert len(notices) == 1
        await asyncio.to_thread(server.start)
        assert [(await before).text, (await after).text] == ["paid", "paid"]
        assert len(asked) == 2
        assert len(notices) == 2


async def test_after_the_patience_it_is_one_line_for_everybody(server: Postgres) -> None:
    url = server.new_url()
    try:
        async with open_store(url, patience=0.5, on_notice=lambda line: None) as store:
            replies = [Reply(str(n)) for n in range(3)]
            await asyncio.to_thread(server.stop)
            began = time.monotonic()
            errors = await asyncio.gather(
                *(
                    store.put(bytes([n] * 16), Request(()), b"{}", "n", replies[n])
                    for n in range(3)
                ),
                store.get(b"k" * 16),
                store.get_outcomes(b"k" * 16),
                return_exceptions=True,
            )
            assert time.monotonic() - began < 20
            for error in errors:
                assert isinstance(error, StoreError)
                assert re.search(
                    r"fails .*look at the server and its log .*run the same", str(error)
                )
            with pytest.raises(StoreError):
                await store.put(b"l" * 16, Request(()), b"{}", "n", replies[0])
    finally:
        await asyncio.to_thread(server.start)


# ---- networks ----------------------------------------------------------------------------------


OPENING = 8  # connections of two workers until their stores are open


class CuttingProxy:
    """Between a worker and the server's socket; cuts each connection after some bytes, wherever
    that is: in a look-up, in the answer to a COMMIT, in a login."""

    def __init__(self, socket: Path, cuts: int, seed: int) -> None:
        self._socket, self._rng = socket, random.Random(seed)
        self.cuts, self._connections = cuts, 0
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        assert started.wait(10)

    def _run(self, started: threading.Event) -> None:
        async def main() -> None:
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            self._stop = asyncio.Event()
            started.set()
            await self._stop.wait()
            server.close()

        self._loop.run_until_complete(main())

    async def _serve(self, here: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        there, on = await asyncio.open_unix_connection(str(self._socket))
        self._connections += 1
        least = (
            5 if self._connections <= OPENING else 2
        )  # nobody waits for a store that never opened
        left = [int(10 ** self._rng.uniform(least, 5.5)) if self.cuts > 0 else 1 << 60]

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                while left[0] > 0 and (data := await source.read(min(left[0], 1 << 16))):
                    left[0] -= len(data)
                    target.write(data)
                    await target.drain()

        copies = [asyncio.create_task(copy(*ends)) for ends in ((here, on), (there, back))]
        await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        for task in copies:
            task.cancel()
        self.cuts -= left[0] <= 0
        for writer in (on, back):
            writer.transport.abort()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()


def test_connections_that_are_cut_anywhere_lose_nothing(server: Postgres, tmp_path: Path) -> None:
    direct = server.new_url()
    with closing(CuttingProxy(server.where / ".s.PGSQL.5432", cuts=30, seed=1)) as proxy:
        fleet = Fleet(
            f"postgresql://{USER}@127.0.0.1:{proxy.port}/{name_of(direct)}", tmp_path / "log"
        )
        for _ in range(2):
            fleet.start(600)
        fleet.ends()
        assert proxy.cuts <= 0
    fleet.url = direct
    fleet.check(600, paid_twice=30 * IN_FLIGHT)
    assert len(fleet.lines("paid")) < 800


# ---- disks -------------------------------------------------------------------------------------


@contextmanager
def small_disk(where: Path, megabytes: int) -> Iterator[None]:
    where.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "none"]
    done = subprocess.run(["mount", *options, where], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", where], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system takes root")
def test_a_full_disk_stops_calls_until_there_is_room_again(
    server: Postgres, tmp_path: Path
) -> None:
    disk = server.where / "disk"
    with small_disk(disk, 40):
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(28 << 20))
        os.chown(disk, *[server.data.stat().st_uid] * 2)
        server.psql(server.url(), f"CREATE TABLESPACE small LOCATION '{disk}'")
        fleet = Fleet(server.new_url("--tablespace", "small"), tmp_path / "log")
        worker = fleet.start(2500)
        assert worker.stderr is not None
        line = worker.stderr.readline()
        assert re.search("No space left on device.*no new call is made", line), line
        time.sleep(0.5)  # what was in flight ends
        paid = len(fleet.lines("paid"))
        time.sleep(0.5)
        assert len(fleet.lines("paid")) == paid < 2500
        ballast.unlink()
        fleet.ends()
        fleet.check(2500, paid_twice=0)
        with pytest.raises(StoreError, match=r"the disk of .* is full: free some space"):
            asyncio_run(fill(fleet.url))
        server.psql(server.url(), f"DROP DATABASE {name_of(fleet.url)} WITH (FORCE)")
        server.psql(server.url(), "DROP TABLESPACE small")


async def fill(url: str) -> None:
    async with open_store(url, patience=0.5, on_notice=lambda line: None) as store:
        for number in range(1000):
            key = call_key("n", b"{}", number)
            reply = Reply(os.urandom(50_000).hex())
            await store.put(key, Request((), index=number), b"{}", "n", reply)
