"""The reward as OpenRLHF asks for it: `--reward.remote_url` names this file."""

import json

from autoif.verifier.reward import score


def reward_func(queries, prompts, labels, **_):
    """Lists of one: what was read and written, what was read, the row's verifiers as JSON."""
    said = response(queries[0], prompts[0])
    reward = score(said, verifiers(labels[0]), prompt=prompts[0])
    return {
        "rewards": reward or 0.0,  # OpenRLHF has no place for a response without a reward
        "scores": reward or 0.0,
        "extra_logs": {"unscored": float(reward is None)},
    }


def response(query, prompt):
    """The answer alone. A tokenizer may write the prompt a little otherwise than it was given; its
    last line, which opens the answer, it keeps."""
    if query.startswith(prompt):
        return query[len(prompt) :]
    opening = prompt.rstrip().rpartition("\n")[2]
    return query.rpartition(opening)[2]


def verifiers(label):
    try:
        return json.loads(label)
    except ValueError:
        return []  # no verifiers, no reward
