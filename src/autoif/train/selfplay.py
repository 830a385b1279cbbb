"""`autoif train selfplay`: iterative online DPO on the policy's own responses.

A round: the policy answers K times each prompt, the rows' own verifiers decide, what holds is
preferred to what does not (`verifier/pairs.py`), and DPO is run against the policy that the round
began with. The policy after each round is measured on prompts held out; the best one is the result,
which may be the start.

    OUT/calls.sqlite          every answer; a killed round asks none of them again
    OUT/round-N/dpo.jsonl     its pairs
    OUT/round-N/model/        the policy after it
    OUT/rounds.jsonl          figures of each round; 0 is the start
    OUT/model                 -> the best policy
"""

from __future__ import annotations

import asyncio
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoif.base.errors import CallFailed, RunFailed, SetupError, UsageError
from autoif.base.files import appending, make_folder, replacing, write_whole
from autoif.base.language import is_blank
from autoif.base.loop import asyncio_run
from autoif.base.records import Check, Message, Request, Sample, dump_line, seed_from, to_json
from autoif.models import Chat
from autoif.models.finish import LENGTH
from autoif.sandbox import Sandbox
from autoif.store import open_store
from autoif.store.base import Store
from autoif.train import dpo, guards, model_card, model_files, plots
from autoif.train.config import TrainConfig
from autoif.train.policy import policy
from autoif.train.training import Notice, TrainingRun
from autoif.verifier.pairs import pair_row, query_pairs
from autoif.verifier.verify import accepts, averify, shared_sandbox

Row = dict[str, Any]
Evaluate = Callable[[Chat, Path], Any]  # (policy, directory) -> awaitable figures
KL_ROWS = 32  # answers that the KL is estimated on


async def no_benchmarks(chat: Chat, out: Path) -> Mapping[str, float]:
    return {}


def train(
    config: TrainConfig,
    notice: Notice = lambda line: None,
    evaluate: Evaluate = no_benchmarks,
) -> Path:
    """The directory of the best policy. `evaluate(chat, directory)` gives further figures of a
    policy (percent, by name). Run again, it goes on where it was stopped."""
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UsageError(
            "self-play runs in one process, with sampling.serve over all GPUs; for DPO over "
            "several, train each round's dpo.jsonl with `autoif train dpo` under accelerate"
        )
    server = config.sampling.serve
    if server and shutil.which(server[0]) is None:
        raise SetupError(f"sampling.serve: {server[0]}: no such program")
    run = TrainingRun(config, notice)
    if run.done():
        return run.model
    data = run.rows()
    rows, heldout = split(data.rows, config)
    notice(f"{data.account()}: {len(rows)} to play with, {len(heldout)} held out")
    start = run.out / "round-0" / "model"
    if not start.is_dir():
        make_folder(start.parent)
        tokenizer = model_files.load_tokenizer(run.where, config.chat_template)
        about = {"origin": run.origin, "base": config.model, "method": "start"}
        model_files.save_plain(model_files.load_model(run.where), tokenizer, start, about)
    history: list[Row] = []
    store = open_store(run.out / "calls.sqlite")
    try:
        rounds = _Rounds(config, run.out, store, notice, evaluate)
        history.append(rounds.measure(0, start, start, heldout, {}))
        model = start
        for number in range(1, config.selfplay.rounds + 1):
            counts = rounds.play(number, model, draw(rows, config, number))
            if not counts["pairs"]:
                notice(f"round {number}: no pairs; every prompt was always met, or never")
                break
            model = rounds.learn(number, model)
            history.append(rounds.measure(number, model, start, heldout, counts))
            plots.rounds(history, run.out)
            if problem := harm(history, config):
                notice(f"round {number} is the last one: {problem}")
                break
    finally:
        asyncio_run(store.close())
    if len(history) == 1:
        raise RunFailed("self-play made no pairs: use prompts that are met now and then")
    best = best_round(history, config)
    notice(f"round {best['round']} is the best: {100 * best['pass_rate']:.1f}% of the held out")
    if best["round"] == 0:
        text = model_card.card(config, data, [])
        text += "\nNo round was better: its weights.\n"
        write_whole(start / "README.md", text.encode())
    run.model.symlink_to(f"round-{best['round']}/model")
    return run.model


