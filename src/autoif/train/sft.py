"""`autoif train sft`: the loss is on the answer alone."""

from __future__ import annotations

from pathlib import Path

from autoif.base.errors import UsageError
from autoif.train.config import TrainConfig
from autoif.train.model_files import tokens
from autoif.train.training import Notice, TrainingRun


def train(config: TrainConfig, notice: Notice = lambda line: None) -> Path:
    """The directory of the trained model. Run again, it goes on where it was stopped."""
    run = TrainingRun(config, notice)
    if run.done():
        return run.model
    if config.train.packing and not _has_flash_attention():
        raise UsageError(
            "train.packing wants a GPU and `pip install flash-attn`: without it the rows of one "
            "sequence would read each other; leave it out"
        )
    from trl import SFTConfig, SFTTrainer

    arguments = SFTConfig(
        **run.arguments(),
        max_length=config.train.max_length,
        packing=config.train.packing,
        completion_only_loss=True,
    )
    return run.fit(
        SFTTrainer,
        arguments,
        lambda tokenizer, row: tokens(tokenizer, row["prompt"] + row["completion"]),
    )


def _has_flash_attention() -> bool:
    import torch
    from transformers.utils import is_flash_attn_2_available

    return torch.cuda.is_available() and bool(is_flash_attn_2_available())
