"""What is true of each text, when neither functions nor labels can be trusted? A joint estimate.

A latent-class model: every text follows the instruction or not (hidden); every function is a noisy
test with a sensitivity and a specificity of its own (Dawid & Skene 1979); every source of texts is
a population with a prevalence of its own (Hui & Walter 1980). Plain replies mostly do not follow,
outputs of a `comply` program mostly do, a model's own cases are a little better than a coin; texts
of which independent asks agree, or which programs leave alone, are a good deal better. The priors
say no more than that; expectation-maximisation finds what fits all of them together:

- a function that says always True or always False has sensitivity + specificity = 1: no weight;
- a comply program that does not work has the prevalence of plain text: its outputs turn negative;
- an instruction that plain replies follow anyway shows as a high prevalence among them.

Functions written by one model err alike, so their joint voice is tempered to that of two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

# Beta priors (successes, failures): what is held before anything has run.
FUNCTION_PRIOR = (4.0, 1.5)
SOURCE_PRIORS = {
    ("comply", True): (4.0, 2.0),
    ("plain", False): (1.5, 6.0),
    ("model", True): (4.0, 2.0),
    ("model", False): (2.0, 4.0),
    ("agreed", True): (6.0, 1.5),
    ("agreed", False): (1.5, 6.0),
    ("boundary", True): (6.0, 2.0),
    ("boundary", False): (2.0, 6.0),
}
VOICES = 2.0
ROUNDS = 40


def estimate(
    table: Sequence[Sequence[bool | None]], sources: Sequence[tuple[str, bool]]
) -> list[float]:
    """P(the text follows) for each text.

    table: one row per function, one column per text; None casts no vote.
    sources: per text, where it comes from (`comply:N` names the program) and its claimed label.
    """
    groups = list(sources)
    prevalence = {g: _mean(_prior(g)) for g in set(groups)}
    sensitivity = [_mean(FUNCTION_PRIOR)] * len(table)
    specificity = [_mean(FUNCTION_PRIOR)] * len(table)
    temper = min(1.0, VOICES / max(1, len(table)))
    truth = [prevalence[g] for g in groups]
    for _ in range(ROUNDS):
        before = truth
        truth = []
        for t, group in enumerate(groups):
            logit = _logit(prevalence[group])
            for f, row in enumerate(table):
                if row[t] is not None:
                    logit += temper * _weight(row[t] is True, sensitivity[f], specificity[f])
            truth.append(1 / (1 + math.exp(-max(-30.0, min(30.0, logit)))))
        for f, row in enumerate(table):
            voted = [t for t in range(len(truth)) if row[t] is not None]
            sensitivity[f] = _rate(
                sum(truth[t] for t in voted if row[t]), sum(truth[t] for t in voted)
            )
            specificity[f] = _rate(
                sum(1 - truth[t] for t in voted if not row[t]), sum(1 - truth[t] for t in voted)
            )
        for group in prevalence:
            members = [p for p, g in zip(truth, groups, strict=True) if g == group]
            hits, misses = _prior(group)
            prevalence[group] = (sum(members) + hits) / (len(members) + hits + misses)
        if max(map(abs, (a - b for a, b in zip(truth, before, strict=True))), default=0) < 1e-6:
            break
    return truth


def _prior(group: tuple[str, bool]) -> tuple[float, float]:
    kind = group[0].partition(":")[0]
    return SOURCE_PRIORS.get((kind, group[1]), (2.0, 2.0))


def _mean(prior: tuple[float, float]) -> float:
    return prior[0] / sum(prior)


def _rate(hits: float, total: float) -> float:
    return (hits + FUNCTION_PRIOR[0]) / (total + sum(FUNCTION_PRIOR))


def _weight(vote: bool, sensitivity: float, specificity: float) -> float:
    """Log-likelihood ratio of a vote."""
    if vote:
        return math.log(sensitivity / (1 - specificity))
    return math.log((1 - sensitivity) / specificity)


def _logit(p: float) -> float:
    return math.log(p / (1 - p))
