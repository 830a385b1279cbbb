"""MMLU and C-Eval, through lm-evaluation-harness (the extra `[lm-eval]`).

These two measure knowledge by the likelihood of answer letters, which a chat does not give; so the
harness loads the model itself. It fetches the data from the hub.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from autoif.base.errors import SetupError, UsageError, one_line
from autoif.base.files import make_folder, write_whole
from autoif.base.records import Score
from autoif.evals.scores import Scores

# Our name -> the harness's task, few-shot examples, as usually reported.
HARNESS = {"mmlu": ("mmlu", 5), "ceval": ("ceval-valid", 5)}
_Z95 = 1.96


def evaluate_in_harness(
    benchmark: str, model: str, *, out: Path | None = None, limit: int | None = None
) -> Scores:
    """`model`: `hf:DIR-or-ID`. The interval is the harness's standard error times 1.96.

    Raises UsageError for another kind of model, SetupError where harness, model or data are not to
    be had.
    """
    if benchmark not in HARNESS:
        raise UsageError(f"no benchmark {benchmark!r} in the harness; {', '.join(HARNESS)}")
    kind, _, name = model.partition(":")
    if kind != "hf" or not name:
        raise UsageError(f"{benchmark} needs the likelihood of answers: give --model hf:DIR-or-ID")
    try:
        import lm_eval
    except ImportError:
        raise SetupError(f'{benchmark} needs `pip install "autoif[lm-eval]"`') from None
    task, shots = HARNESS[benchmark]
    try:
        results: dict[str, Any] = lm_eval.simple_evaluate(
            model="hf",
            model_args={"pretrained": name, "trust_remote_code": False},
            tasks=[task],
            num_fewshot=shots,
            limit=limit,
            batch_size="auto",
            log_samples=False,
        )
    except Exception as wrong:  # model, hub, memory: the harness lets all of them through
        raise SetupError(f"{benchmark}: lm-evaluation-harness failed: {one_line(wrong)}") from None
    scores = from_harness(benchmark, task, results)
    if out is not None:
        make_folder(out)
        text = json.dumps(scores.to_json(), indent=2, ensure_ascii=False)
        write_whole(out / "scores.json", f"{text}\n".encode())
    return scores


def from_harness(benchmark: str, task: str, results: dict[str, Any]) -> Scores:
    """The harness's results as ours: `accuracy`, with its sub-tasks as groups."""
    whole = results["results"][task]
    value = 100 * float(whole["acc,none"])
    error = whole.get("acc_stderr,none")
    low = high = None
    if isinstance(error, float):
        margin = 100 * _Z95 * error
        low, high = max(value - margin, 0.0), min(value + margin, 100.0)
    groups = {
        name: 100 * float(figures["acc,none"])
        for name, figures in results["results"].items()
        if name != task and "acc,none" in figures
    }
    n = sum(int(samples["effective"]) for samples in results.get("n-samples", {}).values())
    score = Score(benchmark, "accuracy", value, n, low, high, groups)
    return Scores(benchmark, (score,))
