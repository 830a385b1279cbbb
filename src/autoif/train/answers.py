"""A policy's answers to the prompts of rows, judged by the rows' own verifiers: what self-play
learns from, and what `autoif calibrate` counts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from autoif.base.errors import CallFailed
from autoif.base.language import is_blank, words
from autoif.base.records import Check, Message, Request, Sample
from autoif.models import Chat
from autoif.models.finish import LENGTH
from autoif.sandbox import Sandbox
from autoif.store.base import Store
from autoif.train.config import Floor, Sampling
from autoif.verifier.intent import REASONS, floor
from autoif.verifier.verify import accepts, averify, shared_sandbox

Row = Mapping[str, Any]  # {"id", "prompt", "verifiers", "median_words"?}, as `dataset` shapes it


async def ask(
    chat: Chat,
    rows: Sequence[Row],
    k: int,
    sampling: Sampling,
    store: Store,
    *,
    stage: str,
    limits: Floor | None = None,
) -> list[list[Sample]]:
    """For each row its concluded answers, up to k. The chat bounds what is in flight. limits: of
    what says something, else see `judged`."""
    sandbox = shared_sandbox()

    async def one(row: Row, index: int) -> str | None:
        request = Request(
            messages_of(row),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
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
        return await judged(row, texts, sandbox, store, limits)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(of_row(row)) for row in rows]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


async def judged(
    row: Row,
    texts: Sequence[str],
    sandbox: Sandbox,
    store: Store | None = None,
    limits: Floor | None = None,
) -> list[Sample]:
    """The texts as samples, kept where every verifier of the row accepts them and they say
    something, by these limits; without those that one of the verifiers says nothing about. A reason
    is `verifier`, or one of `intent.REASONS` for what the verifiers accept."""
    columns = [
        await averify([*map(Check, v["checks"])], texts, sandbox, store=store)
        for v in row["verifiers"]
    ]
    least = [v["min_fraction"] for v in row["verifiers"]]
    messages = messages_of(row)
    asked = [m.content for m in messages if m.role == "user"]
    samples = []
    for index, text in enumerate(texts):
        verdicts = tuple(column[index] for column in columns)
        if any(v.fraction is None for v in verdicts):
            continue
        why = "" if accepts(verdicts, least) and not is_blank(text) else "verifier"
        if not why and limits and limits.on:
            usual = row.get("median_words")
            why = floor(asked, text, median=usual, share=limits.min_length) or ""
        samples.append(
            Sample((row["id"],), messages[-1].content, messages, text, verdicts, kept=not why,
                   reason=why, index=index)
        )  # fmt: skip
    return samples


def messages_of(row: Row) -> tuple[Message, ...]:
    return tuple(Message(m["role"], m["content"]) for m in row["prompt"])


def hack_rate(samples: Sequence[Sample]) -> float:
    """The share of the answers that their verifiers accept and that say nothing."""
    return sum(s.reason in REASONS for s in samples) / max(1, len(samples))


def median_words(samples: Sequence[Sample]) -> float:
    """Of the answers, as `intent.floor` counts words."""
    return float(median(len(words(s.response)) for s in samples))
