"""`train`: a method and a configuration -> a model directory. What `autoif train` does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from autoif.base.errors import UsageError
from autoif.evals.evaluation import aevaluate, find_benchmark
from autoif.models import Chat
from autoif.train import dpo, grpo, selfplay, sft
from autoif.train.config import Evaluation, TrainConfig
from autoif.train.training import Notice


def train(config: TrainConfig, notice: Notice = lambda line: None) -> Path:
    """The trained model's directory. Started again, it goes on where it was stopped.

    Raises UsageError, SetupError, and RunFailed where a guard ended the training.
    """
    for evaluation in config.eval:
        find_benchmark(evaluation.benchmark)
        if evaluation.data and not Path(evaluation.data).exists():
            raise UsageError(f"eval.data: {evaluation.data}: no such file")
    if config.method == "sft":
        return sft.train(config, notice)
    if config.method == "dpo":
        return dpo.train(config, notice)
    if config.method == "grpo":
        return grpo.train(config, notice)

    async def evaluate(chat: Chat, out: Path) -> Mapping[str, float]:
        return await measure(chat, config.eval, out)

    return selfplay.train(config, notice, evaluate)


async def measure(chat: Chat, benchmarks: tuple[Evaluation, ...], out: Path) -> dict[str, float]:
    """`{"ifeval.inst_loose": percent, ...}` of every benchmark; scores.json and verdicts of each
    under `out/BENCHMARK`."""
    figures = {}
    for evaluation in benchmarks:
        scores = await aevaluate(
            evaluation.benchmark,
            model=chat,
            data=Path(evaluation.data) if evaluation.data else None,
            out=out / evaluation.benchmark,
            limit=evaluation.limit or None,
            max_tokens=evaluation.max_tokens or None,
        )
        for score in scores.scores:
            if score.value is not None:
                figures[f"{evaluation.benchmark}.{score.metric}"] = score.value
    return figures
