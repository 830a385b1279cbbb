"""The embedded model: no key, no server, no GPU.

The model lives in a process of its own (`generator.py`). It has to: the engine holds the
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
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import orjson

from autoif.base.errors import CallFailed, ModelUnavailable
from autoif.base.records import Reply, Request, Usage, seed_from
from autoif.models import weights as models
from autoif.models.activity import Activity
from autoif.models.openai.protocol import request_body
from autoif.models.reasoning import without_thinking

IN_FLIGHT = 64
"""Sequences answered at once. See docs/embedded-model.md for what batch gives what throughput."""

_LINE_LIMIT = 1 << 26
_LETTING_GO = 1.0  # seconds that a download has to end once it is not wanted any more


class LocalBackend:
    """A `Backend` over weights named in `autoif.models`, or a GGUF file. Raises ModelUnavailable.

    threads: CPU threads, None for the engine's own choice (all physical cores it may use).
    cache_tokens: what the KV cache holds, about 16 KB each; None for `default_cache_tokens()`.
    on_notice: is called with a line at each tenth of the download and at the first load, which
    converts the weights.
    progress: is called during the download in place of `on_notice`, with bytes (done, in all), from
    another thread.

    `activity` is what it does right now; None before its first call and after its end.
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
        self.weights = models.own(Path(name)) if name.endswith(".gguf") else models.named(name)
        if self.weights.student:
            raise ModelUnavailable(
                f"{name} is here to be trained; the embedded engine cannot run it"
            )
        if importlib.util.find_spec("openvino_genai") is None:
            raise ModelUnavailable('the embedded model needs `pip install "autoif[local]"`')
        self.namespace = f"local:{self.weights.name}@{self.weights.sha256[:16]}"
        self._settings = {
            "threads": threads,
            "cache_tokens": cache_tokens or default_cache_tokens(),
            "in_flight": in_flight,
            "context": self.weights.context,
        }
        self._notice = on_notice or (lambda line: None)
        self._progress = progress
        self.activity: Activity | None = None
        self._fetching: asyncio.Future[Path] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._worker: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._count = 0
        self._closed = False
        self._failure = "the embedded model was closed"

    def body(self, request: Request) -> dict[str, Any]:
        return request_body(self.weights.name, request)

    async def __call__(self, request: Request) -> Reply:
        """The answer; the first call downloads and loads. Raises CallFailed, ModelUnavailable."""
        await self.load()
        if self._reader is None or self._reader.done():
            raise ModelUnavailable(self._failure)
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
        return without_thinking(Reply(message["text"], message["finish_reason"], usage))

    async def load(self) -> None:
        """Download and load now, not with the first call. Raises ModelUnavailable."""
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
        await asyncio.shield(self._starting)

    async def close(self) -> None:
        """End the worker at once; calls still under way raise ModelUnavailable."""
        self._closed = True
        self._end_if_closed()
        if self._fetching is not None:
            await asyncio.wait((self._fetching,), timeout=_LETTING_GO)
            self._fetched(None, ModelUnavailable(self._failure))
        if self._starting is not None:
            with contextlib.suppress(ModelUnavailable):
                await self._starting
        if self._reader is not None:
            await self._reader

    def _end_if_closed(self) -> None:
        if self._closed and self._worker is not None and self._worker.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._worker.kill()  # it holds nothing worth saving

    async def _start(self) -> None:
        path = await self._fetch()
        if self._closed:
            raise ModelUnavailable(self._failure)
        settings = json.dumps(self._settings | {"gguf": str(path)})
        log = tempfile.TemporaryFile()  # noqa: SIM115 - the worker's stderr; _read closes it
        self._worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "autoif.models.openvino.generator", settings),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            limit=_LINE_LIMIT,
            start_new_session=True,  # a Ctrl-C is for the run to handle
        )
        ready = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read(self._worker, ready, log))
        self._end_if_closed()  # it may have been, meanwhile
        await ready

    async def _fetch(self) -> Path:
        """The file of the weights. In a thread of its own: the loop's threads are waited for at the
        end of a run, and this one may wait for a server. It ends with the process."""
        loop, tenth = asyncio.get_running_loop(), 0
        self._fetching = loop.create_future()
        there = (models.cache_dir() / self.weights.file).exists()
        self.activity = Activity("loading" if there else "downloading")

        def report(done: int, size: int) -> None:
            nonlocal tenth
            if self._closed:  # Ctrl-C: do not make the user wait for a gigabyte
                raise ModelUnavailable(self._failure)
            self.activity = Activity("downloading", done / size)
            if self._progress is not None:
                self._progress(done, size)
            elif 10 * done // size > tenth:
                tenth = 10 * done // size
                line = f"downloading {self.weights.name}: {tenth}0% of {size / 1e9:.2f} GB"
                loop.call_soon_threadsafe(self._notice, line)

        def fetch() -> None:
            path, error = None, None
            try:
                path = models.fetch_weights(self.weights, progress=report)
            except Exception as failed:
                error = failed
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for it
                loop.call_soon_threadsafe(self._fetched, path, error)

        threading.Thread(target=fetch, name="weights", daemon=True).start()
        return await self._fetching

    def _fetched(self, path: Path | None, error: Exception | None) -> None:
        """There, or not to be had, or wanted no more."""
        if self._fetching is None or self._fetching.done():
            return
        if path is not None:
            self.activity = Activity("loading")
            self._fetching.set_result(path)
        elif error is not None:
            self.activity = None
            self._fetching.set_exception(error)

    async def _read(
        self, worker: asyncio.subprocess.Process, ready: asyncio.Future[Any], log: IO[bytes]
    ) -> None:
        """Hand each line of the worker to whom it concerns, until the worker ends."""
        assert worker.stdout is not None
        failure = ""
        with log:
            async for line in worker.stdout:
                message = orjson.loads(line)
                if "key" in message:
                    answer = self._answers.get(message["key"])
                    if answer is not None and not answer.done():
                        answer.set_result(message)
                elif "live" in message:
                    self.activity = Activity(**message["live"])
                elif "phase" in message:
                    self.activity = Activity(message["phase"])
                elif "notice" in message:
                    self._notice(message["notice"])
                elif "fatal" in message:
                    failure = message["fatal"]
                elif not ready.done():
                    self.activity = Activity()
                    ready.set_result(None)
            self.activity = None
            code = await worker.wait()
            if not self._closed:
                self._failure = failure or _failure_of(code, log)
        waiting: list[asyncio.Future[Any]] = [ready, *self._answers.values()]
        for answer in waiting:
            if not answer.done():
                answer.set_exception(ModelUnavailable(self._failure))
                answer.exception()  # retrieved: no warning where nobody waits for it

    def _send(self, message: dict[str, Any]) -> None:
        if self._worker is not None and self._worker.stdin is not None:
            with contextlib.suppress(ConnectionError, RuntimeError):  # gone: _read will say so
                self._worker.stdin.write(json.dumps(message).encode() + b"\n")


def _failure_of(code: int, log: IO[bytes]) -> str:
    """Why the worker ended, from its exit code and stderr."""
    if code == -signal.SIGKILL:
        return "the embedded model was killed; most often the machine ran out of memory"
    log.seek(0)
    lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    reason = " ".join(lines[-1].split())[:300] if lines else "no error message"
    return f"the embedded model stopped with code {code}: {reason}"


def default_cache_tokens() -> int:
    """A sixth of the machine's memory at 16 KB a token; 16,384 at least, 131,072 (2 GB) at most."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(131_072, max(16_384, memory // 6 // 16_384))
