"""A file of verifiers, diagnosed row by row."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from autoif.base.errors import UsageError
from autoif.base.records import Case, dump_line
from autoif.diagnosis.core import LIMITS, diagnose
from autoif.sandbox import Sandbox

Write = Callable[[bytes], object]


def diagnose_file(
    verifiers: Path, out: Write | IO[bytes], *, sandbox: Sandbox | None = None
) -> Counter[str]:
    """Rows `{"id", "checks", "instruction"?, "lang"?, "cases"?}` to rows `{"id", "flags", "checks",
    "scores", "clusters"}`, in order, one at a time; returns how often each flag was raised, and
    under "" how many verifiers have none. A run's own `02-verifiers.jsonl` is such a file.

    Raises UsageError naming file and line for a row that is none.
    """
    write = out if callable(out) else out.write
    if sandbox is None:
        with Sandbox(limits=LIMITS) as own:
            return diagnose_file(verifiers, write, sandbox=own)
    counts: Counter[str] = Counter()
    for where, row in _rows(verifiers):
        name = row.get("id")
        if not isinstance(name, str):
            raise UsageError(f'{where}: "id" must be there and hold a string')
        instruction, lang = _instruction(row, where)
        found = diagnose(
            _checks(row, where), instruction, lang=lang, cases=_cases(row, where), sandbox=sandbox
        )
        counts.update(found.flags or ("",))
        write(dump_line({"id": name, **asdict(found)}))
    return counts


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Where each row stands, and the row."""
    empty = True
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                empty = False
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    raise UsageError(f"{path}:{number}: not JSON; one object per line") from None
                if not isinstance(row, dict):
                    raise UsageError(f"{path}:{number}: a JSON object is wanted")
                yield f"{path}:{number}", row
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    if empty:
        raise UsageError(f"{path} is empty: it should hold one JSON object per line")


def _instruction(row: Mapping[str, Any], where: str) -> tuple[str, str]:
    given = row.get("instruction") or ""
    text, lang = given, row.get("lang") or ""
    if isinstance(given, dict):
        text, lang = given.get("text") or "", lang or given.get("lang") or ""
    if not isinstance(text, str) or not isinstance(lang, str):
        raise UsageError(f'{where}: "instruction" has to be a text, or {{"text", "lang"}}')
    return text, lang


def _checks(row: Mapping[str, Any], where: str) -> list[str]:
    checks = row.get("checks")
    if isinstance(checks, list) and checks:
        sources = [c.get("source") if isinstance(c, dict) else c for c in checks]
        if all(isinstance(s, str) for s in sources):
            return [str(s) for s in sources]
    raise UsageError(f'{where}: "checks" has to be a list of function sources')


def _cases(row: Mapping[str, Any], where: str) -> list[Case]:
    cases = row.get("cases") or []
    if not isinstance(cases, list):
        raise UsageError(f'{where}: "cases" has to be a list')
    found = []
    for case in cases:
        given: Mapping[str, Any] = case if isinstance(case, dict) else {}
        text, expected = given.get("text", given.get("input")), given.get("expected")
        expected = given.get("output") if expected is None else expected
        if not isinstance(text, str) or not isinstance(expected, bool):
            raise UsageError(f'{where}: a case is {{"text": ..., "expected": true or false}}')
        found.append(Case(text, expected))
    return found
