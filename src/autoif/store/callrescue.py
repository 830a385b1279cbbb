"""Saving what can be read of a damaged call store.

SQLite gives up on a table at its first bad page. But each row of `calls` proves itself: its key is
the hash of its body, and a checksum guards its reply. So every page of the file, and of the
write-ahead log beside it, is read as if it were a leaf of the table, and what proves itself is
kept. The formats are SQLite's: https://www.sqlite.org/fileformat2.html
"""

from __future__ import annotations

import mmap
import os
import sqlite3
import struct
import zlib
from collections import ChainMap, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoif.base.errors import StoreError
from autoif.store.calllog import PAGE_SIZE, frames
from autoif.store.sqlite import PUT_CALL, PUT_OUTCOMES, call_key
from autoif.store.sqlite_file import connect, create, explain, reply_crc, take_lock

LEAF = 0x0D  # a table b-tree leaf page
PUT_OUTCOMES_ONCE = PUT_OUTCOMES.replace("REPLACE", "IGNORE")  # the newest is met first
# What one damaged page can make of the decoder; each such row is passed over.
UNREADABLE = (IndexError, KeyError, ValueError, struct.error, TypeError, OverflowError)


@dataclass(frozen=True, slots=True)
class Rescued:
    """calls, outcomes: saved. missing: gaps in the calls' numbering, so at most so many lost.
    damaged: where the old file was put."""

    calls: int
    outcomes: int
    missing: int
    damaged: Path


def rescue(path: Path) -> Rescued:
    """Write every call and outcome that can be read into a new store in its place; the damaged file
    is kept beside it. Raises StoreError where there is nothing to read."""
    if not path.exists():
        raise StoreError(f"there is no call store at {path}")
    lock = take_lock(path)
    new, wal = path.with_name(path.name + ".rescued"), path.with_name(path.name + "-wal")
    try:
        new.unlink(missing_ok=True)
        create(new)
        with closing(sqlite3.connect(new)) as db:
            for row in _records(path, wal):
                with suppress(AttributeError, sqlite3.IntegrityError, *UNREADABLE):
                    _save(db, row)
            _save_small_tables(path, db)
            db.commit()
            counts = "(SELECT count(*) FROM calls), (SELECT count(*) FROM outcomes)"
            (calls, outcomes, last) = db.execute(
                f"SELECT {counts}, (SELECT coalesce(max(id), 0) FROM calls)"
            ).fetchone()
        if calls == outcomes == 0:
            raise StoreError(
                f"nothing in {path} can be read; it is left as it was: move it away to begin anew"
            )
        damaged = path.with_name(path.name + ".damaged")
        number = 1
        while damaged.exists():
            number += 1
            damaged = path.with_name(f"{path.name}.damaged{number}")
        path.replace(damaged)
        for end in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                path.with_name(path.name + end).replace(f"{damaged}{end}")
        new.replace(path)
    except sqlite3.Error as e:
        raise explain(e, new) from e
    finally:
        new.unlink(missing_ok=True)
        os.close(lock)
    return Rescued(calls, outcomes, last - calls, damaged)


def _save(db: sqlite3.Connection, row: list[Any]) -> None:
    """Put a decoded record into the new store if it proves itself."""
    if len(row) == 14:
        key, namespace, sample, body = row[1], row[2], row[3], row[6]
        good = call_key(namespace, body.encode(), sample) == key
        if good and reply_crc(row[7], row[8], (row[9], row[10], row[11], row[12])) == row[13]:
            db.execute(PUT_CALL, row)
    elif len(row) == 3 and isinstance(row[1], bytes) and zlib.crc32(row[1]) == row[2]:
        db.execute(PUT_OUTCOMES_ONCE, row)


def _save_small_tables(path: Path, db: sqlite3.Connection) -> None:
    """What cannot prove itself is taken over as far as SQLite itself still reads it: lineage,
    batches on their way, and which run used what."""
    with suppress(StoreError), closing(connect(path, read_only=True)) as old:
        for table, columns in (("uses", 2), ("pending", 7), ("marks", 2)):
            with suppress(sqlite3.DatabaseError):
                for row in old.execute(f"SELECT * FROM {table}"):
                    db.execute(
                        f"INSERT OR IGNORE INTO {table} VALUES({','.join('?' * columns)})", row
                    )


