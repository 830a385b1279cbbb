"""The call store: every answered model call, durable before its answer is used."""

from __future__ import annotations

from pathlib import Path

from autoif.base.errors import StoreError
from autoif.store.base import Store


def open_store(where: str | Path, *, read_only: bool = False) -> Store:
    """Open the store at `where`, a file; make it where there is none (not `read_only`).

    Raises StoreError (one line, with what to do) where it is locked, damaged, of another schema,
    on a network file system, or cannot be written.
    """
    if str(where).startswith(("postgresql:", "postgres:")):  # a Path has lost one of its slashes
        raise StoreError("a call store in PostgreSQL is not supported yet: give a file")
    from autoif.store.sqlite import SqliteStore

    return SqliteStore.open(Path(where), read_only=read_only)
