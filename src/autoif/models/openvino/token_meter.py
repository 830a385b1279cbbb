"""Tokens of the answers under way, counted step by step.

The engine tells of a sequence only whether its first token is out, and all of it at its end. What
lies between is reckoned: in a step each sequence past its prompt gets one token, and the others
share what is left of the batch, in the order in which they began. Each end puts the sum right.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class _Sequence:
    unread: int  # tokens of its prompt that are still to be computed
    generated: int = 0


class TokenMeter:
    """`begin`, then `stepped` after each step, `first` at the first token, `end` at the end.

    batch: tokens that the engine computes in one step, at most.
    """

    def __init__(self, batch: int) -> None:
        self.generated = 0
        self.prefilled = 0
        self._batch = batch
        self._sequences: dict[int, _Sequence] = {}

    @property
    def reading(self) -> int:
        """Sequences whose first token is not out."""
        return sum(not s.generated for s in self._sequences.values())

    def begin(self, key: int, prompt: int) -> None:
        """prompt: its tokens that no cache holds."""
        self._sequences[key] = _Sequence(prompt)

    def stepped(self) -> None:
        answering = [s for s in self._sequences.values() if s.generated]
        for sequence in answering:
            sequence.generated += 1
        self.generated += len(answering)
        room = self._batch - len(answering)
        for sequence in self._sequences.values():
            if not sequence.generated:
                read = max(0, min(room, sequence.unread))
                sequence.unread -= read
                self.prefilled += read
                room -= read

    def first(self, key: int) -> None:
        """Its first token is out. To say so again does nothing."""
        sequence = self._sequences[key]
        if not sequence.generated:
            sequence.generated = 1
            self.generated += 1
            self.prefilled += sequence.unread
            sequence.unread = 0

    def end(self, key: int, generated: int | None = None) -> None:
        """generated: how many tokens it had, where the engine says so."""
        sequence = self._sequences.pop(key, None)
        if sequence is not None and generated is not None:
            self.generated += generated - sequence.generated
            self.prefilled += sequence.unread
