"""open-instruct: JSON lines, a verifier, and a launcher that makes it known.

Both sides of a pair are whole conversations there: an answer alone is no error, and is trained on
without its prompt.
"""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from autoif.export.layout import DataFile, Format
from autoif.export.selection import Example, Row
from autoif.export.shapes import conversation, reply


def _dpo(example: Example, n: int) -> Iterator[Row]:
    yield {"chosen": example.messages, "rejected": [*example.prompt, reply(example.rejected)]}


def _rlvr(example: Example, n: int) -> Iterator[Row]:
    verifiers = orjson.dumps(example.verifiers).decode()
    yield {"messages": example.prompt, "ground_truth": verifiers, "dataset": "autoif"}


FORMAT = Format(
    "open-instruct",
    "open-instruct e6c3044a",
    (
        DataFile("sft", "sft", "sft{split}.jsonl", conversation, "`messages`"),
        DataFile("dpo", "dpo", "dpo{split}.jsonl", _dpo, "`chosen`, `rejected`, both whole"),
        DataFile("rlvr", "rlvr", "rlvr{split}.jsonl", _rlvr, "`messages`, `ground_truth`"),
    ),
)
