"""JSON lines, read in one way: every row with the place where it stands.

A line is parsed by orjson, and by the json module where orjson refuses it: lone surrogates, which a
model can emit, and NaN. Files may be gzipped, whatever their name, and may begin with a byte order
mark. One line is in memory at a time, and none is longer than `LONGEST`.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from autoif.base.errors import UsageError

Row = dict[str, Any]
BOM = b"\xef\xbb\xbf"
GZIP = b"\x1f\x8b"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
LONGEST = 64 << 20  # bytes of what is parsed in one piece, counted after unpacking
DEEPEST = 200  # levels of nesting: orjson writes 254, and rows are put into rows
MOST = 2_000_000  # lists and objects in one piece; each takes some 60 bytes of memory
TOO_MANY = f"more than {MOST:,} lists and objects in one row"
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)  # also one that nothing closes
TOO_LONG = "longer than 64 MB; is it one row per line?"


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
    with open_bytes(path) as file:
        yield from lines_of(file, path)


def lines_of(file: io.BufferedReader, path: Path) -> Iterator[tuple[Place, bytes]]:
    """`lines` of a file that is open. Raises UsageError for one that is longer than `LONGEST`."""
    at = number = 0
    while line := file.readline(LONGEST + 1):
        number += 1
        if len(line) > LONGEST:
            raise UsageError(f"{path}:{number}: {TOO_LONG}")
        text = line.removeprefix(BOM) if number == 1 else line
        if text and not text.isspace():
            yield Place(path, number, at), text
        at += len(line)


def parse(line: bytes, where: object) -> Row:
    """The object in a line. Raises UsageError naming `where` for anything else."""
    row = parse_value(line, where)
    if not isinstance(row, dict):
        raise UsageError(f"{where}: a JSON object is wanted, not {type(row).__name__}")
    return row


def parse_value(line: bytes, where: object) -> Any:
    """The value in a line. Raises UsageError naming `where` where there is none."""
    try:
        return loads(line)
    except UnicodeDecodeError as error:
        raise UsageError(f"{where}: not UTF-8 text (byte {error.start} of the line)") from None
    except ValueError as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else error
        raise UsageError(f"{where}: not JSON ({reason}); each line must hold one object") from None


def loads(data: bytes) -> Any:
    """A JSON value, lone surrogates let in. Raises ValueError for what is none, or is nested more
    than `DEEPEST` levels deep, or of more than `MOST` lists and objects."""
    if len(data) > MOST and _brackets(data) > MOST and _brackets(_STRING.sub(b"", data)) > MOST:
        raise ValueError(TOO_MANY)
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            value = json.loads(data.decode("utf-8", "surrogatepass"))
        except RecursionError:
            raise ValueError("nested too deeply") from None
        except ValueError as error:
            if isinstance(error, (json.JSONDecodeError, UnicodeDecodeError)):
                raise
            raise ValueError("a number with too many digits") from None
    check_depth(value)
    return value


def _brackets(data: bytes) -> int:
    return data.count(b"[") + data.count(b"{")


def check_depth(value: Any) -> None:
    """Raises ValueError where it is nested more than `DEEPEST` levels deep."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(DEEPEST):
        inner: list[Any] = []
        for container in level:
            values = container.values() if isinstance(container, dict) else container
            inner += [v for v in values if isinstance(v, (dict, list))]
        if not inner:
            return
        level = inner
    raise ValueError("nested too deeply")


@contextmanager
def open_bytes(path: Path) -> Iterator[io.BufferedReader]:
    """The content of a file: unpacked where it is gzipped, as UTF-8 where it begins with the mark
    of UTF-16. Raises UsageError naming the file."""
    try:
        with path.open("rb") as raw:
            file = raw
            if raw.peek(2).startswith(GZIP):
                file = io.BufferedReader(gzip.GzipFile(fileobj=raw))
            if file.peek(2)[:2] in UTF_16:
                file = _from_utf_16(file, path)
            yield file
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except (EOFError, zlib.error):
        raise UsageError(f"{path}: a gzip file that is broken off or damaged") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None


def _from_utf_16(file: io.BufferedReader, path: Path) -> io.BufferedReader:
    """Read as a whole: spreadsheets and shells write such files, and no large ones."""
    content = file.read(LONGEST + 1)
    if len(content) > LONGEST:
        raise UsageError(f"{path}: more than 64 MB of UTF-16; save it as UTF-8")
    try:
        text = content.decode("utf-16")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-16 text (byte {error.start})") from None
    return io.BufferedReader(io.BytesIO(text.encode()))
