"""Verifiers as a reward: for a batch in the signature that TRL calls, or for one completion.

    trl grpo --reward_funcs autoif.verifier.reward.verifier_reward ...
    autoif.verifier.reward.score("YES", row["verifiers"])

Rows carry their verifiers' code in the column `verifiers`, as `autoif synth` writes them. None is
what no check concluded on: it is no reward, and TRL leaves it out of the group; it is never 0. An
empty answer follows nothing: it is 0. What of a completion is judged says `completion.py`. Needs
neither torch nor TRL.

Whatever calls this, from threads, event loops or one sample at a time, is judged together: in this
process, or by the `autoif serve` at AUTOIF_REWARD_URL.
AUTOIF_REWARD_WORKERS: checks at once, default one per core. AUTOIF_REWARD_DEADLINE: seconds for a
slow check, default 20.
"""

from __future__ import annotations

import asyncio
import functools
import math
import os
import threading
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from autoif.base.errors import UsageError
from autoif.base.records import Verdict
from autoif.verifier.check_queue import Asked, CheckQueue
from autoif.verifier.completion import answer
from autoif.verifier.reward_client import RewardClient
from autoif.verifier.schema import VerifierRow, parse_verifier
from autoif.verifier.verify import accepts

DEADLINE = 20.0
Verifiers = Sequence[Mapping[str, Any]]  # rows {"checks": [source, ...], "min_fraction": float}
Row = Sequence[VerifierRow]
Sample = tuple[str | None, Row]  # what is judged, and by what
Held = list[bool | None]  # for each constraint; None: it stayed open


@dataclass(frozen=True, slots=True)
class RewardSettings:
    """partial: the share of the constraints that hold, else 1 where all do. deadline: seconds for
    a slow check; None: AUTOIF_REWARD_DEADLINE. keep_reasoning: judge what a model thought before
    its answer as part of it. Raises UsageError for a deadline that is no number above 0."""

    partial: bool = True
    deadline: float | None = None
    keep_reasoning: bool = False

    def __post_init__(self) -> None:
        if self.deadline is not None:
            _positive("deadline", self.deadline)


async def verifier_reward(
    prompts: Sequence[Any],
    completions: Sequence[Any],
    verifiers: Sequence[Verifiers],
    *,
    reward_settings: RewardSettings = RewardSettings(),
    **columns: Any,
) -> list[float | None]:
    """The share of a row's constraints that its completion meets, between 0 and 1.

    A completion is a text or messages (`completion.text_of`). Of a prompt, a text or messages, only
    a tag of reasoning at its end is read. For other settings: `reward_function`. Raises UsageError
    for a row that is no list of verifiers, and for a completion that is neither.
    """
    start = time.perf_counter()
    samples = _samples(completions, verifiers, prompts, reward_settings)
    held = await judge(samples, reward_settings)
    rewards = [reward_of(row, reward_settings.partial) for row in held]
    if (log := columns.get("log_metric")) is not None:
        log("verifier/seconds", time.perf_counter() - start)
        log("verifier/unscored", sum(r is None for r in rewards) / max(1, len(rewards)))
        log("verifier/empty", sum(text == "" for text, _ in samples) / max(1, len(samples)))
    return rewards


async def strict_verifier_reward(
    prompts: Sequence[Any],
    completions: Sequence[Any],
    verifiers: Sequence[Verifiers],
    **columns: Any,
) -> list[float | None]:
    """1 where all of a row's constraints are met, else 0."""
    return await verifier_reward(
        prompts, completions, verifiers, **columns, reward_settings=RewardSettings(partial=False)
    )


def reward_function(
    *, partial: bool = True, deadline: float | None = None, keep_reasoning: bool = False
) -> Callable[..., Any]:
    """`verifier_reward` with these settings (see `RewardSettings`). It can be pickled."""
    settings = RewardSettings(partial, deadline, keep_reasoning)
    function = functools.partial(verifier_reward, reward_settings=settings)
    return functools.update_wrapper(function, verifier_reward)


# ---- one completion, and many ------------------------------------------------------------------


