"""The reward of a process whose checks run elsewhere: in `autoif serve`.

Calls come from threads and event loops; one thread with a loop of its own sends them, those that
wait in one request. The server answers each sample when it is judged, so that none waits for
another. A server that is full, restarts or cannot be reached is asked again for `PATIENCE` seconds,
so that a training outlives it.
"""

from __future__ import annotations

import asyncio
import atexit
import io
import json
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from autoif.base.errors import SetupError, UsageError, one_line
from autoif.base.loop import new_event_loop
from autoif.base.printable import log

if TYPE_CHECKING:
    import aiohttp

    from autoif.verifier.schema import VerifierRow

PATIENCE = 300.0  # seconds
CONNECTIONS = 256
# Of a request: the processes of a server share what is asked at once.
SAMPLES, CHARACTERS = 128, 4 << 20
ASK_AGAIN = (429, 502, 503, 504)
LINES = "application/x-ndjson"  # a line for each sample, when it is judged


@dataclass(slots=True)
class _Call:
    """What one caller asks for: whether so many answers meet each of their constraints."""

    open: int
    held: list[list[bool | None]]
    future: Future[list[list[bool | None]]] = field(default_factory=Future)

    def fail(self, error: BaseException) -> None:
        if not self.future.done() and self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)


@dataclass(slots=True)
class _Question:
    """One sample, the `n`th of its call."""

    text: str | None
    row: Sequence[VerifierRow]
    call: _Call
    n: int
    answered: bool = False

    def settle(self, held: list[bool | None]) -> None:
        call, self.answered = self.call, True
        call.held[self.n] = held
        call.open -= 1
        if not call.open and call.future.set_running_or_notify_cancel():
            call.future.set_result(call.held)


class RewardClient:
    """url: of the server, as it prints it. token: where it wants one. patience: seconds."""

    def __init__(self, url: str, token: str, patience: float = PATIENCE) -> None:
        self.url = url.rstrip("/")
        self.patience = patience
        self._headers = {"Content-Type": "application/json", "Accept": LINES}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._waiting: list[_Question] = []
        self._lock = threading.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = new_event_loop()
        self._session: aiohttp.ClientSession | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        atexit.register(self._close, os.getpid())

    def ask(
        self, samples: Sequence[tuple[str | None, Sequence[VerifierRow]]]
    ) -> Future[list[list[bool | None]]]:
        """For each answer and its verifiers, whether it meets each of them. The future raises
        UsageError for what the server refuses, SetupError where it cannot be reached."""
        call = _Call(len(samples), [[] for _ in samples])
        if not samples:
            call.future.set_result([])
            return call.future
        with self._lock:
            if not self._waiting:
                self._loop.call_soon_threadsafe(self._send)
            self._waiting += [_Question(*sample, call, n) for n, sample in enumerate(samples)]
        return call.future

    def _close(self, owner: int) -> None:
        if owner != os.getpid():  # forked from it
            return
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(2)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(2)

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._session is not None:
            await self._session.close()

    # ---- in the client's thread ----------------------------------------------------------------

    def _send(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for questions in _requests(waiting):
            task = self._loop.create_task(self._ask(questions))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ask(self, questions: list[_Question]) -> None:
        try:
            await self._ask_until_answered(questions)
        except Exception as error:  # a caller that is told nothing would wait for ever
            for question in questions:
                question.call.fail(error)

    async def _ask_until_answered(self, questions: list[_Question]) -> None:
        """What a server refuses is asked in halves: of the callers that share a request each one is
        told of his own samples."""
        loop = asyncio.get_running_loop()
        end, pause, warned = loop.time() + self.patience, 0.5, False
        while True:
            status, wanted, last = await self._post(questions)
            questions = [question for question in questions if not question.answered]
            if not questions:
                return
            if status and status != 200 and status not in ASK_AGAIN:
                if len(questions) == 1:
                    why = f"the reward server at {self.url} refused ({status}): {last}"
                    raise UsageError(why)
                half = len(questions) // 2
                await asyncio.gather(self._ask(questions[:half]), self._ask(questions[half:]))
                return
            if loop.time() > end:
                raise SetupError(
                    f"AUTOIF_REWARD_URL={self.url}: no answer within {self.patience:.0f} s "
                    f"({last}); start `autoif serve` there"
                )
            if not warned:
                log(f"the reward server at {self.url} gives no answer ({status}: {last}); waiting")
                warned = True
            await asyncio.sleep(float(wanted) if wanted.isdecimal() else pause)
            pause = min(2 * pause, 10.0)

    async def _post(self, questions: Sequence[_Question]) -> tuple[int, str, str]:
        """Asks once, and settles what is answered. The status, 0 where there was none; when the
        server wants to be asked again; what it said, or what went wrong."""
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS),
                timeout=aiohttp.ClientTimeout(total=self.patience),
            )
        try:
            async with self._session.post(
                f"{self.url}/v1/rewards", data=io.BytesIO(_body(questions)), headers=self._headers
            ) as response:
                if response.status != 200:
                    said = one_line((await response.read()).decode("utf-8", "replace"))
                    return response.status, response.headers.get("Retry-After", ""), said
                async for line in response.content:
                    answer = orjson.loads(line)
                    questions[answer["n"]].settle(answer["holds"])
                return 200, "", "its answer has not all samples"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return 0, "", one_line(error) or type(error).__name__


def _requests(questions: Sequence[_Question]) -> Iterator[list[_Question]]:
    some: list[_Question] = []
    room = CHARACTERS
    for question in questions:
        room -= len(question.text or "")
        if some and (len(some) == SAMPLES or room < 0):
            yield some
            some, room = [], CHARACTERS - len(question.text or "")
        some.append(question)
    if some:
        yield some


def _body(questions: Sequence[_Question]) -> bytes:
    rows = [
        [{"checks": [c.source for c in v.checks], "min_fraction": v.min_fraction} for v in q.row]
        for q in questions
    ]
    body = {"answers": [q.text for q in questions], "verifiers": rows}
    try:
        return orjson.dumps(body)
    except TypeError:  # lone surrogates
        return json.dumps(body).encode()
