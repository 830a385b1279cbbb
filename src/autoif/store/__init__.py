"""The call store: every answered model call, durable before its answer is used."""

from __future__ import annotations

from pathlib import Path

from autoif.base.errors import StoreError
from autoif.base.printable import log
from autoif.store.address import is_address
from autoif.store.base import Notice, Store

PATIENCE = 600.0


def open_store(
    where: str | Path,
    *,
    read_only: bool = False,
    run: str = "",
    patience: float = PATIENCE,
    on_notice: Notice = log,
) -> Store:
    """The store at `where`, a file or postgresql://USER@HOST/NAME, to be used as `async with`; made
    where there is none (not `read_only`).

    run: the run that pays for what is put here, which a server books. patience: seconds to wait for
    a server that stopped answering; on_notice hears of it.

    Raises StoreError (one line, with what to do) where it is locked, damaged, of another schema,
    on a network file system, or cannot be reached or written: here or when it is entered.
    """
    if not is_address(where):
        from autoif.store.sqlite import SqliteStore

        return SqliteStore.open(Path(where), read_only=read_only)
    try:
        from autoif.store.postgres import PostgresStore
        from autoif.store.postgres_server import PostgresServer
    except ImportError:
        raise StoreError(
            "a call store in PostgreSQL needs asyncpg: pip install 'autoif[cluster]'"
        ) from None
    server = PostgresServer(str(where), patience, on_notice)
    return PostgresStore(server, run, read_only=read_only)
