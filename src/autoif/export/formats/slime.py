"""slime: prompts with their verifiers as labels. It has no other training on rows of ours."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from autoif.export.layout import DataFile, Format
from autoif.export.selection import Example, Row


def _row(example: Example, n: int) -> Iterator[Row]:
    yield {
        "prompt": example.prompt,
        "label": orjson.dumps(example.verifiers).decode(),
        "metadata": example.about,
    }


FORMAT = Format(
    "slime",
    "slime 624b824a",
    (DataFile("rl", "rlvr", "rl{split}.jsonl", _row, "`prompt`, `label`"),),
)
