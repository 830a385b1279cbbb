"""What goes wrong in training, and how it is seen: figures of texts, and limits that end a run.

A policy that is paid for verifiable constraints can learn to please the checker alone: answers
that shrink, repeat themselves, change language or refuse. `describe` measures these on a round's
responses; `Guard` ends a training whose loss, KL or length leaves its bounds.
"""

from __future__ import annotations

import math
import re
import statistics
import zlib
from collections.abc import Mapping, Sequence

from autoif.base.errors import RunFailed
from autoif.train.config import Guards

_REFUSAL = re.compile(
    r"\b(?:i(?:'m| am) sorry,? (?:but )?i|i (?:can(?:no|')t|am unable to|am not able to) "
    r"(?:help|assist|provide|do|answer|fulfill|comply)|as an ai\b)|抱歉|无法(?:提供|回答|满足)",
    re.IGNORECASE,
)
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]")
_OTHER = re.compile(r"[\u0370-\u1fff\u3040-\u9fff\uac00-\ud7af]")
FIRST = 5  # logs that say what is normal


class Diverged(RunFailed):
    """A guard ended the training; the last checkpoint is from before."""


def describe(prompts: Sequence[str], responses: Sequence[str]) -> dict[str, float]:
    """Figures of responses to prompts (same order): `words` (mean), `words_median`,
    `repetition` (mean share that compression saves beyond what prose gives up, 0 to 1), `drift`
    (share written mostly in another script than their prompt), `refusals` and `empty` (shares)."""
    if not responses:
        return {}
    words = [len(response.split()) for response in responses]
    n = len(responses)
    return {
        "words": statistics.fmean(words),
        "words_median": float(statistics.median(words)),
        "repetition": statistics.fmean(map(repetition, responses)),
        "drift": sum(map(_drifts, prompts, responses)) / n,
        "refusals": sum(bool(_REFUSAL.search(r[:200])) for r in responses) / n,
        "empty": sum(not r.strip() for r in responses) / n,
    }


def repetition(text: str) -> float:
    """1 - 2 x compressed size / size, at least 0: prose of a few hundred bytes or more compresses
    to about half, text that goes round in circles to almost nothing. 0 under 100 bytes."""
    raw = text.encode("utf-8", "replace")
    if len(raw) < 100:
        return 0.0
    return max(0.0, 1 - 2 * len(zlib.compress(raw, 6)) / len(raw))


def _drifts(prompt: str, response: str) -> bool:
    """Mostly of another script than the prompt."""
    asked, said = _other_share(prompt), _other_share(response)
    return asked is not None and said is not None and abs(asked - said) > 0.5


def _other_share(text: str) -> float | None:
    other, latin = len(_OTHER.findall(text)), len(_LATIN.findall(text))
    return other / (other + latin) if other + latin >= 5 else None


class Guard:
    """Hears each step's figures and raises `Diverged` (saying which key of `[guards]` it was)."""

    def __init__(self, limits: Guards) -> None:
        self._limits = limits
        self._seen: dict[str, list[float]] = {}

    def hear(self, step: int, figures: Mapping[str, float]) -> None:
        for key in ("loss", "grad_norm"):
            if key in figures and not math.isfinite(figures[key]):
                raise Diverged(f"{key} is {figures[key]} at step {step}: lower train.lr")
        if "reward" not in figures:
            self._bound(step, "loss", figures)
        if (kl := figures.get("kl", 0.0)) > self._limits.max_kl:
            raise Diverged(
                f"KL from the start is {kl:.2f} nats per token at step {step}, over "
                "guards.max_kl: lower train.lr or raise grpo.beta"
            )
        self._bound(step, "completions/mean_length", figures)

    def _bound(self, step: int, key: str, figures: Mapping[str, float]) -> None:
        """The mean of the last steps against that of the first."""
        if key not in figures:
            return
        seen = self._seen.setdefault(key, [])
        seen.append(figures[key])
        if len(seen) < 2 * FIRST:
            return
        first, last = statistics.fmean(seen[:FIRST]), statistics.fmean(seen[-FIRST:])
        if key == "loss":
            first = min(first, seen[0])  # the first steps may have exploded already
        if key == "loss" and last > self._limits.loss_factor * max(first, 0.05):
            raise Diverged(
                f"loss went from {first:.3g} to {last:.3g} by step {step}, over "
                "guards.loss_factor: lower train.lr"
            )
        if key != "loss" and last < self._limits.min_length * first:
            raise Diverged(
                f"answers shrank from {first:.0f} to {last:.0f} tokens by step {step}, under "
                "guards.min_length: look at what the verifiers let pass"
            )
