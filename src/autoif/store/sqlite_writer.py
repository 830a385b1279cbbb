"""Group commit: whatever has queued up while the last group was written is committed at once.

A write costs one share of one fsync, however many are in flight.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from autoif.base.errors import StoreError
from autoif.store.sqlite_file import explain

Row = tuple[Any, ...]
ROWS_A_STEP = 64


class GroupWriter:
    """A thread that writes over a connection of its own, which it closes. After a failed commit
    nothing more is written: the store on disk is whole, and whoever waits gets the error."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path = path
        self._queue: list[tuple[str, Sequence[Row], asyncio.Future[bool] | None]] = []
        self._waiting = threading.Condition()  # guards the queue and the closing flag
        self._closing = False
        self._failed: StoreError | None = None
        self._thread = threading.Thread(
            target=self._run, args=(db,), name="call-store", daemon=True
        )
        self._thread.start()

    async def durably(self, statement: str, *rows: Row) -> bool:
        """Returns when the rows are on disk; whether all rows that were given to this statement in
        the same commit were new. Raises StoreError where they cannot get there."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.soon(statement, rows, done)
        return await done

    def soon(
        self, statement: str, rows: Sequence[Row], done: asyncio.Future[bool] | None = None
    ) -> None:
        """Without waiting. What is queued first is written first, or in the same commit."""
        if self._failed is not None:
            raise self._failed
        with self._waiting:
            if self._closing:
                raise StoreError(f"{self.path} is closed")
            self._queue.append((statement, rows, done))
            self._waiting.notify()

    def close(self) -> None:
        """Returns when all that is queued is written."""
        with self._waiting:
            self._closing = True
            self._waiting.notify()
        self._thread.join()

    def _run(self, db: sqlite3.Connection) -> None:
        while True:
            with self._waiting:
                while not self._queue and not self._closing:
                    self._waiting.wait()
                group, self._queue = self._queue, []
            if not group:
                break
            new: dict[str, bool] = {}
            if self._failed is None:
                try:
                    new = _commit(db, group)
                except sqlite3.Error as e:
                    self._failed = explain(e, self.path)
            waiting = [(done, new.get(statement, False)) for statement, _, done in group if done]
            _settle(waiting, self._failed)
        try:
            db.close()
        except sqlite3.Error as e:
            self._failed = self._failed or explain(e, self.path)


def _commit(
    db: sqlite3.Connection, group: Sequence[tuple[str, Sequence[Row], object]]
) -> dict[str, bool]:
    """By statement: whether it added every row that it was given."""
    rows: dict[str, list[Row]] = defaultdict(list)
    for statement, more, _ in group:
        rows[statement] += more
    steps = [(s, step, values) for s, many in rows.items() for step, values in _steps(s, many)]
    added: Counter[str] = Counter()
    alone = len(steps) == 1  # a transaction of its own, for a third of the steps
    try:
        if not alone:
            db.execute("BEGIN IMMEDIATE")
        for statement, step, values in steps:
            added[statement] += db.execute(step, values).rowcount
        if not alone:
            db.execute("COMMIT")
    finally:
        if db.in_transaction:
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
    return {statement: added[statement] == len(many) for statement, many in rows.items()}


def _steps(statement: str, rows: Sequence[Row]) -> Iterator[tuple[str, Sequence[Any]]]:
    """Like executemany, but as many rows a step as may be: each step gives up the interpreter and
    has to wait for it again, behind a busy event loop. (SQLite prepares each number of rows once.)
    """
    head, insert, values = statement.partition(" VALUES")
    if not insert:
        yield from ((statement, row) for row in rows)
        return
    for at in range(0, len(rows), ROWS_A_STEP):
        many = rows[at : at + ROWS_A_STEP]
        yield f"{head} VALUES{','.join([values] * len(many))}", list(chain.from_iterable(many))


def _settle(waiting: Sequence[tuple[asyncio.Future[bool], bool]], error: StoreError | None) -> None:
    """Tell the waiting tasks, from the writer's thread: one wake-up per loop, not per call."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[bool], bool]]]
    loops = defaultdict(list)
    for future, new in waiting:
        loops[future.get_loop()].append((future, new))

    def resolve(futures: list[tuple[asyncio.Future[bool], bool]]) -> None:
        for future, new in futures:
            if future.done():  # its task was cancelled; the row is stored all the same
                continue
            future.set_result(new) if error is None else future.set_exception(error)

    for loop, futures in loops.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(resolve, futures)
