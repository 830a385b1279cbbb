"""Samples and pairs as data rows. Each row carries its verifiers' code and needs nothing else.

`min_fraction` is the smallest share of checks with which a response passes, so that whoever
re-runs the checks of a row compares with `>=` whatever the recipe's threshold was.

No column is called `query` or `instruction`: there are trainers that take those for the prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from autoif.base.records import Message, Pair, Query, Sample, Soft, content_id, to_json
from autoif.synthesis.responses.sample import Prompt, Task
from autoif.verifier.pairs import pair_row

Row = dict[str, Any]


def _verifiers(task: Task) -> list[Row]:
    return [
        {
            "instruction": verifier.instruction.text,
            "checks": [c.source for c in verifier.checks],
            "min_fraction": least,
        }
        for verifier, least in zip(task.verifiers, task.min_fractions, strict=True)
    ]


def sft_row(sample: Sample, task: Task) -> Row:
    messages = [*sample.messages, Message("assistant", sample.response)]
    return {
        "id": sample.id,
        "messages": to_json(messages),
        "query_text": sample.query,
        "instruction_text": task.demanded,
        "quality": sample.quality,
        "verifiers": _verifiers(task),
        **_lineage(task, sample.messages, sample.soft),
        "source": sample.source,
    }


def dpo_row(pair: Pair, query: Query, task: Task, soft: Sequence[Soft] = ()) -> Row:
    """`query`: empty where the pair answers none. `soft`: the scores of the chosen response."""
    return {
        **pair_row(pair),
        "query_text": query.text,
        "instruction_text": task.demanded,
        "verifiers": _verifiers(task),
        **_lineage(task, pair.prompt, soft),
        "source": query.source,
    }


def rlvr_row(prompt: Prompt, task: Task, soft: Sequence[Soft] = ()) -> Row:
    """A prompt that at least one kept response solves; `pass_rate` is over concluded responses to
    this very prompt."""
    sampled = [s for s in prompt.samples if s.index < prompt.asked]
    passed = sum(task.accepts(s.verdicts) for s in sampled)
    ids = [v.id for v in task.verifiers]
    return {
        "id": content_id("rlvr", ids, [m.content for m in prompt.messages]),
        "prompt": to_json(prompt.messages),
        "query_text": prompt.query.text,
        "instruction_text": task.demanded,
        "verifiers": _verifiers(task),
        "pass_rate": round(passed / max(1, len(sampled)), 4),
        **_lineage(task, prompt.messages, soft),
        "source": prompt.query.source,
    }


def _lineage(task: Task, messages: Sequence[Message], soft: Sequence[Soft]) -> Row:
    """`level` counts the constraints in force; marks and ids name all that the prompt states."""
    stated = [v.instruction for v in task.stated]
    return {
        "level": len(task.verifiers),
        "turns": sum(m.role == "user" for m in messages),
        "soft": to_json(list(soft)),
        "composition": task.composition,
        "verifier_ids": [v.id for v in task.verifiers],
        "instruction_ids": [i.id for i in stated],
        "lang": task.lang,
        "family": _joined(sorted(i.family for i in stated)),
        "origin": _joined(i.origin for i in stated),
        "benchmark_type": _joined(i.benchmark_type for i in stated),
    }


def _joined(words: Iterable[str]) -> str:
    """Each once, in the order of their appearance."""
    return ", ".join(dict.fromkeys(word for word in words if word))


def sorted_rows(rows: Sequence[Row]) -> list[Row]:
    """By id, without repeats."""
    return [r for _, r in sorted({r["id"]: r for r in rows}.items())]
