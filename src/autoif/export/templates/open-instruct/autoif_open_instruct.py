"""The verifier `autoif`, which rows name in `dataset`; run as a program, GRPO with it.

open-instruct knows the verifiers that are imported before it starts, so this file starts it.
"""

import json
import runpy

from open_instruct.ground_truth_utils import VerificationResult, VerifierFunction

from autoif.verifier.reward import ascore, score


class AutoIFVerifier(VerifierFunction):
    """The share of a row's constraints that a response meets, before `verification_reward`. One on
    which no function concluded gets 0, as open-instruct knows no missing reward."""

    def __init__(self, verifier_config=None):
        super().__init__("autoif", verifier_config=verifier_config)

    def __call__(self, tokenized_prediction, prediction, label, query=None, rollout_state=None):
        reward = score(prediction, json.loads(label), prompt=query)
        return VerificationResult(reward or 0.0)

    async def async_call(
        self, tokenized_prediction, prediction, label, query=None, rollout_state=None
    ):
        reward = await ascore(prediction, json.loads(label), prompt=query)
        return VerificationResult(reward or 0.0)


if __name__ == "__main__":
    runpy.run_module("open_instruct.grpo_fast", run_name="__main__")
