"""The call store: every answered model call, durable before its answer is used.

One SQLite file (WAL). Rows queue up while the last group is being written and the next commit takes
them all, so that a put costs one share of one fsync however many calls are in flight. A call is
named by what decides its answer (`call_key`), so a run that is killed and started again reads back
what was paid for. Keys are looked up, never all held in memory.

    calls      one row per answered call; `crc` guards the reply, the key itself guards the body
    uses       which further records a stored call served (its first one stands in its own row)
    outcomes   sandbox outcomes that depend on the machine, stored so that a replay is exact
    pending    requests for a batch file, not yet answered; `batch` where a server has taken them
    marks      which calls each finished run used, one bit a call: what `gc` keeps

The writer holds an flock on FILE.lock, which the kernel drops when its process dies. Readers need
no lock. SQLite's WAL does not work on network file systems; those are refused.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sqlite3
import threading
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from autoif.base.errors import StoreError
from autoif.base.records import Reply, Request, Usage
from autoif.store.sqlite_file import check, connect, create, damaged, explain, reply_crc, take_lock

ROWS_A_STEP = 64
SEEN_BITS = 26  # 8 MB: at ten million calls one look-up in seven is still in vain
PUT_CALL = f"INSERT OR IGNORE INTO calls VALUES({','.join('?' * 14)})"
PUT_USE = "INSERT OR IGNORE INTO uses VALUES(?,?)"
PUT_OUTCOMES = "INSERT OR REPLACE INTO outcomes VALUES(?,?,?)"
PUT_PENDING = "INSERT OR IGNORE INTO pending VALUES(?,?,?,?,?,?,'')"
PUT_MARK = "INSERT OR REPLACE INTO marks VALUES(?,?)"
GET_CALL = (
    "SELECT text, finish_reason, prompt, cached, completion, reasoning, crc, id, record "
    "FROM calls WHERE key = ?"
)
CALLS_FOR = (
    "SELECT key, namespace, sample, stage, record, body, text, finish_reason, prompt, cached, "
    "completion, reasoning FROM calls "
    "WHERE record = ?1 OR id IN (SELECT call FROM uses WHERE record = ?1) ORDER BY id"
)


@dataclass(frozen=True, slots=True)
class StoredCall:
    """One answered call as it lies in the store. `record` is the first one it was made for."""

    key: str
    namespace: str
    index: int
    stage: str
    record: str
    body: Mapping[str, Any]
    reply: Reply


def canonical(body: Mapping[str, Any]) -> bytes:
    """The body as JSON with sorted keys. Lone surrogates, which UTF-8 lacks, come out escaped."""
    try:
        return orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONEncodeError, TypeError):
        return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


def call_key(namespace: str, body: bytes, index: int) -> bytes:
    """16 bytes that name a call: blake2b-128 of namespace, sample index and canonical body."""
    head = f"{namespace}\0{index}\0".encode()
    return hashlib.blake2b(head + body, digest_size=16).digest()


def call_row(
    number: int | None, key: bytes, namespace: str, request: Request, body: str, reply: Reply
) -> tuple[Any, ...]:
    """A row of `calls` (PUT_CALL). `number` None lets SQLite number it."""
    u = reply.usage
    usage = (u.prompt, u.cached, u.completion, u.reasoning)
    crc = reply_crc(reply.text, reply.finish_reason, usage)
    return (number, key, namespace, request.index, request.stage, request.record, body,
            reply.text, reply.finish_reason, *usage, crc)  # fmt: skip


class CallStore:
    """See the module. One writer at a time (any number of readers); used from one event loop."""

    def __init__(self, path: Path, reader: sqlite3.Connection, lock: int | None) -> None:
        self.path = path
        self._db = reader
        self._lock = lock
        self._queue: list[tuple[str, tuple[Any, ...], asyncio.Future[None] | None]] = []
        self._waiting = threading.Condition()  # guards the queue and the closing flag
        self._closing = False
        self._failed: StoreError | None = None
        self._writer: threading.Thread | None = None
        self._next_id = 0
        self._touched = bytearray()  # a bit per row of `calls` that this process read or wrote
        self._seen = bytearray()  # a bit per hash of a key: what is not here is not in the store

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False) -> CallStore:
        """Open or make the store. Raises StoreError (one line, with what to do) where it is locked,
        damaged, of another schema, on a network file system, or cannot be written."""
        if read_only:
            return cls(path, connect(path, read_only=True), None)
        lock = take_lock(path)
        try:
            if not path.exists():
                create(path)
            reader, writer = connect(path), connect(path)
            check(reader, path)
            store = cls(path, reader, lock)
            (store._next_id,) = writer.execute(
                "SELECT coalesce(max(id), 0) + 1 FROM calls"
            ).fetchone()
            store._seen = bytearray(1 << SEEN_BITS - 3)
            for (key,) in writer.execute("SELECT key FROM calls"):
                store._see(key)
        except sqlite3.Error as e:
            os.close(lock)
            raise explain(e, path) from e
        except BaseException:
            os.close(lock)
            raise
        store._writer = threading.Thread(
            target=store._write_loop, args=(writer,), name="call-store", daemon=True
        )
        store._writer.start()
        return store

    # ---- calls ---------------------------------------------------------------------------------

    async def get(self, key: bytes, record: str = "") -> Reply | None:
        """The stored reply, or None. A `record` not met with this call before is noted with it.
        Runs in the caller: a look-up takes microseconds, less than handing it to a thread. Most
        calls are new, and those need none."""
        if not self._may_have(key):
            return None
        try:
            row = self._db.execute(GET_CALL, (key,)).fetchone()
        except sqlite3.Error as e:
            raise explain(e, self.path) from e
        if row is None:
            return None
        text, finish_reason, prompt, cached, completion, reasoning, crc, call, first = row
        if reply_crc(text, finish_reason, (prompt, cached, completion, reasoning)) != crc:
            raise damaged(self.path, f"the reply of call {key.hex()} is not what was written")
        if self._writer is not None:
            self._touch(call)
            if record and record != first:
                self._append(PUT_USE, (record, call), None)
        return Reply(text, finish_reason, Usage(prompt, cached, completion, reasoning))

    async def put(
        self, key: bytes, request: Request, body: bytes, namespace: str, reply: Reply
    ) -> None:
        """Returns when the reply is on disk. Raises StoreError where it cannot get there. The first
        answer to a key stays. `body`: canonical."""
        number, self._next_id = self._next_id, self._next_id + 1
        self._touch(number)
        row = call_row(number, key, namespace, request, body.decode(), reply)
        self._see(key)
        await self._durably(PUT_CALL, row)

    async def put_pending(self, key: bytes, request: Request, body: bytes, namespace: str) -> None:
        """Note a request for the next batch file. `body`: canonical."""
        row = (key, namespace, request.index, request.stage, request.record, body.decode())
        await self._durably(PUT_PENDING, row)

    async def mark(self, run: str) -> None:
        """Note the calls that this process has used so far as used by `run`, beside those noted
        before. What no run's marks name is garbage; so mark before writing down that it is done."""
        row = self._db.execute("SELECT bits FROM marks WHERE run = ?", (run,)).fetchone()
        bits = union(bytes(self._touched), zlib.decompress(row[0]) if row else b"")
        await self._durably(PUT_MARK, (run, zlib.compress(bits)))

    def calls_for(self, record: str) -> list[StoredCall]:
        """Every call made on behalf of one record id, oldest first."""
        try:
            return [stored_call(r) for r in self._db.execute(CALLS_FOR, (record,))]
        except sqlite3.Error as e:
            raise explain(e, self.path) from e

    # ---- the sandbox's machine-dependent outcomes ----------------------------------------------

    async def get_outcomes(self, key: bytes) -> bytes | None:
        try:
            row = self._db.execute(
                "SELECT value, crc FROM outcomes WHERE key = ?", (key,)
            ).fetchone()
        except sqlite3.Error as e:
            raise explain(e, self.path) from e
        if row is None:
            return None
        if zlib.crc32(row[0]) != row[1]:
            raise damaged(self.path, f"the outcomes {key.hex()} are not what was written")
        return bytes(row[0])

    async def put_outcomes(self, key: bytes, value: bytes) -> None:
        await self._durably(PUT_OUTCOMES, (key, value, zlib.crc32(value)))

    # ---- writing -------------------------------------------------------------------------------

    async def _durably(self, statement: str, row: tuple[Any, ...]) -> None:
        done = asyncio.get_running_loop().create_future()
        self._append(statement, row, done)
        await done

    def _append(
        self, statement: str, row: tuple[Any, ...], done: asyncio.Future[None] | None
    ) -> None:
        if self._writer is None or self._closing:
            raise StoreError(f"{self.path} is open for reading only, or closed")
        if self._failed is not None:
            raise self._failed
        with self._waiting:
            self._queue.append((statement, row, done))
            self._waiting.notify()

    def _write_loop(self, db: sqlite3.Connection) -> None:
        """Commit whatever has queued up, all at once, until closed. After a failed commit nothing
        more is written: the store on disk is whole, and whoever waits is told why."""
        while True:
            with self._waiting:
                while not self._queue and not self._closing:
                    self._waiting.wait()
                group, self._queue = self._queue, []
            if not group:
                break
            self._failed = self._failed or self._commit(db, group)
            _settle([done for *_, done in group if done is not None], self._failed)
        try:
            db.close()
        except sqlite3.Error as e:
            self._failed = self._failed or explain(e, self.path)

    def _commit(
        self, db: sqlite3.Connection, group: Iterable[tuple[str, tuple[Any, ...], Any]]
    ) -> StoreError | None:
        rows: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        for statement, row, _ in group:
            rows[statement].append(row)
        steps = [step for statement, many in rows.items() for step in _steps(statement, many)]
        try:
            if len(steps) == 1:  # a transaction of its own, for a third of the steps
                db.execute(*steps[0])
                return None
            db.execute("BEGIN IMMEDIATE")
            for step in steps:
                db.execute(*step)
            db.execute("COMMIT")
        except sqlite3.Error as e:
            if db.in_transaction:
                db.execute("ROLLBACK")
            return explain(e, self.path)
        return None

    def _see(self, key: bytes) -> None:
        byte, bit = _place(key)
        self._seen[byte] |= bit

    def _may_have(self, key: bytes) -> bool:
        if not self._seen:  # open for reading: nobody has looked
            return True
        byte, bit = _place(key)
        return self._seen[byte] & bit != 0

    def _touch(self, call: int) -> None:
        byte = call >> 3
        if byte >= len(self._touched):
            self._touched.extend(bytes(max(4096, byte + 1 - len(self._touched))))
        self._touched[byte] |= 1 << (call & 7)

    def close(self) -> None:
        """Write what is queued, then let go of the file and the lock. May be called twice."""
        if self._closing:
            return
        with self._waiting:
            self._closing = True
            self._waiting.notify()
        if self._writer is not None:
            self._writer.join()
        self._db.close()
        if self._lock is not None:
            os.close(self._lock)

    def __enter__(self) -> CallStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _steps(statement: str, rows: Sequence[tuple[Any, ...]]) -> Iterator[tuple[str, Sequence[Any]]]:
    """Like executemany, but as many rows a step as may be: each step gives up the interpreter and
    has to wait for it again, behind a busy event loop. (SQLite prepares each number of rows once.)
    """
    head, values = statement.split(" VALUES")
    for at in range(0, len(rows), ROWS_A_STEP):
        many = rows[at : at + ROWS_A_STEP]
        yield f"{head} VALUES{','.join([values] * len(many))}", list(chain.from_iterable(many))


