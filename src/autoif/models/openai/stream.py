"""A chat completion that is streamed, put together again.

Server-sent events: lines `data: {...}`, each with what is new of the answer, and `data: [DONE]`.
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

from autoif.models.openai.protocol import parse_json

STREAM = {"stream": True, "stream_options": {"include_usage": True}}


class StreamedReply:
    """One answer. `on_token` is called when there is a first token, and again with each one.
    `counted`: the server said how many tokens there were."""

    def __init__(self, on_token: Callable[[], None]) -> None:
        self.counted = False
        self._on_token = on_token
        self._streamed = self._done = False
        self._answer: dict[str, Any] = {}
        self._message: defaultdict[str, list[str]] = defaultdict(list)

    async def read(self, body: AsyncIterator[bytes]) -> bytes:
        """All there is, which `document` then makes sense of."""
        raw, begun = [], []  # the whole body; of it, what the last line has so far
        async for data in body:
            raw.append(data)
            if b"\n" not in data:
                begun.append(data)
                continue
            *lines, rest = (b"".join(begun) + data).split(b"\n")
            begun = [rest]
            for line in lines:
                self._line(line)
        self._line(b"".join(begun))
        return b"".join(raw)

    def _line(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            self._streamed = True
            with suppress(AttributeError, TypeError):  # an event of another kind
                self._take(line[5:].strip())

    def _take(self, data: bytes) -> None:
        if data == b"[DONE]":
            self._done = True
            return
        event = parse_json(data)
        for name in ("error", "usage"):
            if event.get(name):
                self._answer[name] = event[name]
        for choice in event.get("choices") or ():
            if choice.get("finish_reason"):
                self._answer["finish_reason"] = choice["finish_reason"]
            if choice.get("logprobs"):
                self._answer.setdefault("logprobs", choice["logprobs"])
            for name, piece in (choice.get("delta") or {}).items():
                if name != "role" and piece and isinstance(piece, str):
                    self._message[name].append(piece)
                    self._on_token()

    def document(self, data: bytes) -> Any:
        """What the server would have answered, or has answered (all of it: `data`), in one piece;
        None if that broke off."""
        if not self._streamed:
            return parse_json(data)
        error = {"error": self._answer["error"]} if "error" in self._answer else {}
        if not self._done or "finish_reason" not in self._answer:
            return error or None
        self.counted = "usage" in self._answer
        message = {name: "".join(pieces) for name, pieces in self._message.items()}
        parts = {name: self._answer.get(name) for name in ("finish_reason", "logprobs")}
        choice = {"message": message, **parts}
        return {"choices": [choice], "usage": self._answer.get("usage"), **error}
