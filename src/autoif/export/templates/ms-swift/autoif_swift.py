"""The reward `autoif`: `--external_plugins` names this file, `--reward_funcs autoif` the reward."""

from swift.rewards import AsyncORM, orms

from autoif.verifier.reward import verifier_reward


class AutoIFReward(AsyncORM):
    """The share of a row's constraints that a completion meets. One on which no function concluded
    gets 0: ms-swift adds up a missing reward as 0, and warns with the whole row."""

    async def __call__(self, completions, verifiers, **_):
        rewards = await verifier_reward(None, completions, verifiers)
        return [reward or 0.0 for reward in rewards]


orms["autoif"] = AutoIFReward
