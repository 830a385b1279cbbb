"""What happens inside the jail: compile the source, call the function on every text, say so.

One child runs one function. It writes a byte per call into shared memory and makes no system call
for it. Nothing here is a security boundary: hostile code may rewrite all of it in its own process.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from types import ModuleType
from typing import Any

from autoif.sandbox import allowlist, frames

MODULE = "verifier"  # the name under which the source runs


class Silence(io.TextIOBase):
    """Where print goes. There is no descriptor to write to."""

    encoding = "utf-8"

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        return len(text)


class Runner:
    """Runs the job that stands in the payload, with the modules of one profile."""

    def __init__(
        self,
        payload: memoryview,
        results: memoryview,
        outputs: memoryview,
        profile: str,
        opcodes: tuple[int, int],
    ) -> None:
        self.payload, self.results, self.outputs = payload, results, outputs
        self.profile = profile
        self.allowed = allowlist.ALLOWED[profile]
        self.opcodes = opcodes
        self.job = frames.Job(False, 0, 0, 0, 0.0, 0.0, 0.0)
        self.module = ModuleType(MODULE)
        sys.modules[MODULE] = self.module
        self.codes: dict[str, int] = {}
        self.slots = 0

    def __call__(self, job: frames.Job, start: int) -> None:
        """Make the calls from `start` on. Returns early after a MemoryError."""
        results = self.results
        first = frames.HEADER
        self.job = job
        try:
            function = self.load(job)
        except MemoryError:
            results[first + start] = frames.MEMORY
            return
        except BaseException as error:
            results[first : first + job.texts] = bytes([self.error(error)]) * job.texts
            return
        results[0] = frames.READY
        texts = islice(frames.unpack_texts(self.payload, job), start, None)
        if job.transform:
            self.transform(function, texts, start)
        else:
            self.calls(function, texts, first + start)

    def load(self, job: frames.Job) -> Callable[[str], object]:
        name, source = frames.unpack_source(self.payload, job)
        code = compile(source, f"<{MODULE}>", "exec", dont_inherit=True)
        for imported in allowlist.imports(code, *self.opcodes):
            if (top := imported.partition(".")[0]) not in self.allowed:
                self.change_profile(top)
                # Else an import of what our own code has loaded would succeed.
                for loaded in [m for m in sys.modules if m.partition(".")[0] == top]:
                    del sys.modules[loaded]
        # Other numbers among more texts, or fewer: what draws them by chance shows.
        seed(job.texts)
        namespace: dict[str, Any] = self.module.__dict__
        exec(code, namespace)
        function = namespace.get(name)
        if not callable(function):
            raise NameError(f"no function named {name!r}")
        return function  # type: ignore[no-any-return]

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """The last word on imports: what is not loaded is in a larger profile, or is missing, as in
        plain Python; a function may have another way then."""
        self.change_profile(name)

    def change_profile(self, name: str) -> None:
        """End here where a larger profile has this module: the function is run again there."""
        profile = allowlist.profile_of(name)
        index = allowlist.PROFILES.index
        if profile is not None and index(profile) > index(self.profile):
            first, count = frames.HEADER, self.job.texts
            self.results[first : first + count] = bytes([frames.NEEDS + index(profile)]) * count
            os._exit(0)

    def calls(self, function: Callable[[str], object], texts: Iterator[str], at: int) -> None:
        """One byte per text from `at` on, up to a MemoryError."""
        results = self.results
        try:
            for text in texts:
                try:
                    value = function(text)
                    if value is True:
                        results[at] = 2
                    elif value is False:
                        results[at] = 1
                    else:
                        results[at] = self.other(value)
                except MemoryError:
                    raise
                except BaseException as error:
                    results[at] = self.error(error)
                at += 1
        except MemoryError:
            results[at] = frames.MEMORY

    def other(self, value: object) -> int:
        kind = type(value)
        if kind is int and (value == 0 or value == 1):
            return frames.TRUE_INT if value else frames.FALSE_INT
        if kind.__module__ == "numpy" and kind.__name__ in ("bool", "bool_"):
            return frames.TRUE_NUMPY if value else frames.FALSE_NUMPY
        return self.message(f"returned {kind.__name__}, not bool")

    def transform(
        self, function: Callable[[str], object], texts: Iterator[str], start: int
    ) -> None:
        for i, given in enumerate(texts, start):
            at = frames.HEADER + i
            try:
                text = function(given)
                if type(text) is not str:
                    self.results[at] = self.message(f"returned {type(text).__name__}, not str")
                    continue
                raw = text.encode("utf-8", "surrogatepass")
                if len(raw) > frames.TEXT_OUT - 4:
                    self.results[at] = self.message(f"returned over {frames.TEXT_OUT >> 10} kB")
                    continue
                place = i * frames.TEXT_OUT
                self.outputs[place : place + 4] = len(raw).to_bytes(4, "little")
                self.outputs[place + 4 : place + 4 + len(raw)] = raw
                self.results[at] = frames.TRUE
            except MemoryError:
                self.results[at] = frames.MEMORY
                return
            except BaseException as error:
                self.results[at] = self.error(error)

    def error(self, error: BaseException) -> int:
        try:
            if type(error) is ModuleNotFoundError and error.name:  # it may well be installed
                why = "installed" if error.name in allowlist.TEXT_NAMES else "on the allowlist"
                return self.message(f"ImportError: {error.name} is not {why}")
            return self.message(f"{type(error).__name__}: {error}")
        except BaseException:
            return self.message("an exception that cannot be shown")

    def message(self, text: str) -> int:
        """The code of an ERROR with this message; equal messages share a slot."""
        text = str(text[: frames.DETAIL])
        code = self.codes.get(text)
        if code is not None:
            return code
        results = self.results
        while self.slots < frames.SLOTS - 1 and results[frames.DETAILS + self.slots * frames.SLOT]:
            self.slots += 1  # taken, by this child or by one before it
        raw = text.encode("utf-8", "replace")[: frames.DETAIL]
        at = frames.DETAILS + self.slots * frames.SLOT
        if self.slots == frames.SLOTS - 1:  # the last slot stands for all further messages
            raw = b"another error"
        results[at] = len(raw)
        results[at + 1 : at + 1 + len(raw)] = raw
        self.codes[text] = code = frames.ERROR + self.slots
        return code


def prepare() -> None:
    """Make this process a place where honest code finds what it expects, and no files."""
    for name in ("stdout", "stderr", "__stdout__", "__stderr__"):
        setattr(sys, name, Silence())
    sys.stdin = io.StringIO()
    setattr(sys, "__stdin__", sys.stdin)  # noqa: B010  (it is final to a type checker)
    sys.argv = [MODULE]
    sys.tracebacklimit = 0
    sys.meta_path[:] = []
    sys.path[:] = []
    sys.path_hooks[:] = []
    sys.path_importer_cache.clear()
    os.environ.clear()


def seed(number: int) -> None:
    """Random numbers begin anew, in whatever this profile has for them."""
    if "random" in sys.modules:
        sys.modules["random"].seed(number)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(number)
