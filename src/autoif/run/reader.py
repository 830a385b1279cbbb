"""Reads what a run made: a `Result` is a run directory as records and rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autoif.base import jsonl
from autoif.base.errors import UsageError
from autoif.base.files import is_plain
from autoif.base.records import (
    Composition,
    Drop,
    Instruction,
    Sample,
    Verifier,
    composition_from_json,
    drop_from_json,
    instruction_from_json,
    sample_from_json,
    verifier_from_json,
)
from autoif.run.directory import DROPS, IN_SHARDS, RunDir

Row = jsonl.Row


@dataclass(frozen=True, slots=True)
class Result:
    """A run directory, made by this process or any other. Files are read as you iterate.

    Rows are dictionaries as docs/data-formats.md describes them; the others are records. Raises
    UsageError for a file that is not there, and while iterating for a line that is no JSON.
    """

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))

    @property
    def report(self) -> Row:
        """The funnel, calls, tokens, cost; also in mid-run. Raises UsageError: no run there."""
        return RunDir(self.path).report()

    def files(self, name: str) -> list[Path]:
        """Where the rows of an artefact stand: in its file or, while the run is at work, in those
        of its shards, the ones that are being written included. Links are left out: a directory of
        somebody else must not lead anywhere."""
        whole = self.path / f"{name}.jsonl"
        files = [whole]
        if name in IN_SHARDS and self._at_work():
            parts = self.path / "parts"
            shards = [
                *sorted(parts.glob("[0-9]*-*")),
                *sorted(parts.glob("compositions/[0-9]*-*")),
            ]
            files = [shard / f"{name}.jsonl" for shard in shards] or files
        return [file for file in files if file.is_file() and is_plain(file, hard_links=True)]

    def _at_work(self) -> bool:
        """Whether shards are not merged yet: at work, or killed."""
        if not (self.path / "progress.json").is_file():
            return False
        try:
            return bool(self.report["state"] != "stopped")
        except UsageError:
            return True

    @property
    def sft(self) -> Path:
        return self.path / "data/sft.jsonl"

    @property
    def dpo(self) -> Path:
        return self.path / "data/dpo.jsonl"

    @property
    def rlvr(self) -> Path:
        return self.path / "data/rlvr.jsonl"

    def sft_rows(self) -> Iterator[Row]:
        return read_rows(self.sft)

    def dpo_rows(self) -> Iterator[Row]:
        return read_rows(self.dpo)

    def rlvr_rows(self) -> Iterator[Row]:
        return read_rows(self.rlvr)

    def instructions(self) -> Iterator[Instruction]:
        return map(instruction_from_json, read_rows(self.path / "01-instructions.jsonl"))

    def verifiers(self) -> Iterator[Verifier]:
        return map(verifier_from_json, read_rows(self.path / "02-verifiers.jsonl"))

    def samples(self) -> Iterator[Sample]:
        """Every response that was checked, kept or not."""
        return map(sample_from_json, read_rows(self.path / "03-samples.jsonl"))

    def compositions(self) -> Iterator[Composition]:
        """Sets of constraints in one prompt or conversation that a sample was made from."""
        return map(composition_from_json, read_rows(self.path / "04-compositions.jsonl"))

    def drops(self) -> Iterator[Drop]:
        """Everything that fell out, in the order of the stages' files."""
        files = [read_rows(self.path / f"{name}.jsonl") for name in DROPS]
        return (drop_from_json(row) for rows in files for row in rows)


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file that a run wrote. Raises UsageError: at once where it is not there, later
    for a line that is no JSON."""
    if not path.is_file():
        raise UsageError(
            f"{path}: no such file; a run writes it when it ends: `autoif synth` with the same "
            "--out makes it"
        )
    return (row for _, row in jsonl.read(path))
