"""`autoif train grpo`: completions of a prompt are compared by what their verifiers say of them."""

from __future__ import annotations

from pathlib import Path

from autoif.base.errors import UsageError
from autoif.train.config import TrainConfig
from autoif.train.model_files import tokens
from autoif.train.training import Notice, TrainingRun
from autoif.verifier.reward import reward_function


def train(config: TrainConfig, notice: Notice = lambda line: None) -> Path:
    """The directory of the trained model. Run again, it goes on where it was stopped."""
    grpo, batch = config.grpo, config.train.batch
    if batch % grpo.generations:
        raise UsageError(
            f"train.batch ({batch}) is no multiple of grpo.generations ({grpo.generations})"
        )
    run = TrainingRun(config, notice)
    if run.done():
        return run.model
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
    return run.fit(
        GRPOTrainer,
        arguments,
        lambda tokenizer, row: tokens(tokenizer, row["prompt"], ask=True) + grpo.max_tokens,
        reward_funcs=reward_function(partial=grpo.reward == "partial", deadline=grpo.deadline),
    )
