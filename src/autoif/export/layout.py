"""What a format is, and how its directory is written: data files, then what is made of them."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import IO, Any

import orjson
import polars as pl

from autoif.base.errors import UsageError
from autoif.base.files import make_folder, new_file, remove, write_whole
from autoif.base.printable import markdown, printable_json
from autoif.base.version import __version__
from autoif.export.selection import Example, Kind, Row, Selection
from autoif.export.splits import TRAIN, Splits

MANIFEST = "export.json"
NOT_STATED, OTHERS = "not stated", "others"
SOURCES, SHOWN = 1000, 5  # different ones that are counted, and that a README shows
OVER_HTTP = """\
To compute rewards elsewhere, start `autoif serve` there and set `AUTOIF_REWARD_URL` to the URL that
it prints, in the environment of the training's processes. Beyond one machine both sides want the
same `AUTOIF_REWARD_TOKEN`."""
BETWEEN = "shares a constraint or a query with another split"
_HOLE = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True, slots=True)
class DataFile:
    """Rows of one kind in one shape.

    name: as the format's own configuration calls it. path: with `{split}`, which is empty for
    train and `.test` for test, or `{name}`, `train` and `test`. rows: those of an example, the
    first of which is to be the nth of its file. types: columns of a Parquet file; otherwise it is
    JSON lines. most: how many rows at most, 0 for all; then of train alone.
    """

    name: str
    kind: Kind
    path: str
    rows: Callable[[Example, int], Iterable[Row]]
    holds: str
    types: Mapping[str, Any] | None = None
    most: int = 0

    def place(self, split: str) -> str:
        return self.path.format(split="" if split == TRAIN else f".{split}", name=split)


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A data file that holds rows; one without any is not written."""

    file: DataFile
    split: str
    rows: int

    @property
    def path(self) -> str:
        return self.file.place(self.split)


