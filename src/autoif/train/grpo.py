"""`autoif train grpo`: completions of a prompt are compared by what their verifiers say of them."""

from __future__ import annotations

from pathlib import Path

from autoif.errors import UsageError
from autoif.train import data
from autoif.train.config import TrainConfig
from autoif.train.reward import reward_function
from autoif.train.run import Notice, Run
from autoif.train.sft import tokens


def train(config: TrainConfig, notice: Notice = lambda line: None) -> Path:
    """The directory of the trained model. Run again, it goes on where it was stopped."""
    part, grpo = config.train, config.grpo
    if part.batch % grpo.generations:
        raise UsageError(
            f"train.batch ({part.batch}) is no multiple of grpo.generations ({grpo.generations})"
        )
    run = Run(config, notice)
    if run.done:
        return run.model
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    arguments = GRPOConfig(
        **run.arguments(),
        num_generations=grpo.generations,
        max_completion_length=grpo.max_tokens,
        temperature=grpo.temperature,
        beta=grpo.beta,
        use_vllm=bool(grpo.vllm),
        **({"vllm_mode": grpo.vllm} if grpo.vllm else {}),
    )
    rows = data.load("grpo", config.data)
    tokenizer, model, adapters = run.load()
    data.keep_short(
        rows,
        lambda row: tokens(tokenizer, row["prompt"], ask=True) + grpo.max_tokens,
        part.max_length,
    )
    notice(rows.account())
    trainer = GRPOTrainer(
        model,
        reward_funcs=reward_function(partial=grpo.reward == "partial", deadline=grpo.deadline),
        args=arguments,
        train_dataset=Dataset.from_list(rows.rows),
        processing_class=tokenizer,
        peft_config=adapters,
    )
    run.train(trainer, rows)
    return run.model
