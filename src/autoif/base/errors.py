"""Every exception AutoIF raises on purpose, and the one rule about them.

A bad *record* is data: it becomes a `Drop` with a reason and the run goes on.
A bad *set-up* is an exception: one line that says what is wrong and what to do.

    AutoIFError
    ├── UsageError            the command, the recipe or an input file is wrong       exit 2
    ├── SetupError            this machine, server or directory cannot do the job     exit 1
    │   ├── SandboxUnavailable   a layer the sandbox needs is missing; names it
    │   ├── ModelUnavailable     weights, key, URL or model name do not work
    │   └── StoreError           the call store cannot be opened, written or trusted
    ├── RunFailed             the run ended without a result (or an empty dataset)    exit 1
    ├── CallFailed            ONE model call has no answer; stages turn it into a Drop
    └── CallPending           the answer waits for a batch; its instruction waits with it

Only `cli.main` catches `AutoIFError`; it prints the line and exits with `exit_code`.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from autoif.base.printable import printable


class AutoIFError(Exception):
    """Base of all. `str(error)` is one line, fit to be shown to a user."""

    exit_code = 1

    def __str__(self) -> str:
        return printable(super().__str__())


class UsageError(AutoIFError):
    """The user asked for something that cannot be: bad option, bad recipe, bad input file."""

    exit_code = 2


class SetupError(AutoIFError):
    """The machine, a server or a directory is not as it has to be."""


class SandboxUnavailable(SetupError):
    """Untrusted code cannot be contained here. There is no way around this by design."""


class ModelUnavailable(SetupError):
    """A model cannot be reached or loaded: weights, key, URL or name."""


class StoreError(SetupError):
    """The call store cannot be opened, written or trusted."""


class RunFailed(AutoIFError):
    """The run came to an end without what it was started for."""


class CallFailed(AutoIFError):
    """One call has no usable answer and asking again would not help.

    `reason` is a short stable word for the funnel; docs/reading-a-run.md explains each.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class CallPending(AutoIFError):
    """Raised when a call was queued for a batch; its instruction continues after the import."""


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """The end of an error: `; did you mean X?` with the nearest of `words`, or nothing."""
    near = get_close_matches(word, list(words), 1)
    return f"; did you mean {near[0]}?" if near else ""


def one_line(message: object, key: str = "") -> str:
    """What a library, a server or an exception said, fit to stand in a message: one line, short,
    printable, without the key."""
    line = " ".join(str(message).split())
    if not line and isinstance(message, BaseException):
        return type(message).__name__
    return printable(line.replace(key, "***") if key else line)[:300]
