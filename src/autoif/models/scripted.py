"""The scripted model: answers from a file or a function. It ships, so that tests patch nothing.

A script is JSONL. Each row answers the requests whose messages contain all its strings:

    {"contains": ["Write a function", "commas"], "replies": ["def evaluate...", "def ..."]}
    {"contains": [], "replies": [{"text": "cut o", "finish_reason": "length"}], "latency_ms": 20}
    {"latency_ms": 5}

The first row that matches wins, and the request's `index` picks the reply (modulo their number).
A row of `latency_ms` alone sets the latency of the rows after it. What no row matches gets an empty
answer. Tokens are counted as words. A script answers the same in-process and behind a server.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoif.base import jsonl
from autoif.base.errors import UsageError
from autoif.base.records import Reply, Request, Usage
from autoif.models.openai.protocol import request_body
from autoif.models.reasoning import without_thinking

Answer = str | Reply


@dataclass(frozen=True, slots=True)
class ScriptRow:
    contains: tuple[str, ...]
    replies: tuple[tuple[str, str], ...]  # (text, finish_reason)
    latency: float  # seconds


class ScriptedBackend:
    """A `Backend` that answers by `answer(request)`, a plain or an async function."""

    def __init__(
        self,
        answer: Callable[[Request], Answer | Awaitable[Answer]],
        *,
        namespace: str = "scripted",
        latency: float = 0.0,
    ) -> None:
        self.namespace = namespace
        self._answer = answer
        self._latency = latency

    @classmethod
    def from_file(cls, path: Path) -> ScriptedBackend:
        """Answers from a script. Raises UsageError naming the line that cannot be read."""
        rows, digest = _read_script(path)

        async def answer(request: Request) -> Answer:
            prompt = "\n".join(m.content for m in request.messages)
            for row in rows:
                if all(s in prompt for s in row.contains):
                    if row.latency:
                        await asyncio.sleep(row.latency)
                    text, finish_reason = row.replies[request.index % len(row.replies)]
                    return Reply(text, finish_reason)
            return ""

        return cls(answer, namespace=f"scripted:{digest}")

    def body(self, request: Request) -> dict[str, Any]:
        return request_body("scripted", request)

    async def __call__(self, request: Request) -> Reply:
        return without_thinking(await self.raw(request))

    async def raw(self, request: Request) -> Reply:
        """The answer as a server would send it: thinking and all."""
        if self._latency:
            await asyncio.sleep(self._latency)
        answer = self._answer(request)
        if inspect.isawaitable(answer):
            answer = await answer
        reply = Reply(answer) if isinstance(answer, str) else answer
        if reply.usage != Usage():
            return reply
        words = sum(len(m.content.split()) for m in request.messages)
        usage = Usage(prompt=words, completion=len(reply.text.split()))
        return Reply(reply.text, reply.finish_reason, usage)

    async def close(self) -> None:
        pass


def _read_script(path: Path) -> tuple[list[ScriptRow], str]:
    with jsonl.open_bytes(path) as file:
        digest = hashlib.blake2b(file.read(), digest_size=8).hexdigest()
    rows: list[ScriptRow] = []
    latency = 0.0
    for place, row in jsonl.read(path):
        try:
            own = float(row.get("latency_ms", latency * 1000)) / 1000
            if row.keys() == {"latency_ms"}:
                latency = own
                continue
            replies = tuple(_reply(r) for r in row["replies"])
            if not replies or isinstance(row["contains"], str):
                raise ValueError("`contains` and `replies` are lists, and there is a reply")
            rows.append(ScriptRow(tuple(row["contains"]), replies, own))
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise UsageError(f'{place}: not {{"contains": [...], "replies": [...]}} ({e})') from e
    if not rows:
        raise UsageError(f"the script {path} has no rows")
    return rows, digest


def _reply(reply: str | Mapping[str, str]) -> tuple[str, str]:
    if isinstance(reply, str):
        return reply, "stop"
    return reply["text"], reply.get("finish_reason", "stop")
