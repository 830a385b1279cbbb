"""Verifiers as a reward: for a batch in the signature that TRL calls, or for one text.

    trl grpo --reward_funcs autoif.verifier.reward.verifier_reward ...
    autoif.verifier.reward.score("YES", row["verifiers"])

Rows carry their verifiers' code in the column `verifiers`, as `autoif synth` writes them. None is
what no check concluded on: it is no reward, and TRL leaves it out of the group; it is never 0. An
empty answer follows nothing: it is 0. Needs neither torch nor TRL.

Whatever calls this, from threads, event loops or one sample at a time, is judged together.
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
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoif.base.errors import UsageError
from autoif.base.language import is_blank, strip_blank
from autoif.base.records import Verdict
from autoif.models.reasoning import strip_control_tokens, strip_thinking
from autoif.verifier.check_queue import CheckQueue, Outcomes
from autoif.verifier.schema import VerifierRow, parse_verifier
from autoif.verifier.verify import accepts

DEADLINE = 20.0
COMPLETION = (
    'a completion is a text, a message {"role": "assistant", "content": text or parts}, or a list '
    "of messages"
)
Verifiers = Sequence[Mapping[str, Any]]  # rows {"checks": [source, ...], "min_fraction": float}
Row = Sequence[VerifierRow]
Held = list[bool | None]


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

    A completion is a text or messages, see `text_of`. For other settings: `reward_function`. Raises
    UsageError for a row that is no list of verifiers, and for a completion that is neither.
    """
    start = time.perf_counter()
    if len(completions) != len(verifiers):
        raise ValueError(
            f"{len(completions)} completions and {len(verifiers)} rows of verifiers: the column "
            "`verifiers` has one for each completion"
        )
    texts = [_answer(c, reward_settings, f"completion {n}") for n, c in enumerate(completions, 1)]
    rows = [_parsed(row, f"row {n}") for n, row in enumerate(verifiers, 1)]
    held = await _aholds(texts, rows, reward_settings)
    rewards = [_reward(row, reward_settings.partial) for row in held]
    if (log := columns.get("log_metric")) is not None:
        log("verifier/seconds", time.perf_counter() - start)
        log("verifier/unscored", sum(r is None for r in rewards) / max(1, len(rewards)))
        log("verifier/empty", sum(text == "" for text in texts) / max(1, len(texts)))
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


# ---- one text ----------------------------------------------------------------------------------


def score(
    completion: Any, verifiers: Verifiers, settings: RewardSettings = RewardSettings()
) -> float | None:
    """The reward of one completion, a text or messages. Blocks; safe to call from many threads.
    Raises UsageError for `verifiers` and for a completion that are none."""
    return _reward(holds(completion, verifiers, settings), settings.partial)


async def ascore(
    completion: Any, verifiers: Verifiers, settings: RewardSettings = RewardSettings()
) -> float | None:
    """`score` without blocking the loop."""
    return _reward(await aholds(completion, verifiers, settings), settings.partial)


def holds(
    completion: Any, verifiers: Verifiers, settings: RewardSettings = RewardSettings()
) -> Held:
    """Whether the completion meets each of the constraints; None where that stayed open."""
    texts, rows = [_answer(completion, settings)], [_parsed(verifiers, "verifiers")]
    futures = _queue(settings.deadline).ask(_asked(texts, rows))
    outcomes = {source: future.result() for source, future in futures.items()}
    return _held(texts[0], rows[0], outcomes)


async def aholds(
    completion: Any, verifiers: Verifiers, settings: RewardSettings = RewardSettings()
) -> Held:
    """`holds` without blocking the loop."""
    texts, rows = [_answer(completion, settings)], [_parsed(verifiers, "verifiers")]
    return (await _aholds(texts, rows, settings))[0]


