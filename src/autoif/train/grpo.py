"""`autoif train grpo`: completions of a prompt are compared by what their verifiers say of them.

A group whose completions all earn the same teaches nothing: TRL gives them the advantage 0 and
counts them (`frac_reward_zero_std`), yet their tokens still pull towards the start by the weight of
the KL and thin out the loss. Here they are left out of both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autoif.base.errors import UsageError
from autoif.train import plots
from autoif.train.config import TrainConfig
from autoif.train.model_files import tokens
from autoif.train.training import Notice, TrainingRun
from autoif.verifier.reward import reward_function

NOISE = 0.01  # of an advantage: rewards of a group that are equal but for rounding
SILENT = "frac_reward_zero_std"  # share of the completions whose group has no variance


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
    from trl import GRPOConfig

    arguments = GRPOConfig(
        **run.arguments(),
        num_generations=grpo.generations,
        max_completion_length=grpo.max_tokens,
        temperature=grpo.temperature,
        beta=grpo.beta,
        use_vllm=bool(grpo.vllm),
        **({"vllm_mode": grpo.vllm} if grpo.vllm else {}),
    )
    reward = reward_function(
        kind=grpo.reward,
        deadline=grpo.deadline,
        floor=config.floor.on,
        min_length=config.floor.min_length,
    )
    model = run.fit(
        trainer_class(),
        arguments,
        lambda tokenizer, row: tokens(tokenizer, row["prompt"], ask=True) + grpo.max_tokens,
        reward_funcs=reward,
    )
    steps = [row[SILENT] for row in plots.read(run.out / "metrics.jsonl", "step") if SILENT in row]
    groups = len(steps) * batch // grpo.generations
    silent = round(sum(steps) * batch / grpo.generations)
    notice(f"{silent:,} of {groups:,} groups had no variance and were not trained on")
    return model


def trainer_class() -> Any:
    """TRL's, without the groups that teach nothing."""
    from trl import GRPOTrainer

    class VariedGroupsTrainer(GRPOTrainer):  # type: ignore[misc]
        def _generate_and_score_completions(self, inputs: Any) -> Any:
            scored = super()._generate_and_score_completions(inputs)
            taught = scored["advantages"].abs() > NOISE
            scored["completion_mask"] = scored["completion_mask"] * taught.unsqueeze(1)
            left = self.accelerator.gather(scored["completion_mask"].sum()).sum()
            scored["num_items_in_batch"] = left
            return scored

    return VariedGroupsTrainer
