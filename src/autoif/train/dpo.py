"""`autoif train dpo`: preferences, against the model that the training starts from."""

from __future__ import annotations

from pathlib import Path

from autoif.train.config import TrainConfig
from autoif.train.model_files import tokens
from autoif.train.training import Notice, TrainingRun


def train(config: TrainConfig, notice: Notice = lambda line: None) -> Path:
    """The directory of the trained model. Run again, it goes on where it was stopped."""
    run = TrainingRun(config, notice)
    if run.done():
        return run.model
    from trl import DPOConfig, DPOTrainer

    mixed = config.dpo.sft_weight > 0
    arguments = DPOConfig(
        **run.arguments(),
        max_length=config.train.max_length,
        beta=config.dpo.beta,
        loss_type=["sigmoid", "sft"] if mixed else ["sigmoid"],
        loss_weights=[1.0, config.dpo.sft_weight] if mixed else None,
    )
    # With adapters the reference is the model without them; else TRL keeps a copy.
    return run.fit(
        DPOTrainer,
        arguments,
        lambda tokenizer, row: max(
            tokens(tokenizer, row["prompt"] + row[k]) for k in ("chosen", "rejected")
        ),
    )
