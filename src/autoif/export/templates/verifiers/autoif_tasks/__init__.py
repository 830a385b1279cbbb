"""Prompts with constraints, each decided by functions that AutoIF runs in its sandbox."""

import json
from collections.abc import Iterator
from pathlib import Path

import verifiers.v1 as vf

from autoif.verifier.reward import ascore

__all__ = ["InstructionTaskset"]


class InstructionData(vf.TaskData):
    verifiers: list[dict]
    """{"instruction", "checks": [source, ...], "min_fraction"} for each constraint."""


class InstructionTask(vf.Task[InstructionData]):
    @vf.reward(weight=1.0)
    async def followed(self, trace: vf.Trace) -> float:
        """The share of the constraints that the last reply meets. A reply on which no function
        concluded gets 0, as there is no place for one without a reward, and is counted."""
        # Not trace.last_reply: it is stripped, and some constraints are on how a reply begins.
        replies = trace.assistant_messages
        reward = await ascore(replies[-1].content if replies else None, self.data.verifiers)
        trace.record_metric("unscored", float(reward is None))
        return reward or 0.0


class InstructionConfig(vf.TasksetConfig):
    split: str = "train"


class InstructionTaskset(vf.Taskset[InstructionTask, InstructionConfig]):
    def load(self) -> Iterator[InstructionTask]:
        path = Path(__file__).with_name(f"{self.config.split}.jsonl")
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                yield InstructionTask(InstructionData(**json.loads(line)), self.config.task)
