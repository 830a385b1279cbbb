"""Removes rows of an existing file that share a run of words with a benchmark's prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import IO

from autoif.base.conversations import CHAT_COLUMNS, all_texts
from autoif.base.errors import UsageError
from autoif.base.inputs import read_lines
from autoif.base.records import dump_line
from autoif.clean.ngrams import Runs

# Columns that hold what is asked or answered: a text, or a list of messages.
TEXTS = (
    *CHAT_COLUMNS, "prompt", "chosen", "rejected", "completion", "query", "question", "instruction",
    "input", "text", "response", "answer", "output",
)  # fmt: skip


def decontaminate(
    source: str, benchmarks: Sequence[str], out: IO[bytes], dropped: IO[bytes]
) -> tuple[int, Counter[str], int]:
    """Writes the rows of `source` (JSONL, CSV, Parquet, ...) that share no run of 13 words with a
    prompt of the benchmark files to `out`, as JSON lines in their order: lines of JSON as they are.
    `dropped` gets a row
    `{"row", "id", "run", "benchmark"}` for each of the others; `row` counts from 1.

    Returns the number of rows read, of rows dropped by benchmark, and of the benchmarks' rows that
    hold no words. Raises UsageError for a file
    that cannot be read, and for a row without any of the columns in `TEXTS`.
    """
    runs = {name: Runs.of_files([name]) for name in benchmarks}
    counts = Counter(dict.fromkeys(benchmarks, 0))
    number = 0
    for number, (where, row, line) in enumerate(read_lines(source), 1):
        texts = [text for column in TEXTS for text in all_texts(row.get(column))]
        if not row.keys() & set(TEXTS):
            raise UsageError(
                f"{where} has none of the columns {', '.join(TEXTS)}; it has: "
                f"{', '.join(map(str, row))}"
            )
        shared = ((name, runs[name].shared(text)) for name in benchmarks for text in texts)
        name, run = next((pair for pair in shared if pair[1]), ("", ""))
        if run:
            counts[name] += 1
            fate = {"row": number, "id": row.get("id"), "run": run, "benchmark": name}
            dropped.write(dump_line(fate))
        else:
            out.write(line.rstrip(b"\r\n") + b"\n" if line else dump_line(row))
    return number, counts, sum(len(own.read.dropped) for own in runs.values())
