"""Reading what users bring, one reader for all commands: JSON lines, JSON, CSV, TSV, Parquet, plain
text, each also gzipped, and `hf:DATASET[:split[:column]]`.

`read_rows` gives rows, `read_texts` rows `{"text", ...the other columns}`. Whatever is wrong with a
file is one `UsageError` naming file and line.
"""

from __future__ import annotations

import base64
import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from autoif.base import jsonl
from autoif.base.conversations import CHAT_COLUMNS, user_text
from autoif.base.errors import UsageError, one_line
from autoif.base.jsonl import Place, Row
from autoif.base.language import CJK, clean_text, language_tag
from autoif.base.records import Drop, dump_line

BUILTIN = Path(__file__).parents[1] / "data"
CHUNK = 1 << 20  # characters of a JSON document that are read at once
_JSON = re.compile(rb'(?:\xef\xbb\xbf)?\s*(?:\{\s*["}]|\[\s*[{"])')
_LIST = re.compile(rb"(?:\xef\xbb\xbf)?\s*\[")
_BLANK = re.compile(r"[\s,]*")
# Markdown: what only gives a page its shape, and what stands before an item of a list.
_SHAPE = re.compile(r"#{1,6}\s|[-*_=]{3,}$|```")
_ITEM = re.compile(r"(?:[-*+]|\d{1,4}[.)])\s+(?:\[[ xX]\]\s+)?")
# An object with one of these is a row, not a document that holds rows.
_OF_A_ROW = {
    *CHAT_COLUMNS, "query", "text", "prompt", "question", "instruction", "input", "output",
    "response", "responses", "completion", "chosen", "rejected", "checks", "verifiers", "kwargs",
}  # fmt: skip


class Where(NamedTuple):
    """Where a row stands, for messages. number: of its line, or of the row, from 1."""

    source: str
    number: int
    is_line: bool = True

    def __str__(self) -> str:
        return f"{self.source}:{self.number}" if self.is_line else f"{self.source}: row {self[1]}"


Found = tuple[Where, Row, bytes]  # where it stands, the row, its line of JSON or b""


def builtin(source: str, name: str) -> str:
    """The shipped file that `builtin` or `builtin:SET` means."""
    return str(BUILTIN / source.partition(":")[2] / name)


def read_texts(source: str, columns: tuple[str, ...]) -> list[Row]:
    """Every row with its `text`, from the first of `columns`, or of the chat columns, that holds
    one. A row without any has the text "": it is for the caller to count. Raises UsageError where
    no row has one, and where a column holds several that are no conversation."""
    rows: list[Row] = []
    reason = "empty, no text in it"
    for where, row in read_rows(source, columns[0]):
        text = clean_text(user_text(row, columns, where)).strip()
        if not rows:
            has = ", ".join(f"{name} ({_kind(value)})" for name, value in row.items()) or "nothing"
            reason = (
                f"no text in a column {' or '.join(columns)}, nor a user's turn in "
                f"{', '.join(CHAT_COLUMNS)}; {where} has: {has}"
            )
        rows.append({**row, "text": text})
    if not any(row["text"] for row in rows):
        raise UsageError(f"{source}: {reason}")
    return rows


def without_text(stage: str, row: Row) -> Drop:
    """How a row of `read_texts` with no text is booked."""
    line = dump_line(row).decode()
    return Drop.of(stage, ("row", line), "no_text", line)


def why_none(dropped: Sequence[Drop], settings: str = "") -> str:
    """The end of a message on a file of which nothing is left. settings: that bound the lengths."""
    counts = Counter(drop.reason for drop in dropped)
    hints = {
        "other_language": "by the column `lang`, or by their letters",
        "too_short": settings,
        "too_long": settings,
    }
    reasons = [
        f"{n} {reason}" + (f" ({hints[reason]})" if hints.get(reason) else "")
        for reason, n in sorted(counts.items())
    ]
    return f"left out of {len(dropped)} rows: {', '.join(reasons)}"


