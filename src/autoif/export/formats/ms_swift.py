"""ms-swift: JSON lines in its standard columns, and a plugin with the reward.

A column `query` or `response` would be taken for the prompt and the answer there.
"""

from __future__ import annotations

from collections.abc import Iterator

from autoif.export.layout import DataFile, Format
from autoif.export.selection import Example, Row
from autoif.export.shapes import conversation, labelled


def _dpo(example: Example, n: int) -> Iterator[Row]:
    if example.answer != example.rejected:  # which it refuses
        yield {"messages": example.messages, "rejected_response": example.rejected}


def _grpo(example: Example, n: int) -> Iterator[Row]:
    yield {"messages": example.prompt, "verifiers": example.verifiers}


FORMAT = Format(
    "ms-swift",
    "ms-swift 4.6.0",
    (
        DataFile("sft", "sft", "sft{split}.jsonl", conversation, "`messages`"),
        DataFile("dpo", "dpo", "dpo{split}.jsonl", _dpo, "`messages`, `rejected_response`"),
        DataFile("kto", "dpo", "kto{split}.jsonl", labelled("label"), "`messages`, `label`"),
        DataFile("grpo", "rlvr", "grpo{split}.jsonl", _grpo, "`messages`, `verifiers`"),
    ),
)