def text_of(completion: Any, where: str = "completion") -> str | None:
    """The text of a completion in either of TRL's formats, a text or messages.

    Of one message its content; of several the last of the assistant's; of content in parts those
    that are text, without what the model thought. None where there is no text, as in a call of a
    tool. Raises UsageError for anything else.
    """
    if completion is None or isinstance(completion, str):
        return completion
    messages = [completion] if isinstance(completion, Mapping) else completion
    if not isinstance(messages, (list, tuple)) or not all(map(_is_message, messages)):
        raise UsageError(f"{where}: {_kind(completion)} is no completion; {COMPLETION}")
    answers = [m for m in messages if m.get("role", "assistant") == "assistant"]
    content = answers[-1].get("content") if answers else None
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, (list, tuple)):
        raise UsageError(f"{where}: {_kind(content)} is no content of a message; {COMPLETION}")
    return "".join(_text_of_part(part, where) for part in content)


# ---- the parts ---------------------------------------------------------------------------------


def _is_message(value: Any) -> bool:
    return isinstance(value, Mapping) and ("role" in value or "content" in value)


def _text_of_part(part: Any, where: str) -> str:
    part = {"text": part} if isinstance(part, str) else part
    text = part.get("text") if isinstance(part, Mapping) else part
    if not isinstance(part, Mapping) or not isinstance(text, (str, type(None))):
        raise UsageError(f"{where}: {_kind(text)} is no text of a part; {COMPLETION}")
    answers = (part.get("type") or "text") in ("text", "output_text") and not part.get("thought")
    return (answers and text) or ""


def _kind(value: Any) -> str:
    """What a value is, for an error: "list of str", "int"."""
    name = type(value).__name__
    return f"{name} of {type(value[0]).__name__}" if isinstance(value, (list, tuple)) else name


def _answer(completion: Any, settings: RewardSettings, where: str = "completion") -> str | None:
    """What is judged: without the reasoning, and without the tokens that end a turn. Empty where
    nothing that is left can be seen."""
    text = text_of(completion, where)
    if text is None:
        return None
    cut = strip_control_tokens if settings.keep_reasoning else strip_thinking
    seen = strip_blank(text)
    if seen != text.strip():  # characters that are not seen stand around what might be cut
        if is_blank(cut(seen)):
            return ""
        behind = text[text.index(seen) :]
        if cut(behind).strip() != behind.strip():
            text = behind
    answer = cut(text)
    return "" if is_blank(answer) else answer


def _parsed(row: Verifiers | None, where: str) -> Row:
    if row is not None and not isinstance(row, (list, tuple)):
        raise UsageError(f'{where}: verifiers are a list of {{"checks": [source, ...]}}')
    return [parse_verifier(verifier, where) for verifier in row or ()]


def _asked(texts: Sequence[str | None], rows: Sequence[Row]) -> dict[str, dict[str, None]]:
    """The distinct texts for each source. Nothing is asked of an empty text."""
    asked: dict[str, dict[str, None]] = defaultdict(dict)
    for text, row in zip(texts, rows, strict=True):
        if text:
            for verifier in row:
                for check in verifier.checks:
                    asked[check.source][text] = None
    return asked


async def _aholds(
    texts: Sequence[str | None], rows: Sequence[Row], settings: RewardSettings
) -> list[Held]:
    futures = _queue(settings.deadline).ask(_asked(texts, rows))
    answers = await asyncio.gather(*map(asyncio.wrap_future, futures.values()))
    outcomes = dict(zip(futures, answers, strict=True))
    return [_held(text, row, outcomes) for text, row in zip(texts, rows, strict=True)]


def _held(text: str | None, row: Row, outcomes: Mapping[str, Outcomes]) -> Held:
    if not text:  # an empty text meets nothing; where there is none, nothing can be said
        return [None if text is None else False] * len(row)
    held: Held = []
    for verifier in row:
        said = [outcomes[check.source][text] for check in verifier.checks]
        verdict = Verdict.of([outcome for outcome in said if outcome is not None])
        opened = None in said or verdict.fraction is None
        held.append(None if opened else accepts([verdict], [verifier.min_fraction]))
    return held


def _reward(held: Held, partial: bool) -> float | None:
    if not partial and False in held:
        return 0.0
    if not held or None in held:
        return None
    return sum(map(bool, held)) / len(held)


# ---- one queue for each deadline of a process ----------------------------------------------------

_queues: dict[float, CheckQueue] = {}
_lock = threading.Lock()


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


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
