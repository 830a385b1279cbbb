"""OpenRLHF: JSON lines for SFT, DPO and RL, and the options that name their columns.

With its default options the pairs load without their prompt, and without an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import orjson

from autoif.export.layout import DataFile, Format, WrittenFile
from autoif.export.selection import Example, Row
from autoif.export.shapes import conversation, pair


def _prompts(example: Example, n: int) -> Iterator[Row]:
    verifiers = orjson.dumps(example.verifiers).decode()
    yield {"prompt": example.prompt, "label": verifiers, "datasource": "autoif"}


def _options(written: Sequence[WrittenFile]) -> dict[str, str]:
    """A line of options for each training of which there is data."""
    lines = {
        "sft": "--data.dataset {DIR}/sft.jsonl --data.input_key messages --data.multiturn "
        "--data.apply_chat_template",
        "dpo": "--data.dataset {DIR}/dpo.jsonl --data.prompt_key prompt --data.chosen_key chosen "
        "--data.rejected_key rejected --data.apply_chat_template",
        "prompts": "--data.prompt_dataset {DIR}/prompts.jsonl --data.input_key prompt "
        "--data.label_key label --data.apply_chat_template --reward.remote_url {DIR}/reward.py",
    }
    names = list(dict.fromkeys(one.file.name for one in written))
    text = "".join(f"{name.replace('prompts', 'ppo')}: {lines[name]}\n" for name in names)
    return {"args.txt": text}


FORMAT = Format(
    "openrlhf",
    "OpenRLHF 0.11.2",
    (
        DataFile("sft", "sft", "sft{split}.jsonl", conversation, "`messages`"),
        DataFile("dpo", "dpo", "dpo{split}.jsonl", pair, "`prompt`, `chosen`, `rejected`"),
        DataFile("prompts", "rlvr", "prompts{split}.jsonl", _prompts, "`prompt`, `label`"),
    ),
    generate=_options,
)
