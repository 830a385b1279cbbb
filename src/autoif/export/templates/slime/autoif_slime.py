"""The reward as slime asks for it: `--custom-rm-path autoif_slime.reward`."""

import asyncio
import json

from autoif.verifier.reward import ascore


async def reward(args, sample, **_):
    """Of one sample, or of each in a list (with --group-rm, and in evaluation)."""
    if isinstance(sample, list):
        return list(await asyncio.gather(*(reward(args, one) for one in sample)))
    # slime knows no missing reward: a response on which no function concluded gets 0
    label = json.loads(sample.label)
    return await ascore(sample.response, label, prompt=sample.prompt) or 0.0
