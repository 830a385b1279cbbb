"""The store as a file: it is moved, cleaned, killed, filled to the brim and damaged, and no answer
that was paid for is lost or asked again."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoif.base.errors import CallPending, ModelUnavailable, StoreError, UsageError
from autoif.base.records import Message, Request
from autoif.models.batch import (
    PendingBackend,
    batch_lines,
    import_file,
    run_batches,
)
from autoif.models.cached import CachedChat
from autoif.models.openai.backend import HttpBackend
from autoif.models.scripted import ScriptedBackend
from autoif.store import open_store
from autoif.store.base import GarbageCollected, call_key, reply_crc
from autoif.store.export_format import export_lines
from server import Server


def ask(text: object, *, index: int = 0, record: str = "r", stage: str = "s") -> Request:
    return Request((Message("user", str(text)),), index=index, record=record, stage=stage)


def echo(request: Request) -> str:
    said = request.messages[0].content
    return f"{said} {request.index} " + "word " * (len(said) % 7 * 300)


async def fill(path: str | Path, numbers: range, run: str = "") -> int:
    """Ask for these numbers through a store; how many were really asked."""
    async with open_store(path) as store:
        chat = CachedChat(ScriptedBackend(echo), store)
        replies = await asyncio.gather(*(chat(ask("x" * (i % 7) + str(i))) for i in numbers))
        assert [r.text for r in replies] == [echo(ask("x" * (i % 7) + str(i))) for i in numbers]
        if run:
            await store.mark(run)
        return chat.counts["s"].asked


async def inspect(path: str | Path) -> dict[str, Any]:
    async with open_store(path, read_only=True) as store:
        return await store.inspect()


async def export(path: str | Path, on_notice: Callable[[str], None] = print) -> list[bytes]:
    async with open_store(path, read_only=True) as store:
        return [line async for line in export_lines(store, on_notice)]


async def collect_garbage(path: str | Path, *forget: str) -> GarbageCollected:
    async with open_store(path) as store:
        return await store.collect_garbage(forget)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calls.sqlite"


# ---- inspect, export, import, garbage ----------------------------------------------------------


async def test_inspect_counts_by_stage_also_while_a_run_writes(where: str) -> None:
    async with open_store(where) as store:
        chat = CachedChat(ScriptedBackend(lambda r: "a b c"), store)
        for i in range(5):
            await chat(ask(i, stage="judge" if i else "code"))
        await store.put_outcomes(b"k", b"v")
        seen = await inspect(where)
    assert (seen["calls"], seen["outcomes"], seen["pending"]) == (5, 1, 0)
    assert [(s["stage"], s["calls"], s["completion"]) for s in seen["stages"]] == [
        ("code", 1, 3),
        ("judge", 4, 12),
    ]
    assert seen["bytes"] > 4096


async def test_an_exported_store_imports_to_the_same_answers(where: str, tmp_path: Path) -> None:
    await fill(where, range(50))
    async with open_store(where) as store:
        await store.put_outcomes(b"k", b"\0\xffv")
    moved, lines = tmp_path / "moved.sqlite", tmp_path / "calls.jsonl"
    lines.write_bytes(b"".join(await export(where)))
    assert (await import_file(moved, lines)).added == 51
    assert (await import_file(moved, lines)).known == 51
    assert await fill(moved, range(50)) == 0
    async with open_store(moved) as store:
        assert await store.get_outcomes(b"k") == b"\0\xffv"
    assert b"".join(await export(moved)) == lines.read_bytes()


async def test_an_import_takes_only_what_its_key_names(path: Path, tmp_path: Path) -> None:
    await fill(path, range(3))
    rows = [json.loads(line) for line in await export(path)]
    rows[1]["body"]["messages"][0]["content"] = "another question"
    lines = tmp_path / "calls.jsonl"
    lines.write_text("".join(json.dumps(r) + "\n" for r in rows) + "not JSON\n[]\n")
    done = await import_file(tmp_path / "moved.sqlite", lines)
    assert (done.added, done.strange) == (2, 3)
    lines.write_text('{"prompt": "not of ours"}\n')
    with pytest.raises(UsageError, match="holds nothing for"):
        await import_file(path, lines)


async def test_garbage_is_what_no_finished_run_used(where: str) -> None:
    await fill(where, range(40))
    with pytest.raises(StoreError, match="no finished run"):
        await collect_garbage(where)
    await fill(where, range(10, 20), run="first")
    await fill(where, range(15, 30), run="second")
    done = await collect_garbage(where)
    assert (done.kept, done.dropped) == (20, 20)
    assert done.freed > 0
    assert await fill(where, range(10, 30)) == 0
    assert (await collect_garbage(where, "first")).kept == 15
    with pytest.raises(UsageError, match="no run named"):
        await collect_garbage(where, "first")
    assert await fill(where, range(40)) == 25


async def test_a_run_that_is_marked_in_parts_keeps_them_all(where: str) -> None:
    await fill(where, range(10), run="run")
    await fill(where, range(10, 20), run="run")  # its second process
    assert (await collect_garbage(where)).kept == 20


async def test_a_run_has_used_each_call_once_over_all_its_starts(where: str) -> None:
    await fill(where, range(10), run="run")
    await fill(where, range(5, 20), run="run")
    await fill(where, range(30), run="other")
    words = [len(echo(ask("x" * (i % 7) + str(i))).split()) for i in range(30)]
    async with open_store(where, read_only=True) as store:
        (used,) = (await store.used("run")).values()
        assert used.completion == sum(words[:20])
        (used,) = (await store.used("other")).values()
        assert used.completion == sum(words)
        assert await store.used("nobody") == {}


# ---- killed ------------------------------------------------------------------------------------

WRITER = """
import asyncio, sys
from pathlib import Path
from autoif.store import open_store
from autoif.models.scripted import ScriptedBackend
from autoif.models.cached import CachedChat
from autoif.base.records import Message, Request

