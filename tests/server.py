"""A real OpenAI-compatible server on loopback, in its own process, that answers from a script and
misbehaves on request.

    python tests/server.py --script FILE [--port 0] [--chaos JSON]     prints the port it got

Routes: /v1/models, /v1/chat/completions, /v1/files, /v1/batches, and two for tests: POST /chaos
sets the misbehaviour (`Chaos`, as JSON), GET /stats tells what was asked. In tests, `Server` starts
one, talks to those two routes, and ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from email.utils import formatdate
from pathlib import Path
from types import TracebackType
from typing import Any

from autoif.base.records import Message, Request
from autoif.models.scripted import ScriptedBackend


@dataclass
class Chaos:
    """Shares are of all chat requests, drawn one after the other from a seeded generator."""

    busy: float = 0.0  # 429
    retry_after: str = ""  # with 429 and 500: seconds, "date:SECONDS", or nothing
    error: float = 0.0  # 500
    reset: float = 0.0  # the connection torn down
    hang: float = 0.0  # never a byte
    drip: float = 0.0  # a byte now and then, for `drip_seconds` in all
    drip_seconds: float = 0.2
    truncate: float = 0.0  # half of the JSON, well framed
    cut: float = 0.0  # half of the body, then the end of the connection
    html: float = 0.0  # 200 and a web page
    content_type: float = 0.0  # the right body under the wrong type
    duplicate: float = 0.0  # the reply twice on the wire
    status: int = 0  # every reply has this status...
    says: str = "no"  # ...and this message
    dead_after: int = -1  # never a byte more after so many answers
    rate: float = 0.0  # 429 for what comes faster than so many a second
    slots: int = 0  # answers at once; the rest queue (or get a 429 if `full_is_busy`)
    full_is_busy: bool = False
    latency: float = 0.0  # seconds, and its spread as a share
    spread: float = 0.0
    prefill: float = 0.0  # seconds for a prompt that is not in the cache, before the latency
    cache: int = 10**9  # prompts that the cache holds, those longest unused forgotten first
    stream: str = "yes"  # "refused", "ignored", "uncounted", "endless" (no [DONE])
    key: str = ""  # the API key that is right
    model: str = ""  # the only model it knows
    no_schema: bool = False  # 400 for response_format
    no_max_tokens: bool = False  # 400 for max_tokens
    no_temperature: bool = False  # 400 for temperature, as reasoning models do
    odd_usage: bool = False  # counts that are none
    clock: float = 0.0  # seconds its clock is wrong by
    think: bool = False  # <think> before each answer
    echo_key: bool = False  # puts the key it got into error messages
    batch_polls: int = 1  # how often a batch says "in_progress"
    batch_fails: int = 0  # that many of a batch's requests fail
    batch_ends: str = "completed"  # the last status of a batch
    batch_lost: str = ""  # "batch" or "results": 404 for it, when it has ended


@dataclass
class Stats:
    chats: int = 0
    answered: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    connections: int = 0
    prefills: int = 0
    streamed: int = 0
    resent: int = 0  # requests under an X-Request-Id that came before
    asked: dict[str, int] = field(default_factory=dict)  # last message + index -> answers sent


class Handler:
    def __init__(self, script: ScriptedBackend, chaos: Chaos) -> None:
        self.script = script
        self.chaos = chaos
        self.stats = Stats()
        self.next_slot = 0.0
        self.random = random.Random(0)
        self.slots = asyncio.Semaphore(chaos.slots or 10**9)
        self.cache: dict[str, None] = {}  # prompts
        self.attempts: set[str] = set()
        self.computing = asyncio.Lock()
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.stats.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *lines = head.split("\r\n")
                method, path, _ = first.split(" ", 2)
                headers = {
                    k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)
                }
                data = await reader.readexactly(int(headers.get("content-length", 0)))
                if path.endswith("/chat/completions"):
                    self.stats.in_flight += 1
                    self.stats.most_in_flight = max(self.stats.most_in_flight, self.stats.in_flight)
                    try:
                        await self.chat(headers, data, writer)
                    finally:
                        self.stats.in_flight -= 1
                else:
                    status, answer = await self.route(method, path, headers, data)
                    self.send(writer, status, answer)
                await writer.drain()
        with contextlib.suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()
        self.stats.connections -= 1

    def send(
        self,
        writer: asyncio.StreamWriter,
        status: int,
        answer: Any,
        *,
        kind: str = "application/json",
        extra: str = "",
    ) -> None:
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        writer.write(self.head(status, len(data), kind, extra) + data)

    def head(
        self, status: int, length: int, kind: str = "application/json", extra: str = ""
    ) -> bytes:
        date = formatdate(time.time() + self.chaos.clock, usegmt=True)
        return (
            f"HTTP/1.1 {status} X\r\nDate: {date}\r\nContent-Type: {kind}\r\n{extra}"
            f"Content-Length: {length}\r\n\r\n"
        ).encode()

    # ---- chat ----------------------------------------------------------------------------------

    async def chat(
        self, headers: dict[str, str], data: bytes, writer: asyncio.StreamWriter
    ) -> None:
        chaos, stats = self.chaos, self.stats
        stats.chats += 1
        attempt = headers.get("x-request-id", str(stats.chats))
        stats.resent += attempt in self.attempts
        self.attempts.add(attempt)
        body = json.loads(data)
        refusal = self.refusal(headers, body)
        if refusal is not None:
            self.send(writer, *refusal)
            return
        if 0 <= chaos.dead_after <= stats.answered:
            await self.until_revived(writer)
            raise ConnectionResetError
        fault = self.fault()
        if chaos.rate:
            if self.next_slot > time.monotonic():
                fault = "busy"
            else:
                self.next_slot = max(self.next_slot, time.monotonic() - 0.1) + 1 / chaos.rate
        if chaos.full_is_busy and self.slots.locked():
            fault = "busy"
        if fault in ("busy", "error"):
            said = {"error": {"message": "too many requests" if fault == "busy" else "oops"}}
            self.send(writer, 429 if fault == "busy" else 500, said, extra=self.retry_after())
            return
        if fault == "reset":
            writer.transport.abort()
            raise ConnectionResetError
        if fault == "hang":
            await self.until_revived(writer)
            raise ConnectionResetError
        streamed = body.get("stream") and chaos.stream != "ignored"
        stats.streamed += bool(streamed)
        kind = "text/event-stream" if streamed else "application/json"
        kind = "text/plain" if fault == "content_type" else kind
        echo = f"X-Request-Id: {headers.get('x-request-id', '')}\r\n"
        sent = 0

        def first_token(said: dict[str, Any]) -> None:
            nonlocal sent
            if streamed and not fault:
                answer = events(said, chaos.stream)
                start = self.head(200, len(answer), kind, echo)
                begun = b"\n\n".join(answer.split(b"\n\n", 3)[:3]) + b"\n\n"  # up to the first word
                sent = len(start + begun)
                writer.write(start + begun)

        said = await self.answer(body, int(headers.get("x-sample-index", 0)), first_token)
        answer = events(said, chaos.stream) if streamed else json.dumps(said).encode()
        if fault == "html":
            self.send(writer, 200, b"<html><body>It works!</body></html>", kind="text/html")
        elif fault == "truncate":
            self.send(writer, 200, answer[: len(answer) // 2], kind=kind)
        elif fault == "cut":
            writer.write(self.head(200, len(answer), kind) + answer[: len(answer) // 2])
            await writer.drain()
            raise ConnectionResetError
        elif fault == "drip":
            reply = self.head(200, len(answer), kind) + answer
            for i in range(0, len(reply), 1 + len(reply) // 20):
                writer.write(reply[i : i + 1 + len(reply) // 20])
                await writer.drain()
                await asyncio.sleep(chaos.drip_seconds / 20)
            self.count(body, headers)
        else:
            self.count(body, headers)
            writer.write((self.head(200, len(answer), kind, echo) + answer)[sent:])
            if fault == "duplicate":
                await writer.drain()
                await asyncio.sleep(self.random.choice((0, 0.002)))
                self.send(writer, 200, answer, kind=kind, extra=echo)

    def count(self, body: dict[str, Any], headers: dict[str, str]) -> None:
        self.stats.answered += 1
        index = headers.get("x-sample-index", "0")
        name = f"{body['messages'][-1]['content']}#{index}"
        self.stats.asked[name] = self.stats.asked.get(name, 0) + 1

    def fault(self) -> str:
        for name in ("busy", "error", "reset", "hang", "drip", "truncate", "cut", "html",
                     "content_type", "duplicate"):  # fmt: skip
            if self.random.random() < getattr(self.chaos, name):
                return name
        return ""

    def refusal(self, headers: dict[str, str], body: dict[str, Any]) -> tuple[int, Any] | None:
        chaos = self.chaos
        sent = headers.get("authorization", "").removeprefix("Bearer ")
        tail = f" (key {sent})" if chaos.echo_key else ""
        if chaos.key and sent != chaos.key:
            return 401, {"error": {"message": "Incorrect API key" + tail}}
        if chaos.status:
            return chaos.status, {"error": {"message": chaos.says + tail}}
        if chaos.model and body["model"] != chaos.model:
            return 404, {"error": {"message": f"The model {body['model']} does not exist"}}
        if chaos.stream == "refused" and "stream" in body:
            return 400, {"error": {"message": "unknown field"}}
        if chaos.no_schema and "response_format" in body:
            return 400, {"error": {"message": "response_format is not supported here"}}
        if chaos.no_max_tokens and "max_tokens" in body:
            return 400, {"error": {"message": "use max_completion_tokens instead of max_tokens"}}
        if chaos.no_temperature and "temperature" in body:
            return 400, {
                "error": {"message": "Unsupported value: 'temperature' does not support 0"}
            }
        return None

    def retry_after(self) -> str:
        after = self.chaos.retry_after
        if after.startswith("date:"):
            then = time.time() + self.chaos.clock + float(after.removeprefix("date:"))
            after = formatdate(then, usegmt=True)
        return f"Retry-After: {after}\r\n" if after else ""

    async def until_revived(self, writer: asyncio.StreamWriter) -> None:
        was = self.chaos
        while self.chaos is was and not writer.transport.is_closing():  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # hundreds may hang; none may miss the change

    async def answer(
        self,
        body: dict[str, Any],
        index: int,
        first_token: Callable[[dict[str, Any]], None] = lambda said: None,
    ) -> dict[str, Any]:
        async with self.slots:
            await self.prefill(body)
            messages = tuple(Message(m["role"], m["content"]) for m in body["messages"])
            raw = await self.script.raw(Request(messages, index=index))
            text = f"<think>hm, let me see</think>{raw.text}" if self.chaos.think else raw.text
            usage: dict[str, Any] = {
                "prompt_tokens": raw.usage.prompt,
                "completion_tokens": raw.usage.completion,
            }
            message = {"role": "assistant", "content": text}
            if self.chaos.odd_usage:
                usage = {"prompt_tokens": "many", "completion_tokens": [2]}
                usage["prompt_tokens_details"] = 3
            said = {
                "object": "chat.completion",
                "model": body["model"],
                "choices": [{"index": 0, "message": message, "finish_reason": raw.finish_reason}],
                "usage": usage,
            }
            first_token(said)
            latency = self.chaos.latency
            if latency:
                await asyncio.sleep(latency * (1 + self.chaos.spread * self.random.uniform(-1, 1)))
        return said

    async def prefill(self, body: dict[str, Any]) -> None:
        """A prompt is computed unless it is in the cache by now. One is computed at a time."""
        prompt = json.dumps(body["messages"])
        if prompt not in self.cache:
            self.stats.prefills += 1
            if self.chaos.prefill:
                async with self.computing:
                    await asyncio.sleep(self.chaos.prefill)
        self.cache.pop(prompt, None)
        self.cache[prompt] = None
        if len(self.cache) > self.chaos.cache:
            del self.cache[next(iter(self.cache))]

    # ---- everything else -----------------------------------------------------------------------

    async def route(
        self, method: str, path: str, headers: dict[str, str], data: bytes
    ) -> tuple[int, Any]:
        match method, path.split("?")[0].strip("/").split("/"):
            case "POST", ["chaos"]:
                self.chaos = Chaos(**json.loads(data))
                self.slots = asyncio.Semaphore(self.chaos.slots or 10**9)
                self.random = random.Random(0)
                self.cache = {}
                return 200, {}
            case "GET", ["stats"]:
                return 200, {**asdict(self.stats), "batches": len(self.batches)}
            case "GET", ["v1", "models"]:
                return 200, {"data": [{"id": self.chaos.model or "any"}]}
            case "POST", ["v1", "files"]:
                name = f"file-{len(self.files)}"
                boundary = headers["content-type"].split("boundary=")[1].strip('"').encode()
                for part in data.split(b"--" + boundary):
                    if b'name="file"' in part:
                        self.files[name] = part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
                return 200, {"id": name, "object": "file", "purpose": "batch"}
            case "GET", ["v1", "files", name, "content"] if name in self.files:
                return 200, self.files[name]
            case "GET", ["v1", "batches"]:
                return 200, {"data": list(self.batches.values())}
            case "POST", ["v1", "batches"]:
                return 200, await self.make_batch(json.loads(data))
            case "GET", ["v1", "batches", name] if name in self.batches:
                batch = self.poll_batch(self.batches[name])
                if self.chaos.batch_lost == "batch":
                    del self.batches[name]
                    return 404, {"error": {"message": f"no batch {name}"}}
                return 200, batch
        return 404, {"error": {"message": f"no route {method} {path}"}}

    async def make_batch(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Answers everything at once, backwards, and keeps it until it has been polled enough."""
        good, bad = [], []
        for number, line in enumerate(reversed(self.files[asked["input_file_id"]].splitlines())):
            row = json.loads(line)
            answer = {"id": f"r{number}", "custom_id": row["custom_id"], "error": None}
            if number < self.chaos.batch_fails:
                bad.append(answer | {"response": None, "error": {"message": "expired"}})
                continue
            body = await self.answer(row["body"], int(row["custom_id"].partition("-")[2] or 0))
            good.append(answer | {"response": {"status_code": 200, "body": body}})
        name = f"batch-{len(self.batches)}"
        self.files[f"{name}-out"] = b"".join(json.dumps(r).encode() + b"\n" for r in good)
        self.files[f"{name}-err"] = b"".join(json.dumps(r).encode() + b"\n" for r in bad)
        counts = {"total": len(good) + len(bad), "completed": len(good), "failed": len(bad)}
        self.batches[name] = {
            "id": name, "object": "batch", "status": "validating", "request_counts": counts,
            "metadata": asked.get("metadata"), "polls": self.chaos.batch_polls,
            "output_file_id": None, "error_file_id": None,
        }  # fmt: skip
        return self.batches[name]

    def poll_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        batch["polls"] -= 1
        batch["status"] = "in_progress" if batch["polls"] >= 0 else self.chaos.batch_ends
        if batch["status"] == "failed":
            batch["errors"] = {"data": [{"message": "the model does not exist"}]}
        elif batch["status"] not in ("in_progress", "unwell"):
            if self.chaos.batch_lost == "results":
                self.files.pop(f"{batch['id']}-out", None)
            batch["output_file_id"] = f"{batch['id']}-out"
            batch["error_file_id"] = (
                f"{batch['id']}-err" if batch["request_counts"]["failed"] else None
            )
        return batch


