"""Axolotl: JSON lines and the parts of its YAML that name data and reward. It trains with TRL."""

from __future__ import annotations

from collections.abc import Iterator

from autoif.export.layout import DataFile, Format
from autoif.export.selection import Example, Row


def _sft(example: Example, n: int) -> Iterator[Row]:
    yield {"messages": example.messages}


def _dpo(example: Example, n: int) -> Iterator[Row]:
    yield {
        "messages": example.prompt,
        "chosen": {"role": "assistant", "content": example.answer},
        "rejected": {"role": "assistant", "content": example.rejected},
    }


def _rlvr(example: Example, n: int) -> Iterator[Row]:
    yield {"prompt": example.prompt, "verifiers": example.verifiers}


FORMAT = Format(
    "axolotl",
    "Axolotl 0.21.0",
    (
        DataFile("sft", "sft", "sft{split}.jsonl", _sft, "`messages`"),
        DataFile("dpo", "dpo", "dpo{split}.jsonl", _dpo, "`messages`, `chosen`, `rejected`"),
        DataFile("rlvr", "rlvr", "rlvr{split}.jsonl", _rlvr, "`prompt`, `verifiers`"),
    ),
)
