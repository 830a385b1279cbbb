"""Which pages a directory has, and one file with all of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from autoif.base.errors import UsageError
from autoif.base.files import replacing
from autoif.base.printable import log
from autoif.report import html_page
from autoif.report.evaluation_pages import EvaluationPages
from autoif.report.side_by_side import compare
from autoif.report.synthesis_pages import SynthesisPages
from autoif.report.tables import Table, TableQuery
from autoif.report.training_pages import TrainingPages

Row = dict[str, Any]
OF_SYNTHESIS = ("recipe.toml", "progress.json", "manifest.json", "01-instructions.jsonl")
OF_TRAINING = ("metrics.jsonl", "rounds.jsonl")
FEWEST = 20  # drops of each reason that a file holds, whatever their number


class Pages(Protocol):
    """What a page shows of one directory. Raises UsageError for what is not there."""

    kind: str
    path: Path

    @property
    def tables(self) -> Mapping[str, Table]: ...

    def refresh(self) -> bool:
        """Reads what is new, a part at a time. Whether anything was."""

    def summary(self) -> Row:
        """What the directory is, what is missing in it, its counts."""

    def listed(self, table: str, number: int) -> Row:
        """A row of a table as a list shows it, with its "id"."""

    def record(self, table: str, name: str) -> Row:
        """All there is of one record: "calls" behind it, ids of its "verifiers", its own "row"."""

    def close(self) -> None: ...


def open_pages(path: Path) -> Pages:
    """Raises UsageError where the directory is none of AutoIF's."""
    if (path / "scores.json").is_file():
        return EvaluationPages(path)
    if any((path / name).is_file() for name in OF_TRAINING):
        return TrainingPages(path)
    if any((path / name).is_file() for name in OF_SYNTHESIS):
        return SynthesisPages(path)
    if not path.is_dir():
        raise UsageError(f"{path}: no such directory")
    raise UsageError(
        f"{path}: neither a run of `autoif synth` nor one of `autoif eval` or `autoif train`"
    )


def page(pages: Pages, table: str, query: TableQuery) -> Row:
    """{"total", "rows"}: those rows of a table. Raises UsageError for a table or a column that is
    not there."""
    if table not in pages.tables:
        raise UsageError(f"{table}: no such table")
    shown = pages.tables[table].page(query)
    try:
        return shown | {"rows": [pages.listed(table, number) for number in shown["rows"]]}
    except (IndexError, pl.exceptions.OutOfBoundsError):
        raise UsageError("the files were replaced just now; ask again") from None


def write_report(
    *dirs: str | Path,
    out: str | Path,
    samples: int = 1000,
    on_notice: Callable[[str], None] = log,
) -> Path:
    """One HTML file that shows runs, evaluations and trainings, as `autoif report` writes it.

    dirs: directories of `autoif synth`, `autoif eval` or `autoif train`. samples: rows of each
    table that the file holds at most, drawn by chance; every count is of the whole. on_notice:
    hears what is missing in them. Returns `out`, which takes the place of an earlier file when it
    is whole. Raises UsageError for a directory that is none of AutoIF's, and where the file cannot
    be written.
    """
    if not dirs:
        raise UsageError("give one directory at least")
    if samples < 1:
        raise UsageError("samples is at least 1")
    html = report_html([Path(path) for path in dirs], samples, on_notice)
    try:
        with replacing(Path(out)) as file:
            file.write(html.encode())
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}") from None
    return Path(out)


def report_html(
    paths: Sequence[Path], most: int = 1000, on_notice: Callable[[str], None] = log
) -> str:
    """The page of these directories with their data in it: of each table at most `most` rows, drawn
    by chance with a fixed seed, and all counts. Raises UsageError where one is none of AutoIF's."""
    with ExitStack() as ends:
        every = [ends.enter_context(closing(open_pages(path))) for path in paths]
        for pages in every:
            while pages.refresh():
                pass
        runs = [_embedded(pages, most) for pages in every]
        for run in runs:
            for line in run["summary"]["missing"]:
                on_notice(f"{run['summary']['path']}: {line}")
        sides = [(a, b) for a in range(len(every)) for b in range(len(every)) if a != b]
        comparisons = {f"{a}-{b}": compare(every[a], every[b]) for a, b in sides}
        return html_page.build({"runs": runs, "comparisons": comparisons}).html


def _embedded(pages: Pages, most: int) -> Row:
    tables: dict[str, list[str]] = {}  # ids; what a list shows of a record stands in it
    records: dict[str, Row] = {}
    for name, table in pages.tables.items():
        tables[name], records[name] = [], {}
        for number in _chosen(table, most):
            row = pages.listed(name, number)
            with suppress(UsageError):  # what it rests on is damaged
                records[name][row["id"]] = row | pages.record(name, row["id"])
                tables[name].append(row["id"])
    every = [record for of_table in records.values() for record in of_table.values()]
    records["verifiers"] = {}
    for verifier in dict.fromkeys(v for record in every for v in record.get("verifiers", ())):
        with suppress(UsageError):  # its line is damaged
            records["verifiers"][verifier] = pages.record("verifiers", verifier)
    # A call that several records show stands once.
    calls: dict[str, Row] = {}
    for record in every:
        calls |= {call["key"]: call for call in record["calls"]}
        record["calls"] = [[call["key"], call["of"]] for call in record["calls"]]
    return {"summary": pages.summary(), "tables": tables, "records": records, "calls": calls}


def _chosen(table: Table, most: int) -> list[int]:
    """Numbers of rows, in order; of drops, some of each reason."""
    n = len(table)
    if n <= most:
        return list(range(n))
    chosen = set(random.Random(0).sample(range(n), most))
    if "reason" in table.schema:
        rows = table.frame.with_row_index("row")
        few = rows.group_by("stage", "reason").agg(pl.col("row").head(FEWEST))
        chosen |= set(few["row"].explode().to_list())
    return sorted(chosen)
