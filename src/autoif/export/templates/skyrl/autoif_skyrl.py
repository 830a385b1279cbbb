"""The environment `autoif`, which is registered where this file is imported."""

import json

from skyrl_gym.envs import register
from skyrl_gym.envs.base_text_env import BaseTextEnv, BaseTextEnvStepOutput

from autoif.verifier.reward import score


class AutoIFEnv(BaseTextEnv):
    """One step: the share of the row's constraints that the text meets."""

    def __init__(self, env_config, extras):
        super().__init__()
        self.verifiers = json.loads(extras["reward_spec"]["ground_truth"])

    def step(self, action):
        # SkyRL knows no missing reward: a text on which no function concluded gets 0.
        reward = score(action, self.verifiers)
        return BaseTextEnvStepOutput(
            observations=[],
            reward=reward or 0.0,
            done=True,
            metadata={"unscored": reward is None},
        )


register(id="autoif", entry_point="autoif_skyrl:AutoIFEnv")
