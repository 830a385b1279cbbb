"""Tables to filter, sort, search and page through: what a page shows of a run, whatever its size.

A `FileTable` reads JSON lines once and keeps of each row a few narrow columns and the byte at which
it stands; a row that is shown is read from its file again. The text that is searched lies beside
them in a temporary file of Arrow's format, which Polars streams. So 10^6 samples take some 100 MB
of memory. Files that grow are read on from where they ended.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import polars as pl

from autoif.base import jsonl
from autoif.base.errors import UsageError
from autoif.base.files import new_file
from autoif.base.language import clean_text

Row = dict[str, Any]
CHUNK = 20_000  # rows that are made columns of at a time
PAGE = 200  # rows of a page at most
NAMED = 20  # damaged lines that are named
REMEMBERED = 8  # searches whose matches are kept, for the next page of them
# A column's type: a word is one of few, and is kept as its number.
Kind = pl.DataType | type[pl.DataType]
WORD = pl.UInt32()
INNER = ("file", "at", "text", "prompt")  # columns that nobody is shown


@dataclass(frozen=True, slots=True)
class TableQuery:
    """What is wanted of a table. `equal`: a column and its value as text; `least`, `most`: bounds
    of numbers, which a row without a number does not meet; `text`: words that stand in the row."""

    text: str = ""
    equal: Mapping[str, str] = field(default_factory=dict)
    least: Mapping[str, float] = field(default_factory=dict)
    most: Mapping[str, float] = field(default_factory=dict)
    sort: str = ""
    descending: bool = False
    offset: int = 0
    limit: int = 50

    @classmethod
    def of(cls, asked: Iterable[tuple[str, str]]) -> TableQuery:
        """From a query string: q, sort, desc, offset, limit, eq.COLUMN, min.COLUMN, max.COLUMN.
        Raises UsageError for anything else."""
        texts: dict[str, str] = {}
        bounds: dict[str, dict[str, Any]] = {"eq": {}, "min": {}, "max": {}}
        for name, value in asked:
            kind, dot, column = name.partition(".")
            if dot and kind in bounds:
                bounds[kind][column] = value if kind == "eq" else _number(name, value)
            elif name in ("q", "sort", "desc", "offset", "limit"):
                texts[name] = value
            else:
                raise UsageError(f"{name}: no such part of a query")
        return cls(
            texts.get("q", ""),
            bounds["eq"],
            bounds["min"],
            bounds["max"],
            texts.get("sort", ""),
            texts.get("desc", "") == "1",
            max(0, int(_number("offset", texts.get("offset", "0")))),
            min(PAGE, max(1, int(_number("limit", texts.get("limit", "50"))))),
        )


def _number(name: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not abs(number) < 1e15:
        raise UsageError(f"{name}: a number is wanted")
    return number


class Table:
    """Columns in memory. Those of type `WORD` hold numbers of words."""

    def __init__(self, columns: Mapping[str, Kind]) -> None:
        self.schema = pl.Schema(columns)
        self.frame = pl.DataFrame(schema=self.schema)
        self._numbers: dict[str, int] = {}
        self.words: list[str] = []
        self._lock = Lock()

    def __len__(self) -> int:
        return self.frame.height

    def number(self, word: str) -> int:
        """The number of a word, a new one for a new word."""
        number = self._numbers.setdefault(word, len(self.words))
        if number == len(self.words):
            self.words.append(word)
        return number

    def counts(self, column: str) -> dict[str, int]:
        """How often each word stands in the column, the most frequent first."""
        counted = self.frame[column].value_counts().rows()
        words = self.schema[column] == WORD
        ordered = sorted((-n, self.words[word] if words else str(word)) for word, n in counted)
        return {word: -n for n, word in ordered}

    def page(self, query: TableQuery) -> Row:
        """{"total", "rows"}: of the rows that fit, the numbers of those from `offset` on. Raises
        UsageError for a column that is not there."""
        with self._lock:
            frame = self.frame.with_row_index("row")
        mask = self._mask(query)
        if query.text:
            mask = mask & self._search(query.text, frame)
        rows = frame.lazy().filter(mask)
        if query.sort:
            self._column(query.sort)
            rows = rows.sort(
                self._order(query.sort),
                descending=query.descending,
                nulls_last=True,
                maintain_order=True,
            )
        numbers = rows.select("row").collect()["row"]
        shown = numbers.slice(query.offset, query.limit).to_list()
        return {"total": len(numbers), "rows": shown}

    def row(self, number: int) -> Row:
        """A row's columns, words as words."""
        values = self.frame.row(number, named=True)
        return {
            name: self.words[value] if self.schema[name] == WORD else value
            for name, value in values.items()
            if name not in INNER
        }

    def find(self, column: str, value: str) -> list[int]:
        """Numbers of the rows with this text in a column."""
        frame = self.frame
        hits = frame[column] == clean_text(value)
        return [int(n) for n in hits.arg_true().to_list()]

    def _column(self, name: str) -> pl.Expr:
        if name not in self.schema or name in INNER:
            raise UsageError(f"{name}: no such column")
        return pl.col(name)

    def _mask(self, query: TableQuery) -> pl.Expr:
        mask = pl.lit(True)
        for name, value in query.equal.items():
            column, kind = self._column(name), self.schema[name]
            if kind == WORD:
                mask = mask & column.is_in(self._holding(value))
            elif kind == pl.String():
                mask = mask & (column == clean_text(value))
            elif kind == pl.Boolean():
                mask = mask & (column == (value == "true"))
            else:
                mask = mask & (column == _number(name, value))
        for name, bound in query.least.items():
            mask = mask & (self._numeric(name) >= bound)
        for name, bound in query.most.items():
            mask = mask & (self._numeric(name) <= bound)
        return mask

    def _holding(self, value: str) -> list[int]:
        """Numbers of the words that are this one, or hold it among several."""
        return [n for n, word in enumerate(self.words) if word == value or value in word.split(",")]

    def _numeric(self, name: str) -> pl.Expr:
        column = self._column(name)
        if self.schema[name] == WORD or not self.schema[name].is_numeric():
            raise UsageError(f"{name}: not a column of numbers")
        return column

    def _order(self, name: str) -> pl.Expr:
        """Words are sorted as words, not by their numbers."""
        if self.schema[name] != WORD or not self.words:
            return pl.col(name)
        order = sorted(range(len(self.words)), key=self.words.__getitem__)
        ranks = {number: rank for rank, number in enumerate(order)}
        return pl.col(name).replace_strict(list(ranks), list(ranks.values()), return_dtype=WORD)

    def _search(self, text: str, frame: pl.DataFrame) -> pl.Series:
        return frame["text"].str.contains(clean_text(text.lower()), literal=True)


