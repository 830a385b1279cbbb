"""The call store's file: its schema, its lock, how it is opened and checked, its errors."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autoif.base.errors import StoreError, UsageError
from autoif.base.files import InUseError, is_plain, make_folder, take_lock, write_whole
from autoif.store.base import GarbageCollected

PAGE_SIZE = 8192  # a row of 2 to 4 kB leaves much of a smaller page empty
APPLICATION_ID = 0x41494643  # "AIFC"
SCHEMA_VERSION = 2
SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
CREATE TABLE calls(
  id INTEGER PRIMARY KEY, key BLOB NOT NULL, namespace TEXT NOT NULL, sample INTEGER NOT NULL,
  stage TEXT NOT NULL, record TEXT NOT NULL, body TEXT NOT NULL, text TEXT NOT NULL,
  finish_reason TEXT NOT NULL, prompt INTEGER NOT NULL, cached INTEGER NOT NULL,
  completion INTEGER NOT NULL, reasoning INTEGER NOT NULL, crc INTEGER NOT NULL);
CREATE UNIQUE INDEX calls_by_key ON calls(key);
CREATE INDEX calls_by_record ON calls(record);
CREATE TABLE uses(record TEXT, call INTEGER, PRIMARY KEY(record, call)) WITHOUT ROWID;
CREATE TABLE outcomes(key BLOB PRIMARY KEY, value BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE pending(
  key BLOB PRIMARY KEY, namespace TEXT NOT NULL, sample INTEGER NOT NULL, stage TEXT NOT NULL,
  record TEXT NOT NULL, body TEXT NOT NULL, batch TEXT NOT NULL);
CREATE INDEX pending_by_batch ON pending(batch);
CREATE TABLE runs(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE marks(run INTEGER, call INTEGER, PRIMARY KEY(run, call)) WITHOUT ROWID;
"""
NOT_OURS = "holds tables, views or triggers that are of no call store of AutoIF"
RECOVERED = "lost_and_found"  # the beginning of the names of tables that `.recover` may add
FORGET = "DELETE FROM pending WHERE batch = '' OR key IN (SELECT key FROM calls)"
CHECK_SECONDS = 5.0
NETWORK_FILE_SYSTEMS = frozenset(
    ("nfs", "nfs4", "cifs", "smb", "smb3", "smbfs", "afs", "ceph", "glusterfs", "lustre", "beegfs")
)


def lock_writer(path: Path) -> int:
    """The writer's lock on FILE.lock; dies with this process. Raises StoreError."""
    try:
        make_folder(path.parent)
        kind = _file_system(path.parent)
        if kind in NETWORK_FILE_SYSTEMS:
            raise StoreError(
                f"{path} is on a network file system ({kind}), where a call store is not safe: "
                "give a file on a local disk with --calls"
            )
        return take_lock(path.with_name(f"{path.name}.lock"))
    except InUseError as e:
        raise StoreError(
            f"{path} is in use by another run (pid {e.owner}): wait for it, stop it, "
            "or choose another --out"
        ) from e
    except OSError as e:
        raise StoreError(
            f"cannot write in {path.parent} ({e.strerror}): make it writable or give another --out"
        ) from e


def _file_system(path: Path) -> str:
    """The type of the mount that holds `path`, or "" where the kernel does not tell."""
    where, best, kind = f"{path.resolve()}/", "", ""
    try:
        mounts = Path("/proc/self/mounts").read_text(errors="replace")
    except OSError:
        return ""
    for line in mounts.splitlines():
        _, point, fs, *_ = line.split(" ")
        point = point.replace("\\040", " ").rstrip("/") + "/"
        if where.startswith(point) and len(point) >= len(best):
            best, kind = point, fs
    return kind


