"""Verifiers as a reward, in the signature that TRL calls: one float or None per completion.

    trl grpo --reward_funcs autoif.verifier.reward.verifier_reward ...

The rows carry their verifiers' code in the column `verifiers`, as `autoif synth` writes them. None
is what no check concluded on, or what was not ready at the deadline: it is no reward, and TRL
leaves it out of the group; it is never 0. Needs neither torch nor TRL.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from autoif.base.records import Check
from autoif.sandbox import REWARD_LIMITS, Sandbox
from autoif.verifier.schema import parse_verifier
from autoif.verifier.verify import accepts, averify

DEADLINE = 20.0
Verifiers = Sequence[Mapping[str, Any]]  # rows {"checks": [source, ...], "min_fraction": float}


async def verifier_reward(
    prompts: Sequence[Any],
    completions: Sequence[Any],
    verifiers: Sequence[Verifiers],
    **columns: Any,
) -> list[float | None]:
    """The share of a row's constraints that its completion meets, between 0 and 1.

    A completion is a text or a list of messages, of which the last counts. Returns within 20
    seconds. For other settings: `reward_function`.
    """
    return await _reward(completions, verifiers, columns, partial=True, deadline=DEADLINE)


async def strict_verifier_reward(
    prompts: Sequence[Any],
    completions: Sequence[Any],
    verifiers: Sequence[Verifiers],
    **columns: Any,
) -> list[float | None]:
    """1 where all of a row's constraints are met, else 0."""
    return await _reward(completions, verifiers, columns, partial=False, deadline=DEADLINE)


def reward_function(*, partial: bool = True, deadline: float = DEADLINE) -> Callable[..., Any]:
    """`verifier_reward` (or, with partial=False, `strict_verifier_reward`) with this deadline in
    seconds."""

    async def verifier_reward(
        prompts: Sequence[Any],
        completions: Sequence[Any],
        verifiers: Sequence[Verifiers],
        **columns: Any,
    ) -> list[float | None]:
        return await _reward(completions, verifiers, columns, partial=partial, deadline=deadline)

    return verifier_reward


async def _reward(
    completions: Sequence[Any],
    verifiers: Sequence[Verifiers],
    columns: Mapping[str, Any],
    *,
    partial: bool,
    deadline: float,
) -> list[float | None]:
    start = time.perf_counter()
    if len(completions) != len(verifiers):
        raise ValueError(
            f"{len(completions)} completions and {len(verifiers)} rows of verifiers: the column "
            "`verifiers` has one for each completion"
        )
    texts = [text_of(completion) for completion in completions]
    pairs = zip(texts, verifiers, strict=True)
    judged = [row or () if text is not None else () for text, row in pairs]
    held = await holds([text or "" for text in texts], judged, deadline)
    rewards = [_partial(row) if partial else _all(row) for row in held]
    if (log := columns.get("log_metric")) is not None:
        log("verifier/seconds", time.perf_counter() - start)
        log("verifier/unscored", sum(r is None for r in rewards) / max(1, len(rewards)))
    return rewards


async def holds(
    texts: Sequence[str], verifiers: Sequence[Verifiers], deadline: float
) -> list[list[bool | None]]:
    """For each text, whether each of its row's verifiers accepts it: by a fraction of at least its
    `min_fraction`; None where no check concluded or the deadline (seconds) came first.

    Texts of one verifier, such as those of a GRPO group, are judged together.
    """
    groups: dict[tuple[Check, ...], list[tuple[int, int]]] = defaultdict(list)
    parsed = [[parse_verifier(v, f"row {n}") for v in row] for n, row in enumerate(verifiers, 1)]
    for row, several in enumerate(parsed):
        for place, verifier in enumerate(several):
            groups[verifier.checks].append((row, place))
    held: list[list[bool | None]] = [[None] * len(several) for several in verifiers]
    sandbox = _sandbox(deadline)

    async def judge(checks: tuple[Check, ...], places: list[tuple[int, int]]) -> None:
        distinct = list(dict.fromkeys(texts[row] for row, _ in places))
        verdicts = dict(zip(distinct, await averify(checks, distinct, sandbox), strict=True))
        for row, place in places:
            verdict = verdicts[texts[row]]
            if verdict.fraction is not None:
                held[row][place] = accepts([verdict], [parsed[row][place].min_fraction])

    tasks = [asyncio.create_task(judge(*group)) for group in groups.items()]
    if tasks:
        done, late = await asyncio.wait(tasks, timeout=deadline)
        for task in late:  # what has not begun never will; what runs ends by the sandbox's limits
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for task in done:
            task.result()  # a sandbox that cannot work here is an error, not a reward
    return held


def text_of(completion: Any) -> str | None:
    """The text of a completion in either of TRL's formats, a text or messages; of a message of
    several parts, those that are texts. None where nothing was said."""
    if isinstance(completion, list):
        completion = completion[-1].get("content") if completion else None
    if isinstance(completion, list):
        return "".join(part.get("text") or "" for part in completion)
    return None if completion is None else str(completion)


def _partial(row: Sequence[bool | None]) -> float | None:
    if not row or None in row:
        return None
    return sum(map(bool, row)) / len(row)


def _all(row: Sequence[bool | None]) -> float | None:
    if False in row:
        return 0.0
    return None if not row or None in row else 1.0


_sandboxes: dict[float, Sandbox] = {}
_lock = threading.Lock()


def _sandbox(deadline: float) -> Sandbox:
    """One for all calls of this process with this deadline; no function outlives it."""
    with _lock:
        sandbox = _sandboxes.get(deadline)
        if sandbox is None or sandbox.closed:
            total = min(REWARD_LIMITS.total_seconds, deadline)
            limits = replace(REWARD_LIMITS, total_seconds=total)
            sandbox = _sandboxes[deadline] = Sandbox(limits=limits)
        return sandbox
