"""Reading what users bring: text, JSONL, CSV or Parquet files, and `hf:DATASET[:split[:column]]`.

`read_texts` gives rows `{"text", ...the other columns}`; chat columns (`messages`, `conversations`)
give their first user turn. Whatever is wrong with a file is one `UsageError` naming file and line.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from autoif.base.errors import UsageError
from autoif.base.language import CJK

BUILTIN = Path(__file__).parents[1] / "data"
CHAT_COLUMNS = ("messages", "conversations", "conversation")


def builtin(source: str, name: str) -> str:
    """The shipped file that `builtin` or `builtin:SET` means."""
    return str(BUILTIN / source.partition(":")[2] / name)


def read_texts(source: str, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    """Rows with a `text`, taken from the first of `columns` (or a chat column) that is there."""
    rows = list(read_rows(source, columns[0]))
    out = []
    for row in rows:
        text = _text(row, columns)
        if text is None:
            raise UsageError(
                f"{source}: no column {' or '.join(columns)} (nor {', '.join(CHAT_COLUMNS)}); "
                f"it has: {', '.join(map(str, row))}"
            )
        text = text.encode("utf-8", "replace").decode()  # JSON can spell lone surrogates
        if text.strip():
            out.append(
                {**row, "text": " ".join(text.split()) if "\n" not in text else text.strip()}
            )
    if not out:
        raise UsageError(f"{source}: empty, no text in it")
    return out


def language(row: Mapping[str, Any], text: str) -> str:
    """What the row says, or what its characters say."""
    said = row.get("lang")
    return said if isinstance(said, str) and said else "zh" if CJK.search(text) else "en"


def read_rows(source: str, column: str = "text") -> Iterator[dict[str, Any]]:
    if source.startswith("hf:"):
        yield from _hub(source, column)
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
                yield from frame.iter_rows(named=True)
            case "parquet":
                yield from pl.read_parquet(path).iter_rows(named=True)
            case _:
                for line in path.read_text("utf-8-sig").splitlines():
                    if line.strip():
                        yield {column: line.strip()}
    except UnicodeDecodeError as error:
        raise UsageError(f"{source}: not UTF-8 text (byte {error.start})") from None
    except pl.exceptions.NoDataError:
        raise UsageError(f"{source}: empty") from None
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"{source}: not a readable {path.suffix[1:]} file: {reason}") from None
    except (EOFError, zlib.error):
        raise UsageError(f"{source}: a gzip file that is broken off") from None
    except OSError as error:
        raise UsageError(f"{source}: cannot be read: {error.strerror or error}") from None


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """One object a line; a file that is one JSON list of objects does as well. May be gzipped."""
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            if number == 1 and line.lstrip().startswith("["):
                yield from _json_list(path, line + file.read())
                return
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UsageError(f"{path}: line {number} is not JSON: {error}") from None
            if not isinstance(row, dict):
                raise UsageError(f"{path}: line {number} is not a JSON object")
            yield row


def _json_list(path: Path, text: str) -> Iterable[dict[str, Any]]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not JSON: {error}") from None
    if not all(isinstance(row, dict) for row in rows):
        raise UsageError(f"{path}: not a list of JSON objects")
    return list(rows)


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


def _hub(source: str, column: str) -> Iterator[dict[str, Any]]:
    name, _, rest = source[3:].partition(":")
    split, _, wanted = rest.partition(":")
    try:
        import datasets  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:
        raise UsageError(f'{source}: reading datasets needs `pip install "autoif[hub]"`') from None
    try:
        rows = datasets.load_dataset(name, split=split or "train")
    except Exception as error:  # the library raises a dozen kinds; each means: not to be had
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{source}: cannot be loaded: {reason}") from None
    if wanted and wanted not in rows.column_names:
        raise UsageError(f"{source}: no column {wanted}; it has: {', '.join(rows.column_names)}")
    for row in rows:
        yield {**row, column: row[wanted]} if wanted else dict(row)
