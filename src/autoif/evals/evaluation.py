"""`evaluate` and `compare`: what `autoif eval` and `autoif compare` do, as functions.

    scores = evaluate("ifeval", responses=Path("responses.jsonl"), data=Path("input_data.jsonl"))
    scores["prompt_strict"].value, scores.table()

A run's directory holds `scores.json`, `verdicts.jsonl` (a row per prompt: "key" and the verdicts)
and, where a model was asked, `responses.jsonl`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from autoif.base.errors import CallFailed, UsageError
from autoif.base.loop import asyncio_run
from autoif.base.records import Message, Request, dump_line
from autoif.evals.benchmark_files import join, load_rows, read_file
from autoif.evals.followbench import FollowBench
from autoif.evals.gsm8k import GSM8K
from autoif.evals.humaneval import HumanEval
from autoif.evals.ifeval import InstructionFollowing
from autoif.evals.scores import Comparison, Scores, compare_rows, summarise
from autoif.evals.task import Benchmark, EvalContext, Item, JoinedAnswers, Row
from autoif.models import Chat
from autoif.sandbox import Sandbox

BENCHMARKS: dict[str, Benchmark] = {
    "ifeval": InstructionFollowing("ifeval"),
    "ifbench": InstructionFollowing("ifbench"),
    "followbench": FollowBench(),
    "followbench-zh": FollowBench("followbench-zh", "zh"),
    "gsm8k": GSM8K(),
    "humaneval": HumanEval(),
}
SAMPLING_TEMPERATURE = 0.8  # of several samples per prompt, as pass@k is usually measured


def evaluate(
    benchmark: str,
    *,
    responses: Path | Iterable[Mapping[str, Any]] | None = None,
    chat: Chat | None = None,
    data: Path | None = None,
    judge: Chat | None = None,
    out: Path | None = None,
    samples: int = 1,
    temperature: float | None = None,
    max_tokens: int | None = None,
    limit: int | None = None,
    sandbox: Sandbox | None = None,
) -> Scores:
    """Scores a file of responses (or rows of one), or asks `chat` and scores what it says.

    benchmark: one of `BENCHMARKS`. data: a local copy of it; without, the hub is asked.
    judge: for FollowBench; without, its rule part alone is scored.
    samples: answers per prompt; more than one is for HumanEval's pass@k.
    temperature: 0 for one sample (greedy), 0.8 for several, unless given.
    max_tokens: of an answer; by default the benchmark's own. limit: only the first so many prompts.
    out: the directory for scores.json, verdicts.jsonl and responses.jsonl.

    Raises UsageError for what does not fit, SetupError for what cannot be had. Not to be called
    where an event loop runs: there, `await aevaluate(...)`.
    """
    return asyncio_run(
        aevaluate(
            benchmark,
            responses=responses,
            chat=chat,
            data=data,
            judge=judge,
            out=out,
            samples=samples,
            temperature=temperature,
            max_tokens=max_tokens,
            limit=limit,
            sandbox=sandbox,
        )
    )


async def aevaluate(
    benchmark: str,
    *,
    responses: Path | Iterable[Mapping[str, Any]] | None = None,
    chat: Chat | None = None,
    data: Path | None = None,
    judge: Chat | None = None,
    out: Path | None = None,
    samples: int = 1,
    temperature: float | None = None,
    max_tokens: int | None = None,
    limit: int | None = None,
    sandbox: Sandbox | None = None,
) -> Scores:
    """`evaluate`, for a caller with an event loop."""
    task = find_benchmark(benchmark)
    if (responses is None) == (chat is None):
        raise UsageError("evaluation takes either responses or a model")
    if samples < 1:
        raise UsageError("samples is at least 1")
    items = task.items(load_rows(benchmark, data))[:limit]
    if not items:
        raise UsageError(f"{data or benchmark}: no prompts in it")
    _check_keys(items)
    if chat is not None:
        warmth = (
            (0.0 if samples == 1 else SAMPLING_TEMPERATURE)
            if temperature is None
            else (temperature)
        )
        collected = await generate(items, chat, samples, warmth, max_tokens or task.max_tokens)
    elif isinstance(responses, Path):
        collected = join(items, read_file(responses), str(responses))
    else:
        collected = join(items, responses or (), "responses")
    rows = await task.verdicts(items, collected.answers, EvalContext(judge, sandbox))
    scores = summarise(task, rows, collected.notes)
    if out is not None:
        save(scores, out)
        if chat is not None:
            _save_responses(items, collected, out)
    return scores


def find_benchmark(benchmark: str) -> Benchmark:
    if benchmark not in BENCHMARKS:
        raise UsageError(f"no benchmark {benchmark!r}; there are {', '.join(BENCHMARKS)}")
    return BENCHMARKS[benchmark]


async def generate(
    items: Sequence[Item], chat: Chat, samples: int, temperature: float, max_tokens: int
) -> JoinedAnswers:
    """Asks the model everything at once; the chat bounds what is in flight. A call without a
    usable answer counts as a null response."""

    async def ask(item: Item, index: int) -> str | None:
        request = Request(
            (Message("user", item.request),),
            temperature=temperature,
            max_tokens=max_tokens,
            index=index,
            stage="eval",
            record=item.key,
        )
        try:
            return (await chat(request)).text
        except CallFailed:
            return None

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [[group.create_task(ask(i, n)) for n in range(samples)] for i in items]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    answers = {i.key: [t.result() for t in ts] for i, ts in zip(items, tasks, strict=True)}
    lost = sum(answer is None for given in answers.values() for answer in given)
    notes = [f"{lost} calls had no usable answer and count as null responses"] if lost else []
    return JoinedAnswers(answers, notes)


def compare(a: Path, b: Path) -> Comparison:
    """Two runs' directories, paired prompt by prompt: B less A.

    Raises UsageError where one is no such directory or the two are of different benchmarks.
    """
    (name_a, rows_a), (name_b, rows_b) = _load(a), _load(b)
    if name_a != name_b:
        raise UsageError(f"{a} is of {name_a}, {b} of {name_b}: nothing to compare")
    keys_a, keys_b = ({str(r["key"]) for r in rows} for rows in (rows_a, rows_b))
    if not keys_a & keys_b:
        raise UsageError(f"{a} and {b} have no prompt in common")
    alone = len(keys_a ^ keys_b)
    notes = [f"{alone} prompts are in one of the two only and are left out"] if alone else []
    return compare_rows(find_benchmark(name_a), rows_a, rows_b, notes)


def save(scores: Scores, out: Path) -> None:
    """Writes scores.json and verdicts.jsonl."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / "verdicts.jsonl").open("wb") as file:
        file.writelines(map(dump_line, scores.verdicts))
    text = json.dumps(scores.to_json(), indent=2, ensure_ascii=False)
    (out / "scores.json").write_text(text + "\n", "utf-8")


def _save_responses(items: Sequence[Item], collected: JoinedAnswers, out: Path) -> None:
    with (out / "responses.jsonl").open("wb") as file:
        for item in items:
            for answer in collected.answers[item.key]:
                row = {"key": item.label, "prompt": item.request, "response": answer}
                file.write(dump_line(row))


def _load(run: Path) -> tuple[str, list[Row]]:
    try:
        name = json.loads((run / "scores.json").read_text("utf-8"))["benchmark"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"{run}: no scores.json of `autoif eval` in it") from None
    return str(name), read_file(run / "verdicts.jsonl")


def _check_keys(items: Sequence[Item]) -> None:
    if len({item.key for item in items}) != len(items):
        raise UsageError("a key stands twice in the benchmark's data")