def language(row: Mapping[str, Any], text: str) -> str:
    """What the row says, or what its characters say."""
    stated = row.get("lang")
    if isinstance(stated, str) and stated.strip():
        return language_tag(stated)
    return "zh" if CJK.search(text) else "en"


def row_id(row: Mapping[str, Any]) -> str | None:
    """The row's `id` as text, whether it is written as a text or as a whole number."""
    name = row.get("id")
    if isinstance(name, float) and name.is_integer():
        name = int(name)
    return str(name) if isinstance(name, (str, int)) and not isinstance(name, bool) else None


def read_rows(source: str | Path, column: str = "") -> Iterator[tuple[Where, Row]]:
    """Each row with where it stands. A line of plain text is a row `{column: line}`; without
    `column` a file has to hold objects. What a file holds is seen from its content where its name
    does not say.

    Raises UsageError for what cannot be read.
    """
    return ((where, row) for where, row, _ in read_lines(source, column))


def read_lines(source: str | Path, column: str = "") -> Iterator[Found]:
    """As `read_rows`, with the line that a row stands in; b"" where it is in no line of JSON. The
    line says what a parsed row does not: long numbers, NaN, repeated keys."""
    source = str(source)
    if source.startswith("hf:"):
        for number, row in enumerate(_hub(source, column), 1):
            yield Where(source, number, False), row, b""
        return
    path = Path(source)
    try:
        with jsonl.open_bytes(path) as file:
            yield from _rows(file, path, column)
    except UnicodeDecodeError as error:
        raise UsageError(f"{source}: not UTF-8 text ({one_line(error.reason)})") from None


def _rows(file: io.BufferedReader, path: Path, column: str) -> Iterator[Found]:
    kind = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    head = file.peek(CHUNK)
    if kind == "parquet" or head.startswith(b"PAR1"):
        return _parquet(file, path)
    if kind in ("csv", "tsv", "tab"):
        return _table(file, str(path), "," if kind == "csv" else "\t")
    if not column or kind in ("jsonl", "ndjson", "json") or _JSON.match(head):
        return _json(file, path, column)
    if kind in ("yaml", "yml"):
        raise UsageError(f"{path}: YAML is not read; give a text a line (.txt), or JSON lines")
    return _plain(file, str(path), column, markdown=kind in ("md", "markdown"))


# ---- JSON --------------------------------------------------------------------------------------


def _json(file: io.BufferedReader, path: Path, column: str) -> Iterator[Found]:
    """JSON lines; or, where the first line is no row, a document: a list of rows, an object that
    holds such a list, or rows that go over several lines each."""
    if _LIST.match(file.peek(CHUNK)):  # which may be one line
        yield from _document(Place(path, 1, 0), b"", file, column)
        return
    lines = jsonl.lines_of(file, path)
    first = next(lines, None)
    if first and not _is_row(first[1]):
        yield from _document(*first, file, column)
        return
    for place, line in chain([first] if first else [], lines):
        where = Where(str(path), place.line)
        yield where, _row(jsonl.parse_value(line, where), where, column), line


def _is_row(line: bytes) -> bool:
    try:
        value = jsonl.loads(line)
    except ValueError:
        return False
    return isinstance(value, str) or (isinstance(value, dict) and not _lists_of_rows(value))


def _document(place: Place, head: bytes, file: io.BufferedReader, column: str) -> Iterator[Found]:
    source = str(place.file)
    values = _values(source, place.line, head, file)
    first = list(islice(values, 2))
    lists = _lists_of_rows(first[0]) if len(first) == 1 else []
    if len(lists) > 1:
        raise UsageError(f"{source}: rows in {len(lists)} places of one object; give one list")
    for number, value in enumerate(lists[0] if lists else chain(first, values), 1):
        where = Where(source, number, False)
        yield where, _row(value, where, column), b""


