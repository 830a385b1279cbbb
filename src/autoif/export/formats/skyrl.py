"""SkyRL: prompts for an environment of one step, which a launcher registers."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from autoif.export.layout import DataFile, Format
from autoif.export.selection import Example, Row


def _row(example: Example, n: int) -> Iterator[Row]:
    verifiers = orjson.dumps(example.verifiers).decode()
    yield {
        "data_source": "autoif",
        "prompt": example.prompt,
        "env_class": "autoif",
        "reward_spec": {"method": "rule", "ground_truth": verifiers},
        "extra_info": example.about,
    }


FORMAT = Format(
    "skyrl",
    "skyrl-gym 0.4.0",
    (DataFile("rl", "rlvr", "rl{split}.jsonl", _row, "`prompt`, `reward_spec`"),),
)
