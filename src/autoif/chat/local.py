"""The embedded model: no key, no server, no GPU.

The model lives in a process of its own (`local_worker.py`). It has to: the engine holds the
interpreter's lock for as long as a step takes, half a second and more, and the run's event loop,
which watches the sandbox and writes the store, must not wait for it. A crash of native code, or
memory that runs out, then ends in one line and not in the end of the run's process.

The worker starts with the first call, so a run that is replayed from the store needs no model.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Callable
from typing import IO, Any

import orjson

from autoif import models
from autoif.errors import CallFailed, ModelUnavailable
from autoif.records import Reply, Request, Usage, seed_from, to_json

IN_FLIGHT = 48
"""Sequences answered at once. See docs/embedded-model.md for what batch gives what throughput."""

_LINE_LIMIT = 1 << 26


class LocalBackend:
    """A `Backend` over weights named in `autoif.models`. Raises ModelUnavailable.

    threads: CPU threads, None for all that this process may use.
    cache_tokens: what the KV cache holds, about 16 KB each; None for `default_cache_tokens()`.
    on_notice: hears one line when something takes long (the first load converts the weights).
    progress: hears of the download, in bytes (done, in all).
    """

    def __init__(
        self,
        name: str,
        *,
        threads: int | None = None,
        cache_tokens: int | None = None,
        in_flight: int = IN_FLIGHT,
        on_notice: Callable[[str], None] | None = None,
        progress: models.Progress | None = None,
    ) -> None:
        self.weights = models.named(name)
        if self.weights.student:
            raise ModelUnavailable(
                f"{name} is here to be trained; the embedded engine cannot run it"
            )
        if importlib.util.find_spec("openvino_genai") is None:
            raise ModelUnavailable('the embedded model needs `pip install "autoif[local]"`')
        self.namespace = f"local:{name}@{self.weights.sha256[:16]}"
        self._settings = {
            "threads": threads or len(os.sched_getaffinity(0)),
            "cache_tokens": cache_tokens or default_cache_tokens(),
            "in_flight": in_flight,
            "context": self.weights.context,
        }
        self._notice = on_notice or (lambda line: None)
        self._progress = progress
        self._starting: asyncio.Task[None] | None = None
        self._worker: asyncio.subprocess.Process | None = None
        self._log: IO[bytes] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._count = 0
        self._failure: str | None = None

    def body(self, request: Request) -> dict[str, Any]:
        """What decides the answer, in the words of the chat completions API."""
        body: dict[str, Any] = {
            "model": self.weights.name,
            "messages": to_json(request.messages),
            "temperature": request.temperature,
            "top_p": request.top_p,
            "max_tokens": request.max_tokens,
        }
        if request.stop:
            body["stop"] = list(request.stop)
        if request.schema is not None:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": request.schema},
            }
        return body

    async def __call__(self, request: Request) -> Reply:
        """The answer; the first call downloads and loads. Raises CallFailed, ModelUnavailable."""
        await self.load()
        if self._failure is not None or self._worker is None or self._worker.stdin is None:
            raise ModelUnavailable(self._failure or "the embedded model was closed")
        body = self.body(request)
        key, self._count = self._count, self._count + 1
        answer = asyncio.get_running_loop().create_future()
        self._answers[key] = answer
        self._send({"key": key, "seed": seed_from(body, request.index), "body": body})
        try:
            message = await answer
        except asyncio.CancelledError:
            self._send({"cancel": key})
            raise
        finally:
            self._answers.pop(key, None)
        if "failed" in message:
            raise CallFailed(message["failed"], message["detail"])
        usage = Usage(message["prompt"], message["cached"], message["completion"])
        return Reply(message["text"], message["finish_reason"], usage)

    async def load(self) -> None:
        """Download and load now, not with the first call. Raises ModelUnavailable."""
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
        await asyncio.shield(self._starting)

    async def close(self) -> None:
        """End the worker at once; calls still under way raise ModelUnavailable."""
        if self._starting is not None:
            self._starting.cancel()
            with contextlib.suppress(asyncio.CancelledError, ModelUnavailable):
                await self._starting
        if self._worker is not None:
            with contextlib.suppress(ProcessLookupError):
                self._worker.kill()  # it holds nothing worth saving
            await self._worker.wait()
        if self._reader is not None:
            await self._reader
        if self._log is not None:
            self._log.close()

    async def _start(self) -> None:
        path = await asyncio.to_thread(models.fetch, self.weights.name, progress=self._progress)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - the worker's stderr, read if it dies
        command = [sys.executable, "-P", "-m", "autoif.chat.local_worker"]
        self._worker = await asyncio.create_subprocess_exec(
            *command,
            json.dumps(self._settings | {"gguf": str(path)}),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=self._log,
            limit=_LINE_LIMIT,
            start_new_session=True,  # a Ctrl-C is for the run to handle
        )
        ready = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read(ready))
        await ready

    async def _read(self, ready: asyncio.Future[None]) -> None:
        """Hand each line of the worker to whom it concerns, until the worker ends."""
        assert self._worker is not None
        assert self._worker.stdout is not None
        async for line in self._worker.stdout:
            message = orjson.loads(line)
            if "key" in message:
                answer = self._answers.get(message["key"])
                if answer is not None and not answer.done():
                    answer.set_result(message)
            elif "notice" in message:
                self._notice(message["notice"])
            elif "fatal" in message:
                self._failure = message["fatal"]
            elif not ready.done():
                ready.set_result(None)
        code = await self._worker.wait()
        self._failure = self._failure or self._last_words(code)
        error = ModelUnavailable(self._failure)
        for answer in (ready, *self._answers.values()):
            if not answer.done():
                answer.set_exception(error)
                answer.exception()  # who no longer waits for it is not told off for that

    def _last_words(self, code: int) -> str:
        if code == -9:
            return "the embedded model was ended (closed, or the machine ran out of memory)"
        lines = []
        if self._log is not None and not self._log.closed:
            self._log.seek(0)
            lines = self._log.read().decode(errors="replace").split("\n")
        words = [line.strip() for line in lines if line.strip()]
        return (
            f"the embedded model stopped (exit {code}): {words[-1][:300] if words else 'no word'}"
        )

    def _send(self, message: dict[str, Any]) -> None:
        if self._worker is not None and self._worker.stdin is not None:
            with contextlib.suppress(ConnectionError, RuntimeError):  # gone: _read will say so
                self._worker.stdin.write(json.dumps(message).encode() + b"\n")


def default_cache_tokens() -> int:
    """A sixth of the machine's memory at 16 KB a token; 16,384 at least, 131,072 (2 GB) at most."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(131_072, max(16_384, memory // 6 // 16_384))