class RowTable(Table):
    """Rows that are at hand: made anew by `fill`. What is searched is the column `text`."""

    def __init__(self, columns: Mapping[str, Kind]) -> None:
        super().__init__({**columns, "text": pl.String()})

    def fill(self, rows: Iterable[Row]) -> None:
        columns: dict[str, list[Any]] = {name: [] for name in self.schema}
        for row in rows:
            for name, kind in self.schema.items():
                value = row[name]
                columns[name].append(self.number(value) if kind == WORD else value)
        columns["text"] = [text.lower() for text in columns["text"]]
        with self._lock:
            self.frame = pl.DataFrame(columns, schema=self.schema)


class FileTable(Table):
    """Rows of JSON-line files, by columns.

    of: the values of a row, one a column, in their order; it raises KeyError, TypeError,
    ValueError, IndexError or AttributeError for a row of another kind. text: what is searched.
    """

    def __init__(
        self,
        columns: Mapping[str, Kind],
        of: Callable[[Row], Sequence[Any]],
        text: Callable[[Row], str],
    ) -> None:
        super().__init__({**columns, "file": pl.UInt16(), "at": pl.UInt64()})
        self._of, self._text = of, text
        self._kinds = list(columns.values())
        self._folder = tempfile.TemporaryDirectory(prefix="autoif-view-")
        self.forget()

    def forget(self) -> None:
        """All of it is read again."""
        with self._lock:
            self.frame = self.frame.clear()
            self._texts: list[Path] = []
            self._matches: dict[str, pl.Series] = {}
        self.files: list[Path] = []
        self._ends: dict[tuple[int, int], tuple[int, int]] = {}  # inode -> number, bytes read
        self.damaged: list[str] = []
        self.unreadable = 0

    def read(self, files: Sequence[Path]) -> bool:
        """Reads what is new in these files, at most `CHUNK` rows of each; from the start, where one
        was replaced. Whether anything was new."""
        stats = {(s.st_dev, s.st_ino): (p, s.st_size) for p in files for s in [p.stat()]}
        if any(key not in stats or stats[key][1] < end for key, (_, end) in self._ends.items()):
            self.forget()
        changed = False
        for key, (path, size) in stats.items():
            number, end = self._ends.get(key, (len(self.files), 0))
            if number == len(self.files):
                self.files.append(path)
            self.files[number] = path  # a shard that is whole has another name
            if size > end:
                self._ends[key] = (number, self._read(path, number, end))
                changed |= self._ends[key][1] > end
        return changed

    def _read(self, path: Path, number: int, start: int) -> int:
        """From this byte on, whole lines; returns where the last one ends."""
        columns: list[list[Any]] = [[] for _ in self.schema]
        texts: list[str] = []
        end = start
        with path.open("rb") as file:
            file.seek(start)
            while len(texts) < CHUNK and (line := file.readline(jsonl.LONGEST + 1)):
                if not line.endswith(b"\n"):
                    break  # it is being written
                at, end = end, end + len(line)
                try:
                    row = jsonl.parse(line, f"{path}: byte {at}")
                    values = self._of(row)
                    text = self._text(row)
                    numbers = [
                        self.number(value) if kind is WORD else value
                        for kind, value in zip(self._kinds, values, strict=True)
                    ]
                    lower = clean_text(text.lower())
                except (UsageError, KeyError, TypeError, ValueError, IndexError, AttributeError):
                    self.unreadable += 1
                    if len(self.damaged) < NAMED:
                        self.damaged.append(f"{path.name}, byte {at}: not a row that a run wrote")
                    continue
                for column, value in zip(columns, (*numbers, number, at), strict=True):
                    column.append(value)
                texts.append(lower)
        self._add(columns, texts)
        return end

    def _add(self, columns: list[list[Any]], texts: list[str]) -> None:
        if not texts:
            return
        more = pl.DataFrame(columns, schema=self.schema, orient="col")
        path = Path(self._folder.name) / f"{len(self._texts):05d}.arrow"
        with new_file(path) as file:
            pl.DataFrame({"text": texts}).write_ipc(file)
        with self._lock:
            self.frame = pl.concat([self.frame, more])
            self._texts = [*self._texts, path]
            self._matches = {}

    def _search(self, text: str, frame: pl.DataFrame) -> pl.Series:
        wanted = clean_text(text.lower())
        with self._lock:
            paths, matches = list(self._texts), self._matches.get(wanted)
        if matches is None:
            column = pl.col("text").str.contains(wanted, literal=True)
            matches = (
                pl.scan_ipc(paths).select(column).collect(engine="streaming")["text"]
                if paths
                else pl.Series("text", [], dtype=pl.Boolean)
            )
            with self._lock:
                if len(self._matches) >= REMEMBERED:
                    self._matches.pop(next(iter(self._matches)))
                if paths == self._texts:
                    self._matches[wanted] = matches
        return matches.head(frame.height)

    def whole(self, number: int) -> Row:
        """The row itself, from its file. Raises UsageError where it is not there any more."""
        place = self.frame.row(number, named=True)
        return jsonl.read_at(self.files[place["file"]], place["at"])

    def close(self) -> None:
        self._folder.cleanup()
