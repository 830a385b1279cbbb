"""Samples and pairs as data rows. Each row carries its verifiers' code and needs nothing else.

`min_fraction` is the smallest share of checks with which a response passes, so that whoever
re-runs the checks of a row compares with `>=` whatever the recipe's threshold was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autoif.recipe import Responses
from autoif.records import Message, Pair, Sample, Verifier, content_id, to_json
from autoif.synth.responses import Prompt, passes

Row = dict[str, Any]


def verifier_row(verifier: Verifier, part: Responses) -> Row:
    n = len(verifier.checks)
    least = next(k for k in range(n + 1) if passes(k / n, part) or k == n)
    return {
        "instruction": verifier.instruction.text,
        "checks": [c.source for c in verifier.checks],
        "min_fraction": least / n,
    }


def sft_row(sample: Sample, verifier: Verifier, part: Responses) -> Row:
    messages = [*sample.messages, Message("assistant", sample.response)]
    return {
        "id": sample.id,
        "messages": to_json(messages),
        "query": sample.query,
        "instruction": verifier.instruction.text,
        "quality": sample.quality,
        "verifiers": [verifier_row(verifier, part)],
        **_lineage(verifier),
        "source": sample.source,
    }


def dpo_row(pair: Pair, verifier: Verifier, part: Responses) -> Row:
    return {
        "id": pair.id,
        "prompt": to_json(pair.prompt),
        "chosen": to_json([Message("assistant", pair.chosen)]),
        "rejected": to_json([Message("assistant", pair.rejected)]),
        "kind": pair.kind,
        "instruction": verifier.instruction.text,
        "verifiers": [verifier_row(verifier, part)],
        **_lineage(verifier),
    }


def rlvr_row(prompt: Prompt, verifier: Verifier, part: Responses) -> Row:
    """A prompt that at least one kept response solves; `pass_rate` is over concluded responses."""
    passed = sum(passes(s.verdicts[0].fraction, part) for s in prompt.samples)
    return {
        "id": content_id("rlvr", verifier.id, prompt.query.text),
        "prompt": to_json(prompt.messages),
        "query": prompt.query.text,
        "instruction": verifier.instruction.text,
        "verifiers": [verifier_row(verifier, part)],
        "pass_rate": round(passed / len(prompt.samples), 4),
        **_lineage(verifier),
        "source": prompt.query.source,
    }


def _lineage(verifier: Verifier) -> Row:
    instruction = verifier.instruction
    return {
        "verifier_ids": [verifier.id],
        "instruction_ids": [instruction.id],
        "lang": instruction.lang,
        "family": instruction.family,
        "origin": instruction.origin,
        "benchmark_type": instruction.benchmark_type,
    }


def sorted_rows(rows: Sequence[Row]) -> list[Row]:
    """By id, without repeats."""
    return [r for _, r in sorted({r["id"]: r for r in rows}.items())]
