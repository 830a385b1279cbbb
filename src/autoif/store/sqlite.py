"""The call store in one SQLite file (WAL).

Rows queue up while the last group is being written and the next commit takes them all, so that a
put costs one share of one fsync however many calls are in flight. A call is named by what decides
its answer (`call_key`), so a run that is killed and started again reads back what was paid for.
Keys are looked up, never all held in memory.

    calls      one row per answered call; `crc` guards the reply, the key itself guards the body
    uses       which further records a stored call served (its first one stands in its own row)
    outcomes   sandbox outcomes that depend on the machine, stored so that a replay is exact
    pending    requests for a batch file; `batch` where a server has taken them
    marks      which calls each run has used: what `gc` keeps; `runs` has their names

The writer holds an flock on FILE.lock, which the kernel drops when its process dies. Readers need
no lock. SQLite's WAL does not work on network file systems; those are refused.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from array import array
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import orjson

from autoif.base.errors import StoreError
from autoif.base.records import Reply, Request, Usage
from autoif.store.base import (
    GarbageCollected,
    Notice,
    PendingCall,
    Store,
    StoredCall,
    StoredOutcomes,
    are,
    is_json,
    reply_crc,
    stored_call,
)
from autoif.store.sqlite_file import (
    FORGET,
    check,
    collect_garbage,
    connect,
    connected,
    create,
    damaged,
    explain,
    inspect,
    lock_writer,
)
from autoif.store.sqlite_writer import GroupWriter, Row

SEEN_BITS = 26  # 8 MB: at ten million calls one look-up in seven is still in vain

PUT_CALL = f"INSERT OR IGNORE INTO calls VALUES({','.join('?' * 14)})"
PUT_USE = "INSERT OR IGNORE INTO uses VALUES(?,?)"
PUT_OUTCOMES = "INSERT OR IGNORE INTO outcomes VALUES(?,?,?)"
PUT_PENDING = "INSERT OR IGNORE INTO pending VALUES(?,?,?,?,?,?,'')"
PUT_RUN = "INSERT OR IGNORE INTO runs(name) VALUES(?)"
PUT_MARKS = (
    "INSERT OR IGNORE INTO marks SELECT runs.id, value FROM runs, json_each(?2) WHERE name = ?1"
)
ASSIGN = "UPDATE pending SET batch = ? WHERE key = ?"
NEXT_ID = (
    "SELECT 1 + ifnull(max(id), 0) FROM "
    "(SELECT max(id) AS id FROM calls UNION SELECT max(call) FROM marks)"
)
GET_CALL = (
    "SELECT text, finish_reason, prompt, cached, completion, reasoning, crc, id, record "
    "FROM calls WHERE key = ?"
)
GET_OUTCOMES = "SELECT value, crc FROM outcomes WHERE key = ?"
CALLS = (
    "SELECT key, namespace, sample, stage, record, body, text, finish_reason, prompt, cached, "
    "completion, reasoning, crc FROM calls"
)
OF_RECORD = " WHERE record = ?1 OR id IN (SELECT call FROM uses WHERE record = ?1) ORDER BY id"
USED = (
    "SELECT namespace, sum(prompt), sum(cached), sum(completion), sum(reasoning) FROM calls WHERE "
    "id IN (SELECT call FROM marks JOIN runs ON runs.id = run WHERE name = ?) GROUP BY namespace"
)
PENDING = (
    "SELECT key, namespace, sample, stage, record, body FROM pending WHERE NOT EXISTS "
    "(SELECT 1 FROM calls WHERE calls.key = pending.key) AND "
)
BATCHES = (
    "SELECT DISTINCT batch FROM pending WHERE batch != '' AND NOT EXISTS "
    "(SELECT 1 FROM calls WHERE calls.key = pending.key) ORDER BY batch"
)


class SqliteStore(Store):
    """See the module. One writer at a time (any number of readers); used from one event loop."""

    def __init__(self, path: Path, reader: sqlite3.Connection, lock: int | None) -> None:
        self.path = path
        self._db = reader
        self._lock = lock
        self._writer: GroupWriter | None = None  # None: open for reading only
        self._closed = False
        self._next_id = 0
        self._touched = array("q")  # ids of the calls that were read or written since the last mark
        self._seen = bytearray()  # a bit per hash of a key: what is not here is not in the store

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False) -> SqliteStore:
        """See `open_store`."""
        if read_only:
            return cls(path, connect(path, read_only=True), None)
        lock = lock_writer(path)
        try:
            if not path.exists():
                create(path)
            reader, writer = connect(path), connect(path)
            check(reader, path)
            store = cls(path, reader, lock)
            (store._next_id,) = writer.execute(NEXT_ID).fetchone()
            store._seen = bytearray(1 << SEEN_BITS - 3)
            for (key,) in writer.execute("SELECT CAST(key AS BLOB) FROM calls"):
                store._see(key)
        except sqlite3.Error as e:
            os.close(lock)
            raise explain(e, path) from e
        except BaseException:
            os.close(lock)
            raise
        store._writer = GroupWriter(path, writer)
        return store

    # ---- calls of a run ------------------------------------------------------------------------

    async def get(self, key: bytes, record: str = "") -> Reply | None:
        """Runs in the caller: a look-up takes microseconds, less than handing it to a thread. Most
        calls are new, and those need none."""
        if not self._may_have(key):
            return None
        row = self._first(GET_CALL, key)
        if row is None:
            return None
        text, finish_reason, prompt, cached, completion, reasoning, crc, call, first = row
        usage = (prompt, cached, completion, reasoning)
        typed = are(str, text, finish_reason, first) and are(int, *usage)
        if not typed or reply_crc(text, finish_reason, usage) != crc:
            raise damaged(self.path, f"the reply of call {key.hex()} is not what was written")
        if self._writer is not None:
            self._touched.append(call)
            if record and record != first:
                self._open_writer().soon(PUT_USE, [(record, call)])
        return Reply(text, finish_reason, Usage(*usage))

    async def put(
        self, key: bytes, request: Request, body: bytes, namespace: str, reply: Reply
    ) -> Reply:
        number, self._next_id = self._next_id, self._next_id + 1
        self._touched.append(number)
        self._see(key)
        u = reply.usage
        usage = (u.prompt, u.cached, u.completion, u.reasoning)
        crc = reply_crc(reply.text, reply.finish_reason, usage)
        row = (number, key, namespace, request.index, request.stage, request.record, body.decode(),
               reply.text, reply.finish_reason, *usage, crc)  # fmt: skip
        new = await self._open_writer().durably(PUT_CALL, row)
        if not new and self._first("SELECT id FROM calls WHERE key = ?", key) != (number,):
            return await self.get(key, request.record) or reply
        return reply

    async def get_outcomes(self, key: bytes) -> bytes | None:
        row = self._first(GET_OUTCOMES, key)
        if row is None:
            return None
        if not are(bytes, row[0]) or zlib.crc32(row[0]) != row[1]:
            raise damaged(self.path, f"the outcomes {key.hex()} are not what was written")
        return bytes(row[0])

    async def put_outcomes(self, key: bytes, value: bytes) -> bytes:
        stands = await self.get_outcomes(key)
        row = (key, value, zlib.crc32(value))
        if stands is None and not await self._open_writer().durably(PUT_OUTCOMES, row):
            stands = await self.get_outcomes(key)
        return value if stands is None else stands

    async def mark(self, run: str) -> None:
        touched, self._touched = self._touched, array("q")
        self._open_writer().soon(PUT_RUN, [(run,)])
        calls = orjson.dumps(sorted(set(touched))).decode()
        await self._open_writer().durably(PUT_MARKS, (run, calls))

    async def used(self, run: str) -> dict[str, Usage]:
        return {namespace: Usage(*tokens) for namespace, *tokens in self._all(USED, run)}

    # ---- calls that wait for a batch -----------------------------------------------------------

    async def put_pending(self, key: bytes, request: Request, body: bytes, namespace: str) -> None:
        row = (key, namespace, request.index, request.stage, request.record, body.decode())
        await self._open_writer().durably(PUT_PENDING, row)

    async def get_pending(self, key: bytes) -> PendingCall | None:
        row = self._first(f"{PENDING} key = ?", key)
        return self._pending_call(row) if row else None

    async def pending(self, batch: str = "") -> AsyncIterator[PendingCall]:
        with connected(self.path) as db:  # a snapshot, which must not be that of `get`
            for row in db.execute(f"{PENDING} batch = ? ORDER BY key", (batch,)):
                yield self._pending_call(row)

    async def batches(self) -> list[str]:
        return [batch for (batch,) in self._all(BATCHES)]

    async def assign(self, keys: Iterable[bytes], batch: str) -> None:
        await self._open_writer().durably(ASSIGN, *((batch, key) for key in keys))

    async def forget_pending(self) -> None:
        await self._open_writer().durably(FORGET, ())

    # ---- the store as a whole ------------------------------------------------------------------

    async def calls_for(self, record: str) -> list[StoredCall]:
        calls = []
        for row in self._all(CALLS + OF_RECORD, record):
            if (call := stored_call(row)) is None:
                raise damaged(self.path, f"a call for {record} is not what was written")
            calls.append(call)
        return calls

    async def contents(self, on_notice: Notice) -> AsyncIterator[StoredCall | StoredOutcomes]:
        left_out = 0
        with connected(self.path) as db:
            db.text_factory = lambda text: text.decode("utf-8", "replace")  # damage may be anywhere
            for row in db.execute(f"{CALLS} ORDER BY id"):
                if (call := stored_call(row)) is not None:
                    yield call
                else:
                    left_out += 1
            for key, value, crc in db.execute("SELECT key, value, crc FROM outcomes ORDER BY key"):
                if are(bytes, key, value) and zlib.crc32(value) == crc:
                    yield StoredOutcomes(key.hex(), value)
                else:
                    left_out += 1
        if left_out:
            on_notice(f"{self.path}: {left_out:,} rows are damaged and left out")

    async def inspect(self) -> dict[str, Any]:
        with connected(self.path) as db:
            return inspect(db, self.path)

    async def collect_garbage(self, forget: Iterable[str] = ()) -> GarbageCollected:
        return collect_garbage(self.path, forget)

    def _pending_call(self, row: Row) -> PendingCall:
        key, namespace, sample, stage, record, body = row
        if not (are(bytes, key) and are(str, namespace, stage, record, body) and is_json(body)):
            raise damaged(self.path, "a pending call is not what was written")
        request = Request((), index=sample, stage=stage, record=record)
        return PendingCall(key, namespace, request, body.encode())

    # ---- within --------------------------------------------------------------------------------

    def _all(self, statement: str, *values: object) -> list[Row]:
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as e:
            raise explain(e, self.path) from e

    def _first(self, statement: str, *values: object) -> Row | None:
        rows = self._all(statement, *values)
        return rows[0] if rows else None

    def _open_writer(self) -> GroupWriter:
        if self._writer is None:
            raise StoreError(f"{self.path} is open for reading only")
        return self._writer

    def _see(self, key: bytes) -> None:
        byte, bit = _place(key)
        self._seen[byte] |= bit

    def _may_have(self, key: bytes) -> bool:
        if not self._seen:  # open for reading: nobody has looked
            return True
        byte, bit = _place(key)
        return self._seen[byte] & bit != 0

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._writer is not None:
            self._writer.close()
        self._db.close()
        if self._lock is not None:
            os.close(self._lock)


def _place(key: bytes) -> tuple[int, int]:
    """Where a key's bit is: byte, mask. Keys are hashes already."""
    bit = int.from_bytes(key[:8], "little") & (1 << SEEN_BITS) - 1
    return bit >> 3, 1 << (bit & 7)
