"""`evaluate` and `compare`: what `autoif eval` and `autoif compare` do, as functions.

    scores = evaluate("ifeval", responses="responses.jsonl", data="input_data.jsonl")
    scores = evaluate("ifeval", model="openai:NAME", out="runs/eval/NAME")
    scores["prompt_strict"].value, scores.table()

A run's directory holds `scores.json`, `verdicts.jsonl` (a row per prompt: "key" and the verdicts)
and, where a model was asked, `responses.jsonl`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from autoif.base import jsonl
from autoif.base.errors import CallFailed, UsageError, did_you_mean
from autoif.base.files import make_folder, read_small, replacing, write_whole
from autoif.base.loop import blocking
from autoif.base.printable import log
from autoif.base.records import Message, Request, dump_line
from autoif.evals.benchmark_files import join, load_rows, read_file
from autoif.evals.followbench import FollowBench
from autoif.evals.gsm8k import GSM8K
from autoif.evals.harness import HARNESS, evaluate_in_harness
from autoif.evals.humaneval import HumanEval
from autoif.evals.ifeval import InstructionFollowing
from autoif.evals.scores import Comparison, Scores, compare_rows, summarise
from autoif.evals.task import Benchmark, EvalContext, Item, JoinedAnswers, Row
from autoif.models import Chat
from autoif.models.open import open_chats
from autoif.models.reasoning import strip_thinking
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


async def aevaluate(
    benchmark: str,
    *,
    responses: str | Path | Iterable[Mapping[str, Any]] | None = None,
    model: str | Chat | None = None,
    judge: str | Chat | None = None,
    data: str | Path | None = None,
    out: str | Path | None = None,
    calls: str | Path | None = None,
    base_url: str | Sequence[str] | None = None,
    api_key_env: str = "OPENAI_API_KEY",
    samples: int = 1,
    temperature: float | None = None,
    max_tokens: int | None = None,
    limit: int | None = None,
    sandbox: Sandbox | None = None,
    on_notice: Callable[[str], None] = log,
) -> Scores:
    """Scores a file of responses (or rows of one), or asks a model and scores what it says.

    benchmark: one of `BENCHMARKS` or `HARNESS`. data: a local copy of it; without, the hub is
    asked.
    model: "local:NAME", "openai:NAME", "hf:DIR-or-ID" as for `--model`, or a `Chat` of your own.
    judge: the same, for FollowBench; without, its rule part alone is scored.
    out: the directory for scores.json, verdicts.jsonl, responses.jsonl, and the call store of
    models given by name (`calls`: another file for it; one of the two has to be there).
    base_url, api_key_env: the server of openai: models, and the variable that holds its key.
    samples: answers per prompt; more than one is for HumanEval's pass@k.
    temperature: 0 for one sample (greedy), 0.8 for several, unless given.
    max_tokens: of an answer; by default the benchmark's own. limit: only the first so many prompts.
    on_notice: hears one line when a user should know something (a download, a server that waits).

    Raises UsageError for what does not fit, SetupError for what cannot be had. `evaluate` blocks,
    also where an event loop is running (a notebook); `aevaluate` is for a program with a loop.
    """
    if (responses is None) == (model is None):
        raise UsageError("give either responses (--responses F) or a model (--model NAME)")
    folder = None if out is None else Path(out)
    if benchmark in HARNESS and isinstance(model, str):
        return evaluate_in_harness(benchmark, model, out=folder, limit=limit)
    task = find_benchmark(benchmark)
    if samples < 1:
        raise UsageError("samples is at least 1")
    specs = {spec for spec in (model, judge) if isinstance(spec, str)}
    store = calls or (folder and folder / "calls.sqlite")
    if specs and not store:
        raise UsageError("a model needs a directory (out) or a call store (calls) for its answers")
    rows = list(load_rows(benchmark, Path(data) if data else None))
    try:
        items = task.items(rows)[:limit]
    except UsageError as wrong:
        raise UsageError(f"{data or benchmark}: {wrong}") from None
    if not items:
        raise UsageError(f"{data or benchmark}: no prompts in it")
    _check_keys(items)
    async with AsyncExitStack() as ends:
        chats: Mapping[str, Chat] = {}
        if specs and store:
            server = {"base_url": base_url, "api_key_env": api_key_env, "on_notice": on_notice}
            chats = await ends.enter_async_context(open_chats(sorted(specs), store, **server))
        chat = chats[model] if isinstance(model, str) else model
        if chat is not None:
            if temperature is None:
                temperature = 0.0 if samples == 1 else SAMPLING_TEMPERATURE
            length = max_tokens or task.max_tokens
            collected = await generate(items, chat, samples, temperature, length)
        elif isinstance(responses, (str, Path)):
            collected = join(items, read_file(Path(responses)), str(responses))
        else:
            collected = join(items, responses or (), "responses")
        collected = answers_alone(collected)
        said = chats[judge] if isinstance(judge, str) else judge
        verdicts = await task.verdicts(items, collected.answers, EvalContext(said, sandbox))
    scores = summarise(task, verdicts, collected.notes)
    if folder is not None:
        save(scores, folder)
        if chat is not None:
            _save_responses(items, collected, folder)
    return scores


evaluate = blocking(aevaluate)


def find_benchmark(benchmark: str) -> Benchmark:
    """Raises UsageError for an unknown name, and for a benchmark of the harness."""
    if benchmark in HARNESS:
        raise UsageError(f"{benchmark} needs the likelihood of answers: give --model hf:DIR-or-ID")
    if benchmark not in BENCHMARKS:
        names = [*BENCHMARKS, *HARNESS]
        near = did_you_mean(benchmark, names)
        raise UsageError(f"no benchmark {benchmark!r}; there are {', '.join(names)}{near}")
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


def answers_alone(collected: JoinedAnswers) -> JoinedAnswers:
    """Without reasoning and control tokens, which no benchmark counts to an answer; a note says how
    many had some."""
    cut = 0
    answers: dict[str, list[str | None]] = {}
    for key, given in collected.answers.items():
        answers[key] = [None if text is None else strip_thinking(text) for text in given]
        cut += sum(a != b for a, b in zip(given, answers[key], strict=True))
    if not cut:
        return collected
    note = f"{cut} responses held reasoning or control tokens, which were cut before scoring"
    return JoinedAnswers(answers, [*collected.notes, note])


def compare(a: Path, b: Path) -> Comparison:
    """Two runs' directories, paired prompt by prompt: B less A.

    Raises UsageError where one is no such directory or the two are of different benchmarks.
    """
    (name_a, rows_a), (name_b, rows_b) = _load(a), _load(b)
    if name_a != name_b:
        raise UsageError(f"{a} is of {name_a}, {b} of {name_b}: nothing to compare")
    keys_a, keys_b = ({str(r.get("key")) for r in rows} for rows in (rows_a, rows_b))
    if not keys_a & keys_b:
        raise UsageError(f"{a} and {b} have no prompt in common")
    alone = len(keys_a ^ keys_b)
    notes = [f"{alone} prompts are in one of the two only and are left out"] if alone else []
    try:
        return compare_rows(find_benchmark(name_a), rows_a, rows_b, notes)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        wrong = "their verdicts.jsonl are not what `autoif eval` wrote; evaluate again"
        raise UsageError(f"{a}, {b}: {wrong}") from None


def save(scores: Scores, out: Path) -> None:
    """Writes scores.json and verdicts.jsonl."""
    make_folder(out)
    with replacing(out / "verdicts.jsonl") as file:
        file.writelines(map(dump_line, scores.verdicts))
    text = json.dumps(scores.to_json(), indent=2, ensure_ascii=False)
    write_whole(out / "scores.json", f"{text}\n".encode())


def _save_responses(items: Sequence[Item], collected: JoinedAnswers, out: Path) -> None:
    with replacing(out / "responses.jsonl") as file:
        for item in items:
            for answer in collected.answers[item.key]:
                row = {"key": item.label, "prompt": item.request, "response": answer}
                file.write(dump_line(row))


def _load(run: Path) -> tuple[str, list[Row]]:
    try:
        name = jsonl.loads(read_small(run / "scores.json"))["benchmark"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"{run}: no scores.json of `autoif eval` in it") from None
    return str(name), read_file(run / "verdicts.jsonl")


def _check_keys(items: Sequence[Item]) -> None:
    if len({item.key for item in items}) != len(items):
        raise UsageError("a key stands twice in the benchmark's data")
