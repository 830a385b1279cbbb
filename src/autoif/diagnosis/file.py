"""A file of verifiers, diagnosed row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from autoif.base.errors import UsageError
from autoif.base.inputs import Where, read_rows, row_id
from autoif.base.jsonl import Row
from autoif.base.records import Case, Check, Instruction, dump_line
from autoif.diagnosis.core import Diagnosis, diagnose
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


@dataclass(slots=True)
class DiagnoseCounts:
    """What a file came to. flags: how often each was raised, and under "" how many verifiers have
    none. hack_rates: of the verifiers that have one. Of a model's second opinion, refused: calls
    that the budget did not allow; unheard: verifiers for which the model's labels do not count."""

    flags: Counter[str] = field(default_factory=Counter)
    hack_rates: list[float] = field(default_factory=list)
    refused: int = 0
    unheard: int = 0

    def add(self, diagnosis: Diagnosis) -> None:
        self.flags.update(diagnosis.flags or ("",))
        rate = diagnosis.scores["hack_rate"]
        self.hack_rates += [] if rate is None else [rate]

    @property
    def hack_rate(self) -> float | None:
        """The mean; None where no verifier has one."""
        return sum(self.hack_rates) / len(self.hack_rates) if self.hack_rates else None


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
) -> DiagnoseCounts:
    """Rows `{"id"?, "checks", "instruction"?, "lang"?, "cases"?}` to rows `{"id", "flags",
    "checks", "scores", "clusters", "disputed"}`, in order, one at a time. A row without an id gets
    its number. A run's own `02-verifiers.jsonl` is such a file.

    Raises UsageError naming file and line for a row that is none.
    """
    write = out if callable(out) else out.write
    if sandbox is None:
        with Sandbox(limits=CHECK_LIMITS) as own:
            return diagnose_file(verifiers, write, sandbox=own)
    counts = DiagnoseCounts()
    for number, (place, row) in enumerate(read_rows(verifiers), 1):
        one = parse_row(number, place, row)
        diagnosis = diagnose(one.checks, one.text, lang=one.lang, cases=one.cases, sandbox=sandbox)
        counts.add(diagnosis)
        write(dump_line({"id": one.id, **asdict(diagnosis)}))
    if not counts.flags:
        raise UsageError(f"{verifiers} is empty: it should hold verifiers")
    return counts
