"""A policy that answers: a model directory as a `Chat`, through the fastest thing that is there.

On a GPU or without more, transformers (`models/transformers`); for students that came from a GGUF
file, the embedded engine; else any server that a command of the user's starts. Every answer goes
through the call store: a round that was killed asks only what it had not yet heard.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib.util
import os
import shlex
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import orjson

from autoif.base.errors import SetupError, one_line
from autoif.base.files import new_file
from autoif.models import Backend
from autoif.models.cached import CachedChat
from autoif.models.open import open_backend
from autoif.models.openai.body import MOST_BYTES
from autoif.models.transformers.backend import HFBackend
from autoif.models.weights import WEIGHTS
from autoif.store.base import Store
from autoif.train import model_files
from autoif.train.config import Sampling
from autoif.train.gguf_file import write_gguf

ELSEWHERE = ("openai:", "scripted:")  # models that are not loaded here
STARTING = 900.0  # seconds that a server may take to load


@contextlib.asynccontextmanager
async def policy(
    model: Path, sampling: Sampling, store: Store, notice: Callable[[str], None]
) -> AsyncIterator[CachedChat]:
    """A stored chat with the model in this directory, closed at the end."""
    with contextlib.ExitStack() as ends:
        url = None
        if sampling.serve:
            url, name = ends.enter_context(_served(model, sampling.serve, notice))
            spec = f"openai:{name}"
        else:
            spec = await asyncio.to_thread(spec_of, model, sampling)
        if spec.startswith("hf:"):
            backend: Backend = HFBackend(
                spec.removeprefix("hf:"), batch_size=sampling.batch, on_notice=notice
            )
        else:
            backend = open_backend(spec, base_url=url, api_key_env="", on_notice=notice)
        chat = CachedChat(backend, store)
        try:
            yield chat
        finally:
            await chat.close()


@contextlib.asynccontextmanager
async def student(
    model: str,
    sampling: Sampling,
    store: Store,
    notice: Callable[[str], None],
    *,
    base_url: Sequence[str] | None = None,
    api_key_env: str = "OPENAI_API_KEY",
) -> AsyncIterator[CachedChat]:
    """A stored chat with what the key `model` of a training names, or with `openai:NAME` on a
    server of the user's. Raises UsageError, ModelUnavailable and SetupError."""
    name = model.removeprefix("local:")
    gguf = name in WEIGHTS or name.endswith(".gguf")
    if gguf and (sampling.engine == "local" or (sampling.engine == "auto" and _embeds())):
        model = f"local:{name}"  # as it is: nothing has to be unpacked to be trained
    elif not model.startswith(ELSEWHERE):
        where, _ = await asyncio.to_thread(model_files.find, model)
        async with policy(Path(where), sampling, store, notice) as chat:
            yield chat
        return
    backend = open_backend(model, base_url=base_url, api_key_env=api_key_env, on_notice=notice)
    chat = CachedChat(backend, store)
    try:
        yield chat
    finally:
        await chat.close()


def spec_of(model: Path, sampling: Sampling) -> str:
    """`local:FILE.gguf`, which is written beside the model where it is not there yet, or
    `hf:DIR`."""
    origin = str(model_files.lineage(model).get("origin", ""))
    if sampling.engine == "hf" or (sampling.engine == "auto" and not _embedded(origin)):
        return f"hf:{model}"
    if not origin:
        raise SetupError(
            f"{model} did not come from a GGUF file, which the embedded engine needs: set "
            'sampling.engine = "hf"'
        )
    file = model.with_name("model.gguf")
    if not file.exists() or file.stat().st_mtime < model.stat().st_mtime:
        write_gguf(model, model_files.origin_file(origin), file)
    return f"local:{file}"


def _embedded(origin: str) -> bool:
    return bool(origin and importlib.util.find_spec("gguf") and _embeds())


def _embeds() -> bool:
    """Whether the embedded engine is there, and nothing faster."""
    if not importlib.util.find_spec("openvino_genai"):
        return False
    if not importlib.util.find_spec("torch"):
        return True
    import torch

    return not torch.cuda.is_available()


@contextlib.contextmanager
def _served(
    model: Path, command: tuple[str, ...], notice: Callable[[str], None]
) -> Iterator[tuple[str, str]]:
    """URL and model name of a server that `command` starts; it is ended at the end. What it prints
    goes to `server.log` beside the model."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [w.replace("{model}", str(model)).replace("{port}", str(port)) for w in command]
    url = f"http://127.0.0.1:{port}/v1"
    log_file = model.parent / "server.log"
    notice(f"sampling.serve starts: {shlex.join(words)} (output: {log_file})")
    with new_file(log_file) as log:
        try:
            server = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=_end_with_parent,
            )  # fmt: skip
        except OSError as error:
            raise SetupError(f"sampling.serve: {words[0]}: {error.strerror}") from None
        try:
            yield url, _first_model(server, url, words[0], log_file)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


_libc = ctypes.CDLL(None)


def _end_with_parent() -> None:
    """In the server: SIGTERM when this process dies, by kill -9 too, or it would keep the GPU."""
    with contextlib.suppress(AttributeError):  # Linux has it
        _libc.prctl(1, signal.SIGTERM)


def _first_model(server: subprocess.Popen[bytes], url: str, name: str, log: Path) -> str:
    """What the server calls its model, when it answers."""

    def failed(how: str) -> SetupError:
        lines = log.read_text("utf-8", "replace").split("\n")
        last = one_line(next((line for line in reversed(lines) if line.strip()), "no output"))
        return SetupError(f"sampling.serve: {name} {how}: {last} (output: {log})")

    end = time.monotonic() + STARTING
    while time.monotonic() < end:
        if server.poll() is not None:
            raise failed(f"ended with code {server.returncode}")
        with (
            contextlib.suppress(urllib.error.URLError, OSError, ValueError, LookupError),
            urllib.request.urlopen(f"{url}/models", timeout=5) as answer,
        ):
            return str(orjson.loads(answer.read(MOST_BYTES))["data"][0]["id"])
        time.sleep(0.5)
    raise failed(f"did not answer within {STARTING:.0f} s")
