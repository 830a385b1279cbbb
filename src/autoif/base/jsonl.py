"""JSON lines, read in one way: every row with the place where it stands.

A line is parsed by orjson, and by the json module where orjson refuses it: lone surrogates, which a
model can emit, and NaN. Files may be gzipped (`.gz`) and may begin with a byte order mark. One line
is in memory at a time.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import orjson

from autoif.base.errors import UsageError

Row = dict[str, Any]
BOM = b"\xef\xbb\xbf"


class Place(NamedTuple):
    """Where a row stands. `at`: the first byte of its line, in the text that a `.gz` file holds."""

    file: Path
    line: int
    at: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def read(path: Path, *, required: bool = False) -> Iterator[tuple[Place, Row]]:
    """Each row of a file with its place; blank lines are skipped.

    Raises UsageError where the file cannot be read, a line holds no JSON object, or, with
    `required`, there is no row.
    """
    empty = True
    for place, line in lines(path):
        empty = False
        yield place, parse(line, place)
    if required and empty:
        raise UsageError(f"{path} is empty: it should hold one JSON object per line")


def read_at(path: Path, at: int) -> Row:
    """The row whose line begins at this byte, the `at` of its place."""
    with open_bytes(path) as file:
        file.seek(at)
        return parse(file.readline().removeprefix(BOM), f"{path}: byte {at}")


def lines(path: Path) -> Iterator[tuple[Place, bytes]]:
    """Each line that is not blank, unparsed, with its line end and its place."""
    at = 0
    with open_bytes(path) as file:
        for number, line in enumerate(file, 1):
            text = line.removeprefix(BOM) if number == 1 else line
            if text and not text.isspace():
                yield Place(path, number, at), text
            at += len(line)


def parse(line: bytes, where: object) -> Row:
    """The object in a line. Raises UsageError naming `where` for anything else."""
    try:
        row = loads(line)
    except UnicodeDecodeError as error:
        raise UsageError(f"{where}: not UTF-8 text (byte {error.start} of the line)") from None
    except ValueError as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else error
        raise UsageError(f"{where}: not JSON ({reason}); each line must hold one object") from None
    if not isinstance(row, dict):
        raise UsageError(f"{where}: a JSON object is wanted, not {type(row).__name__}")
    return row


def loads(data: bytes) -> Any:
    """A JSON value, lone surrogates let in. Raises ValueError for what is none, or is nested too
    deeply."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            return json.loads(data.decode("utf-8", "surrogatepass"))
        except RecursionError:
            raise ValueError("nested too deeply") from None


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """The content of a file, unpacked where it is a `.gz`. Raises UsageError naming the file."""
    try:
        packed = path.suffix.lower() == ".gz"
        with cast(IO[bytes], gzip.open(path) if packed else path.open("rb")) as file:
            yield file
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except (EOFError, zlib.error):
        raise UsageError(f"{path}: a gzip file that is broken off") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