def split(rows: Sequence[Row], config: TrainConfig) -> tuple[list[Row], list[Row]]:
    """(to play with, held out): by the hash of each row's id, at least one of each where there are
    two."""
    ranked = sorted(rows, key=lambda row: seed_from("heldout", config.seed, row["id"]))
    held = min(len(rows) - 1, max(1, round(len(rows) * config.selfplay.heldout)))
    return ranked[held:], ranked[:held]


def draw(rows: Sequence[Row], config: TrainConfig, number: int) -> list[Row]:
    """The prompts of a round: others in each, as far as they go."""
    wanted = config.selfplay.prompts or len(rows)
    ranked = sorted(rows, key=lambda row: seed_from("round", config.seed, row["id"]))
    at = (number - 1) * wanted % max(1, len(rows))
    return (ranked[at:] + ranked[:at])[:wanted]


@dataclass(frozen=True, slots=True)
class _Rounds:
    """The rounds of one self-play, in the directory `out`."""

    config: TrainConfig
    out: Path
    store: Store
    notice: Notice
    evaluate: Evaluate

    def play(self, number: int, model: Path, rows: Sequence[Row]) -> Row:
        """Writes a round's pairs to `round-N/dpo.jsonl`; returns figures of its samples."""
        k, stage = self.config.sampling.k, f"round-{number}"
        answers, _ = asyncio_run(self._ask(model, rows, k, stage))
        per_prompt, seed = self.config.selfplay.per_prompt, self.config.seed
        pairs = [
            (pair, row["verifiers"])
            for row, samples in zip(rows, answers, strict=True)
            for pair in query_pairs(samples, per_prompt, seed)
        ]
        folder = self.out / f"round-{number}"
        make_folder(folder)
        with replacing(folder / "dpo.jsonl") as file:
            file.writelines(dump_line({**pair_row(p), "verifiers": v}) for p, v in pairs)
        samples = [sample for of_row in answers for sample in of_row]
        kept = sum(s.kept for s in samples)
        self.notice(f"round {number}: {kept} of {len(samples)} responses hold; {len(pairs)} pairs")
        return {"samples": len(samples), "kept": kept, "pairs": len(pairs)}

    def learn(self, number: int, model: Path) -> Path:
        """DPO on the round's pairs, against `model`."""
        folder = self.out / f"round-{number}"
        config = self.config.model_copy(
            update={"method": "dpo", "model": str(model), "data": (str(folder / "dpo.jsonl"),),
                    "out": str(folder)}
        )  # fmt: skip
        return dpo.train(config, self.notice)

    def measure(
        self, number: int, model: Path, start: Path, heldout: Sequence[Row], counts: Row
    ) -> Row:
        """A row of rounds.jsonl: pass rate on the held out, guards, KL from the start, and what
        `evaluate` gives. A round that was measured before is read back."""
        file = self.out / "rounds.jsonl"
        measured = plots.read(file, "round")
        if number < len(measured):
            return measured[number]
        folder = self.out / f"round-{number}"
        answers, scores = asyncio_run(self._ask(model, heldout, 1, f"heldout-{number}", folder))
        samples = [sample for of_row in answers for sample in of_row]
        row = {
            "round": number,
            "pass_rate": sum(s.kept for s in samples) / max(1, len(heldout)),
            "heldout": len(heldout),
            **counts,
            **guards.describe([s.query for s in samples], [s.response for s in samples]),
            "kl": 0.0 if number == 0 else kl(model, start, samples[:KL_ROWS]),
            **scores,
        }
        with appending(file) as out:
            out.write(dump_line(row))
        self.notice(f"round {number}: {100 * row['pass_rate']:.1f}% of the held out hold")
        return row

    async def _ask(
        self, model: Path, rows: Sequence[Row], k: int, stage: str, folder: Path | None = None
    ) -> tuple[list[list[Sample]], Mapping[str, float]]:
        """The policy's samples; where a folder is given, also what `evaluate` gives there."""
        async with policy(model, self.config.sampling, self.store, self.notice) as chat:
            answers = await self._samples(chat, rows, k, stage)
            return answers, await self.evaluate(chat, folder) if folder else {}

    async def _samples(
        self, chat: Chat, rows: Sequence[Row], k: int, stage: str
    ) -> list[list[Sample]]:
        """For each row its concluded responses, up to k. The chat bounds what is in flight."""
        settings, sandbox = self.config.sampling, shared_sandbox()

        async def one(row: Row, index: int) -> str | None:
            request = Request(
                _messages(row),
                temperature=settings.temperature,
                top_p=settings.top_p,
                max_tokens=settings.max_tokens,
                index=index,
                stage=stage,
                record=row["id"],
            )
            try:
                reply = await chat(request)
            except CallFailed:
                return None
            # What was cut off before its answer began is no answer, rather than an empty one.
            thought = is_blank(reply.text) and reply.finish_reason == LENGTH
            return None if thought else reply.text

        async def of_row(row: Row) -> list[Sample]:
            answers = await asyncio.gather(*(one(row, n) for n in range(k)))
            texts = [text for text in answers if text is not None]
            return await judged(row, texts, sandbox, self.store)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(of_row(row)) for row in rows]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [task.result() for task in tasks]


