"""Of the calls that share a prompt one goes first; the others follow when its first token is out.

A prefix cache helps only once a prefix HAS been computed: 32 samples of one prompt that arrive
together may compute it 32 times. (`prefix_queue.py` does the same, by tokens, for the embedded
model.) What a call waits for is bounded, and what is believed of a server's cache costs time at
worst, never an answer.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from autoif.base.records import Message

LONG = 256
"""Characters of a prompt that is worth waiting for."""
BOUND = 3.0
"""Seconds: a server that is slower than this computes prompts in the order they came anyway."""
REMEMBERED = 1024
"""Prompts that are believed to be in the server's cache, those longest unused forgotten first."""


class Lead:
    """The call that goes first. Its owner says when it is `sent` and must `end` it; it may say that
    the prompt is `computed`. If it ends before, the next call leads."""

    def __init__(self, leaders: Leaders, prompt: int) -> None:
        self._leaders = leaders
        self._prompt = prompt
        self._sent = self._followed = False
        self._timer: asyncio.TimerHandle | None = None
        self._over = asyncio.Event()

    def sent(self) -> bool:
        """True the first time, if others wait: then its first token is worth looking out for."""
        first, self._sent = not self._sent, True
        self._limit()
        return first and self._followed

    async def follow(self) -> None:
        """Returns when it is over, or has taken too long since it was sent."""
        self._followed = True
        self._limit()
        await self._over.wait()

    def _limit(self) -> None:
        if self._sent and self._followed and self._timer is None and not self._over.is_set():
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._leaders.bound, self.computed)

    def computed(self) -> None:
        if not self._over.is_set():
            self._leaders.remember(self._prompt)
            self.end()

    def end(self) -> None:
        if not self._over.is_set():
            self._leaders.forget(self._prompt)
            self._over.set()
        if self._timer is not None:
            self._timer.cancel()


class Leaders:
    """Who leads, prompt by prompt. bound: seconds for which a call that was sent is waited for."""

    def __init__(self, bound: float = BOUND) -> None:
        self.bound = bound
        self._leads: dict[int, Lead] = {}
        self._computed: OrderedDict[int, None] = OrderedDict()

    async def enter(self, messages: tuple[Message, ...]) -> Lead | None:
        """Returns when a call with this prompt may go: with its Lead where it is the first."""
        prompt = hash(messages)
        while prompt not in self._computed:
            lead = self._leads.get(prompt)
            if lead is None:
                lead = self._leads[prompt] = Lead(self, prompt)
                try:
                    await asyncio.sleep(0)  # what was started together comes to stand behind it
                except asyncio.CancelledError:
                    lead.end()
                    raise
                return lead
            await lead.follow()
        self._computed.move_to_end(prompt)
        return None

    def remember(self, prompt: int) -> None:
        self._computed[prompt] = None
        if len(self._computed) > REMEMBERED:
            self._computed.popitem(last=False)

    def forget(self, prompt: int) -> None:
        """It leads no more."""
        del self._leads[prompt]
