"""The chat completions protocol without the network: bodies out, replies and complaints in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from autoif.base import jsonl
from autoif.base.errors import UsageError
from autoif.base.records import Reply, Request, Usage
from autoif.models.finish import FILTER, finish_reason
from autoif.models.first_token import first_token
from autoif.models.reasoning import without_thinking

TOP = 10  # of the likeliest first tokens


def request_body(model: str, request: Request) -> dict[str, Any]:
    """The canonical body: what the store's key is made of, and what goes over the wire."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": m.role, "content": m.content} for m in request.messages],
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_tokens": request.max_tokens,
    }
    if request.first_token:
        body |= {"max_tokens": 1, "logprobs": True, "top_logprobs": TOP}
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
    """A chat completion as a Reply, thinking stripped and counted; its finish_reason in the words
    of `finish.py`. A refusal by the model's own field reads as "content_filter". Raises TypeError,
    KeyError, IndexError, AttributeError or ValueError where it is no chat completion."""
    choice = document["choices"][0]
    message = choice["message"]
    raw = message.get("content") or ""
    if isinstance(raw, list):  # some servers answer with a list of typed pieces
        raw = "".join(map(_piece, raw))
    if not isinstance(raw, str):
        raise TypeError("content is no text")
    aside = message.get("reasoning_content") or message.get("reasoning") or ""
    aside = aside if isinstance(aside, str) else str(aside)
    ended = finish_reason("error" if choice.get("error") else choice.get("finish_reason"))
    usage = parse_usage(document.get("usage"))
    tokens = (choice.get("logprobs") or {}).get("content")
    if tokens and tokens[0].get("top_logprobs"):  # never there unless asked for
        likeliest = tokens[0]["top_logprobs"]
        return Reply(first_token((t["token"], t["logprob"]) for t in likeliest), ended, usage)
    reply = without_thinking(Reply(raw, ended, usage), aside)
    if message.get("refusal") and not reply.text:
        return replace(reply, finish_reason=FILTER)
    return reply


def _piece(piece: Any) -> str:
    """The text of one of an answer's typed pieces; reasoning is none of it."""
    if isinstance(piece, str):
        return piece
    kind, text = str(piece.get("type", "text")), piece.get("text") or ""
    return text if kind in ("text", "output_text") and not piece.get("thought") else ""


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


NO_ERROR = ("0", "200", "ok", "success")  # codes that some gateways put beside each answer


def error_in_body(document: Any) -> int | None:
    """The status of an error that came with a 200, as some gateways send it, or None: the code that
    stands in it where that is one, else 502."""
    if not isinstance(document, dict):
        return None
    error = document.get("error")
    if not error and document.get("object") != "error":
        return None
    code = (error if isinstance(error, dict) else document).get("code")
    if document.get("choices") and str(code).lower() in NO_ERROR:
        return None
    try:
        status = int(code)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return 502
    return status if 400 <= status < 600 else 502


def complaint(document: Any, data: bytes) -> str:
    """The server's error message, from whichever of the usual fields has it, and the field of the
    request that it is about."""
    if isinstance(document, dict):
        error = document.get("error") or document
        if isinstance(error, dict):
            message = error.get("message") or error.get("detail") or error
            about = error.get("param")
            return f"{message} ({about})" if isinstance(about, str) else str(message)
        return str(error)
    return data[:1000].decode(errors="replace")


_UNITS = {"ms": 0.001, "milli": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_LENGTH = (
    r"(\d{1,9}(?:\.\d{1,9})?)\s?"
    r"(ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hours?)(?![a-z])"
)
_ASKED = re.compile(rf"(?:retry|again|wait)[^\d]{{0,30}}({_LENGTH}(?:\s?{_LENGTH}){{0,3}})")


def seconds_asked_for(text: str) -> float | None:
    """Seconds, where a message asks to `try again in 1m2.5s`, `retry in 34 seconds`, or None."""
    asked = _ASKED.search(text.lower())
    if not asked:
        return None
    lengths = [(float(n), unit) for n, unit in re.findall(_LENGTH, asked[1])]
    return sum(
        n * _UNITS["ms" if unit.startswith(("ms", "milli")) else unit[0]] for n, unit in lengths
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from Retry-After in seconds or as an HTTP date, or None. A date is taken
    relative to the server's own Date, so that neither clock has to be right; without one it says
    nothing."""
    value = headers.get("Retry-After", "").strip()
    try:
        if "retry-after-ms" in headers:
            return _finite(float(headers["retry-after-ms"]) / 1000)
        return _finite(float(value.lower().removesuffix("s")))
    except ValueError:
        pass
    try:
        then, now = (parsedate_to_datetime(date) for date in (value, headers["Date"]))
        return max(0.0, (then - now).total_seconds())
    # TypeError: one with a zone, one without
    except (KeyError, ValueError, TypeError, OverflowError):
        return None


def _finite(seconds: float) -> float | None:
    """What can be waited for; no number says nothing."""
    return None if seconds != seconds else min(max(0.0, seconds), 1e9)


def checked_url(url: str) -> str:
    """The base URL without its tail. Raises UsageError where it is none, or holds a password."""
    url = url.strip().rstrip("/").removesuffix("/chat/completions")
    try:
        split = urlsplit(url)
        usable = split.scheme in ("http", "https") and split.hostname and split.port != 0
        named = "@" in split.netloc
    except ValueError:  # of a port that is none
        usable, named = False, False
    if named or ("@" in url and not usable):
        host = url.rpartition("@")[2]
        raise UsageError(
            f"the URL of {host} has a user name or a password before its host: give the key by "
            "--api-key-env instead"
        )
    if not usable:
        raise UsageError(f"{url!r} is no base URL: it looks like http://127.0.0.1:8000/v1")
    return url