async def judged(
    row: Row, texts: Sequence[str], sandbox: Sandbox, store: Store | None = None
) -> list[Sample]:
    """The texts as samples, kept where every verifier of the row accepts them, and never where they
    are empty; without those that one of the verifiers says nothing about."""
    columns = [
        await averify([*map(Check, v["checks"])], texts, sandbox, store=store)
        for v in row["verifiers"]
    ]
    least = [v["min_fraction"] for v in row["verifiers"]]
    messages = _messages(row)
    samples = []
    for index, text in enumerate(texts):
        verdicts = tuple(column[index] for column in columns)
        if any(v.fraction is None for v in verdicts):
            continue
        holds = not is_blank(text) and accepts(verdicts, least)
        samples.append(
            Sample((row["id"],), messages[-1].content, messages, text, verdicts, kept=holds,
                   reason="" if holds else "verifier", index=index)
        )  # fmt: skip
    return samples


def _messages(row: Row) -> tuple[Message, ...]:
    return tuple(Message(m["role"], m["content"]) for m in row["prompt"])


def harm(history: Sequence[Row], config: TrainConfig) -> str:
    """Why the last round goes too far, or ""."""
    first, last, limits = history[0], history[-1], config.guards
    if last.get("kl", 0.0) > limits.max_kl:
        return f"KL from the start is {last['kl']:.2f} nats per token, over guards.max_kl"
    if last.get("words_median", 0.0) < limits.min_length * first.get("words_median", 0.0):
        return (
            f"answers shrank from {first['words_median']:.0f} to {last['words_median']:.0f} words, "
            "under guards.min_length"
        )
    return ""


def best_round(history: Sequence[Row], config: TrainConfig) -> Row:
    """The highest pass rate on the held out among rounds that do no harm; the earlier of equals."""
    sound = [row for row in history if not harm([history[0], row], config)]
    return max(sound, key=lambda row: (row["pass_rate"], -row["round"]))


def kl(model: Path, start: Path, samples: Sequence[Sample]) -> float:
    """Nats per token by which the policy left the start: the mean of log p(model) - log p(start)
    over the tokens of answers that the policy gave (a one-sided estimate at their temperature)."""
    import torch

    tokenizer = model_files.load_tokenizer(str(model))
    sums = []
    for where in (model, start):
        net = model_files.load_model(str(where)).eval()
        total, count = 0.0, 0
        for sample in samples:
            messages = to_json(sample.messages)
            head = tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
            prompt = tokenizer(head, add_special_tokens=False).input_ids
            answer = tokenizer(sample.response, add_special_tokens=False).input_ids
            if not answer:
                continue
            ids = torch.tensor([prompt + answer])
            with torch.inference_mode():
                logits = net(ids).logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)
            total += float(logits.gather(1, ids[0, len(prompt) :, None]).sum())
            count += len(answer)
        sums.append(total / max(1, count))
        del net
    nats = sums[0] - sums[1]
    return nats if math.isfinite(nats) else 0.0
