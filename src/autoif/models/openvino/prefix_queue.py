"""Which waiting prompt to start next, so that no stretch of tokens is computed twice.

A prefix cache helps only once a prefix HAS been computed: 32 prompts that share their first 300
tokens, started together, compute them 32 times. So a prompt waits while another one is computing
blocks that it shares, and goes as soon as that one's first token is out. What shares nothing that
is under way goes at once, those with the least left to compute first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

BLOCK = 32
"""Tokens in a block of the KV cache; only whole blocks are shared."""


@dataclass(slots=True)
class _Prompt:
    order: int
    blocks: list[int]  # each hash covers all tokens up to the end of its block
    cold: list[int]  # those it computes itself; set when it starts


class PrefixQueue:
    """Prompts by key: `put`, then `take`, then `computed` at the first token, `forget` at the end.

    `capacity` is the number of blocks the KV cache holds; of more than that, those longest unused
    are believed to be gone. A wrong belief costs time, never an answer.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._ready: OrderedDict[int, None] = OrderedDict()
        self._underway: set[int] = set()
        self._waiting: dict[int, _Prompt] = {}
        self._started: dict[int, _Prompt] = {}
        self._count = 0

    def __len__(self) -> int:
        """How many prompts wait."""
        return len(self._waiting)

    def put(self, key: int, tokens: Sequence[int]) -> None:
        blocks, chain = [], 0
        for end in range(BLOCK, len(tokens) + 1, BLOCK):
            chain = hash((chain, *tokens[end - BLOCK : end]))
            blocks.append(chain)
        self._waiting[key] = _Prompt(self._count, blocks, [])
        self._count += 1

    def take(self, room: int) -> list[tuple[int, int]]:
        """At most `room` prompts to start now: (key, tokens already in the cache)."""
        taken: list[tuple[int, int]] = []
        if room <= 0:
            return taken
        by_need = sorted(self._waiting, key=lambda k: (self._need(k), self._waiting[k].order))
        for key in by_need:
            prompt = self._waiting[key]
            warm = len(prompt.blocks) - self._need(key)
            cold = prompt.blocks[warm:]
            if not self._underway.isdisjoint(cold):
                continue
            for block in prompt.blocks[:warm]:
                self._ready.move_to_end(block)
            self._underway.update(cold)
            prompt.cold = cold
            self._started[key] = self._waiting.pop(key)
            taken.append((key, warm * BLOCK))
            if len(taken) == room:
                break
        return taken

    def computed(self, key: int) -> None:
        """Its first token is out, so its blocks are in the cache. To say so again does nothing."""
        prompt = self._started[key]
        for block in prompt.cold:
            self._underway.discard(block)
            self._ready[block] = None
        prompt.cold = []
        while len(self._ready) > self._capacity:
            self._ready.popitem(last=False)

    def forget(self, key: int) -> None:
        """It is over, or nobody wants it any more."""
        self._waiting.pop(key, None)
        prompt = self._started.pop(key, None)
        if prompt is not None:
            self._underway.difference_update(prompt.cold)

    def _need(self, key: int) -> int:
        """How many of its blocks the cache does not hold."""
        blocks = self._waiting[key].blocks
        warm = 0
        while warm < len(blocks) and blocks[warm] in self._ready:
            warm += 1
        return len(blocks) - warm
