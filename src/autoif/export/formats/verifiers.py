"""PrimeIntellect's verifiers (and prime-rl): a package with one taskset."""

from __future__ import annotations

from collections.abc import Iterator

from autoif.export.layout import DataFile, Format
from autoif.export.selection import Example, Row


def _task(example: Example, n: int) -> Iterator[Row]:
    several = len(example.prompt) > 1
    yield {
        "idx": n,
        "name": example.id,
        "prompt": example.prompt if several else example.prompt[0]["content"],
        "verifiers": example.verifiers,
    }


FORMAT = Format(
    "verifiers",
    "verifiers 0.4.0",
    (DataFile("tasks", "rlvr", "autoif_tasks/{name}.jsonl", _task, "`prompt`, `verifiers`"),),
)
