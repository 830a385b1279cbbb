"""What a server refuses: a call, the whole run, or a field of the body."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from autoif.base.errors import CallFailed, ModelUnavailable
from autoif.models.openai.limiter import CallResult, Retry
from autoif.models.openai.protocol import seconds_asked_for

STORED = "every answer so far is stored; run the same command again"
NO_CREDIT = re.compile(
    "insufficient_quota|current quota|billing|credit|balance|payment|daily|per[ _-]?day"
)
SETUP = (*range(300, 400), 401, 402, 403, 404, 405, 407, 429)  # what a wrong set-up is answered
ENOUGH_CALLS = 3  # that a server answers only without a field which it did not name

# Fields that a call can do without, those first that change least; the words by which a complaint
# names each; what the user is told.
FIELDS: dict[str, tuple[re.Pattern[str], str]] = {
    "response_format": (
        re.compile("response_?format|json_?schema|structured.?output|guided|grammar|schema"),
        "refuses JSON schemas; it is asked without them from now on",
    ),
    "top_p": (re.compile("top_?p"), "takes no top_p; it is asked without it from now on"),
    "temperature": (
        re.compile("temperature"),
        "takes no temperature; it is asked without it from now on",
    ),
    "top_logprobs": (re.compile("top_?logprobs"), ""),
    "logprobs": (
        re.compile("logprobs"),
        "gives no probabilities; a judge's yes or no counts whole from now on",
    ),
    # These two are never left out. The limit goes by its other name...
    "max_tokens": (re.compile("max_completion_tokens|max_tokens"), ""),
    # ...and a system message goes before the words of the user.
    "system": (
        re.compile(r"system (?:role|message|prompt|instruction)|\broles?\b"),
        "takes no system message; it goes before the user's own from now on",
    ),
}
OPTIONAL = tuple(name for name in FIELDS if name != "max_tokens")


class RefusedFields:
    """The fields of the body that a server does not take, found out by leaving them out.

    A temperature or top_p is refused by its value (some servers refuse 0 alone), the others whole.
    """

    def __init__(self, on_notice: Callable[[str], None]) -> None:
        self._notice = on_notice
        self._refused: set[tuple[str, Any]] = set()
        self._taken: set[tuple[str, Any]] = set()  # was in a body that was answered
        self._answered_without: Counter[tuple[str, Any]] = Counter()
        self._noticed: set[str] = set()

    def without(self, body: Mapping[str, Any], dropped: Collection[str] = ()) -> dict[str, Any]:
        """The body as the server takes it, and without these fields."""
        gone = {n for n in _fields(body) if _value(n, body) in self._refused} | {*dropped}
        left = {name: value for name, value in body.items() if name not in gone}
        if "system" in gone:
            left["messages"] = without_system(body["messages"])
        if "max_tokens" in gone and "max_tokens" in body:
            left["max_completion_tokens"] = body["max_tokens"]
        return left

    def taken(self, name: str, body: Mapping[str, Any]) -> bool:
        """Whether this server has answered a body with the field."""
        return _value(name, body) in self._taken

    def answered(
        self, url: str, body: Mapping[str, Any], sent: Mapping[str, Any], named: set[str]
    ) -> None:
        """A body was answered as it was sent. named: fields left out since a complaint named them;
        what else was left out is believed to be refused after several such calls."""
        self._taken.update(_value(name, sent) for name in _fields(sent))
        for name in _fields(body):
            field = _value(name, body)
            if name in _fields(sent) or field in self._refused | self._taken:
                continue
            self._answered_without[field] += 1
            if name in named or self._answered_without[field] >= ENOUGH_CALLS:
                self._refused.add(field)
                if name not in self._noticed and FIELDS[name][1]:
                    self._notice(f"{url} {FIELDS[name][1]}")
                self._noticed.add(name)


class FieldTrial:
    """One call, tried without one field after another. first: its first refusal."""

    def __init__(self, fields: RefusedFields, body: dict[str, Any]) -> None:
        self.first: CallFailed | None = None
        self._fields, self._body = fields, body
        self._dropped: set[str] = set()
        self._named: set[str] = set()
        self._alone: set[str] = set()  # were left out without the others

    def body(self) -> dict[str, Any]:
        """What to send."""
        return self._fields.without(self._body, self._dropped)

    def answered(self, url: str) -> None:
        self._fields.answered(url, self._body, self.body(), self._named)

    def without_named(self, failure: Exception) -> bool:
        """Leaves out the field that the message names; False where it names none."""
        if isinstance(failure, CallFailed):
            self.first = self.first or failure
        words, sent = str(failure).lower(), self.body()
        for name in _fields(sent):
            if FIELDS[name][0].search(words):
                self._named.add(name)
                self._dropped = self._dropped | {name}
                return True
        return False

    def without_another(self, *names: str) -> bool:
        """Leaves out another one of these that was in no answered body, and at last all of them;
        False where that was tried."""
        sent = self._fields.without(self._body, self._named)
        doubtful = [n for n in _fields(sent) if n in names and not self._fields.taken(n, sent)]
        alone = [n for n in doubtful if n not in self._alone]
        leave_out = set(alone[:1] or doubtful) | self._named
        if leave_out == self._dropped:
            return False
        self._alone.update(alone[:1])
        self._dropped = leave_out
        return True


def _fields(body: Mapping[str, Any]) -> list[str]:
    """Those of FIELDS that are in a body."""
    first: Mapping[str, Any] = next(iter(body["messages"]), {})
    return [n for n in FIELDS if n in body or (n == "system" and first.get("role") == "system")]


def without_system(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same words, those of a first system message before those of the user."""
    (first, *rest) = map(dict, messages)
    if first["role"] != "system":
        return [first, *rest]
    if not rest or rest[0]["role"] != "user":
        return [{**first, "role": "user"}, *rest]
    return [{**rest[0], "content": f"{first['content']}\n\n{rest[0]['content']}"}, *rest[1:]]


def _value(name: str, body: Mapping[str, Any]) -> tuple[str, Any]:
    return name, body[name] if name in ("temperature", "top_p") else None


def refusal(
    status: int, message: str, after: float | None, patience: float
) -> Retry | CallFailed | None:
    """What an error status means; None where it speaks of the set-up: key, credit, path, model.

    message: the server's, on one line. after: seconds for which it asks to wait. patience: the
    seconds that a run waits at most.
    """
    said = f"{status} {message}"
    after = wait(status, message, after)
    if status == 429:
        if after is not None and after <= patience:
            return Retry(CallResult.BUSY, said, overload=True, after=after)
        if after is None and not NO_CREDIT.search(message.lower()):
            return Retry(CallResult.BUSY, said, overload=True)
        return None
    if status >= 500 or status in (408, 409, 425):
        after = None if after is None else min(after, patience)
        return Retry(CallResult.FAILED, said, overload=True, after=after)
    return None if status in SETUP else CallFailed("bad_request", said)


def unusable(url: str, status: int, message: str, after: float | None) -> ModelUnavailable:
    """The line for a server that answers nothing with this set-up."""
    after = wait(status, message, after)
    if status == 429 and after is not None:
        return ModelUnavailable(f"{url} asks to wait {after:.0f} s (429 {message}): {STORED} then")
    if status in (402, 429):
        return ModelUnavailable(f"{url} has no credit left ({status} {message}): {STORED} later")
    return ModelUnavailable(f"{url} takes no chat completions ({status}): correct --base-url")


def wait(status: int, message: str, after: float | None) -> float | None:
    """Seconds for which the server asks to wait, by its header (`after`) or its words."""
    return seconds_asked_for(message) if after is None and status in (429, 503) else after