def nothing_more(written: Sequence[WrittenFile]) -> dict[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class Format:
    """A trainer's format. made_for: library and version; docs/export.md says what was run of it.

    What lies in `templates/NAME` is copied, with `{{holes}}` filled by `fill`; what `generate`
    gives are further files. Both are handed what was written.
    """

    name: str
    made_for: str
    files: tuple[DataFile, ...]
    fill: Callable[[Sequence[WrittenFile]], Mapping[str, str]] = nothing_more
    generate: Callable[[Sequence[WrittenFile]], Mapping[str, str]] = nothing_more

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return tuple(dict.fromkeys(file.kind for file in self.files))


@dataclass(slots=True)
class Layout:
    """A directory while it is written."""

    folder: Path
    form: Format
    written: list[WrittenFile] = field(default_factory=list)
    sources: Counter[str] = field(default_factory=Counter)  # rows, by where the query comes from

    def write_rows(self, selection: Selection, splits: Splits, left_out: Counter[str]) -> None:
        """Every data file. Raises UsageError where a split has no row at all."""
        make_folder(self.folder)
        for kind in self.form.kinds:
            ours = [file for file in self.form.files if file.kind == kind]
            with ExitStack() as stack:
                lines = {
                    (file.name, split): stack.enter_context(_Lines(self.folder, file, split))
                    for file in ours
                    for split in (splits.names if not file.most else (TRAIN,))
                }
                for example in selection.examples(kind, left_out):
                    split = splits.name(example)
                    if split is None:
                        left_out[BETWEEN] += 1
                    else:
                        self._count(example.source)
                        for file in ours:
                            if (file.name, split) in lines:
                                lines[file.name, split].write(example)
            self.written += [
                WrittenFile(one.file, one.split, one.n) for one in lines.values() if one.n
            ]
        if self.written and (missing := set(splits.names) - {one.split for one in self.written}):
            raise UsageError(
                f"{selection.data}: no row is left for {', '.join(sorted(missing))}: its rows "
                "share too many constraints and queries; give the split another share"
            )

    def write_the_rest(self, left_out: Mapping[str, int]) -> None:
        """The glue, the configuration, the README, and a manifest with a hash of every file."""
        holes = {
            "rows": self._table(),
            "left_out": _left_out(left_out),
            "sources": self._sources(),
            "over_http": OVER_HTTP,
            **self.form.fill(self.written),
        }
        for path, text in _templates(self.form.name):
            self._write(path, _HOLE.sub(lambda hole: holes[hole[1]], text))
        for path, text in self.form.generate(self.written).items():
            self._write(path, text)
        manifest = {
            "format": self.form.name,
            "autoif": __version__,
            "rows": {one.path: one.rows for one in self.written},
            "left_out": dict(sorted(left_out.items())),
            "sources": dict(sorted(self.sources.items())),
            "files": hashes(self.folder),
        }
        options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        write_whole(self.folder / MANIFEST, orjson.dumps(manifest, option=options))

    def _write(self, path: str, text: str) -> None:
        make_folder((self.folder / path).parent)
        write_whole(self.folder / path, text.encode())

    def _count(self, source: str) -> None:
        name = source or NOT_STATED
        self.sources[name if name in self.sources or len(self.sources) < SOURCES else OTHERS] += 1

    def _sources(self) -> str:
        shown, others = self.sources.most_common(SHOWN), self.sources.total()
        lines = []
        for source, n in shown:
            others -= n
            lines.append(f"{markdown(source)} ({n:,} rows)")
        if others:
            lines.append(f"others ({others:,} rows; `{MANIFEST}` has them)")
        return f"Sources and licences of the queries: {'; '.join(lines)}."

    def _table(self) -> str:
        lines = ["| file | rows | holds |", "|---|---|---|"]
        lines += [f"| `{one.path}` | {one.rows:,} | {one.file.holds} |" for one in self.written]
        return "\n".join(lines)


class _Lines:
    """A data file that is being written; of Parquet first its lines of JSON."""

    def __init__(self, folder: Path, file: DataFile, split: str) -> None:
        self.file, self.split, self.n = file, split, 0
        self._target = folder / file.place(split)
        name = self._target.name
        self._path = self._target if file.types is None else self._target.with_name(f"{name}.jsonl")
        self._out: IO[bytes] | None = None

    def __enter__(self) -> _Lines:
        return self

    def write(self, example: Example) -> None:
        if self.file.most and self.n >= self.file.most:
            return
        if self._out is None:
            make_folder(self._path.parent)
            self._out = new_file(self._path)
        for row in self.file.rows(example, self.n):
            # Escaped are also those characters that some readers take for the end of a line.
            self._out.write(printable_json(orjson.dumps(row).decode()).encode() + b"\n")
            self.n += 1

    def __exit__(self, *error: object) -> None:
        if self._out is None:
            return
        self._out.close()
        if self.file.types is not None and error[0] is None:
            pl.scan_ndjson(self._path, schema=dict(self.file.types)).sink_parquet(self._target)
            remove(self._path)


def entries(folder: Path) -> Iterator[tuple[str, Path]]:
    """All that is below and no directory, by its path there; links are not followed. What Python
    keeps beside modules is passed over."""
    for path in sorted(folder.rglob("*")):
        where = path.relative_to(folder)
        if "__pycache__" not in where.parts and (path.is_symlink() or not path.is_dir()):
            yield where.as_posix(), path


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below, but for the manifest, by its path."""
    found = {}
    for name, path in entries(folder):
        if name != MANIFEST:
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _templates(name: str) -> Iterator[tuple[str, str]]:
    """Path and text of each file that a format copies."""
    root = files("autoif.export") / "templates" / name

    def below(folder: Traversable, path: str) -> Iterator[tuple[str, str]]:
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
            where = f"{path}{entry.name}"
            if entry.is_dir():
                if entry.name != "__pycache__":
                    yield from below(entry, f"{where}/")
            else:
                yield where, entry.read_text("utf-8")

    return below(root, "")


def _left_out(left_out: Mapping[str, int]) -> str:
    if not any(left_out.values()):
        return "No row was left out."
    counts = (f"{n:,} ({why})" for why, n in sorted(left_out.items()))
    return f"Rows left out: {', '.join(counts)}."
