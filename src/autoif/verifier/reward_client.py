"""The reward of a process whose checks run elsewhere: in `autoif serve`.

Calls come from threads and event loops; one thread with a loop of its own sends them. A server that
is full, restarts or cannot be reached is asked again for `PATIENCE` seconds, so that a training
outlives it.
"""

from __future__ import annotations

import asyncio
import atexit
import io
import json
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any

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


class RewardClient:
    """url: of the server, as it prints it. token: where it wants one. patience: seconds."""

    def __init__(self, url: str, token: str, patience: float = PATIENCE) -> None:
        self.url = url.rstrip("/")
        self.patience = patience
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
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
        bodies = list(_bodies(samples))
        return asyncio.run_coroutine_threadsafe(self._ask_all(bodies), self._loop)

    def _close(self, owner: int) -> None:
        if owner != os.getpid():  # forked from it
            return
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(2)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(2)

    async def _end(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _ask_all(self, bodies: Sequence[bytes]) -> list[list[bool | None]]:
        answers = await asyncio.gather(*map(self._ask, bodies))
        return [held for answer in answers for held in answer]

    async def _ask(self, data: bytes) -> Any:
        loop = asyncio.get_running_loop()
        end, pause, warned = loop.time() + self.patience, 0.5, False
        while True:
            status, headers, answer = await self._post(data)
            if status == 200:
                return orjson.loads(answer)["holds"]
            last = one_line(answer.decode("utf-8", "replace"))
            if status and status not in ASK_AGAIN:
                raise UsageError(f"the reward server at {self.url} refused ({status}): {last}")
            if loop.time() > end:
                raise SetupError(
                    f"AUTOIF_REWARD_URL={self.url}: no answer within {self.patience:.0f} s "
                    f"({last}); start `autoif serve` there"
                )
            if not warned:
                log(f"the reward server at {self.url} gives no answer ({status}: {last}); waiting")
                warned = True
            wanted = headers.get("Retry-After", "")
            await asyncio.sleep(float(wanted) if wanted.isdecimal() else pause)
            pause = min(2 * pause, 10.0)

    async def _post(self, data: bytes) -> tuple[int, Any, bytes]:
        """Status, 0 where there was none; headers; body, or what went wrong."""
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS),
                timeout=aiohttp.ClientTimeout(total=self.patience),
            )
        try:
            async with self._session.post(
                f"{self.url}/v1/rewards", data=io.BytesIO(data), headers=self._headers
            ) as response:
                return response.status, response.headers, await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return 0, {}, str(error).encode() or type(error).__name__.encode()


def _bodies(samples: Iterable[tuple[str | None, Sequence[VerifierRow]]]) -> Iterator[bytes]:
    part: list[tuple[str | None, Sequence[VerifierRow]]] = []
    room = CHARACTERS
    for sample in samples:
        room -= len(sample[0] or "")
        if part and (len(part) == SAMPLES or room < 0):
            yield _body(part)
            part, room = [], CHARACTERS - len(sample[0] or "")
        part.append(sample)
    if part:
        yield _body(part)


def _body(samples: Sequence[tuple[str | None, Sequence[VerifierRow]]]) -> bytes:
    rows = [
        [{"checks": [c.source for c in v.checks], "min_fraction": v.min_fraction} for v in row]
        for _, row in samples
    ]
    body = {"answers": [text for text, _ in samples], "verifiers": rows}
    try:
        return orjson.dumps(body)
    except TypeError:  # lone surrogates
        return json.dumps(body).encode()
