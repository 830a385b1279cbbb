"""`autoif show DIR ID`: one record's or drop's whole story, read from a run directory.

Any id that stands in an artefact will do, or its beginning. The instruction or composition that the
record belongs to leads to everything else: its checks, cases, samples, drops, and the calls made on
its behalf.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoif.base.errors import UsageError
from autoif.base.loop import asyncio_run
from autoif.run.directory import ARTEFACTS, DRAWN, RunDir
from autoif.run.reader import read_rows
from autoif.store import open_store
from autoif.store.base import StoredCall

Row = dict[str, Any]


@dataclass
class Story:
    """What is known of one id. `found`: the rows that carry it, by artefact."""

    wanted: str
    found: list[tuple[str, Row]]
    instruction: Row | None = None
    verifier: Row | None = None
    composition: Row | None = None
    verifiers: list[Row] = field(default_factory=list)  # of the composition
    samples: list[Row] = field(default_factory=list)
    drops: list[Row] = field(default_factory=list)
    calls: list[StoredCall] = field(default_factory=list)


def story(out: RunDir, wanted: str, calls: str | Path | None = None) -> Story:
    """Raises UsageError where there is no run, nothing with the id, or several ids begin so."""
    if not wanted:
        raise UsageError("which record? give an id, or its first digits")
    found = [(name, row) for name, row in _rows(out) if _carries(row, wanted)]
    if not found:
        if not any(out.artefact(name).is_file() for name in ARTEFACTS):
            raise UsageError(f"{out.path}: not a run directory (no 01-instructions.jsonl)")
        raise UsageError(f"{out.path}: no record and no drop with the id {wanted}")
    of_verifier = {
        row["id"]: row["instruction"]["id"] for name, row in _rows(out) if name == "02-verifiers"
    }
    owners = {_owner(name, row, of_verifier) for name, row in found} - {""}
    names = sorted({i for _, row in found for i in _ids(row) if i.startswith(wanted)})
    if len(names) > 1:
        raise UsageError(f"{wanted} could be {', '.join(names[:5])}: give more digits")
    told = Story(names[0], found)
    if not owners:
        return told
    owner = min(owners)
    told.composition = next((row for row in _drawn(out) if row["id"] == owner), None)
    composed = {v for t in (told.composition or {"turns": ()})["turns"] for v in t["verifiers"]}
    for name, row in _rows(out):
        if name == "01-instructions" and row["id"] == owner:
            told.instruction = row
        elif name == "02-verifiers" and row["instruction"]["id"] == owner:
            told.verifier = row
            told.instruction = told.instruction or row["instruction"]
        elif name == "02-verifiers" and row["id"] in composed:
            told.verifiers.append(row)
        elif name == "03-samples" and owner == (
            row["composition"] or of_verifier[row["verifiers"][0]]
        ):
            told.samples.append(row)
        elif name.endswith(".dropped") and owner in (row["parent"], row["record_id"]):
            told.drops.append(row)
    if calls or out.calls.exists():
        told.calls = asyncio_run(_calls(calls or out.calls, owner))
    return told


async def _calls(where: str | Path, record: str) -> list[StoredCall]:
    async with open_store(where, read_only=True) as store:
        return await store.calls_for(record)


def _rows(out: RunDir) -> Iterator[tuple[str, Row]]:
    for name in ARTEFACTS:
        for row in _lines(out.artefact(name)):
            yield name, row


def _drawn(out: RunDir) -> Iterator[Row]:
    """Every composition, also one of which nothing came."""
    return _lines(out.artefact(DRAWN))


def _lines(path: Path) -> Iterator[Row]:
    return read_rows(path) if path.is_file() else iter(())


def _ids(row: Row) -> list[str]:
    nested = [c["id"] for key in ("checks", "cases") for c in row.get(key, ()) if "id" in c]
    return [i for i in (row.get("id"), row.get("record_id"), *nested) if i]


def _carries(row: Row, wanted: str) -> bool:
    return any(i.startswith(wanted) for i in _ids(row))


def _owner(name: str, row: Row, of_verifier: dict[str, str]) -> str:
    """The id of the instruction that a row belongs to."""
    if name in ("01-instructions", "04-compositions"):
        return str(row["id"])
    if name == "02-verifiers":
        return str(row["instruction"]["id"])
    if name == "03-samples":
        return str(row["composition"]) or of_verifier.get(row["verifiers"][0], "")
    if "instruction_ids" in row:
        return str(row["composition"] or row["instruction_ids"][0])
    return str(row.get("parent") or "")
