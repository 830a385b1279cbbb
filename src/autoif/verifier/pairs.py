"""Verdicts in, preferences out: for synthesis and for self-play alike.

A rejected text needs every check of a verifier to have concluded FALSE (where constraints are
composed, of one of them); an error or a timeout proves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autoif.base.records import Message, Pair, Sample, Verdict, content_id, to_json


def query_pairs(samples: Sequence[Sample], per_prompt: int, seed: int = 0) -> list[Pair]:
    """Pairs of two responses to one prompt: at most per_prompt chosen x per_prompt rejected.

    samples: the concluded responses of ONE prompt. Which are taken is drawn by content, not order.
    """
    chosen = [s for s in samples if s.kept]
    rejected = [s for s in samples if any(v.all_false for v in s.verdicts)]
    return [
        Pair(good.messages, good.response, bad.response, "query", good.verifiers)
        for good in _draw(chosen, per_prompt, seed)
        for bad in _draw(rejected, per_prompt, seed)
        if good.response != bad.response
    ]


def text_pairs(
    prompt: tuple[Message, ...],
    texts: Sequence[tuple[str, bool, Verdict]],
    verifiers: tuple[str, ...],
    limit: int,
) -> list[Pair]:
    """Pairs of texts with known labels: chosen = label True and most checks TRUE, rejected = label
    False and no check TRUE (arXiv 2406.13542: preferences at the level of the instruction).
    """
    good = [t for t, label, v in texts if label and v.fraction is not None and v.fraction > 0.5]
    bad = [t for t, label, v in texts if not label and v.all_false]
    return [
        Pair(prompt, a, b, "instruction", verifiers)
        for a, b in zip(good, bad, strict=False)
        if a != b
    ][:limit]


def pair_row(pair: Pair) -> dict[str, Any]:
    """What every row of a preference has; whoever writes it adds the verifiers, and its lineage."""
    return {
        "id": pair.id,
        "prompt": to_json(pair.prompt),
        "chosen": to_json([Message("assistant", pair.chosen)]),
        "rejected": to_json([Message("assistant", pair.rejected)]),
        "kind": pair.kind,
    }


def _draw(samples: Sequence[Sample], n: int, seed: int) -> list[Sample]:
    """n samples with distinct responses, by the hash of their content."""
    distinct = {s.response: s for s in samples}
    return sorted(distinct.values(), key=lambda s: content_id(seed, s.response))[:n]
