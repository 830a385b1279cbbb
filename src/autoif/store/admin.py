"""What can be done with a call store as a whole: look into it, move it, clean it, save it."""

from __future__ import annotations

import base64
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from autoif.base.errors import StoreError, UsageError
from autoif.base.records import Reply, Request, Usage
from autoif.store.sqlite import (
    PUT_CALL,
    PUT_OUTCOMES,
    call_key,
    call_row,
    canonical,
    stored_call,
    union,
)
from autoif.store.sqlite_file import exclusively, reading

ALL_CALLS = (
    "SELECT key, namespace, sample, stage, record, body, text, finish_reason, prompt, cached, "
    "completion, reasoning FROM calls ORDER BY id"
)


# ---- inspect -----------------------------------------------------------------------------------


def inspect(path: Path) -> dict[str, Any]:
    """What is in a store: {"calls", "outcomes", "pending", "bytes", "runs": [name],
    "stages": [{"namespace", "stage", "calls", "prompt", "cached", "completion", "reasoning"}]}.
    Works while a run writes it."""
    with reading(path) as db:

        def count(table: str) -> int:
            (n,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()
            return int(n)

        names = ("namespace", "stage", "calls", "prompt", "cached", "completion", "reasoning")
        stages = db.execute(
            "SELECT namespace, stage, count(*), sum(prompt), sum(cached), sum(completion), "
            "sum(reasoning) FROM calls GROUP BY namespace, stage ORDER BY min(id)"
        )
        return {
            "calls": count("calls"),
            "outcomes": count("outcomes"),
            "pending": count("pending"),
            "bytes": sum(p.stat().st_size for p in _files(path)),
            "runs": [run for (run,) in db.execute("SELECT run FROM marks ORDER BY run")],
            "stages": [dict(zip(names, row, strict=True)) for row in stages],
        }


def used_by(path: Path, run: str) -> dict[str, Usage]:
    """The tokens of every call that a run has marked as used, by namespace. Works while it writes.
    What the run cost in all its starts: `inspect` would count those of other runs too."""
    with reading(path) as db:
        row = db.execute("SELECT bits FROM marks WHERE run = ?", (run,)).fetchone()
        db.create_function("used", 1, _member(zlib.decompress(row[0]) if row else b""))
        sums = db.execute(
            "SELECT namespace, sum(prompt), sum(cached), sum(completion), sum(reasoning) "
            "FROM calls WHERE used(id) GROUP BY namespace"
        )
        return {namespace: Usage(*tokens) for namespace, *tokens in sums}


def _member(bits: bytes) -> Callable[[int], bool]:
    return lambda n: n >> 3 < len(bits) and bool(bits[n >> 3] >> (n & 7) & 1)


def _files(path: Path) -> list[Path]:
    beside = (path.with_name(path.name + end) for end in ("", "-wal", "-shm"))
    return [p for p in beside if p.exists()]


# ---- export, import ----------------------------------------------------------------------------


def export_calls(path: Path) -> Iterator[bytes]:
    """The whole store as JSON lines: {"key", "namespace", "index", "stage", "record", "body",
    "text", "finish_reason", "usage"} per call, {"outcomes", "value"} per sandbox outcome."""
    with reading(path) as db:
        for row in db.execute(ALL_CALLS):
            call = asdict(stored_call(row))
            yield orjson.dumps(call | call.pop("reply"), option=orjson.OPT_APPEND_NEWLINE)
        for key, value in db.execute("SELECT key, value FROM outcomes"):
            line = {"outcomes": key.hex(), "value": base64.b64encode(value).decode()}
            yield orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def import_row(db: sqlite3.Connection, row: dict[str, Any]) -> bool:
    """Put one exported row into a store; False where it was there. Raises KeyError, TypeError or
    ValueError where it is no exported row, or not what its key names."""
    if "outcomes" in row:
        key = bytes.fromhex(row["outcomes"])
        value = base64.b64decode(row["value"], validate=True)
        if db.execute("SELECT 1 FROM outcomes WHERE key = ?", (key,)).fetchone():
            return False
        db.execute(PUT_OUTCOMES, (key, value, zlib.crc32(value)))
        return True
    key = bytes.fromhex(row["key"])
    body = canonical(row["body"])
    if call_key(row["namespace"], body, row["index"]) != key:
        raise ValueError("the key does not name this body")
    request = Request((), index=row["index"], stage=row["stage"], record=row["record"])
    reply = Reply(row["text"], row["finish_reason"], Usage(**row["usage"]))
    stored = call_row(None, key, row["namespace"], request, body.decode(), reply)
    return db.execute(PUT_CALL, stored).rowcount > 0


# ---- garbage -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GarbageCollected:
    kept: int
    dropped: int
    freed: int  # bytes


def collect_garbage(path: Path, forget: tuple[str, ...] = ()) -> GarbageCollected:
    """Drop every call that no finished run used (see `CallStore.mark`); `forget` names runs whose
    calls may go too. Raises StoreError where no run is marked: nothing tells what is garbage."""
    before = sum(p.stat().st_size for p in _files(path))
    with exclusively(path) as db:
        for run in forget:
            if not db.execute("DELETE FROM marks WHERE run = ?", (run,)).rowcount:
                raise UsageError(f"no run named {run!r} has used {path}")
        marks = [zlib.decompress(bits) for (bits,) in db.execute("SELECT bits FROM marks")]
        if not marks:
            raise StoreError(
                f"no finished run is on record in {path}: nothing says what is garbage"
            )
        keep = b""
        for bits in marks:
            keep = union(keep, bits)
        db.create_function("kept", 1, _member(keep))
        dropped = db.execute("DELETE FROM calls WHERE NOT kept(id)").rowcount
        db.execute("DELETE FROM uses WHERE NOT kept(call)")
        db.execute("DELETE FROM pending WHERE batch = '' OR key IN (SELECT key FROM calls)")
        (left,) = db.execute("SELECT count(*) FROM calls").fetchone()
        db.execute("COMMIT")
        db.execute("VACUUM")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.execute("BEGIN")
    return GarbageCollected(left, dropped, before - sum(p.stat().st_size for p in _files(path)))