def _row(value: Any, where: Where, column: str) -> Row:
    if isinstance(value, dict):
        return value
    if isinstance(value, str) and column:
        return {column: value}
    raise UsageError(f"{where}: a JSON object is wanted, not {_kind(value)}")


def _lists_of_rows(value: Any) -> list[Any]:
    """What holds the rows of a document: the list in `{"version": 1, "data": [{...}, ...]}`, and
    whatever else in it might hold some too. Empty for what is a row itself."""
    if not isinstance(value, dict) or value.keys() & _OF_A_ROW:
        return []
    holders = [v for v in value.values() if _may_hold_rows(v)]
    lists = [v for v in holders if isinstance(v, list) and all(isinstance(r, dict) for r in v)]
    if len(holders) > 1 and not any(row.keys() & _OF_A_ROW for rows in lists for row in rows):
        return []  # lists within a row
    return holders if lists else []


def _may_hold_rows(value: Any) -> bool:
    """Whether it is a list, or an object in which there is one, or which is a row itself."""
    if isinstance(value, dict):
        return bool(value.keys() & _OF_A_ROW) or any(map(_may_hold_rows, value.values()))
    return isinstance(value, list) and bool(value)


def _values(source: str, line: int, head: bytes, file: io.BufferedReader) -> Iterator[Any]:
    """The values of a JSON list, or those that follow one another. line: that of `head`, what is
    read already; the rest is read a chunk at a time."""
    decoder, scan = codecs.getincrementaldecoder("utf-8-sig")(), json.JSONDecoder().raw_decode
    text, at, more = decoder.decode(head or file.read(CHUNK)), 0, True
    listed = text.lstrip().startswith("[")
    if listed:
        at = text.index("[") + 1
    while True:
        blank = _BLANK.match(text, at)
        at = blank.end() if blank else at
        if listed and text[at : at + 1] == "]":
            if text[at + 1 :].strip() or file.read(CHUNK).strip():
                raise UsageError(f"{source}: not JSON (something follows the list)")
            return
        if at == len(text) and not more and not listed:
            return
        try:
            value, end = scan(text, at)
            jsonl.check_depth(value)
        except (ValueError, RecursionError) as error:
            reason, place = _json_error(error, at)
            # What seems wrong at the end of the text may only be cut off there.
            if not more or not (reason.startswith("Unterminated") or place > len(text) - 16):
                line += text.count("\n", 0, place)
                raise UsageError(f"{source}:{line}: not JSON ({reason})") from None
        else:
            if end < len(text) or not more:
                yield value
                at = end
                continue
        if len(text) - at > jsonl.LONGEST:
            raise UsageError(f"{source}:{line + text.count(chr(10), 0, at)}: {jsonl.TOO_LONG}")
        # As much again as there is: so no text is scanned often, however long a value.
        chunk = file.read(max(CHUNK, len(text) - at))
        more = bool(chunk)
        line += text.count("\n", 0, at)
        text, at = text[at:] + decoder.decode(chunk, not more), 0
        if text.count("[") + text.count("{") > jsonl.MOST:
            raise UsageError(f"{source}:{line}: {jsonl.TOO_MANY}")


def _json_error(error: Exception, at: int) -> tuple[str, int]:
    if isinstance(error, json.JSONDecodeError):
        return error.msg, error.pos
    deep = isinstance(error, RecursionError) or "nested" in str(error)
    return ("nested too deeply" if deep else "a number with too many digits"), at


# ---- tables and lines --------------------------------------------------------------------------


