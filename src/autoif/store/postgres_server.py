"""The PostgreSQL behind a call store: its address, what it must offer, and connections to it that
come back when they are lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from autoif.base.errors import StoreError, one_line
from autoif.store.address import split_password, unreadable
from autoif.store.base import Notice
from autoif.store.postgres_tables import SCHEMA, SCHEMA_VERSION

CONNECT_SECONDS = 10.0
STATEMENT_SECONDS = 60.0  # a network that is cut says nothing; what was said is said again then
SHORTEST_PAUSE, LONGEST_PAUSE = 0.05, 2.0  # seconds until a statement is said again
VERSION = 14  # the first with idle_session_timeout and lz4
LOCKS = 4096  # calls in flight that the lock table should have room for, over all processes
FAMILY = 0x41494643  # "AIFC": the first half of the names of locks that are of no call
CREATION, WRITERS = 0, 1  # the second half
# Every look-up and every write goes by an index, whatever the statistics of a new table say. A
# session of a host that is gone ends soon, and lets go of its locks.
SETTINGS = """
SET search_path = autoif; SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan;
SET jit = off; SET client_min_messages = error; SET statement_timeout = 0;
SET default_transaction_isolation = 'read committed';
SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
"""
OFFERS = """
SELECT current_setting('server_encoding') AS encoding, current_setting('fsync') AS fsync,
  current_setting('synchronous_commit') AS synchronous_commit,
  current_setting('max_locks_per_transaction')::bigint * (
    current_setting('max_connections')::bigint
    + current_setting('max_prepared_transactions')::bigint) AS locks,
  current_setting('synchronous_standby_names') = '' AND EXISTS (
    SELECT FROM pg_stat_replication WHERE coalesce(state, 'streaming') = 'streaming') AS lagging
"""
# Classes of SQLSTATE that pass: connection, deadlock, resources (a full disk), an operator (a
# shutdown), the system; and a standby that is no primary yet.
PASSING = ("08", "40", "53", "57", "58", "25006", "55P03")
Lost = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError)
# asyncpg raises InternalClientError where a server ends in the middle of its answer.
Failed = (*Lost, asyncpg.PostgresError)


class PostgresServer:
    """Where a store is, for how long an outage is waited for, and who hears of one.

    name: the address without its password, fit to be shown. patience: seconds.
    """

    def __init__(self, url: str, patience: float, on_notice: Notice) -> None:
        self.url, self.patience, self.on_notice = url, patience, on_notice
        self.name, self._password = split_password(url)
        self._out: dict[object, float] = {}  # what waits for the server, and since when

    async def connect(self) -> asyncpg.Connection:
        """A new connection with our settings. Raises StoreError for a server that is too old, and
        whatever asyncpg raises."""
        db = await asyncpg.connect(self.url, timeout=CONNECT_SECONDS)
        try:
            if db.get_server_version().major < VERSION:
                raise StoreError(
                    f"{self.name} is PostgreSQL {db.get_server_version().major}: a call store "
                    f"needs version {VERSION} or later"
                )
            await db.execute(SETTINGS, timeout=CONNECT_SECONDS)
        except BaseException:
            db.terminate()
            raise
        return db

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection for work that takes its time; errors as StoreError, nothing said again."""
        try:
            db = await self.connect()
            try:
                await db.execute("SET enable_seqscan = on")
                yield db
            finally:
                db.terminate()
        except (*Failed, ValueError) as error:
            raise self.explain(error) from None

    async def prepare(self, *, read_only: bool) -> None:
        """Checks the server and makes the tables where there are none (not `read_only`). Raises
        StoreError."""
        async with self.connected() as db:
            self._check(await db.fetchrow(OFFERS))
            if read_only:
                if await db.fetchval("SELECT to_regclass('autoif.store')") is None:
                    raise StoreError(f"there is no call store at {self.name}")
            else:
                async with db.transaction():
                    await db.execute(f"SELECT pg_advisory_xact_lock({FAMILY}, {CREATION})")
                    if await db.fetchval("SELECT to_regclass('autoif.store')") is None:
                        await db.execute(SCHEMA)
                        kinds = "enumvals FROM pg_settings WHERE name = 'default_toast_compression'"
                        if "lz4" in (await db.fetchval(f"SELECT {kinds}") or ()):
                            for column in ("body", "text"):
                                await db.execute(
                                    f"ALTER TABLE calls ALTER {column} SET COMPRESSION lz4"
                                )
            version = await db.fetchval("SELECT version FROM store")
            if version != SCHEMA_VERSION:
                raise StoreError(
                    f"{self.name} has schema version {version} and this AutoIF reads "
                    f"{SCHEMA_VERSION}: export it with the AutoIF that made it (`autoif calls "
                    "export`) and import it into a new database"
                )

    def _check(self, offers: Any) -> None:
        for setting in ("fsync", "synchronous_commit"):
            if offers[setting] == "off":
                raise StoreError(
                    f"{self.name} has {setting} = off and would lose answers that were paid for: "
                    f"set {setting} = on in postgresql.conf and reload it"
                )
        if offers["encoding"] != "UTF8":
            raise StoreError(
                f"{self.name} has the encoding {offers['encoding']}: make the database with "
                "createdb --encoding UTF8 --template template0"
            )
        if offers["locks"] < LOCKS:
            self.on_notice(
                f"{self.name} has room for {offers['locks']:,} calls in flight, over all "
                "processes: set max_locks_per_transaction = 1024 in postgresql.conf and restart it"
            )
        if offers["lagging"]:
            self.on_notice(
                f"{self.name} has a standby that is not synchronous: where it takes over, the "
                "last answers may be missing there; set synchronous_standby_names"
            )

    # ---- outages -------------------------------------------------------------------------------

    def passes(self, error: BaseException) -> bool:
        """Whether the same statement may succeed later."""
        if isinstance(error, asyncpg.PostgresError):
            return str(error.sqlstate or "").startswith(PASSING)
        return isinstance(error, Lost) and not isinstance(error, ValueError)  # one is of arguments

    def out(self, who: object, error: BaseException) -> None:
        """`who` could not say a statement and will say it again. Raises StoreError where it did so
        for longer than the patience."""
        first = not self._out
        since = self._out.setdefault(who, time.monotonic())
        if time.monotonic() - since >= self.patience:
            raise self.explain(error) from None
        if first:
            self.on_notice(
                f"{self.name} fails ({self._reason(error)}): what is paid waits in memory, no new "
                f"call is made, and it is tried again for up to {self.patience:.0f} s"
            )

    def back(self, who: object) -> None:
        """`who` was answered."""
        if self._out.pop(who, None) is not None and not self._out:
            self.on_notice(f"{self.name} answers again")

    @property
    def outage(self) -> float:
        """Seconds since the store began to fail; 0 where it does not."""
        return time.monotonic() - min(self._out.values()) if self._out else 0.0

    def explain(self, error: BaseException) -> StoreError:
        """The error as one line that says what to do. What was committed is safe in each case."""
        state = str(getattr(error, "sqlstate", None) or "")
        why = self._reason(error)
        if isinstance(error, asyncpg.InvalidPasswordError) or state.startswith("28"):
            return StoreError(
                f"{self.name} refuses to let us in ({why}): give the user in the URL and the "
                "password in PGPASSWORD or ~/.pgpass"
            )
        if state == "3D000":
            return StoreError(f"{self.name}: there is no such database: make it with createdb")
        if state.startswith("42501"):
            return StoreError(f"{self.name}: {why}: let the user own the database")
        if state == "53100":
            return StoreError(f"the disk of {self.name} is full: free some space ({SAFE})")
        if state == "53300":
            return StoreError(
                f"{self.name} has no connection left ({why}): raise max_connections in "
                "postgresql.conf (each process takes two)"
            )
        if isinstance(error, ValueError):
            return unreadable()
        return StoreError(f"{self.name} fails ({why}): look at the server and its log ({SAFE})")

    def _reason(self, error: BaseException) -> str:
        if isinstance(error, TimeoutError):
            return "no answer"
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        return one_line(first, self._password)


