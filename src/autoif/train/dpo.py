"""`autoif train dpo`: preferences, against the model that the training starts from."""

from __future__ import annotations

from pathlib import Path

from autoif.train import data
from autoif.train.config import TrainConfig
from autoif.train.run import Notice, Run
from autoif.train.sft import tokens


def train(config: TrainConfig, notice: Notice = lambda line: None) -> Path:
    """The directory of the trained model. Run again, it goes on where it was stopped."""
    run = Run(config, notice)
    if run.done:
        return run.model
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    part = config.train
    mixed = config.dpo.sft_weight > 0
    arguments = DPOConfig(
        **run.arguments(),
        max_length=part.max_length,
        beta=config.dpo.beta,
        loss_type=["sigmoid", "sft"] if mixed else ["sigmoid"],
        loss_weights=[1.0, config.dpo.sft_weight] if mixed else None,
    )
    rows = data.load("dpo", config.data)
    tokenizer, model, adapters = run.load()
    data.keep_short(
        rows,
        lambda row: max(tokens(tokenizer, row["prompt"] + row[k]) for k in ("chosen", "rejected")),
        part.max_length,
    )
    notice(rows.account())
    trainer = DPOTrainer(
        model,  # adapters: the reference is the model without them; else TRL keeps a copy
        args=arguments,
        train_dataset=Dataset.from_list(rows.rows),
        processing_class=tokenizer,
        peft_config=adapters,
    )
    run.train(trainer, rows)
    return run.model
