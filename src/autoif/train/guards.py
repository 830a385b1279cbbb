"""What goes wrong in training, and how it is seen: figures of texts, and limits that end a run.

A policy that is paid for verifiable constraints can learn to please the checker alone: answers
that shrink, repeat themselves, change language or refuse. `describe` measures these on a round's
responses; `Guard` ends a training whose loss, KL or length leaves its bounds.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping, Sequence
from statistics import fmean, median

from autoif.base.errors import RunFailed
from autoif.base.language import is_blank
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
        "words": fmean(words),
        "words_median": float(median(words)),
        "repetition": fmean(map(repetition, responses)),
        "drift": sum(map(_drifts, prompts, responses)) / n,
        "refusals": sum(bool(_REFUSAL.search(r[:200])) for r in responses) / n,
        "empty": sum(map(is_blank, responses)) / n,
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
    asked, given = _other_share(prompt), _other_share(response)
    return asked is not None and given is not None and abs(asked - given) > 0.5


def _other_share(text: str) -> float | None:
    other, latin = len(_OTHER.findall(text)), len(_LATIN.findall(text))
    return other / (other + latin) if other + latin >= 5 else None


class Guard:
    """Hears each step's figures and raises `Diverged`, which names the key of `[guards]`."""

    def __init__(self, limits: Guards) -> None:
        self._limits = limits
        self._losses: list[float] = []
        self._lengths: list[float] = []

    def hear(self, step: int, figures: Mapping[str, float]) -> None:
        for key in ("loss", "grad_norm"):
            if key in figures and not math.isfinite(figures[key]):
                raise Diverged(f"{key} is {figures[key]} at step {step}: lower train.lr")
        if "reward" not in figures and "loss" in figures:
            self._bound_loss(step, figures["loss"])
        if (kl := figures.get("kl", 0.0)) > self._limits.max_kl:
            raise Diverged(
                f"KL from the start is {kl:.2f} nats per token at step {step}, over "
                "guards.max_kl: lower train.lr or raise grpo.beta"
            )
        if "completions/mean_length" in figures:
            self._bound_length(step, figures["completions/mean_length"])

    def _bound_loss(self, step: int, loss: float) -> None:
        seen = self._losses
        seen.append(loss)
        # The first steps may have exploded already: the very first one counts as well.
        first, last = min(fmean(seen[:FIRST]), seen[0]), fmean(seen[-FIRST:])
        if len(seen) >= 2 * FIRST and last > self._limits.loss_factor * max(first, 0.05):
            raise Diverged(
                f"loss went from {first:.3g} to {last:.3g} by step {step}, over "
                "guards.loss_factor: lower train.lr"
            )

    def _bound_length(self, step: int, tokens: float) -> None:
        seen = self._lengths
        seen.append(tokens)
        first, last = fmean(seen[:FIRST]), fmean(seen[-FIRST:])
        if len(seen) >= 2 * FIRST and last < self._limits.min_length * first:
            raise Diverged(
                f"answers shrank from {first:.0f} to {last:.0f} tokens by step {step}, under "
                "guards.min_length: look at what the verifiers let pass"
            )
