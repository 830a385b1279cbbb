"""Axolotl: JSON lines and the parts of its YAML that name data and reward. It trains with TRL."""

from __future__ import annotations

from collections.abc import Iterator

from autoif.export.layout import DataFile, Format
from autoif.export.selection import Example, Row
from autoif.export.shapes import conversation, pair_of_messages


def _rlvr(example: Example, n: int) -> Iterator[Row]:
    yield {"prompt": example.prompt, "verifiers": example.verifiers}


FORMAT = Format(
    "axolotl",
    "Axolotl 0.21.0",
    (
        DataFile("sft", "sft", "sft{split}.jsonl", conversation, "`messages`"),
        DataFile(
            *("dpo", "dpo", "dpo{split}.jsonl", pair_of_messages),
            "`messages`, `chosen`, `rejected`",
        ),
        DataFile("rlvr", "rlvr", "rlvr{split}.jsonl", _rlvr, "`prompt`, `verifiers`"),
    ),
)
