"""The call store's file: its schema, its lock, how it is opened, checked and complained about."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from autoif.base.errors import StoreError
from autoif.store.calllog import PAGE_SIZE, commit_out_of_reach

APPLICATION_ID = 0x41494643  # "AIFC"
SCHEMA_VERSION = 1
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
CREATE TABLE marks(run TEXT PRIMARY KEY, bits BLOB NOT NULL);
"""
CHECK_SECONDS = 5.0
NETWORK_FILE_SYSTEMS = frozenset(
    ("nfs", "nfs4", "cifs", "smb", "smb3", "smbfs", "afs", "ceph", "glusterfs", "lustre", "beegfs")
)


def reply_crc(text: str, finish_reason: str, usage: tuple[int, int, int, int]) -> int:
    """Guards what the key does not: SQLite itself would not notice a flipped bit in a page."""
    return zlib.crc32(f"{text}\0{finish_reason}\0{usage}".encode())


def take_lock(path: Path) -> int:
    """An flock that dies with this process. The file names the owner and is never removed (removing
    it would let two processes lock two different files of one name)."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as e:
        raise StoreError(
            f"cannot write in {path.parent} ({e.strerror}): make it writable or give another --out"
        ) from e
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        owner = os.read(fd, 32).decode(errors="replace").strip() or "unknown"
        os.close(fd)
        raise StoreError(
            f"{path} is in use by another run (pid {owner}): wait for it, stop it, "
            "or choose another --out"
        ) from e
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    except OSError:
        pass  # a full disk: the lock holds all the same, it only cannot name its owner
    kind = _file_system(path.parent)
    if kind in NETWORK_FILE_SYSTEMS:
        os.close(fd)
        raise StoreError(
            f"{path} is on a network file system ({kind}), where a call store is not safe: "
            "give a file on a local disk with --calls"
        )
    return fd


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
    """Make an empty store beside `path` and move it there: an empty file is never a store."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    db = sqlite3.connect(new, isolation_level=None)
    try:
        db.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        db.executescript(f"BEGIN; {SCHEMA} COMMIT;")
    finally:
        db.close()
    new.replace(path)


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A checked connection. Whoever wants one to write with must hold the lock."""
    if read_only:
        return _connect(path, read_only=True)
    with closing(_connect(path, read_only=True)):  # it can neither overwrite the log nor clear it
        lost = commit_out_of_reach(path)
        if lost is not None:
            raise damaged(path, f"{path.name}-wal, before the commit in frame {lost.number}")
        return _connect(path, read_only=False)


def _connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """FULL: a commit outlives a power loss, not only a kill -9."""
    if not path.is_file():
        raise StoreError(f"there is no call store at {path}")
    if path.stat().st_size == 0:
        raise damaged(path, "the file is empty")
    uri = f"file:{_quoted(path.absolute())}?mode={'ro' if read_only else 'rw'}"
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
        if not read_only:
            (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise StoreError(f"{path} cannot keep a write-ahead log: put it on a local disk")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA wal_autocheckpoint = 8000")
    except sqlite3.Error as e:
        db.close()
        raise explain(e, path) from e
    except BaseException:
        db.close()
        raise
    return db


@contextmanager
def exclusively(path: Path) -> Iterator[sqlite3.Connection]:
    """One transaction on an existing store that nobody else has open for writing."""
    if not path.is_file():
        raise StoreError(f"there is no call store at {path}")
    lock = take_lock(path)
    try:
        db = connect(path)
        try:
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")
            db.close()
    except sqlite3.Error as e:
        raise explain(e, path) from e
    finally:
        os.close(lock)


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A store to read from, also while a run writes it."""
    db = connect(path, read_only=True)
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
        (found,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.OperationalError as e:
        if e.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return
    finally:
        db.set_progress_handler(None, 0)
    if found != "ok":
        raise damaged(path, found.splitlines()[-1])


def _quoted(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def damaged(path: Path, what: str) -> StoreError:
    return StoreError(
        f"{path} is damaged ({what}): `autoif calls rescue {path}` saves what can be read"
    )


def explain(error: sqlite3.Error, path: Path) -> StoreError:
    """SQLite's error as one line that says what to do. What was committed is safe in each case."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
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
