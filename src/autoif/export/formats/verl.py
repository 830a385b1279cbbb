"""verl: Parquet for reinforcement learning and SFT. It has no trainer for pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import orjson
import polars as pl

from autoif.export.layout import DataFile, Format, WrittenFile
from autoif.export.selection import Example, Row
from autoif.export.shapes import conversation

_MESSAGES = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
_SFT = {"messages": _MESSAGES}
_RL = {
    "data_source": pl.String,
    "prompt": _MESSAGES,
    "ability": pl.String,
    "reward_model": pl.Struct({"style": pl.String, "ground_truth": pl.String}),
    "extra_info": pl.Struct(
        {"index": pl.Int64, "id": pl.String, "level": pl.Int64, "source": pl.String}
    ),
}


def _rl(example: Example, n: int) -> Iterator[Row]:
    verifiers = orjson.dumps(example.verifiers).decode()
    yield {
        "data_source": "autoif",
        "prompt": example.prompt,
        "ability": "instruction_following",
        "reward_model": {"style": "rule", "ground_truth": verifiers},
        "extra_info": {"index": n, **example.about},
    }


def _held_out(written: Sequence[WrittenFile]) -> dict[str, str]:
    """What verl validates on, for which it wants a file in any case."""
    paths = [one.path for one in written if one.file.name == "rl"]
    return {"train": paths[0] if paths else "rl.parquet", "val": paths[-1] if paths else ""}


FORMAT = Format(
    "verl",
    "verl 0.9.1",
    (
        DataFile("rl", "rlvr", "rl{split}.parquet", _rl, "prompts with `reward_model`", _RL),
        DataFile("sft", "sft", "sft{split}.parquet", conversation, "`messages`", _SFT),
    ),
    fill=_held_out,
)