asked = open(sys.argv[2], "a")

def answer(request):
    asked.write(request.messages[0].content + "\\n")
    asked.flush()
    return "reply to " + request.messages[0].content

async def main():
    store = open_store(sys.argv[1])
    chat = CachedChat(ScriptedBackend(answer, latency=0.03), store)
    numbers = iter(range(2000))
    async def worker():
        for i in numbers:
            reply = await chat(Request((Message("user", str(i)),), stage="s"))
            print(i, flush=True)  # acknowledged: from here on it may not be asked again
    await asyncio.gather(*(worker() for _ in range(32)))
    await store.close()

asyncio.run(main())
"""


def test_what_was_acknowledged_before_a_kill_is_never_asked_again(tmp_path: Path) -> None:
    path, log, out = tmp_path / "calls.sqlite", tmp_path / "asked", tmp_path / "out"
    log.touch()
    rng, acknowledged, kills = random.Random(0), set[str](), 8
    for kill in range(kills + 1):
        before = len(log.read_text().split())
        with out.open("w") as file:
            command = [sys.executable, "-c", WRITER, str(path), str(log)]
            run = subprocess.Popen(command, stdout=file)
        if kill < kills:
            while not out.stat().st_size:
                time.sleep(0.002)
            time.sleep(rng.random() * 0.2)
            run.send_signal(signal.SIGKILL)
        assert run.wait(60) in (0, -signal.SIGKILL)
        assert not acknowledged & set(log.read_text().split()[before:])
        acknowledged |= set(out.read_text().split("\n")[:-1])
    assert acknowledged == {str(i) for i in range(2000)}
    paid = log.read_text().split()
    assert len(paid) - len(set(paid)) <= 32 * kills  # at most what was in flight at each kill


# ---- disks -------------------------------------------------------------------------------------

FILLER = """
import asyncio, resource, sys
from pathlib import Path
from autoif.store import open_store
from autoif.models.scripted import ScriptedBackend
from autoif.models.cached import CachedChat
from autoif.base.errors import StoreError
from autoif.base.records import Message, Request

async def main():
    async with open_store(sys.argv[1]) as store:
        limit = int(sys.argv[2])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        chat = CachedChat(ScriptedBackend(lambda r: "word " * 1000), store)
        for i in range(10_000):
            try:
                await chat(Request((Message("user", str(i)),), stage="s"))
            except StoreError as e:
                print(i)
                print(e)
                return

