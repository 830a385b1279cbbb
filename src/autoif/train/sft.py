"""`autoif train sft`: the loss is on the answer alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autoif.train import data
from autoif.train.config import TrainConfig
from autoif.train.run import Notice, Run


def train(config: TrainConfig, notice: Notice = lambda line: None) -> Path:
    """The directory of the trained model. Run again, it goes on where it was stopped."""
    run = Run(config, notice)
    if run.done:
        return run.model
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    part = config.train
    arguments = SFTConfig(
        **run.arguments(),
        max_length=part.max_length,
        packing=part.packing,
        completion_only_loss=True,
    )
    rows = data.load("sft", config.data)
    tokenizer, model, adapters = run.load()
    data.keep_short(
        rows, lambda row: tokens(tokenizer, row["prompt"] + row["completion"]), part.max_length
    )
    notice(rows.account())
    trainer = SFTTrainer(
        model,
        args=arguments,
        train_dataset=Dataset.from_list(rows.rows),
        processing_class=tokenizer,
        peft_config=adapters,
    )
    run.train(trainer, rows)
    return run.model


def tokens(tokenizer: Any, messages: list[dict[str, str]], *, ask: bool = False) -> int:
    """Of the messages in the model's chat template; `ask`: with the head of an answer."""
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask)
    return len(tokenizer(text, add_special_tokens=False).input_ids)
