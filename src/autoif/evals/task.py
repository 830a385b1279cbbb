"""What a benchmark is: rows become items, items and answers become verdicts, verdicts figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from autoif.base.errors import UsageError
from autoif.models import Chat
from autoif.sandbox import Sandbox

Row = dict[str, Any]  # one line of verdicts.jsonl; it has a "key"
Answers = Mapping[str, Sequence[str | None]]  # key -> answers; None is a null response


@dataclass(frozen=True, slots=True)
class Item:
    """One question. `prompt` is the benchmark's, `ask` what a model is sent (by default the same),
    `data` what the benchmark needs to judge an answer, `number` the key as the benchmark writes it
    where that is a number."""

    key: str
    prompt: str
    data: Any
    ask: str = ""
    number: int | None = None

    @property
    def label(self) -> str | int:
        """The key for verdicts.jsonl."""
        return self.key if self.number is None else self.number

    @property
    def request(self) -> str:
        return self.ask or self.prompt

    def first(self, answers: Answers) -> str | None:
        return next(iter(answers.get(self.key, ())), None)


@dataclass(frozen=True, slots=True)
class EvalContext:
    """What judging may need. `sandbox` is opened by the benchmark that needs it where None."""

    judge: Chat | None = None
    sandbox: Sandbox | None = None


@dataclass(frozen=True, slots=True)
class Unit:
    """What is drawn as a whole in the bootstrap: a prompt, or a group of prompts that belong
    together. `sums` adds up over units; `Task.figures` makes figures of the sums."""

    key: str
    sums: tuple[float, ...]


class Benchmark(Protocol):
    """A benchmark, to be derived from. Pure but for `verdicts`, which may ask a judge or run
    code."""

    @property
    def name(self) -> str: ...

    @property
    def max_tokens(self) -> int: ...

    def items(self, rows: Iterable[Mapping[str, Any]]) -> list[Item]:
        """The questions. Raises UsageError for rows that are not this benchmark's."""
        ...

    async def verdicts(
        self, items: Sequence[Item], answers: Answers, context: EvalContext
    ) -> list[Row]:
        """A row per item, in order. An item without an answer has failed."""
        ...

    def units(self, rows: Sequence[Row]) -> list[Unit]: ...

    def figures(self, sums: Sequence[float]) -> dict[str, float | None]:
        """Metric -> value (percent, unless the benchmark says otherwise); None where it rests on
        nothing."""
        ...

    def counts(self, sums: Sequence[float]) -> dict[str, int]:
        """Metric -> how many verdicts it rests on."""
        ...

    def groups(self, rows: Sequence[Row]) -> dict[str, dict[str, float]]:
        """Metric -> group (type, level) -> value."""
        return {}

    def notes(self, rows: Sequence[Row]) -> list[str]:
        """What a reader must know beside the figures."""
        return []


@dataclass(frozen=True, slots=True)
class JoinedAnswers:
    """Answers joined to items, and what did not fit."""

    answers: dict[str, list[str | None]]
    notes: list[str] = field(default_factory=list)


def text_in(row: Mapping[str, Any], column: str, number: int) -> str:
    """A column that has to hold a text. Raises UsageError naming the row, which counts from 1."""
    if column not in row:
        raise UsageError(f"row {number}: no column {column!r}; it has: {', '.join(row)}")
    value = row[column]
    if not isinstance(value, str):
        raise UsageError(f"row {number}: {column!r} has to be a text, not {value!r:.60}")
    return value


def percent(count: float, of: float) -> float | None:
    return 100 * count / of if of else None
