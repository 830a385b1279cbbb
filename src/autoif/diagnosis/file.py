"""A file of verifiers, diagnosed row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from autoif.base.errors import UsageError
from autoif.base.inputs import Where, read_rows, row_id
from autoif.base.jsonl import Row
from autoif.base.records import Case, Check, Instruction, dump_line
from autoif.diagnosis.core import diagnose
from autoif.sandbox import CHECK_LIMITS, Sandbox
from autoif.verifier.schema import parse_verifier

Write = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class VerifierToDiagnose:
    """One row. lang: as the row says, or ""."""

    id: str
    checks: tuple[Check, ...]
    instruction: Instruction | None
    lang: str
    cases: tuple[Case, ...]

    @property
    def text(self) -> str:
        """Of the instruction, or ""."""
        return self.instruction.text if self.instruction else ""


def parse_row(number: int, place: Where, row: Row) -> VerifierToDiagnose:
    """A row without an id gets its number. Raises UsageError naming file and line."""
    parsed = parse_verifier(row, place)
    if row.get("id") is not None and row_id(row) is None:
        raise UsageError(f'{place}: column "id" must hold a text or a whole number')
    if not parsed.checks:
        raise UsageError(f'{place}: "checks" is empty: there is nothing to diagnose')
    name = row_id(row) or str(number)
    return VerifierToDiagnose(name, parsed.checks, parsed.instruction, parsed.lang, parsed.cases)


def diagnose_file(
    verifiers: Path, out: Write | IO[bytes], *, sandbox: Sandbox | None = None
) -> Counter[str]:
    """Rows `{"id"?, "checks", "instruction"?, "lang"?, "cases"?}` to rows `{"id", "flags",
    "checks", "scores", "clusters", "disputed"}`, in order, one at a time; returns how often each
    flag was raised, and under "" how many verifiers have none. A row without an id gets its number.
    A run's own `02-verifiers.jsonl` is such a file.

    Raises UsageError naming file and line for a row that is none.
    """
    write = out if callable(out) else out.write
    if sandbox is None:
        with Sandbox(limits=CHECK_LIMITS) as own:
            return diagnose_file(verifiers, write, sandbox=own)
    counts: Counter[str] = Counter()
    for number, (place, row) in enumerate(read_rows(verifiers), 1):
        one = parse_row(number, place, row)
        diagnosis = diagnose(one.checks, one.text, lang=one.lang, cases=one.cases, sandbox=sandbox)
        counts.update(diagnosis.flags or ("",))
        write(dump_line({"id": one.id, **asdict(diagnosis)}))
    if not counts:
        raise UsageError(f"{verifiers} is empty: it should hold verifiers")
    return counts
