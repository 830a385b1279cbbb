"""The process that holds the embedded model: requests in on stdin, answers out on stdout, as JSON.

    in   {"key", "seed", "body"}   {"cancel": key}
    out  {"notice"}   {"ready"}   {"key", "text", "finish_reason", "prompt", "cached", "completion"}
         {"key", "failed", "detail"}   {"fatal"}

It keeps as many sequences in flight as it was told to, starts them in the order that `prefixes.py`
finds, and ends when stdin does, so it cannot outlive the run, however that ends.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import sys
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoif.chat.prefixes import BLOCK, PrefixQueue
from autoif.models import locked


@dataclass(slots=True)
class _Job:
    body: dict[str, Any]
    seed: int
    tokens: Any  # the prompt's ids, an openvino Tensor of shape [1, n]
    count: int
    cached: int = 0
    handle: Any = None


class Worker:
    """One model, answering until `inbox` gives None."""

    def __init__(self, settings: dict[str, Any], emit: Any) -> None:
        self._emit = emit
        self._in_flight = settings["in_flight"]
        self._context = settings["context"]
        self._pipeline = _load(settings, lambda line: emit({"notice": line}))
        self._tokenizer = self._pipeline.get_tokenizer()
        self._queue = PrefixQueue(capacity=settings["cache_tokens"] // BLOCK)
        self._waiting: dict[int, _Job] = {}
        self._running: dict[int, _Job] = {}

    def run(self, inbox: queue.SimpleQueue[dict[str, Any] | None]) -> None:
        """Step while there is work; wait for the inbox while there is none."""
        while True:
            idle = not (self._running or len(self._queue))
            while idle or not inbox.empty():
                message = inbox.get()
                if message is None:
                    return
                self._receive(message)
                idle = not (self._running or len(self._queue))
            for key, cached in self._queue.take(self._in_flight - len(self._running)):
                self._begin(key, cached)
            if self._pipeline.has_non_finished_requests():
                self._pipeline.step()
            self._collect()

    def _receive(self, message: dict[str, Any]) -> None:
        if "cancel" in message:
            self._cancel(message["cancel"])
            return
        key, body = message["key"], message["body"]
        prompt = self._tokenizer.apply_chat_template(body["messages"], add_generation_prompt=True)
        tokens = self._tokenizer.encode(prompt, add_special_tokens=False).input_ids
        ids = tokens.data[0].tolist()
        if len(ids) + body["max_tokens"] > self._context:
            detail = f"{len(ids)} tokens and {body['max_tokens']} to come, of {self._context}"
            self._emit({"key": key, "failed": "length", "detail": detail})
            return
        self._waiting[key] = _Job(body, message["seed"], tokens, len(ids))
        self._queue.put(key, ids)

    def _begin(self, key: int, cached: int) -> None:
        job = self._waiting.pop(key)
        job.cached = cached
        job.handle = self._pipeline.add_request(key, job.tokens, self._config(job))
        self._running[key] = job

    def _config(self, job: _Job) -> Any:
        import openvino_genai

        config = self._pipeline.get_config()
        body = job.body
        config.max_new_tokens = body["max_tokens"]
        config.stop_strings = set(body.get("stop", ()))
        config.do_sample = body["temperature"] > 0
        if config.do_sample:
            config.temperature = body["temperature"]
            config.top_p = body["top_p"]
            config.rng_seed = job.seed
        if "response_format" in body:
            config.structured_output_config = openvino_genai.StructuredOutputConfig(
                json_schema=json.dumps(body["response_format"]["json_schema"]["schema"])
            )
        return config

    def _cancel(self, key: int) -> None:
        self._queue.forget(key)
        self._waiting.pop(key, None)
        job = self._running.pop(key, None)
        if job is not None:
            job.handle.cancel()

    def _collect(self) -> None:
        for key, job in list(self._running.items()):
            status = job.handle.get_status().name
            if status == "RUNNING":
                if job.handle.can_read():
                    self._queue.computed(key)
                continue
            del self._running[key]
            if status != "FINISHED":
                self._queue.forget(key)
                detail = "the KV cache cannot hold it"
                self._emit({"key": key, "failed": "length", "detail": detail})
                continue
            self._queue.computed(key)
            self._queue.forget(key)
            output = job.handle.read_all()[0]
            self._emit(
                {
                    "key": key,
                    "text": self._tokenizer.decode(output.generated_ids),
                    "finish_reason": output.finish_reason.name.lower(),
                    "prompt": job.count,
                    "cached": job.cached,
                    "completion": len(output.generated_ids),
                }
            )


def _load(settings: dict[str, Any], notice: Any) -> Any:
    """The pipeline, from the converted model; converted first where that was not done yet."""
    import openvino_genai

    gguf = Path(settings["gguf"])
    folder = gguf.with_name(f"{gguf.stem}-openvino-{openvino_genai.__version__.split('-')[0]}")
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.num_kv_blocks = settings["cache_tokens"] // BLOCK
    scheduler.enable_prefix_caching = True
    properties = {"INFERENCE_NUM_THREADS": settings["threads"]}
    with locked(folder, lambda: None):
        if not folder.exists():
            notice(f"preparing {gguf.name}, once: about half a minute")
            _convert(gguf, folder)
    return openvino_genai.ContinuousBatchingPipeline(str(folder), scheduler, "CPU", properties)


def _convert(gguf: Path, folder: Path) -> None:
    """Write the engine's own format, which loads in 3 s where GGUF takes 15 and 4 GB of memory."""
    import openvino_genai

    scratch = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    link = scratch / gguf.name  # the engine writes beside what it reads
    link.symlink_to(gguf)
    openvino_genai.Tokenizer(str(link), enable_save_ov_model=True)
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.num_kv_blocks = 1
    openvino_genai.ContinuousBatchingPipeline(
        str(link), scheduler, "CPU", {"enable_save_ov_model": True}
    )
    link.unlink()
    scratch.replace(folder)


def main() -> None:
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # native code prints what it likes, but not into the protocol
    warnings.simplefilter("ignore")

    def emit(message: dict[str, Any]) -> None:
        out.write(json.dumps(message).encode() + b"\n")

    inbox: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin.buffer:
            inbox.put(json.loads(line))
        os._exit(0)  # the run is over: nobody reads what would come

    threading.Thread(target=listen, daemon=True).start()
    try:
        worker = Worker(json.loads(sys.argv[1]), emit)
        emit({"ready": True})
        worker.run(inbox)
    except Exception as error:
        line = " ".join(str(error).split()) or type(error).__name__
        emit({"fatal": f"the embedded model failed: {line[:300]}"})
        os._exit(1)


if __name__ == "__main__":
    main()