def events(said: dict[str, Any], how: str) -> bytes:
    """An answer as a stream of server-sent events, a word at a time."""
    (choice,) = said["choices"]
    pieces = re.findall(r"\s*\S+\s*", choice["message"]["content"])
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": piece} for piece in pieces]
    rows: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": delta, "finish_reason": None}], "usage": None}
        for delta in deltas
    ]
    end = {"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}
    rows.append({"choices": [end], "usage": None})
    if how != "uncounted":
        rows.append({"choices": [], "usage": said["usage"]})
    lines = [f"data: {json.dumps(row)}\n\n" for row in rows]
    return "".join([": a comment\n\n", *lines, *["data: [DONE]\n\n"][how == "endless" :]]).encode()


async def serve(script: ScriptedBackend, port: int, chaos: Chaos) -> None:
    handler = Handler(script, chaos)
    server = await asyncio.start_server(handler.connection, "127.0.0.1", port, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


# ---- in tests ----------------------------------------------------------------------------------

ECHO = [{"contains": [], "replies": [f"reply {i}" for i in range(8)]}]


class Server:
    """A server process for a test: `with Server(rows) as server: ... server.url`."""

    def __init__(self, script: Path | list[dict[str, Any]] | None = None, **chaos: Any) -> None:
        self._folder = tempfile.TemporaryDirectory()
        if not isinstance(script, Path):
            rows = ECHO if script is None else script
            script = Path(self._folder.name) / "script.jsonl"
            script.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.script = script
        self.port = 0
        self._start_with = chaos
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Also again after `kill`, then on the same port."""
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--script", str(self.script), "--port", str(self.port),
             "--chaos", json.dumps(self._start_with)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def kill(self) -> None:
        if self._process is not None:
            self.thaw()
            self._process.kill()
            self._process.communicate()
            self._process = None

    def freeze(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def chaos(self, **changes: Any) -> None:
        """Replaces the misbehaviour; without arguments the server behaves."""
        self._call("/chaos", json.dumps(changes).encode())

    def stats(self) -> dict[str, Any]:
        return json.loads(self._call("/stats"))  # type: ignore[no-any-return]

    def _call(self, path: str, data: bytes | None = None) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", data, 10) as answer:
            return answer.read()  # type: ignore[no-any-return]

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        self._folder.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--script", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--chaos", type=json.loads, default={})
    args = parser.parse_args()
    script = ScriptedBackend.from_file(args.script)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(script, args.port, Chaos(**args.chaos)))


if __name__ == "__main__":
    main()
