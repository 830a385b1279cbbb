"""What a server refuses: a call, the whole run, or a field of the body."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from autoif.base.errors import CallFailed, ModelUnavailable
from autoif.models.openai.limiter import CallResult, Retry

STORED = "every answer so far is stored; run the same command again"

# field of the body: (a complaint about it, the notice for the user)
_FIELDS = {
    "response_format": (
        re.compile("response_format|json_schema|structured output|guided|grammar"),
        "refuses JSON schemas; it is asked without them from now on",
    ),
    "max_tokens": (re.compile("max_completion_tokens"), ""),  # it goes by that name
    # reasoning models take their own temperature alone
    "temperature": (
        re.compile(r"(?s)\A(?=.*temperature).*support"),
        "takes no temperature; it is asked without it from now on",
    ),
    "top_p": (
        re.compile(r"(?s)\A(?=.*top_p).*support"),
        "takes no top_p; it is asked without it from now on",
    ),
}


class RefusedFields:
    """The fields of the body that a server does not take, learned from its complaints."""

    def __init__(self, on_notice: Callable[[str], None]) -> None:
        self._notice = on_notice
        self._fields: set[str] = set()

    def without(self, body: dict[str, Any]) -> dict[str, Any]:
        """The body as the server takes it."""
        left = {name: value for name, value in body.items() if name not in self._fields}
        if "max_tokens" in self._fields and "max_tokens" in body:
            left["max_completion_tokens"] = body["max_tokens"]
        return left

    def learn(self, url: str, body: dict[str, Any], message: str) -> bool:
        """True where the message is about a field of this body: ask again without it."""
        for name, (complaint, notice) in _FIELDS.items():
            if name in body and complaint.search(message.lower()):
                if name not in self._fields and notice:
                    self._notice(f"{url} {notice}")
                self._fields.add(name)
                return True
        return False


def refusal(url: str, status: int, message: str, after: float | None, patience: float) -> Exception:
    """What an error status means: Retry, ModelUnavailable or CallFailed.

    message: the server's, on one line. after: seconds for which it asks to wait. patience: the
    seconds that a run waits at most.
    """
    if status == 402 or (status == 429 and "quota" in message.lower() and after is None):
        return ModelUnavailable(f"{url} has no credit left ({status} {message}): {STORED} later")
    if status == 429 and after is not None and after > patience:
        return ModelUnavailable(f"{url} asks to wait {after:.0f} s (429): {STORED} then")
    if status == 429:
        return Retry(CallResult.BUSY, "429, too many requests", overload=True, after=after)
    if status >= 500 or status in (408, 409, 425):
        after = None if after is None else min(after, patience)
        return Retry(CallResult.FAILED, f"{status} {message}", overload=True, after=after)
    if 300 <= status < 400 or status == 405:
        return ModelUnavailable(f"{url} takes no chat completions ({status}): correct --base-url")
    return CallFailed("refused" if status == 403 else "bad_request", f"{status} {message}")