def _place(key: bytes) -> tuple[int, int]:
    """Where a key's bit is: byte, mask. Keys are hashes already."""
    bit = int.from_bytes(key[:8], "little") & (1 << SEEN_BITS) - 1
    return bit >> 3, 1 << (bit & 7)


def union(a: bytes, b: bytes) -> bytes:
    """Two sets of row numbers, a bit each, as one."""
    size = max(len(a), len(b))
    both = int.from_bytes(a, "little") | int.from_bytes(b, "little")
    return both.to_bytes(size, "little")


def stored_call(row: tuple[Any, ...]) -> StoredCall:
    key, namespace, sample, stage, record, body, text, finish_reason, *usage = row
    reply = Reply(text, finish_reason, Usage(*usage))
    return StoredCall(key.hex(), namespace, sample, stage, record, orjson.loads(body), reply)


def _settle(waiting: list[asyncio.Future[None]], error: StoreError | None) -> None:
    """Tell the waiting tasks, from the writer's thread: one wake-up per loop, not per call."""
    loops: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = defaultdict(list)
    for future in waiting:
        loops[future.get_loop()].append(future)

    def resolve(futures: list[asyncio.Future[None]]) -> None:
        for future in futures:
            if (
                not future.done()
            ):  # its task may have been cancelled; the row is stored all the same
                future.set_result(None) if error is None else future.set_exception(error)

    for loop, futures in loops.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(resolve, futures)
