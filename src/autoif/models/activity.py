"""What a model is doing right now, before any answer of it has come: for a display."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

Phase = Literal["downloading", "preparing", "loading", "ready"]


@dataclass(frozen=True, slots=True)
class Activity:
    """`share`: of the download. Tokens are those since the start, of unfinished answers too; 0
    where the model does not count them. `running`: calls at work; `reading`: those of them without
    a token yet; `waiting`: calls in its queue."""

    phase: Phase = "ready"
    share: float = 0.0
    generated: int = 0
    prefilled: int = 0  # prompt tokens computed, those from the prefix cache not among them
    running: int = 0
    reading: int = 0
    waiting: int = 0


@runtime_checkable
class Active(Protocol):
    """A backend that can say what it is doing; None before its first call and after its end."""

    @property
    def activity(self) -> Activity | None: ...


def activity_of(backend: object) -> Activity | None:
    return backend.activity if isinstance(backend, Active) else None


def together(activities: Iterable[Activity | None]) -> Activity | None:
    """Of several models as one, in the phase of the first that is not ready."""
    every = [a for a in activities if a is not None]
    if not every:
        return None
    behind = next((a for a in every if a.phase != "ready"), every[0])
    return Activity(
        behind.phase,
        behind.share,
        sum(a.generated for a in every),
        sum(a.prefilled for a in every),
        sum(a.running for a in every),
        sum(a.reading for a in every),
        sum(a.waiting for a in every),
    )
