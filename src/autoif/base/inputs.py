"""Reading what users bring: text, JSONL, CSV or Parquet files, and `hf:DATASET[:split[:column]]`.

`read_texts` gives rows `{"text", ...the other columns}`; chat columns (`messages`, `conversations`)
give their first user turn. Whatever is wrong with a file is one `UsageError` naming file and line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from autoif.base import jsonl
from autoif.base.errors import UsageError
from autoif.base.jsonl import Row
from autoif.base.language import CJK, clean_text

BUILTIN = Path(__file__).parents[1] / "data"
CHAT_COLUMNS = ("messages", "conversations", "conversation")


def builtin(source: str, name: str) -> str:
    """The shipped file that `builtin` or `builtin:SET` means."""
    return str(BUILTIN / source.partition(":")[2] / name)


def read_texts(source: str, columns: tuple[str, ...]) -> list[Row]:
    """Rows with a `text`, taken from the first of `columns` (or a chat column) that is there."""
    out = []
    for where, row in read_rows(source, columns[0]):
        text = _text(row, columns)
        if text is None:
            raise UsageError(
                f"{where}: no column {' or '.join(columns)} (nor {', '.join(CHAT_COLUMNS)}); "
                f"it has: {', '.join(map(str, row))}"
            )
        text = clean_text(text)
        if text.strip():
            out.append(
                {**row, "text": " ".join(text.split()) if "\n" not in text else text.strip()}
            )
    if not out:
        raise UsageError(f"{source}: empty, no text in it")
    return out


def language(row: Mapping[str, Any], text: str) -> str:
    """What the row says, or what its characters say."""
    stated = row.get("lang")
    return stated if isinstance(stated, str) and stated else "zh" if CJK.search(text) else "en"


def read_rows(source: str, column: str = "text") -> Iterator[tuple[str, Row]]:
    """Each row with where it stands, for messages. A line of plain text is a row `{column: line}`.

    Raises UsageError for what cannot be read.
    """
    if source.startswith("hf:"):
        yield from _numbered(source, _hub(source, column))
        return
    path = Path(source)
    if not path.is_file():
        raise UsageError(f"{source}: no such file")
    try:
        match path.name.lower().removesuffix(".gz").rpartition(".")[2]:
            case "jsonl" | "ndjson" | "json":
                yield from read_jsonl(path)
            case "csv" | "tsv":
                separator = "\t" if path.suffix.lower() == ".tsv" else ","
                frame = pl.read_csv(path, separator=separator, infer_schema=False)
                yield from _numbered(source, frame.iter_rows(named=True))
            case "parquet":
                yield from _numbered(source, pl.read_parquet(path).iter_rows(named=True))
            case _:
                for number, line in enumerate(path.read_text("utf-8-sig").splitlines(), 1):
                    if line.strip():
                        yield f"{source}:{number}", {column: line.strip()}
    except UnicodeDecodeError as error:
        raise UsageError(f"{source}: not UTF-8 text (byte {error.start})") from None
    except pl.exceptions.NoDataError:
        raise UsageError(f"{source}: empty") from None
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"{source}: not a readable {path.suffix[1:]} file: {reason}") from None
    except OSError as error:
        raise UsageError(f"{source}: cannot be read: {error.strerror or error}") from None


def read_jsonl(path: Path) -> Iterator[tuple[str, Row]]:
    """The rows of a file of JSON lines; a file that is one JSON list of objects does as well."""
    with jsonl.open_bytes(path) as file:
        is_list = file.readline().removeprefix(jsonl.BOM).lstrip().startswith(b"[")
    if not is_list:
        yield from ((str(place), row) for place, row in jsonl.read(path))
        return
    with jsonl.open_bytes(path) as file:
        content = file.read().removeprefix(jsonl.BOM)
    try:
        rows = jsonl.loads(content)
    except ValueError as error:
        raise UsageError(f"{path}: not JSON: {error}") from None
    for where, row in _numbered(str(path), rows):
        if not isinstance(row, dict):
            raise UsageError(f"{where} is not a JSON object")
        yield where, row


def _numbered(source: str, rows: Iterable[Row]) -> Iterator[tuple[str, Row]]:
    return ((f"{source}: row {number}", row) for number, row in enumerate(rows, 1))


def _text(row: Mapping[str, Any], columns: tuple[str, ...]) -> str | None:
    for name in columns:
        if isinstance(row.get(name), str):
            return str(row[name])
        if name in row and row[name] is None:
            return ""  # a row without a text is no text, and no reason to refuse the others
    for name in CHAT_COLUMNS:
        turns = row.get(name)
        if isinstance(turns, list):
            return _first_user_turn(turns)
    return None


def _first_user_turn(turns: list[Any]) -> str:
    """OpenAI's {"role", "content"} and ShareGPT's {"from", "value"}."""
    for turn in turns:
        if isinstance(turn, dict) and (turn.get("role") or turn.get("from")) in ("user", "human"):
            content = turn.get("content", turn.get("value"))
            if isinstance(content, str):
                return content
    return ""


def _hub(source: str, column: str) -> Iterator[Row]:
    name, _, rest = source[3:].partition(":")
    split, _, wanted = rest.partition(":")
    try:
        import datasets  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:
        raise UsageError(f'{source}: reading datasets needs `pip install "autoif[hub]"`') from None
    try:
        rows = datasets.load_dataset(name, split=split or "train", trust_remote_code=False)
    except Exception as error:  # the library raises a dozen kinds; each means: not to be had
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{source}: cannot be loaded: {reason}") from None
    if wanted and wanted not in rows.column_names:
        raise UsageError(f"{source}: no column {wanted}; it has: {', '.join(rows.column_names)}")
    for row in rows:
        yield {**row, column: row[wanted]} if wanted else dict(row)
