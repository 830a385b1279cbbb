"""The likeliest first tokens of an answer, as its text: {"yes": 0.93, "no": 0.06}."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from math import exp


def first_token(likeliest: Iterable[tuple[str, float]]) -> str:
    """tokens with their log-probabilities. Raises TypeError where they are not that."""
    chances: defaultdict[str, float] = defaultdict(float)
    for token, logprob in likeliest:
        chances[token.strip().lower()] += exp(min(0.0, logprob))
    return json.dumps({token: round(chance, 4) for token, chance in chances.items()})