def score(
    completion: Any,
    verifiers: Verifiers,
    settings: RewardSettings = RewardSettings(),
    *,
    prompt: Any = None,
) -> float | None:
    """The reward of one completion, a text or messages. Blocks; safe to call from many threads.
    Raises UsageError for `verifiers` and for a completion that are none."""
    return reward_of(holds(completion, verifiers, settings, prompt=prompt), settings.partial)


async def ascore(
    completion: Any,
    verifiers: Verifiers,
    settings: RewardSettings = RewardSettings(),
    *,
    prompt: Any = None,
) -> float | None:
    """`score` without blocking the loop."""
    return reward_of(await aholds(completion, verifiers, settings, prompt=prompt), settings.partial)


def holds(
    completion: Any,
    verifiers: Verifiers,
    settings: RewardSettings = RewardSettings(),
    *,
    prompt: Any = None,
) -> Held:
    """Whether the completion meets each of the constraints; None where that stayed open."""
    sample = _sample(completion, verifiers, prompt, settings)
    if client := _reward_client():
        return client.ask([sample]).result()[0]
    asked = _queue(settings.deadline).ask(_texts_by_check([sample]))
    for waiting in asked.values():
        waiting.future.result()
    return _held(*sample, asked)


async def aholds(
    completion: Any,
    verifiers: Verifiers,
    settings: RewardSettings = RewardSettings(),
    *,
    prompt: Any = None,
) -> Held:
    """`holds` without blocking the loop."""
    return (await judge([_sample(completion, verifiers, prompt, settings)], settings))[0]


async def judge(
    samples: Sequence[Sample],
    settings: RewardSettings = RewardSettings(),
    seconds: float | None = None,
) -> list[Held]:
    """For each answer, as `completion.answer` gives it, whether it meets each of its constraints.
    What is not judged after so many seconds stays open."""
    if client := _reward_client():
        return await asyncio.wrap_future(client.ask(samples))
    held: dict[int, Held] = {}
    async for some in judge_each(samples, settings, seconds):
        held |= some
    return [held[n] for n in range(len(samples))]


async def judge_each(
    samples: Sequence[Sample],
    settings: RewardSettings = RewardSettings(),
    seconds: float | None = None,
) -> AsyncIterator[dict[int, Held]]:
    """`judge` in this process, in parts: those that have ended, by the numbers of their samples."""
    loop, changed = asyncio.get_running_loop(), asyncio.Event()
    ended: deque[tuple[str, str | None]] = deque()

    def note(source: str, text: str | None) -> None:
        ended.append((source, text))
        if not changed.is_set():
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                loop.call_soon_threadsafe(changed.set)

    open_checks, numbers = _open_checks(samples)
    ready = [n for n, checks in enumerate(open_checks) if not checks]
    left = len(samples)
    until = math.inf if seconds is None else loop.time() + seconds
    asked = _queue(settings.deadline).ask(_texts_by_check(samples), note)
    try:
        while left:
            if ready:
                yield {n: _held(*samples[n], asked) for n in ready}
                left -= len(ready)
            elif not await _set_by(changed, until):
                break
            ready = []
            changed.clear()
            while ended:
                source, text = ended.popleft()
                if text is None:
                    asked[source].future.result()
                for n in numbers[source, text or ""]:
                    open_checks[n].discard(source)
                    if not open_checks[n]:
                        ready.append(n)
    finally:
        for waiting in asked.values():
            waiting.future.cancel()
    if left:
        yield {n: _held(*samples[n], asked) for n, checks in enumerate(open_checks) if checks}


def parse_row(verifiers: Any, where: object) -> Row:
    """Raises UsageError naming `where` for what is no list of verifiers. None is an empty one."""
    if verifiers is not None and not isinstance(verifiers, (list, tuple)):
        raise UsageError(f'{where}: verifiers are a list of {{"checks": [source, ...]}}')
    return [parse_verifier(verifier, where) for verifier in verifiers or ()]


def reward_of(held: Held, partial: bool = True) -> float | None:
    """The share of the constraints that hold, or 1 where all do and 0 where one does not. None, no
    reward, where one stayed open that would have decided."""
    if not partial and False in held:
        return 0.0
    if not held or None in held:
        return None
    return sum(map(bool, held)) / len(held)


# ---- the parts ---------------------------------------------------------------------------------


