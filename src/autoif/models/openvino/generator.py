"""The process that holds the embedded model: requests in on stdin, answers out on stdout, as JSON.

    in   {"key", "seed", "body"}   {"cancel": key}
    out  {"notice"}   {"phase": "preparing" or "loading"}   {"ready"}   {"fatal"}
         {"key", "text", "finish_reason", "prompt", "cached", "completion"}
         {"key", "failed", "detail"}
         {"live": {"generated", "prefilled", "running", "reading", "waiting"}}   as in `Activity`

A live line goes out between two steps, a second after the last at the earliest.

It keeps `in_flight` sequences going, starts them in the order that `prefix_queue.py` finds, and
ends when stdin does, so it cannot outlive the run, however that ends.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openvino_genai as engine

from autoif.base.files import in_place_of, remove, remove_temporaries
from autoif.base.language import clean_text
from autoif.models.first_token import first_token
from autoif.models.openvino.grammar import grammar
from autoif.models.openvino.prefix_queue import BLOCK, PrefixQueue
from autoif.models.openvino.token_meter import TokenMeter
from autoif.models.weights import locked

Emit = Callable[[dict[str, Any]], None]
LIVE_EVERY = 1.0  # seconds between two live lines, at least


@dataclass(slots=True)
class _Job:
    tokens: Any  # the prompt's ids, an openvino Tensor of shape [1, count]
    count: int
    config: Any
    cached: int = 0
    handle: Any = None


class Generator:
    """One model and the requests it is asked. An exception here ends the process, see `main`."""

    def __init__(self, settings: dict[str, Any], emit: Emit) -> None:
        self._emit = emit
        self._in_flight = settings["in_flight"]
        self._context = settings["context"]
        self._pipeline = _load(settings, emit)
        self._tokenizer = self._pipeline.get_tokenizer()
        self._queue = PrefixQueue(capacity=settings["cache_tokens"] // BLOCK)
        self._waiting: dict[int, _Job] = {}
        self._running: dict[int, _Job] = {}
        self._meter = TokenMeter(engine.SchedulerConfig().max_num_batched_tokens)
        self._live_at = 0.0

    def run(self, inbox: queue.SimpleQueue[dict[str, Any]]) -> None:
        """Step while there is work, wait for the inbox while there is none; for ever."""
        while True:
            while not inbox.empty() or not (self._running or self._waiting):
                if inbox.empty():
                    self._say_live()  # that nothing is under way any more
                    self._live_at = 0.0
                message = inbox.get()
                if "cancel" in message:
                    self._cancel(message["cancel"])
                else:
                    self._receive(message["key"], message["body"], message["seed"])
            for key, cached in self._queue.take(self._in_flight - len(self._running)):
                self._begin(key, cached)
            if time.monotonic() - self._live_at >= LIVE_EVERY:
                self._say_live()  # before the step, which may take seconds
            if self._pipeline.has_non_finished_requests():
                self._pipeline.step()
                self._meter.stepped()
            for key in list(self._running):
                self._look_at(key)

    def _say_live(self) -> None:
        self._live_at = time.monotonic()
        self._emit(
            {
                "live": {
                    "generated": self._meter.generated,
                    "prefilled": self._meter.prefilled,
                    "running": len(self._running),
                    "reading": self._meter.reading,
                    "waiting": len(self._waiting),
                }
            }
        )

    def _receive(self, key: int, body: dict[str, Any], seed: int) -> None:
        """Queue it, or say what is wrong with it. Nothing doubtful may reach the engine: an
        exception within a step leaves it unusable."""
        try:
            config = self._config(body, seed)
            config.validate()
            # the tokenizer takes no lone surrogates
            messages = [{k: clean_text(v) for k, v in m.items()} for m in body["messages"]]
            prompt = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True)
            tokens = self._tokenizer.encode(prompt, add_special_tokens=False).input_ids
        except (ValueError, TypeError, RuntimeError) as error:
            self._fail(key, "bad_request", " ".join(str(error).split())[-300:])
            return
        ids = tokens.data[0].tolist()
        if len(ids) + body["max_tokens"] > self._context:
            whole = f"{len(ids)} tokens and {body['max_tokens']} to come"
            self._fail(key, "length", f"{whole}, where {self._context} is all there is")
            return
        self._waiting[key] = _Job(tokens, len(ids), config)
        self._queue.put(key, ids)

    def _config(self, body: dict[str, Any], seed: int) -> Any:
        config = self._pipeline.get_config()
        config.max_new_tokens = body["max_tokens"]
        config.stop_strings = set(body.get("stop", ()))
        if body["temperature"] > 0:
            config.do_sample = True
            config.temperature = body["temperature"]
            config.top_p = body["top_p"]
            config.rng_seed = seed
        if body.get("logprobs"):
            config.logprobs = 1  # the engine gives that of the token it takes
        if "response_format" in body:
            rules = grammar(body["response_format"]["json_schema"]["schema"])
            config.structured_output_config = engine.StructuredOutputConfig(grammar=rules)
        return config

    def _begin(self, key: int, cached: int) -> None:
        job = self._waiting.pop(key)
        job.cached = cached
        job.handle = self._pipeline.add_request(key, job.tokens, job.config)
        self._running[key] = job
        self._meter.begin(key, job.count - cached)

    def _cancel(self, key: int) -> None:
        self._queue.forget(key)
        self._meter.end(key)
        self._waiting.pop(key, None)
        job = self._running.pop(key, None)
        if job is not None:
            job.handle.cancel()

    def _look_at(self, key: int) -> None:
        """Note a first token, hand out a finished answer."""
        job = self._running[key]
        status = job.handle.get_status().name
        if status == "RUNNING":
            if job.handle.can_read():
                self._queue.computed(key)
                self._meter.first(key)
            return
        del self._running[key]
        if status != "FINISHED":
            self._queue.forget(key)
            self._meter.end(key)
            self._fail(key, "length", "it does not fit into the KV cache")
            return
        self._queue.computed(key)
        self._queue.forget(key)
        output = job.handle.read_all()[0]
        self._meter.end(key, len(output.generated_ids))
        text = self._tokenizer.decode(output.generated_ids)
        if job.config.logprobs:
            text = first_token([(text, output.generated_log_probs[0])])
        self._emit(
            {
                "key": key,
                "text": text,
                "finish_reason": output.finish_reason.name.lower(),
                "prompt": job.count,
                "cached": job.cached,
                "completion": len(output.generated_ids),
            }
        )

    def _fail(self, key: int, reason: str, detail: str) -> None:
        self._emit({"key": key, "failed": reason, "detail": detail})


# ---- loading -------------------------------------------------------------------------------------


def _load(settings: dict[str, Any], emit: Emit) -> Any:
    """The pipeline. The engine reads GGUF in 12 to 24 s and 4 GB of memory, its own format in 3 s
    and 1 GB, so the first load converts, if the disk has room for it."""
    gguf = Path(settings["gguf"])
    folder = gguf.with_name(f"{gguf.stem}-openvino-{engine.__version__.split('-')[0]}")
    scheduler = engine.SchedulerConfig()
    scheduler.num_kv_blocks = settings["cache_tokens"] // BLOCK
    scheduler.enable_prefix_caching = True
    properties = {"INFERENCE_NUM_THREADS": settings["threads"]} if settings["threads"] else {}
    try:
        with locked(folder, lambda: emit({"phase": "preparing"})):  # another process does
            if folder.exists() and folder.stat().st_mtime < gguf.stat().st_mtime:
                remove(folder)  # of an older file of this name
            if not folder.exists():
                emit({"phase": "preparing"})
                emit(
                    {"notice": f"preparing {gguf.name} for this machine, once: about half a minute"}
                )
                _convert(gguf, folder)
        emit({"phase": "loading"})
        return engine.ContinuousBatchingPipeline(str(folder), scheduler, "CPU", properties)
    except (OSError, RuntimeError) as error:
        with suppress(OSError):
            remove(folder)  # a damaged one is made anew next time
        reason = " ".join(str(error).split())[:120]
        emit({"phase": "loading"})
        emit({"notice": f"loading {gguf.name} as it is, without a prepared copy ({reason})"})
        return engine.ContinuousBatchingPipeline(str(gguf), scheduler, "CPU", properties)


def _convert(gguf: Path, folder: Path) -> None:
    """Write the model and its tokenizer in the engine's own format. All of it, or no folder."""
    if shutil.disk_usage(folder.parent).free < 1.5 * gguf.stat().st_size:
        raise OSError(f"the disk of {folder.parent} is nearly full")
    remove_temporaries(folder)
    scheduler = engine.SchedulerConfig()
    scheduler.num_kv_blocks = 1
    with in_place_of(folder) as scratch:
        scratch.mkdir()
        link = scratch / gguf.name  # the engine writes beside what it reads
        link.symlink_to(gguf)
        engine.Tokenizer(str(link), enable_save_ov_model=True)
        save = {"enable_save_ov_model": True}
        engine.ContinuousBatchingPipeline(str(link), scheduler, "CPU", save)
        remove(link)


def main() -> None:
    """Answer until stdin ends."""
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # native code prints what it likes, but not into the protocol

    def emit(message: dict[str, Any]) -> None:
        out.write(json.dumps(message).encode() + b"\n")

    inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin.buffer:
            inbox.put(json.loads(line))
        os._exit(0)  # the run is over, and nobody reads what would come

    threading.Thread(target=listen, daemon=True).start()
    try:
        worker = Generator(json.loads(sys.argv[1]), emit)
        emit({"ready": True})
        worker.run(inbox)
    except Exception as error:
        line = " ".join(str(error).split())[:300] or type(error).__name__
        emit({"fatal": f"the embedded model failed: {line}"})
        os._exit(1)  # past the engine's own clean-up, which can hang after a failure


if __name__ == "__main__":
    main()
