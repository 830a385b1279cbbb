"""The chat completions protocol without the network: bodies out, replies and complaints in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from autoif.base import jsonl
from autoif.base.errors import UsageError
from autoif.base.records import Reply, Request, Usage
from autoif.models.reasoning import without_thinking


def request_body(model: str, request: Request) -> dict[str, Any]:
    """The canonical body: what the store's key is made of, and what goes over the wire."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": m.role, "content": m.content} for m in request.messages],
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_tokens": request.max_tokens,
    }
    if request.stop:
        body["stop"] = list(request.stop)
    if request.schema is not None:
        schema = {"name": "answer", "strict": True, "schema": request.schema}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


def parse_json(data: bytes) -> Any:
    """The document, or None. Lone surrogates are let in."""
    try:
        return jsonl.loads(data)
    except ValueError:
        return None


def parse_reply(document: Any) -> Reply:
    """A chat completion as a Reply, thinking stripped and counted. A refusal by the model's own
    field reads as finish_reason "content_filter". Raises TypeError, KeyError, IndexError,
    AttributeError or ValueError where it is no chat completion."""
    choice = document["choices"][0]
    message = choice["message"]
    raw = message.get("content") or ""
    if isinstance(raw, list):  # some servers answer with a list of typed pieces
        raw = "".join(piece.get("text", "") for piece in raw)
    if not isinstance(raw, str):
        raise TypeError("content is no text")
    aside = message.get("reasoning_content") or message.get("reasoning") or ""
    finish_reason = str(choice.get("finish_reason") or "stop")
    usage = parse_usage(document.get("usage"))
    reply = without_thinking(Reply(raw, finish_reason, usage), aside)
    if message.get("refusal") and not reply.text:
        return replace(reply, finish_reason="content_filter")
    return reply


def parse_usage(usage: Any) -> Usage:
    """What a server counted; what it counted badly reads as zero, for the answer is good."""

    def count(counts: Any, name: str) -> int:
        value = counts.get(name) if isinstance(counts, dict) else None
        return int(value) if isinstance(value, (int, float)) and 0 <= value < 1 << 53 else 0

    if not isinstance(usage, dict):
        return Usage()
    into, out = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    return Usage(
        prompt=count(usage, "prompt_tokens"),
        cached=count(into, "cached_tokens"),
        completion=count(usage, "completion_tokens"),
        reasoning=count(out, "reasoning_tokens"),
    )


def complaint(document: Any, data: bytes) -> str:
    """The server's error message, from whichever of the usual fields has it."""
    if isinstance(document, dict):
        error = document.get("error", document)
        if isinstance(error, dict):
            error = error.get("message") or error.get("detail") or error
        return str(error)
    return data[:1000].decode(errors="replace")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from Retry-After in seconds or as an HTTP date, or None. A date is taken
    relative to the server's own Date, so that neither clock has to be right; without one it says
    nothing."""
    value = headers.get("Retry-After", "").strip()
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        then, now = (parsedate_to_datetime(date) for date in (value, headers["Date"]))
        return max(0.0, (then - now).total_seconds())
    except (KeyError, ValueError, TypeError):  # TypeError: one with a zone, one without
        return None


def checked_url(url: str) -> str:
    """The base URL without its tail. Raises UsageError where it is none."""
    url = url.strip().rstrip("/").removesuffix("/chat/completions")
    split = urlsplit(url)
    if split.scheme not in ("http", "https") or not split.hostname:
        raise UsageError(f"{url!r} is no base URL: it looks like http://127.0.0.1:8000/v1")
    return url