asyncio.run(main())
"""


def replay_filled(path: Path, upto: int) -> int:
    """How many of the first calls of FILLER are read back."""

    async def ask_all() -> int:
        async with open_store(path) as store:
            chat = CachedChat(ScriptedBackend(lambda r: "word " * 1000), store)
            for i in range(upto):
                await chat(ask(i))
            return chat.counts["s"].replayed

    return asyncio.run(ask_all())


def test_a_store_that_may_not_grow_says_so_and_keeps_what_it_has(path: Path) -> None:
    command = [sys.executable, "-c", FILLER, str(path), "500000"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    stored, line = run.stdout.splitlines()
    assert int(stored) > 10
    assert "cannot be written" in line
    assert "every call answered so far is stored" in line
    assert replay_filled(path, int(stored) + 1) == int(stored)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system takes root")
def test_a_full_disk_says_so_and_keeps_what_it_has(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    script = (
        'mount -t tmpfs -o size=1m none "$1" && "$2" -c "$3" "$1/calls.sqlite" 99999999 '
        '&& cp "$1"/calls.sqlite* "$4"'
    )
    command = ["unshare", "--mount", "sh", "-c", script, "sh", str(disk), sys.executable, FILLER]
    run = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True)
    if "unshare" in run.stderr or "mount:" in run.stderr:
        pytest.skip(f"no private mounts here: {run.stderr.strip()}")
    assert run.returncode == 0, run.stderr
    stored, line = run.stdout.splitlines()
    assert int(stored) > 10
    assert "the disk is full" in line
    assert replay_filled(tmp_path / "calls.sqlite", int(stored) + 1) == int(stored)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system takes root")
def test_a_read_only_disk_says_so_and_can_still_be_shown(tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path / "calls.sqlite", range(3)))
    code = (
        "import asyncio, sys; from autoif.store import open_store;"
        "from autoif.base.errors import StoreError; path = sys.argv[1] + '/calls.sqlite'\n"
        "print(len(asyncio.run(open_store(path, read_only=True).calls_for('r'))))\n"
        "try: open_store(path)\nexcept StoreError as e: print(e)"
    )
    script = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && "$2" -c "$3" "$1"'
    command = ["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path), sys.executable, code]
    run = subprocess.run(command, capture_output=True, text=True)
    if "unshare" in run.stderr or "mount:" in run.stderr:
        pytest.skip(f"no private mounts here: {run.stderr.strip()}")
    assert run.returncode == 0, run.stderr
    shown, line = run.stdout.splitlines()
    assert shown == "3"
    assert re.search("cannot write in .*Read-only file system.*--out", line)


# ---- damage ------------------------------------------------------------------------------------


async def replayed(path: Path, n: int) -> int:
    return n - await fill(path, range(n))


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "the header": lambda data, rng: b"\0" * 100 + data[100:],
    "the first page": lambda data, rng: b"\xff" * 4096 + data[4096:],
    "a page in the middle": lambda data, rng: data[:81920] + bytes(4096) + data[86016:],
    "the second half": lambda data, rng: data[: len(data) // 2],
    "a bit in a hundred places": lambda data, rng: flipped(data, rng, 100),
}


def flipped(data: bytes, rng: random.Random, n: int) -> bytes:
    changed = bytearray(data)
    for _ in range(n):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize("damage", DAMAGES)
async def test_damage_is_noticed_and_nothing_is_made_worse(path: Path, damage: str) -> None:
    await fill(path, range(300))
    data = DAMAGES[damage](path.read_bytes(), random.Random(0))
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"is damaged .*sqlite3 .* \.recover"):
        await fill(path, range(300))
    assert path.read_bytes() == data


async def test_an_export_leaves_out_what_is_not_what_was_written(
    path: Path, tmp_path: Path
) -> None:
    """As `sqlite3 .recover` hands it on, which checks no row."""
    await fill(path, range(20))
    async with open_store(path) as store:
        await store.put_outcomes(b"k", b"v")
        await store.put_outcomes(b"l", b"v")
    db = sqlite3.connect(path)
    for change in (
        "text = text || '!' WHERE id = 3",
        "body = replace(body, 'user', 'eser') WHERE id = 5",
        "text = CAST(x'ff20' AS TEXT) WHERE id = 7",  # no UTF-8
        "body = x'00' WHERE id = 9",
        "completion = completion + 1 WHERE id = 11",
    ):
        db.execute(f"UPDATE calls SET {change}")
    db.execute("UPDATE outcomes SET value = x'00' WHERE key = x'6c'")
    db.commit()
    db.close()
    notices: list[str] = []
    lines = tmp_path / "calls.jsonl"
    lines.write_bytes(b"".join(await export(path, notices.append)))
    assert notices == [f"{path}: 6 rows are damaged and left out"]
    assert (await import_file(tmp_path / "saved.sqlite", lines)).added == 16
    assert await replayed(tmp_path / "saved.sqlite", 20) == 15


HOSTILE = {
    "view": "ALTER TABLE pending RENAME TO p; CREATE VIEW pending AS WITH RECURSIVE n(i) AS "
    "(SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
    "trigger": "CREATE TRIGGER t AFTER INSERT ON calls BEGIN DELETE FROM calls; END",
    "column": "ALTER TABLE runs ADD COLUMN x AS (length(zeroblob(100000000)))",
    "index": "CREATE INDEX i ON runs(length(name))",
    "missing": "DROP TABLE marks",
    "table": "CREATE TABLE other(x)",
}


@pytest.mark.parametrize("change", HOSTILE)
@pytest.mark.parametrize("read_only", [True, False])
async def test_a_store_that_defines_more_than_ours_is_refused(
    path: Path, change: str, read_only: bool
) -> None:
    await fill(path, range(3))
    with closing(sqlite3.connect(path)) as db:
        db.executescript(HOSTILE[change])
    with pytest.raises(StoreError, match=r"views or triggers that are of no call store"):
        open_store(path, read_only=read_only)


async def test_what_a_recovery_could_not_place_does_not_matter(path: Path) -> None:
    await fill(path, range(3))
    with closing(sqlite3.connect(path)) as db:
        db.executescript("CREATE TABLE lost_and_found(rootpgno INTEGER, c0)")
    assert await replayed(path, 3) == 3


ODD = {
    "text": "x'00'", "body": "'no JSON'", "stage": "x'01'", "prompt": "'many'",
    "namespace": "x'01'",
}  # fmt: skip


@pytest.mark.parametrize("column", ODD)
async def test_a_value_of_another_type_is_damage(path: Path, column: str) -> None:
    await fill(path, range(1))
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"UPDATE calls SET {column} = {ODD[column]}")
        db.execute("INSERT INTO outcomes VALUES('k', 'text', 0)")
        names = ("namespace", "sample", "body", "text", "finish_reason", "prompt", "cached")
        wanted = f"SELECT {', '.join(names)}, completion, reasoning FROM calls"
        namespace, sample, body, text, finish_reason, *usage = db.execute(wanted).fetchone()
        key = call_key(namespace, str(body).encode(), sample)  # whoever made it knows how
        crc = reply_crc(text, finish_reason, tuple(usage))
        db.execute("UPDATE calls SET key = ?, crc = ?", (key, crc))
        db.commit()
    notices: list[str] = []
    assert await export(path, notices.append) == []
    assert notices == [f"{path}: 2 rows are damaged and left out"]
    assert json.dumps(await inspect(path))
    async with open_store(path, read_only=True) as store:
        with pytest.raises(StoreError, match="is damaged"):
            await store.calls_for("r")
        if column in ("text", "prompt"):
            with pytest.raises(StoreError, match="is damaged"):
                await store.get(key)


async def test_a_pending_call_of_another_type_is_damage(path: Path) -> None:
    async with open_store(path) as store:
        await store.put_pending(b"k", Request(()), b"{}", "n")
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE pending SET body = x'00'")
        db.commit()
    async with open_store(path, read_only=True) as store:
        with pytest.raises(StoreError, match="is damaged"):
            await store.get_pending(b"k")


@settings(max_examples=20, deadline=None)
@given(st.data())
async def test_damage_never_makes_another_answer(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("store") / "calls.sqlite"
    await fill(path, range(30))
    good = path.read_bytes()
    changed = bytearray(good)
    for start in data.draw(st.lists(st.integers(0, len(good) - 1), max_size=8)):
        piece = data.draw(st.binary(max_size=300))
        changed[start : start + len(piece)] = piece
    path.write_bytes(changed[: data.draw(st.integers(1, len(good)))])
    with suppress(StoreError):
        await fill(path, range(30))  # asserts that each reply is the right one


# ---- a damaged write-ahead log -----------------------------------------------------------------


@dataclass(frozen=True)
class Killed:
    """What a kill leaves: a store, a log that holds most of it, and how many of its answers had
    been acknowledged when the log had so many frames."""

    main: bytes
    log: bytes
    acknowledged: dict[int, int]

    def lay(self, folder: Path, log: bytes) -> Path:
        path = folder / "calls.sqlite"
        path.write_bytes(self.main)
        Path(f"{path}-wal").write_bytes(log)
        Path(f"{path}-shm").unlink(missing_ok=True)
        return path


ALL, STEP = 120, 10
HEADER, FRAME = 32, 24 + 8192  # bytes of the log's head, and of each page in it


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    path = tmp_path_factory.mktemp("store") / "calls.sqlite"
    wal = Path(f"{path}-wal")

    async def run() -> Killed:
        await fill(path, range(STEP))
        acknowledged = {0: STEP}
        async with open_store(path) as store:
            chat = CachedChat(ScriptedBackend(echo), store)
            for start in range(STEP, ALL, STEP):
                numbers = range(start, start + STEP)
                await asyncio.gather(*(chat(ask("x" * (i % 7) + str(i))) for i in numbers))
                acknowledged[(wal.stat().st_size - HEADER) // FRAME] = start + STEP
            return Killed(path.read_bytes(), wal.read_bytes(), acknowledged)

    return asyncio.run(run())


async def test_the_torn_end_of_a_log_is_no_damage(tmp_path: Path, killed: Killed) -> None:
    rng = random.Random(0)
    for cut in [0, 20, HEADER, HEADER + 5, *(rng.randrange(len(killed.log)) for _ in range(20))]:
        path = killed.lay(tmp_path, killed.log[:cut])
        whole = max(0, cut - HEADER) // FRAME
        there = max(n for frame, n in killed.acknowledged.items() if frame <= whole)
        assert await replayed(path, ALL) >= there


@settings(max_examples=20, deadline=None)
@given(where=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
async def test_damage_in_the_log_never_makes_another_answer(
    tmp_path_factory: pytest.TempPathFactory, killed: Killed, where: float, change: int
) -> None:
    """What stands behind it is asked again: SQLite takes it for the torn end of a transaction."""
    log = bytearray(killed.log)
    log[int(where * len(log))] ^= change
    path = killed.lay(tmp_path_factory.mktemp("store"), bytes(log))
    assert await fill(path, range(ALL)) <= ALL - STEP


async def test_a_store_of_another_schema_is_refused(path: Path) -> None:
    await open_store(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match=r"schema version 99 .*calls export"):
        open_store(path)
    other = path.with_name("other.sqlite")
    db = sqlite3.connect(other)
    db.execute("CREATE TABLE t(x)")
    db.close()
    with pytest.raises(StoreError, match="not a call store"):
        open_store(other)


async def test_the_documented_pragmas_make_a_recovered_file_a_store(path: Path) -> None:
    """`.recover` of an older `sqlite3` does not hand them on."""
    await fill(path, range(3))
    page = (Path(__file__).parents[1] / "docs" / "servers.md").read_text()
    (pragmas,) = re.findall(r"sqlite3 saved\.sqlite '(PRAGMA .*)'", page)
    db = sqlite3.connect(path)
    db.executescript("PRAGMA application_id = 0; PRAGMA user_version = 0")
    with pytest.raises(StoreError, match="not a call store"):
        await export(path)
    db.executescript(pragmas)
    db.close()
    assert len(await export(path)) == 3


# ---- batches -----------------------------------------------------------------------------------


async def pend(path: Path, server: Server, numbers: range) -> int:
    async with open_store(path) as store:
        backend = PendingBackend(HttpBackend("any", [server.url]), store)
        chat = CachedChat(backend, store)
        for i in numbers:
            with suppress(CallPending):
                await chat(ask(i // 4, index=i % 4, record=f"r{i}"))
        return backend.noted


async def test_a_batch_file_goes_out_and_its_results_come_back(path: Path, tmp_path: Path) -> None:
    with Server(latency=0.001) as server:
        assert await pend(path, server, range(20)) == 20
        async with open_store(path, read_only=True) as store:
            lines = [json.loads(line) async for line in batch_lines(store)]
        assert len(lines) == len({line["custom_id"] for line in lines}) == 20
        assert lines[0].keys() == {"custom_id", "method", "url", "body"}
        assert lines[0]["body"]["model"] == "any"
        results = tmp_path / "results.jsonl"
        answered = [await one_result(server, line) for line in reversed(lines)]
        answered[3] |= {"response": None, "error": {"message": "expired"}}
        answered[4]["response"] = {"status_code": 500, "body": {}}
        answered.append(
            {"custom_id": "00" * 16 + "-0", "response": {"status_code": 200, "body": {}}}
        )
        results.write_text("".join(json.dumps(r) + "\n" for r in [*answered, answered[0]]))
        done = await import_file(path, results)
        assert (done.added, done.known, done.failed, done.strange) == (18, 1, 2, 1)
        assert (await inspect(path))["pending"] == 2
        async with open_store(path, read_only=True) as store:
            (call,) = await store.calls_for("r13") or await store.calls_for("r14")
            assert call.stage == "s"
        assert await pend(path, server, range(20)) == 2
        async with open_store(path) as store:
            await store.forget_pending()
        assert (await inspect(path))["pending"] == 0


async def one_result(server: Server, line: dict[str, object]) -> dict[str, object]:
    """What `vllm run-batch` writes for a line of its input."""
    body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}}]}
    return {
        "id": "vllm-1",
        "custom_id": line["custom_id"],
        "response": {"status_code": 200, "request_id": "x", "body": body},
        "error": None,
    }


async def test_batches_run_remotely_and_answer_as_the_server_itself_does(path: Path) -> None:
    notices: list[str] = []
    with Server(batch_polls=2, batch_fails=3) as server:
        await pend(path, server, range(40))
        done = await run_batches(path, server.url, None, poll=0.01, on_notice=notices.append)
        assert (done.added, done.failed) == (37, 3)
        assert any("in_progress" in n for n in notices)
        server.chaos()
        key = "sk-secret\n"  # as a file of one line has it
        assert (await run_batches(path, server.url, key, poll=0.01)).added == 3
        assert (await inspect(path))["pending"] == 0
        async with open_store(path) as store:
            http = HttpBackend("any", [server.url])
            chat = CachedChat(http, store)
            for i in range(40):
                reply = await chat(ask(i // 4, index=i % 4))
                assert reply.text == f"reply {i % 4}"
            assert chat.counts["s"].asked == 0
            await http.close()


async def test_a_batch_on_its_way_is_polled_not_submitted_again(path: Path) -> None:
    with Server(batch_polls=1000) as server:
        await pend(path, server, range(10))
        for _ in range(3):  # killed while it polls
            run = asyncio.create_task(run_batches(path, server.url, None, poll=0.01))
            await asyncio.sleep(0.15)
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)
        db = sqlite3.connect(path)  # killed after submitting, before noting it
        db.execute("UPDATE pending SET batch = ''")
        db.commit()
        db.close()
        run = asyncio.create_task(run_batches(path, server.url, None, poll=0.01))
        await asyncio.sleep(0.1)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        assert (await inspect(path))["pending"] == 10
        assert server.stats()["batches"] == 1


@pytest.mark.parametrize("lost", ["batch", "results"])
async def test_a_batch_that_the_server_has_lost_is_submitted_anew(path: Path, lost: str) -> None:
    with Server(batch_lost=lost) as server:
        await pend(path, server, range(10))
        with pytest.raises(ModelUnavailable, match="no longer has batch batch-0 or its results"):
            await run_batches(path, server.url, None, poll=0.01)
        server.chaos()
        assert (await run_batches(path, server.url, None, poll=0.01)).added == 10


async def test_a_wrong_url_is_no_lost_batch(path: Path) -> None:
    with Server() as server:
        await pend(path, server, range(10))
        async with open_store(path) as store:
            await store.assign([call.key async for call in store.pending()], "batch-0")
        with pytest.raises(ModelUnavailable, match="/batches failed"):
            await run_batches(path, server.url.replace("/v1", "/other"), None, poll=0.01)
        async with open_store(path, read_only=True) as store:
            assert await store.batches() == ["batch-0"]


@pytest.mark.parametrize("word", ["COMPLETED", "ended"])
async def test_a_batch_ends_in_the_words_of_any_server(path: Path, word: str) -> None:
    with Server(batch_ends=word) as server:
        await pend(path, server, range(10))
        async with asyncio.timeout(10):
            assert (await run_batches(path, server.url, None, poll=0.01)).added == 10


async def test_a_batch_that_failed_says_why_and_one_in_unheard_words_is_not_polled_for_ever(
    path: Path,
) -> None:
    with Server(batch_ends="failed") as server:
        await pend(path, server, range(10))
        with pytest.raises(ModelUnavailable, match=r"batch-0 failed: the model does not exist"):
            await run_batches(path, server.url, None, poll=0.01)
        assert server.stats()["batches"] == 1  # another command submits it, not this one
        server.chaos(batch_ends="unwell", batch_polls=0)
        with pytest.raises(ModelUnavailable, match="status 'unwell'"):
            await run_batches(path, server.url, None, poll=0.01)


async def test_a_server_without_batches_is_one_line(path: Path) -> None:
    with Server() as server:
        await pend(path, server, range(2))
        url = server.url.replace("/v1", "/other")
        with pytest.raises(ModelUnavailable, match=r"/batches failed .404 no route"):
            await run_batches(path, url, "sk-secret", poll=0.01)