def _table(file: io.BufferedReader, source: str, separator: str) -> Iterator[Found]:
    reader = csv.reader(_lines(file, source, ""), delimiter=separator, strict=True)
    header: list[str] = []
    line = 1
    try:
        for cells in reader:
            where, line = Where(source, line), reader.line_num + 1
            if not header:
                header = cells
                twice = [name for name in header if header.count(name) > 1]
                if twice:
                    raise UsageError(f"{where}: two columns are called {twice[0]!r}")
            elif cells and len(cells) != len(header):
                raise UsageError(
                    f"{where}: {len(cells)} fields, but the header has {len(header)}; a field "
                    f"that holds {'commas' if separator == ',' else 'tabs'} needs quotation marks"
                )
            elif cells:
                row = zip(header, cells, strict=True)
                yield where, {name: cell or None for name, cell in row}, b""
    except csv.Error as error:
        if "field limit" in str(error):
            raise UsageError(
                f"{source}:{reader.line_num}: a field of more than {csv.field_size_limit():,} "
                "characters, or a quotation mark that nothing closes; JSON lines hold longer texts"
            ) from None
        raise UsageError(
            f"{source}:{reader.line_num}: its quotation marks cannot be read ({error}); a field "
            "in quotation marks doubles those within it"
        ) from None


def _plain(file: io.BufferedReader, source: str, column: str, *, markdown: bool) -> Iterator[Found]:
    for number, line in enumerate(_lines(file, source, None), 1):
        text = line.strip()
        if markdown:
            mark = _ITEM.match(text)
            text = "" if _SHAPE.match(text) else text[mark.end() if mark else 0 :]
        if text:
            yield Where(source, number), {column: text}, b""


def _lines(file: io.BufferedReader, source: str, newline: str | None) -> Iterator[str]:
    """Lines as CR, LF or both divide them, and nothing else that Python takes for an end of one.
    newline: None for ends that are all "\n", "" for those of the file."""
    number = 0
    with io.TextIOWrapper(file, "utf-8-sig", newline=newline) as text:
        while line := text.readline(jsonl.LONGEST + 1):
            number += 1
            if len(line) > jsonl.LONGEST:
                raise UsageError(f"{source}:{number}: {jsonl.TOO_LONG}")
            if "\0" in line:
                raise UsageError(
                    f"{source}:{number}: a NUL character, as in UTF-16 and UTF-32 without their "
                    "mark; save the file as UTF-8"
                )
            yield line


# ---- columns of binary files -------------------------------------------------------------------


def _parquet(file: io.BufferedReader, path: Path) -> Iterator[Found]:
    import polars as pl  # most of what importing AutoIF would cost

    packed = isinstance(file.raw, io.BufferedIOBase)
    try:
        frame = pl.read_parquet(io.BytesIO(file.read(jsonl.LONGEST)) if packed else path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"{path}: not a readable parquet file: {reason}") from None
    for number, row in enumerate(frame.iter_rows(named=True), 1):
        yield Where(str(path), number, False), _as_json(row), b""


def _as_json(row: Mapping[str, Any]) -> Row:
    """Times, decimals and bytes as JSON has them, so that any row can be written again."""
    try:
        plain: Row = orjson.loads(orjson.dumps(row, default=_text_for))
    except (orjson.JSONEncodeError, TypeError):  # an integer of more than 64 bits
        plain = json.loads(json.dumps(row, default=_text_for))
    return plain


def _text_for(value: Any) -> str:
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()


def _kind(value: Any) -> str:
    kinds = {str: "text", list: "list", dict: "object", bool: "boolean", type(None): "null"}
    return kinds.get(type(value), "number")


def _hub(source: str, column: str) -> Iterator[Row]:
    name, _, rest = source[3:].partition(":")
    split, _, wanted = rest.partition(":")
    try:
        import datasets  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:
        raise UsageError(f'{source}: reading datasets needs `pip install "autoif[hub]"`') from None
    try:
        rows: Iterable[Row] = datasets.load_dataset(
            name, split=split or "train", trust_remote_code=False
        )
    except Exception as error:  # the library raises a dozen kinds; each means: not to be had
        raise UsageError(f"{source}: cannot be loaded: {one_line(error)}") from None
    for row in rows:
        if wanted and wanted not in row:
            raise UsageError(f"{source}: no column {wanted}; it has: {', '.join(row)}")
        yield _as_json({**row, column or wanted: row[wanted]} if wanted else row)
