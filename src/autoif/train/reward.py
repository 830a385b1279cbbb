"""The rewards of `autoif.verifier.reward` beside the trainers. It imports no trainer."""

from autoif.verifier.reward import (
    ascore,
    reward_function,
    score,
    strict_verifier_reward,
    verifier_reward,
)

__all__ = ["ascore", "reward_function", "score", "strict_verifier_reward", "verifier_reward"]