SAFE = "every call answered so far is stored; then run the same command again"


class PostgresConnection:
    """One connection at a time. A statement is said again, over a new one where the old one is
    lost, until the server's patience is over: so each must be one that may be said twice.

    on_connect: brings a new connection into the state in which the last one was.
    """

    def __init__(
        self,
        server: PostgresServer,
        on_connect: Callable[[asyncpg.Connection], Awaitable[None]] | None = None,
    ) -> None:
        self.well = asyncio.Event()  # not set while a statement waits to be said again
        self.well.set()
        self._server, self._on_connect = server, on_connect
        self._db: asyncpg.Connection | None = None
        self._turn = asyncio.Lock()

    async def fetch(
        self,
        statement: str,
        *values: object,
        seconds: float | None = STATEMENT_SECONDS,
        hand_on: type[BaseException] | tuple[type[BaseException], ...] = (),
    ) -> list[Any]:
        """The rows. seconds: after which it is said again. Raises StoreError, with what to do; and
        at once what is to be handed on."""
        pause = SHORTEST_PAUSE
        async with self._turn:
            try:
                while True:
                    try:
                        async with asyncio.timeout(seconds):
                            rows: list[Any] = await (await self._open()).fetch(statement, *values)
                        self._server.back(self)
                        return rows
                    except hand_on:
                        raise
                    except Failed as error:
                        self._drop_lost(error)
                        if not self._server.passes(error):
                            raise self._server.explain(error) from None
                        self._server.out(self, error)
                    self.well.clear()
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, LONGEST_PAUSE)
            except asyncio.CancelledError:
                self._drop()  # what it was saying is of nobody's interest
                raise
            finally:
                self.well.set()

    async def open(self) -> None:
        """Now, and without patience. Raises StoreError."""
        async with self._turn:
            try:
                await self._open()
            except Failed as error:
                raise self._server.explain(error) from None

    async def close(self) -> None:
        async with self._turn:
            if self._db is not None:
                try:
                    await self._db.close(timeout=CONNECT_SECONDS)
                except Failed:
                    self._drop()
                self._db = None

    async def _open(self) -> asyncpg.Connection:
        if self._db is None or self._db.is_closed():
            db = await self._server.connect()
            try:
                if self._on_connect:
                    await self._on_connect(db)
            except BaseException:
                db.terminate()
                raise
            self._db = db
        return self._db

    def _drop_lost(self, error: BaseException) -> None:
        """Unless it was the server's own word, who knows what is on its way."""
        if not isinstance(error, asyncpg.PostgresError):
            self._drop()

    def _drop(self) -> None:
        if self._db is not None:
            self._db.terminate()
            self._db = None