# ---- pages and records -------------------------------------------------------------------------


def _records(path: Path, wal: Path) -> Iterator[list[Any]]:
    """Every record on every page that looks like a table leaf, the newest versions first: as the
    log has changed the pages, then as it had changed them before, then as the main file has them.
    What is damaged in one version may be sound in another."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        logged = _logged_pages(wal)
        newest = {number: versions[-1] for number, versions in logged.items()}
        for number in sorted({*range(1, size // PAGE_SIZE + 2), *logged}):
            yield from _leaf(_Pages(data, newest), number)
        for number, versions in logged.items():
            for version in reversed(versions[:-1]):
                yield from _leaf(_Pages(data, ChainMap({number: version}, newest)), number)
            yield from _leaf(_Pages(data, {}), number)


@dataclass(frozen=True, slots=True)
class _Pages:
    data: mmap.mmap | bytes
    logged: Mapping[int, bytes]

    def page(self, number: int) -> bytes:
        if number in self.logged:
            return self.logged[number]
        start = (number - 1) * PAGE_SIZE
        return self.data[start : start + PAGE_SIZE].ljust(PAGE_SIZE, b"\0")


def _logged_pages(wal: Path) -> dict[int, list[bytes]]:
    """Every version of each page in the write-ahead log, oldest first. Rows prove themselves, so
    frames of unfinished transactions and bad checksums do no harm."""
    try:
        log = wal.read_bytes()
    except OSError:
        return {}
    pages: defaultdict[int, list[bytes]] = defaultdict(list)
    for frame in frames(log):
        pages[frame.page].append(log[frame.at : frame.at + PAGE_SIZE])
    return pages


def _leaf(pages: _Pages, number: int) -> Iterator[list[Any]]:
    page = pages.page(number)
    head = 100 if number == 1 else 0
    if page[head] != LEAF:
        return
    (cells,) = struct.unpack_from(">H", page, head + 3)
    for cell in range(min(cells, PAGE_SIZE // 4)):
        try:
            (at,) = struct.unpack_from(">H", page, head + 8 + 2 * cell)
            yield _record(pages, page, at)
        except UNREADABLE:
            continue


def _record(pages: _Pages, page: bytes, at: int) -> list[Any]:
    """The cell at `at`: payload size, row number, then the record, part of it on overflow pages."""
    size, at = _varint(page, at)
    number, at = _varint(page, at)
    if size > 1 << 26:
        raise ValueError("no record is that long")
    local = size
    if size > PAGE_SIZE - 35:
        least = (PAGE_SIZE - 12) * 32 // 255 - 23
        local = least + (size - least) % (PAGE_SIZE - 4)
        if local > PAGE_SIZE - 35:
            local = least
    payload = bytearray(page[at : at + local])
    if local < size:
        (more,) = struct.unpack_from(">I", page, at + local)
        while len(payload) < size and more:
            overflow = pages.page(more)
            (more,) = struct.unpack_from(">I", overflow, 0)
            payload += overflow[4:]
    if len(payload) < size:
        raise ValueError("cut short")
    row = _columns(bytes(payload[:size]))
    if row[0] is None:
        row[0] = number  # an INTEGER PRIMARY KEY is stored as the row's number
    return row


def _columns(payload: bytes) -> list[Any]:
    end, at = _varint(payload, 0)
    start, row = end, []
    while at < end:
        kind, at = _varint(payload, at)
        value: Any
        if kind == 0:
            value, length = None, 0
        elif kind <= 6:
            length = (0, 1, 2, 3, 4, 6, 8)[kind]
            value = int.from_bytes(payload[start : start + length], "big", signed=True)
        elif kind in (8, 9):
            value, length = kind - 8, 0
        elif kind >= 12:
            length = (kind - 12) // 2
            raw = payload[start : start + length]
            value = raw.decode() if kind % 2 else raw
        else:
            raise ValueError(f"no column of ours is of type {kind}")
        row.append(value)
        start += length
    return row


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A big-endian number of 7 bits a byte, 9 bytes at most, and where it ends."""
    value = 0
    for i in range(8):
        byte = data[at + i]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + i + 1
    return value << 8 | data[at + 8], at + 9