def create(path: Path) -> None:
    """An empty store, for its user alone. It is whole when it is there, and has a write-ahead log
    from the start: a store of ours never has a rollback journal."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    try:
        db.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        db.executescript(f"BEGIN; {SCHEMA} COMMIT;")
        image = bytearray(db.serialize())
    finally:
        db.close()
    image[18:20] = b"\2\2"  # in the file format's header: read and written through a WAL
    write_whole(path, bytes(image), mode=0o600)


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A checked connection. Whoever wants one to write with must hold the lock."""
    if not path.is_file():
        raise StoreError(f"there is no call store at {path}")
    _require_plain(path)
    if path.stat().st_size == 0:
        raise damaged(path, "the file is empty")
    uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}"
    if read_only and not os.access(path.parent, os.W_OK) and not Path(f"{path}-wal").exists():
        uri += "&immutable=1"  # SQLite would want to make its index of the log there
    db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=10)
    try:
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION_ID:
            raise StoreError(f"{path} is not a call store: choose another file")
        if version != SCHEMA_VERSION:
            raise StoreError(
                f"{path} has schema version {version} and this AutoIF reads {SCHEMA_VERSION}: "
                "export it with the AutoIF that made it (`autoif calls export`) and import it here"
            )
        _require_own_schema(db, path)
        if not read_only:
            (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise StoreError(f"{path} cannot keep a write-ahead log: put it on a local disk")
            db.execute("PRAGMA synchronous = FULL")  # a commit outlives a power loss
            db.execute("PRAGMA wal_autocheckpoint = 8000")
    except sqlite3.Error as e:
        db.close()
        raise explain(e, path) from e
    except BaseException:
        db.close()
        raise
    return db


def _require_own_schema(db: sqlite3.Connection, path: Path) -> None:
    """In somebody else's file a view, a trigger or a generated column may stand where we take a
    table to be, and run for ever or change what it is asked."""
    ours = sqlite3.connect(":memory:")
    try:
        ours.executescript(SCHEMA)
        wanted = _objects(ours)
    finally:
        ours.close()
    others = _objects(db) - wanted
    plain = {
        entry
        for entry in others
        if entry[0] == "table"
        and str(entry[1]).startswith(RECOVERED)
        and str(entry[2]).upper().startswith("CREATETABLE")
    }
    if others - plain or not wanted <= _objects(db):
        raise StoreError(f"{path} {NOT_OURS}: choose another file")


def _objects(db: sqlite3.Connection) -> set[tuple[object, object, str]]:
    """Type, name and, without its white space, the definition of all that the file defines."""
    rows = db.execute("SELECT type, name, sql FROM sqlite_master LIMIT 1000")
    return {(kind, name, "".join(str(sql or "").split())) for kind, name, sql in rows}


def _require_plain(path: Path) -> None:
    """SQLite follows links, writes to `-wal` and `-shm` even in order to read, and deletes whatever
    file a rollback journal names: in somebody else's directory these lead anywhere."""
    for file in (path, *(Path(f"{path}{end}") for end in ("-wal", "-shm"))):
        if not is_plain(file):
            raise StoreError(
                f"{file} is a link or not a plain file, and what is written to it ends up "
                "elsewhere: copy what it names to its place, or give that file as the store"
            )
    journal = Path(f"{path}-journal")
    if journal.is_symlink() or journal.exists():
        raise StoreError(f"{journal} is of no call store of AutoIF: remove it")


@contextmanager
def connected(path: Path, *, read_only: bool = True) -> Iterator[sqlite3.Connection]:
    """A connection that is closed at the end. To read from also while a run writes."""
    db = connect(path, read_only=read_only)
    try:
        yield db
    except sqlite3.Error as e:
        raise explain(e, path) from e
    finally:
        db.close()


def check(db: sqlite3.Connection, path: Path) -> None:
    """Walk the whole file (about 1 GB/s), or what CHECK_SECONDS allow of it. Each reply is checked
    again when it is read."""
    until = time.monotonic() + CHECK_SECONDS
    db.set_progress_handler(lambda: time.monotonic() > until, 100_000)
    try:
        (problem,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.OperationalError as e:
        if e.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return
    finally:
        db.set_progress_handler(None, 0)
    if problem != "ok":
        raise damaged(path, problem.splitlines()[-1])


def inspect(db: sqlite3.Connection, path: Path) -> dict[str, Any]:
    """See `Store.inspect`."""

    def count(rows: str) -> int:
        (n,) = db.execute(f"SELECT count(*) FROM {rows}").fetchone()
        return int(n)

    names = ("namespace", "stage", "calls", "prompt", "cached", "completion", "reasoning")
    stages = db.execute(
        "SELECT CAST(namespace AS TEXT), CAST(stage AS TEXT), count(*), sum(prompt), sum(cached), "
        "sum(completion), sum(reasoning) FROM calls GROUP BY 1, 2 ORDER BY min(id)"
    )
    return {
        "calls": count("calls"),
        "outcomes": count("outcomes"),
        "pending": count("pending WHERE key NOT IN (SELECT key FROM calls)"),
        "bytes": _bytes(path),
        "runs": [n for (n,) in db.execute("SELECT CAST(name AS TEXT) FROM runs ORDER BY name")],
        "stages": [dict(zip(names, row, strict=True)) for row in stages],
    }


def collect_garbage(path: Path, forget: Iterable[str]) -> GarbageCollected:
    """See `Store.collect_garbage`. Whoever calls it holds the lock and writes nothing meanwhile."""
    before = _bytes(path)
    with connected(path, read_only=False) as db:
        db.execute("BEGIN IMMEDIATE")
        for run in forget:
            db.execute("DELETE FROM marks WHERE run = (SELECT id FROM runs WHERE name = ?)", (run,))
            if not db.execute("DELETE FROM runs WHERE name = ?", (run,)).rowcount:
                raise UsageError(f"no run named {run!r} has used {path}")
        if not db.execute("SELECT 1 FROM runs").fetchone():
            raise StoreError(
                f"no finished run is on record in {path}: nothing says what is garbage"
            )
        db.execute(FORGET)
        unused = "NOT IN (SELECT call FROM marks)"
        dropped = db.execute(f"DELETE FROM calls WHERE id {unused}").rowcount
        db.execute(f"DELETE FROM uses WHERE call {unused}")
        (kept,) = db.execute("SELECT count(*) FROM calls").fetchone()
        db.execute("COMMIT")
        db.execute("VACUUM")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return GarbageCollected(kept, dropped, before - _bytes(path))


def _bytes(path: Path) -> int:
    files = (path.with_name(path.name + end) for end in ("", "-wal", "-shm"))
    return sum(file.stat().st_size for file in files if file.exists())


def damaged(path: Path, what: str) -> StoreError:
    return StoreError(
        f"{path} is damaged ({what}): `sqlite3 {path} .recover | sqlite3 saved.sqlite` saves what "
        "can be read; docs/servers.md says how to go on with it"
    )


def explain(error: sqlite3.Error, path: Path) -> StoreError:
    """SQLite's error as one line that says what to do. What was committed is safe in each case."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    no_text = str(error).startswith("Could not decode")  # Python's word, without a code
    if no_text or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return damaged(path, str(error))
    safe = "every call answered so far is stored; then run the same command again"
    if code == sqlite3.SQLITE_FULL:
        return StoreError(f"the disk is full at {path.parent}: free some space ({safe})")
    if code == sqlite3.SQLITE_IOERR:
        return StoreError(
            f"{path} cannot be written ({error}): look at the disk and quota ({safe})"
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return StoreError(f"{path} cannot be written ({error}): make it writable ({safe})")
    return StoreError(f"{path}: {error} ({safe})")
