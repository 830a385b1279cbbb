"""The call store in a PostgreSQL database, which the processes of several machines share.

Its tables stand in the schema `autoif` (postgres_server.py) and mean what those of sqlite.py do,
but for `spend`: what each process of a run has paid. Two connections a process: one looks and
claims, one writes. Both say again what they said when the server was away, so every statement may
be said twice: rows that are there are left alone, and a process books totals.
"""

from __future__ import annotations

import asyncio
import os
import zlib
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from operator import add
from typing import Any, Self

from autoif.base.errors import StoreError, UsageError
from autoif.base.records import Reply, Request, Usage
from autoif.store.base import (
    GarbageCollected,
    Notice,
    PendingCall,
    Store,
    StoredCall,
    StoredOutcomes,
    call_key,
    reply_crc,
)
from autoif.store.postgres_groups import Claims, GroupQueue
from autoif.store.postgres_server import FAMILY, WRITERS, PostgresConnection, PostgresServer
from autoif.store.postgres_tables import (
    ALL_CALLS,
    ALL_OUTCOMES,
    COLLECT,
    COUNTS,
    FORGET,
    GET_CALLS,
    GET_OUTCOMES,
    OF_RECORD,
    PUT_CALLS,
    PUT_MARKS,
    PUT_OUTCOMES,
    PUT_RUNS,
    PUT_USES,
    SPENT,
    STAGES,
    USED,
    Insert,
    by_namespace,
    to_bytes,
    to_call,
    to_text,
)

Row = tuple[Any, ...]
FIRST_WAIT, LONGEST_WAIT = 0.05, 1.0  # seconds until a call that others make is looked for again
ENDING = 5  # looks for whether a process that works on the same run has ended
AT_ONCE = 500  # rows that are read ahead of whoever takes the whole store