def _samples(
    completions: Sequence[Any],
    verifiers: Sequence[Verifiers | None],
    prompts: Sequence[Any] | None,
    settings: RewardSettings,
) -> list[Sample]:
    n = len(completions)
    if len(verifiers) != n:
        raise ValueError(
            f"{n} completions and {len(verifiers)} rows of verifiers: the column `verifiers` has "
            "one for each completion"
        )
    if prompts and len(prompts) != n:
        raise ValueError(f"{n} completions and {len(prompts)} prompts")
    columns = zip(completions, verifiers, prompts or [None] * n, strict=True)
    return [_sample(*values, settings, f" {n}") for n, values in enumerate(columns, 1)]


def _sample(
    completion: Any, verifiers: Verifiers | None, prompt: Any, settings: RewardSettings, n: str = ""
) -> Sample:
    keep = settings.keep_reasoning
    text = answer(completion, prompt, keep_reasoning=keep, where=f"completion{n}")
    return text, parse_row(verifiers, f"row{n}" if n else "verifiers")


def _texts_by_check(samples: Sequence[Sample]) -> dict[str, dict[str, None]]:
    """The distinct texts for each source. Nothing is asked of an empty text."""
    texts: dict[str, dict[str, None]] = defaultdict(dict)
    for text, row in samples:
        if text:
            for verifier in row:
                for check in verifier.checks:
                    texts[check.source][text] = None
    return texts


def _open_checks(
    samples: Sequence[Sample],
) -> tuple[list[set[str]], dict[tuple[str, str], list[int]]]:
    """For each sample the sources that have to end, and by source and text the samples' numbers."""
    checks: list[set[str]] = []
    numbers: dict[tuple[str, str], list[int]] = defaultdict(list)
    for n, (text, row) in enumerate(samples):
        checks.append({check.source for v in row for check in v.checks} if text else set())
        for source in checks[n]:
            numbers[source, text or ""].append(n)
    return checks, numbers


async def _set_by(event: asyncio.Event, until: float) -> bool:
    try:
        async with asyncio.timeout_at(until if until < math.inf else None):
            return await event.wait()
    except TimeoutError:
        return False


def _held(text: str | None, row: Row, asked: Mapping[str, Asked]) -> Held:
    if not text:  # an empty text meets nothing; where there is none, nothing can be said
        return [None if text is None else False] * len(row)
    held: Held = []
    for verifier in row:
        outcomes = [asked[check.source].outcomes.get(text) for check in verifier.checks]
        verdict = Verdict.of([outcome for outcome in outcomes if outcome is not None])
        opened = None in outcomes or verdict.fraction is None
        held.append(None if opened else accepts([verdict], [verifier.min_fraction]))
    return held


# ---- one client, and one queue for each deadline, of a process -----------------------------------

_clients: dict[str, RewardClient] = {}
_parents: list[RewardClient] = []  # kept: to free a loop here would reach into the parent's
_queues: dict[float, CheckQueue] = {}
_lock = threading.Lock()


def _reward_client() -> RewardClient | None:
    """For the server that AUTOIF_REWARD_URL names."""
    url = os.environ.get("AUTOIF_REWARD_URL")
    if not url:
        return None
    with _lock:
        if url not in _clients:
            _clients[url] = RewardClient(url, os.environ.get("AUTOIF_REWARD_TOKEN", ""))
        return _clients[url]


def _queue(deadline: float | None) -> CheckQueue:
    if deadline is None:
        deadline = _environment("AUTOIF_REWARD_DEADLINE", DEADLINE)
    deadline = _positive("deadline", deadline)
    with _lock:
        if deadline not in _queues:
            workers = _environment("AUTOIF_REWARD_WORKERS", len(os.sched_getaffinity(0)))
            _queues[deadline] = CheckQueue(math.ceil(workers), deadline)
        return _queues[deadline]


def _environment(name: str, default: float) -> float:
    return _positive(name, os.environ.get(name) or default)


def _positive(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0
    if not 0 < number < math.inf:
        raise UsageError(f"{name}={value}: it has to be a number above 0")
    return number


def _after_fork() -> None:
    """A forked process has neither the threads of these queues nor a claim on their sandboxes; and
    the lock may have been held."""
    global _lock
    _lock = threading.Lock()
    _queues.clear()
    _parents.extend(_clients.values())
    _clients.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
