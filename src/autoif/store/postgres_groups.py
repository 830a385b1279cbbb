"""What queued up while the server answered the last group is said to it at once, so that all calls
in flight share a round trip and a commit; and which calls are this process's to make."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

import asyncpg

from autoif.base.errors import StoreError, one_line
from autoif.store.postgres_server import FAMILY, WRITERS, PostgresConnection

Item = TypeVar("Item")
Result = TypeVar("Result")

CLOSED = "the call store is closed"
GROUP = 1024  # items that are said at once: more gain nothing
ALIVE_SECONDS = 5.0  # a session with claims that says nothing for a minute is ended by the server
CLAIM = """
SELECT (SELECT count(*) FROM unnest($1::bigint[]) AS lock WHERE pg_advisory_unlock(lock)),
  ARRAY(SELECT pg_try_advisory_lock(lock) FROM unnest($2::bigint[]) AS lock)
"""
# Also those that were taken by a statement which then failed.
LOCKS_HELD = """
SELECT classid::bigint << 32 | objid::bigint FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 1 AND pid = pg_backend_pid()
"""


class GroupQueue(Generic[Item, Result]):
    """Hands to `work` what queued up while it worked on the last group.

    work: gives the result of each item, in their order; it is called without items when there have
    been none for ALIVE_SECONDS. unwanted: gets an item and its result where the task that asked
    is cancelled. Once `work` has raised, it is not called again and every item gets its error.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        unwanted: Callable[[Item, Result], None] = lambda item, result: None,
    ) -> None:
        self.failed: StoreError | None = None
        self._work, self._unwanted = work, unwanted
        self._waiting: list[tuple[Item, asyncio.Future[Result] | None]] = []
        self._some = asyncio.Event()
        self._closing = False
        self._task = asyncio.create_task(self._run())

    async def ask(self, item: Item) -> Result:
        """Its result. Raises StoreError."""
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.soon(item, result)
        return await result

    def soon(self, item: Item, result: asyncio.Future[Result] | None = None) -> None:
        """Without waiting. What queues first is worked on first, or in the same group."""
        if self.failed is not None:
            raise self.failed
        if self._closing:
            raise StoreError(CLOSED)
        self._waiting.append((item, result))
        self._some.set()

    def wake(self) -> None:
        """Calls `work`, also without an item."""
        self._some.set()

    async def close(self, *, drain: bool = True) -> None:
        """Returns when all that is queued is worked on; else (not `drain`) is given up."""
        self._closing = True
        self._some.set()
        if not drain:
            self._task.cancel()
        await asyncio.wait((self._task,))

    async def _run(self) -> None:
        group: Sequence[tuple[Item, asyncio.Future[Result] | None]] = ()
        try:
            while self._waiting or not self._closing:
                if not self._waiting:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(ALIVE_SECONDS):
                            await self._some.wait()
                self._some.clear()
                group, self._waiting = self._waiting[:GROUP], self._waiting[GROUP:]
                results = await self._work([item for item, _ in group])
                for (item, waiter), result in zip(group, results, strict=True):
                    if waiter is not None and not waiter.done():
                        waiter.set_result(result)
                    elif waiter is not None:
                        self._unwanted(item, result)
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError):
                error = StoreError(CLOSED)
            elif not isinstance(error, StoreError):
                error = StoreError(f"the call store: {one_line(error)}")
            self.failed = error
            for _, waiter in (*group, *self._waiting):
                if waiter is not None and not waiter.done():
                    waiter.set_exception(error)


class Claims:
    """Which calls are this process's to make. A claim is an advisory lock of PostgreSQL on the
    first half of the key, so it ends with the session; keys that share one wait for each other."""

    def __init__(self, on_full: Callable[[], None]) -> None:
        self._on_full = on_full
        self._held: dict[bytes, bool] = {}  # key -> whether its answer is being written
        self._released: list[int] = []

    async def take(self, connection: PostgresConnection, keys: Sequence[bytes]) -> set[bytes]:
        """Those of the keys that are ours from now on, all that are new to us where the server has
        no room for claims. Gives back what was released since the last time."""
        wanted = [key for key in dict.fromkeys(keys) if key not in self._held]
        released, self._released = self._released, []
        try:
            ((_, taken),) = await connection.fetch(
                CLAIM, released, list(map(_lock, wanted)), hand_on=asyncpg.OutOfMemoryError
            )
        except asyncpg.OutOfMemoryError:
            self._on_full()
            held = {lock for (lock,) in await connection.fetch(LOCKS_HELD)}
            self._released += held - set(map(_lock, self._held))
            return set(wanted)
        ours = {key for key, mine in zip(wanted, taken, strict=True) if mine}
        self._held |= dict.fromkeys(ours, False)
        return ours

    def writing(self, key: bytes) -> None:
        """`leave` does nothing from now on; `release` will come."""
        if key in self._held:
            self._held[key] = True

    def leave(self, key: bytes) -> None:
        if self._held.get(key) is False:
            self.release(key)

    def release(self, key: bytes) -> None:
        """The server hears of it with the next group; until then others see what is stored."""
        if self._held.pop(key, None) is not None:
            self._released.append(_lock(key))

    async def retake(self, db: asyncpg.Connection) -> None:
        """Over a new connection. One that somebody else has by now stays ours: its call is in
        flight."""
        if not await db.fetchval(f"SELECT pg_try_advisory_lock_shared({FAMILY}, {WRITERS})"):
            raise asyncpg.CannotConnectNowError("`autoif calls gc` is at work")
        await db.execute("SET idle_session_timeout = '60s'")
        self._released = []
        with suppress(asyncpg.OutOfMemoryError):
            await db.fetch(CLAIM, [], list(map(_lock, self._held)))


def _lock(key: bytes) -> int:
    return int.from_bytes(key[:8], "big", signed=True)