class PostgresStore(Store):
    """See the module. Used as `async with`, in one event loop.

    run: on whose account the calls are that are put here ("": nobody's, as those of an import).
    """

    def __init__(self, server: PostgresServer, run: str, *, read_only: bool) -> None:
        self.server, self._run, self._read_only = server, to_bytes(run), read_only
        self._worker = os.urandom(8)
        self._paid: defaultdict[bytes, list[int]] = defaultdict(lambda: [0] * 5)  # by namespace
        self._crowded = False  # the server had no room for a claim
        self._touched: set[int] = set()  # calls that were read or written since the last mark

    async def __aenter__(self) -> Self:
        await self.server.prepare(read_only=self._read_only)
        self._claims = Claims(self._no_room)
        retake = None if self._read_only else self._claims.retake
        self._asker = PostgresConnection(self.server, retake)
        self._writer = PostgresConnection(self.server)
        await self._asker.open()
        self._calls: GroupQueue[bytes, tuple[Any, bool]]
        self._calls = GroupQueue(self._look_for_calls, self._unwanted)
        self._outcomes: GroupQueue[bytes, Any] = GroupQueue(self._look_for_outcomes)
        self._writes: GroupQueue[tuple[Insert, Row], Any] = GroupQueue(self._write)
        return self

    async def close(self) -> None:
        await self._writes.close()
        for queue in (self._calls, self._outcomes):
            await queue.close(drain=False)
        await self._writer.close()
        await self._asker.close()

    # ---- calls of a run ------------------------------------------------------------------------

    async def get(self, key: bytes, record: str = "") -> Reply | None:
        pause = FIRST_WAIT
        while True:
            row, mine = await self._calls.ask(key)
            if row is not None:
                return self._reply(row, record)
            if self._read_only:
                return None
            if mine:
                await self._writer.well.wait()  # no new call while what is paid cannot be stored
                if self._writes.failed:
                    raise self._writes.failed
                return None
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_WAIT)

    async def put(
        self, key: bytes, request: Request, body: bytes, namespace: str, reply: Reply
    ) -> Reply:
        u = reply.usage
        usage = (u.prompt, u.cached, u.completion, u.reasoning)
        crc = reply_crc(reply.text, reply.finish_reason, usage)
        words = (request.stage, request.record)
        row = (key, to_bytes(namespace), request.index, *map(to_bytes, words), body,
               to_bytes(reply.text), to_bytes(reply.finish_reason), *usage, crc)  # fmt: skip
        self._open_for_writing()
        self._claims.writing(key)
        stands = await self._writes.ask((PUT_CALLS, row))
        return reply if stands is None else self._reply(stands, request.record)

    def leave(self, key: bytes) -> None:
        self._claims.leave(key)
        self._calls.wake()  # others may be waiting

    def _unwanted(self, key: bytes, looked: tuple[Any, bool]) -> None:
        if looked[1]:
            self.leave(key)

    async def get_outcomes(self, key: bytes) -> bytes | None:
        row = await self._outcomes.ask(key)
        return None if row is None else self._value(row)

    async def put_outcomes(self, key: bytes, value: bytes) -> bytes:
        self._open_for_writing()
        stands = await self._writes.ask((PUT_OUTCOMES, (key, value, zlib.crc32(value))))
        return value if stands is None else self._value(stands)

    async def mark(self, run: str) -> None:
        self._open_for_writing()
        touched, self._touched = self._touched, set()
        name = to_bytes(run)
        await self._writes.ask((PUT_RUNS, (name,)))
        for call in touched:
            self._writes.soon((PUT_MARKS, (name, call)))
        await self._writes.ask((PUT_RUNS, (name,)))  # it comes back after all that queued before it

    async def used(self, run: str) -> dict[str, Usage]:
        return by_namespace(await self._asker.fetch(USED, to_bytes(run), seconds=None))

    async def spent(self, run: str) -> dict[str, Usage]:
        return by_namespace(await self._asker.fetch(SPENT, to_bytes(run)))

    async def hold(self, run: str) -> None:
        key = call_key(run, b"driver", 0)
        for _ in range(ENDING):
            if self._claims is None or await self._claims.take(self._asker, [key]):
                return
            await asyncio.sleep(LONGEST_WAIT)  # a process that was killed may not be gone yet
        raise StoreError(
            f"{self.server.name}: another process is at work on this run: wait for it, or choose "
            "another --out"
        )

    # ---- batches: a server's batch takes hours, and a file is enough for them ------------------

    async def put_pending(self, key: bytes, request: Request, body: bytes, namespace: str) -> None:
        raise self._no_batches()

    async def get_pending(self, key: bytes) -> PendingCall | None:
        raise self._no_batches()

    def pending(self, batch: str = "") -> AsyncIterator[PendingCall]:
        raise self._no_batches()

    async def batches(self) -> list[str]:
        raise self._no_batches()

    async def assign(self, keys: Iterable[bytes], batch: str) -> None:
        raise self._no_batches()

    async def forget_pending(self) -> None:
        raise self._no_batches()

    def _no_batches(self) -> StoreError:
        return StoreError(
            f"{self.server.name} takes no batches: give a file with --calls, and bring its calls "
            "here with `autoif calls export` and `import`"
        )

    # ---- the store as a whole ------------------------------------------------------------------

    async def calls_for(self, record: str) -> list[StoredCall]:
        calls = []
        for row in await self._asker.fetch(OF_RECORD, to_bytes(record)):
            if (call := to_call(row)) is None:
                raise self._damaged(f"a call for {record}")
            calls.append(call)
        return calls

    async def contents(self, on_notice: Notice) -> AsyncIterator[StoredCall | StoredOutcomes]:
        left_out = 0
        async with (
            self.server.connected() as db,
            db.transaction(isolation="repeatable_read", readonly=True),
        ):
            async for row in db.cursor(ALL_CALLS, prefetch=AT_ONCE):
                if (call := to_call(row)) is not None:
                    yield call
                else:
                    left_out += 1
            async for key, value, crc in db.cursor(ALL_OUTCOMES, prefetch=AT_ONCE):
                if zlib.crc32(value) == crc:
                    yield StoredOutcomes(key.hex(), value)
                else:
                    left_out += 1
        if left_out:
            on_notice(f"{self.server.name}: {left_out:,} rows are damaged and left out")

    async def inspect(self) -> dict[str, Any]:
        names = ("calls", "prompt", "cached", "completion", "reasoning")
        async with (
            self.server.connected() as db,
            db.transaction(isolation="repeatable_read", readonly=True),
        ):
            calls, outcomes, size = await db.fetchrow(COUNTS)
            stages = await db.fetch(STAGES)
            runs = await db.fetch("SELECT name FROM runs ORDER BY name")
        return {
            "calls": calls,
            "outcomes": outcomes,
            "pending": 0,
            "bytes": size,
            "runs": [to_text(name) for (name,) in runs],
            "stages": [
                {"namespace": to_text(namespace), "stage": to_text(stage)}
                | dict(zip(names, numbers, strict=True))
                for namespace, stage, *numbers in stages
            ],
        }

    async def collect_garbage(self, forget: Iterable[str] = ()) -> GarbageCollected:
        self._open_for_writing()
        alone = f"SELECT pg_try_advisory_lock({FAMILY}, {WRITERS})"
        if not (await self._asker.fetch(alone))[0][0]:
            raise StoreError(f"{self.server.name} is in use by a run: wait for it, or stop it")
        async with self.server.connected() as db:
            async with db.transaction():
                for run in forget:
                    if not await db.fetchval(FORGET, to_bytes(run)):
                        raise UsageError(f"no run named {run!r} has used {self.server.name}")
                if not await db.fetchval("SELECT count(*) FROM runs"):
                    raise StoreError(
                        f"no finished run is on record in {self.server.name}: nothing says what "
                        "is garbage"
                    )
                dropped, freed = await db.fetchrow(COLLECT)
                kept = await db.fetchval("SELECT count(*) FROM calls")
            await db.execute("VACUUM ANALYZE calls")  # the space is free for the next calls
        return GarbageCollected(kept, dropped, freed)

    # ---- within --------------------------------------------------------------------------------

    async def _look_for_calls(self, keys: Sequence[bytes]) -> list[tuple[Any, bool]]:
        """Of each its row, or None; and whether it is claimed. First the claim, then the look: no
        answer can come between them."""
        ours = set() if self._read_only else await self._claims.take(self._asker, keys)
        rows = {row[0]: row for row in await self._asker.fetch(GET_CALLS, keys)} if keys else {}
        looked = []
        for key in keys:
            if key in rows:
                self._claims.leave(key)
            looked.append((rows.get(key), key in ours))
            ours.discard(key)  # two tasks that look for it at once: one makes the call
        return looked

    async def _look_for_outcomes(self, keys: Sequence[bytes]) -> list[Any]:
        if not keys:
            return []
        rows = {row[0]: row for row in await self._asker.fetch(GET_OUTCOMES, keys)}
        return list(map(rows.get, keys))

    async def _write(self, items: Sequence[tuple[Insert, Row]]) -> list[Any]:
        """Of each call and outcome the row that stood already, or None."""
        rows: defaultdict[Insert, list[Row]] = defaultdict(list)
        for insert, row in items:
            rows[insert].append(row)
        stood = {insert: iter(await self._insert(insert, some)) for insert, some in rows.items()}
        return [next(stood[insert]) for insert, _ in items]

    async def _insert(self, insert: Insert, rows: Sequence[Row]) -> list[Any]:
        columns = zip(*sorted(rows, key=lambda row: row[: insert.order]), strict=True)
        totals = self._totals(rows) if insert is PUT_CALLS else ()
        added = await self._writer.fetch(insert.statement, *columns, *totals)
        if insert is PUT_CALLS:
            self._touched.update(call for _, call in added)
            for key, *_ in rows:
                self._claims.release(key)
        new = {row[0] for row in added}
        if not insert.look or len(new) == len(rows):
            return [None] * len(rows)
        late = []  # keys; of one that is here twice, the first row is the new one
        for key, *_ in rows:
            late.append(None if key in new else key)
            new.discard(key)
        stands = {
            row[0]: row for row in await self._writer.fetch(insert.look, list(filter(None, late)))
        }
        return list(map(stands.get, late))

    def _totals(self, rows: Iterable[Row]) -> list[Any]:
        """Run, worker, and an array for each column of what it has paid so far, these rows
        included, for their namespaces."""
        namespaces = {row[1] for row in rows} if self._run else set()
        for _, namespace, *_, prompt, cached, completion, reasoning, _ in rows:
            one = (1, prompt, cached, completion, reasoning)
            self._paid[namespace] = list(map(add, self._paid[namespace], one))
        paid = [(namespace, *self._paid[namespace]) for namespace in sorted(namespaces)]
        return [self._run, self._worker, *([row[n] for row in paid] for n in range(6))]

    def _reply(self, row: Any, record: str) -> Reply:
        key, call, first, text, finish_reason, *tokens, crc = row
        text, finish_reason = to_text(text), to_text(finish_reason)
        if reply_crc(text, finish_reason, (*tokens,)) != crc:
            raise self._damaged(f"the reply of call {key.hex()}")
        if not self._read_only:
            self._touched.add(call)
            if record and to_bytes(record) != first:
                self._writes.soon((PUT_USES, (to_bytes(record), call)))
        return Reply(text, finish_reason, Usage(*tokens))

    def _value(self, row: Any) -> bytes:
        key, value, crc = row
        if zlib.crc32(value) != crc:
            raise self._damaged(f"the outcomes {key.hex()}")
        return bytes(value)

    def _damaged(self, what: str) -> StoreError:
        return StoreError(
            f"{self.server.name} is damaged ({what}: not what was written): `autoif calls "
            "export` saves what can be read"
        )

    def _open_for_writing(self) -> None:
        if self._read_only:
            raise StoreError(f"{self.server.name} is open for reading only")

    def _no_room(self) -> None:
        if not self._crowded:
            self._crowded = True
            self.server.on_notice(
                f"{self.server.name} has no room for more claims, so calls in flight may be paid "
                "twice: set max_locks_per_transaction = 1024 in postgresql.conf and restart it"
            )
