"""`export`: from a run directory to the directory of a format."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoif.base.errors import UsageError
from autoif.base.files import in_place_of, remove_temporaries
from autoif.export.formats import load_format
from autoif.export.layout import Layout, WrittenFile
from autoif.export.ownership import refuse_what_is_not_ours
from autoif.export.selection import Selection, find_data
from autoif.export.splits import Splits, parse_split


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote. left_out: rows of the source that are in no file, by reason."""

    path: Path
    files: tuple[WrittenFile, ...]
    left_out: Mapping[str, int]


def export(
    directory: str | Path,
    to: str,
    *,
    out: str | Path | None = None,
    split: str = "train=1",
    levels: Sequence[int] = (),
    min_pass: float = 0.0,
) -> Exported:
    """Writes the rows of a run in the format `to`, one of `formats.FORMATS`.

    directory: a run directory, or its `data`.
    out: the directory to write; default `directory/export/FORMAT`. What an export wrote there
    before is replaced, if it is as it was left.
    split: names with shares that add up to 1, as in "train=0.98,test=0.02". No two splits share a
    constraint or a query; rows between two splits are left out. They are the same in all formats.
    levels: numbers of constraints in force, or all. min_pass: least `pass_rate` of RLVR prompts.

    The same rows and arguments give the same bytes. Raises UsageError for an unknown format, a row
    that has not the shape of docs/data-formats.md, an `out` that holds anything else, and where
    nothing is left to write.
    """
    source, form = Path(directory), load_format(to)
    path = Path(out) if out is not None else source / "export" / to
    target = Path(os.path.abspath(path))  # "." has no name, and its place is to be taken
    selection = Selection(find_data(source), frozenset(levels), min_pass)
    refuse_what_is_not_ours(target)
    splits = Splits.of(parse_split(split), selection)
    left_out: Counter[str] = Counter()
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_temporaries(target)
    with in_place_of(target) as folder:
        layout = Layout(folder, form)
        layout.write_rows(selection, splits, left_out)
        if not layout.written:
            raise UsageError(f"{source}: nothing to write for {to}: {_account(left_out)}")
        layout.write_the_rest(left_out)
    return Exported(path, tuple(layout.written), left_out)


def _account(left_out: Mapping[str, int]) -> str:
    counts = ", ".join(f"{n:,} rows left out ({why})" for why, n in sorted(left_out.items()))
    return counts or "no rows of a kind that the format has"
