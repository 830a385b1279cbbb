"""Rows' verifiers by the rows' ids, of files that are loaded once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from autoif.base import jsonl
from autoif.base.errors import UsageError
from autoif.base.inputs import read_rows, row_id
from autoif.verifier.reward import Row, parse_row
from autoif.verifier.schema import VerifierRow

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")


class RowIndex:
    """sources: files of rows with an `id` and `verifiers` (or `checks`, as in 02-verifiers.jsonl),
    or directories: a run, or one that holds such files. What many rows share is kept once.

    Raises UsageError for a file that cannot be read, a row without id or verifiers, and an id that
    stands for several sets of verifiers.
    """

    def __init__(self, sources: Iterable[str | Path] = ()) -> None:
        self._rows: dict[str, Row] = {}
        shared: dict[tuple[Any, ...], Row] = {}
        for path in [file for source in sources for file in _files(Path(source))]:
            for where, row in read_rows(path):
                name = row_id(row)
                if name is None:
                    raise UsageError(f'{where}: column "id" must be there: rows are named by it')
                parsed = _verifiers(row, where)
                verifiers = shared.setdefault(_key(parsed), parsed)
                if self._rows.setdefault(name, verifiers) is not verifiers:
                    raise UsageError(f"{where}: the id {name!r} stands for other verifiers before")

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, label: Any, where: object) -> Row:
        """What a label says: verifiers, as a list or as its JSON; an id; or an object with one of
        these as `verifiers` or `id`. Raises UsageError for anything else."""
        if isinstance(label, str) and label.lstrip().startswith(("[", "{")):
            try:
                label = jsonl.loads(label.encode("utf-8", "surrogatepass"))
            except ValueError as error:
                raise UsageError(f"{where}: verifiers are not JSON ({error})") from None
        if isinstance(label, Mapping) and "checks" not in label:
            name = "verifiers" if label.get("verifiers") is not None else "id"
            if label.get(name) is None:
                raise UsageError(f'{where}: an object with "verifiers" or "id" is wanted')
            return self.row(label[name], where)
        if isinstance(label, Mapping):
            label = [label]
        if not isinstance(label, (str, int)):
            return parse_row(label, where)
        if (row := self._rows.get(str(label))) is None:
            raise UsageError(f"{where}: no row {str(label)[:80]!r} is loaded")
        return row


def _files(source: Path) -> Iterator[Path]:
    if not source.is_dir():
        yield source
        return
    data = source / "data" if (source / "data").is_dir() else source
    files = sorted(p for p in data.iterdir() if p.name.endswith(SUFFIXES))
    files = [p for p in files if ".dropped." not in p.name]
    if data is not source and (verifiers := source / "02-verifiers.jsonl").is_file():
        files.append(verifiers)
    if not files:
        raise UsageError(f"{source}: no rows there ({', '.join(SUFFIXES)})")
    yield from files


def _verifiers(row: Mapping[str, Any], where: object) -> Row:
    verifiers = [row] if "checks" in row else row.get("verifiers")
    if isinstance(verifiers, str):
        verifiers = jsonl.parse_value(verifiers.encode("utf-8", "surrogatepass"), where)
    if not verifiers:
        raise UsageError(f'{where}: column "verifiers" must be there and hold some')
    parsed = parse_row(verifiers, where)
    return [VerifierRow(v.checks, v.min_fraction, measure=v.measure) for v in parsed]


def _key(row: Row) -> tuple[Any, ...]:
    return tuple((v.checks, v.min_fraction, v.measure) for v in row)
