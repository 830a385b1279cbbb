"""The reward as verl asks for it: `reward.custom_reward_function.path` names this file."""

import json

from autoif.verifier.reward import ascore, score


async def compute_score(data_source, solution_str, ground_truth, extra_info=None, **_):
    """One response. ground_truth: the row's verifiers as JSON."""
    return _result(await ascore(solution_str, json.loads(ground_truth)))


def compute_score_sync(data_source, solution_str, ground_truth, extra_info=None, **_):
    """The same for the reward manager `remote`, which takes no coroutine."""
    return _result(score(solution_str, json.loads(ground_truth)))


def _result(reward):
    """verl has no place for a response without a reward: it gets 0, and is counted."""
    return {
        "score": reward or 0.0,  # the share of the constraints that hold
        "acc": float(reward == 1),  # all of them
        "unscored": float(reward is None),
    }
