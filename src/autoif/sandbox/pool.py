"""The parent's side: a pool of workers, and `Sandbox`, the one thing the rest of AutoIF sees.

A worker is exec'd, never forked from here, so nothing of this process is in its memory. A lost one
is replaced and its job tried once more on another; a job that loses two is a CRASH.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from autoif.base.errors import SandboxUnavailable
from autoif.base.records import Outcome, Status
from autoif.sandbox import frames, syscalls
from autoif.sandbox.allowlist import PROFILES
from autoif.sandbox.second_pass import MORE, SecondPass
from autoif.sandbox.worker import NOT_RUN, OUTCOMES, ROOM, Lost, Worker


@dataclass(frozen=True, slots=True)
class Limits:
    """What a function may use.

    cpu_seconds: of one call, on the child's own CPU clock (a busy machine does not shorten it).
    wall_seconds: of one call, looser; for what sleeps.
    total_seconds: elapsed, for one function on one batch of texts, however often it is run on it.
    memory_mb: beyond what the warm interpreter has. All workers at once may take workers x this.
    strikes: after so many timeouts, crashes and MemoryErrors the rest is not run; of a transform
        all is, since there it is the text that is to blame.

    A function that only loops costs strikes x cpu_seconds; honest calls take well under 50 ms.
    """

    cpu_seconds: float = 1.0
    wall_seconds: float = 10.0
    total_seconds: float = 60.0
    memory_mb: int = 256
    strikes: int = 2


# Wherever a check is judged: synthesis, `verify`, `diagnose`. So a row can be proved again.
CHECK_LIMITS = Limits()
# The same for one call; a trainer does not wait as long for a batch, and one check must not hold up
# the others.
REWARD_LIMITS = Limits(total_seconds=5.0)


@dataclass(frozen=True, slots=True)
class Transformed:
    """What `comply(text)` made of one text: TRUE and a text, or why there is none."""

    status: Status
    text: str = ""
    detail: str = ""


def _batches(texts: Sequence[str], most: int) -> Iterator[Sequence[str]]:
    """Cut so that each part fits the payload; a text too long for it stands alone."""
    if texts and len(texts) <= most and sum(map(len, texts)) * 4 <= ROOM:
        yield texts
        return
    start = size = 0
    for i, text in enumerate(texts):
        bytes_ = len(text) if text.isascii() else 4 * len(text)
        if i - start == most or (i > start and size + bytes_ > ROOM):
            yield texts[start:i]
            start, size = i, 0
        size += bytes_
    if start < len(texts):
        yield texts[start:]


class _Run(NamedTuple):
    """One function on one batch."""

    outcomes: list[Outcome]  # per text
    raw: list[bytes]  # per text, of transforms
    seconds: float  # left of the total limit

    @property
    def stopped(self) -> Outcome | None:
        """The outcome of any further text, where the strikes or the total limit are used up."""
        last = self.outcomes[-1]
        return last if last == _TOTAL or last.detail.startswith(NOT_RUN) else None


_TOTAL = OUTCOMES[frames.TOTAL]


def _transformed(outcome: Outcome, raw: bytes) -> Transformed:
    if outcome.status is not Status.TRUE:
        return Transformed(outcome.status, "", outcome.detail)
    try:
        return Transformed(Status.TRUE, raw.decode("utf-8", "surrogatepass"))
    except UnicodeDecodeError:
        return Transformed(Status.ERROR, "", "the result is not text")


class Sandbox:
    """Runs untrusted functions. Safe to use from threads and from any asyncio loop.

    workers: zygotes at most, so functions at once; default one per core. The first starts here,
    the others when needed. Raises SandboxUnavailable, naming the missing layer, where this machine
    cannot contain hostile code; there is no way around it.
    """

    def __init__(self, workers: int | None = None, limits: Limits = CHECK_LIMITS) -> None:
        if why := syscalls.unsupported():
            raise SandboxUnavailable(why)
        self.limits = limits
        self.workers = workers or len(os.sched_getaffinity(0))
        self._free = threading.BoundedSemaphore(self.workers)
        self._lock = threading.Lock()
        self._idle: dict[str, list[Worker]] = {p: [] for p in PROFILES}
        self._all: set[Worker] = set()
        self._profiles: dict[bytes, str] = {}  # of sources that have asked for one
        self._threads: ThreadPoolExecutor | None = None
        self._closed = False
        self._finalizer = weakref.finalize(self, _close_all, self._all)
        _SANDBOXES.add(self)
        first = self._start(PROFILES[0])
        self.layers: Mapping[str, bool | str] = first.layers
        self._idle[PROFILES[0]].append(first)

    # ---- use -----------------------------------------------------------------------------------

    def evaluate(
        self,
        source: str,
        texts: Sequence[str],
        *,
        function: str = "evaluate",
        check_order: bool = False,
    ) -> list[Outcome]:
        """One outcome per text of calling `function(text)`, in order.

        check_order: call every text again, in a fresh process, in another order and among copies;
        where two calls differ the function depends on more than its text, which is an ERROR
        "nondeterministic".
        """
        outcomes: list[Outcome] = []
        stopped: Outcome | None = None
        for batch in _batches(texts, frames.CALLS - MORE):
            if stopped is not None:
                outcomes += [stopped] * len(batch)
                continue
            run = self._job(False, function, source, batch, self.limits.total_seconds)
            results, stopped = run.outcomes, run.stopped
            if check_order and stopped is not None:
                results = [o if o.status.machine_dependent else stopped for o in results]
            elif check_order:
                again = SecondPass(source, batch, results)
                if again.calls:
                    run = self._job(False, function, source, again.texts, run.seconds)
                    stopped = run.stopped
                    results = again.agreed(run.outcomes)
            outcomes += results
        return outcomes

    def transform(
        self, source: str, texts: Sequence[str], *, function: str = "comply"
    ) -> list[Transformed]:
        """What `function(text)`, which returns a text of at most 64 kB, makes of each text."""
        transformed: list[Transformed] = []
        stopped: Outcome | None = None
        for batch in _batches(texts, frames.TEXTS_OUT):
            if stopped is not None:
                transformed += [_transformed(stopped, b"")] * len(batch)
                continue
            run = self._job(True, function, source, batch, self.limits.total_seconds)
            stopped = run.stopped
            transformed += map(_transformed, run.outcomes, run.raw)
        return transformed

    async def aevaluate(
        self,
        source: str,
        texts: Sequence[str],
        *,
        function: str = "evaluate",
        check_order: bool = False,
    ) -> list[Outcome]:
        """`evaluate` without blocking the loop."""
        call = partial(self.evaluate, source, texts, function=function, check_order=check_order)
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    async def atransform(
        self, source: str, texts: Sequence[str], *, function: str = "comply"
    ) -> list[Transformed]:
        """`transform` without blocking the loop."""
        call = partial(self.transform, source, texts, function=function)
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    def evaluate_all(
        self, sources: Sequence[str], texts: Sequence[str], *, check_order: bool = False
    ) -> list[list[Outcome]]:
        """`evaluate` for several functions on the same texts, all workers at once."""
        if len(sources) < 2 or self.workers < 2:
            return [self.evaluate(s, texts, check_order=check_order) for s in sources]
        submit = self._executor.submit
        futures = [submit(self.evaluate, s, texts, check_order=check_order) for s in sources]
        return [f.result() for f in futures]

    # ---- jobs ----------------------------------------------------------------------------------

    def _job(
        self, transform: bool, function: str, source: str, texts: Sequence[str], seconds: float
    ) -> _Run:
        """Run one function on one batch, in whatever profiles, for so many seconds in all."""
        limits = self.limits
        name, code = (s.encode("utf-8", "surrogatepass") for s in (function, source))
        job = frames.Job(
            transform=transform,
            texts=len(texts),
            memory=limits.memory_mb << 20,
            strikes=len(texts) if transform else limits.strikes,
            cpu=limits.cpu_seconds,
            wall=limits.wall_seconds,
            total=limits.total_seconds,
        )
        refused = ""
        if len(name) + len(code) > frames.SOURCE:
            refused = f"source over {frames.SOURCE >> 10} kB"
        # One that is too long stands alone, or beside its copies.
        elif len(texts) <= 1 + MORE and any(
            4 * len(t) > ROOM and len(t.encode("utf-8", "surrogatepass")) > ROOM for t in texts
        ):
            refused = f"text over {ROOM >> 20} MB"
        if refused:
            return _Run([Outcome(Status.ERROR, refused)] * job.texts, [b""] * job.texts, seconds)
        profile = self._profiles.get(code, PROFILES[0])
        lost = 0
        while lost < 2 and seconds > 0:
            try:
                with self._borrow(profile) as worker:
                    begun = time.monotonic()
                    try:
                        crash = worker.run(job, seconds, name, code, texts)
                    finally:  # a wait for a worker does not count
                        seconds -= time.monotonic() - begun
                    if wanted := worker.wanted_profile(code):
                        profile = wanted
                        self._remember(code, wanted)
                        continue
                    return _Run(*worker.read(job, crash), seconds)
            except Lost:
                lost += 1
        gone = Outcome(Status.CRASH, "the sandbox process was lost twice") if lost == 2 else _TOTAL
        return _Run([gone] * job.texts, [b""] * job.texts, seconds)

    def _remember(self, source: bytes, profile: str) -> None:
        with self._lock:
            self._profiles[source] = profile
            if len(self._profiles) > 1024:
                del self._profiles[next(iter(self._profiles))]

    @contextmanager
    def _borrow(self, profile: str) -> Iterator[Worker]:
        """A worker of ours alone; put back where its job went well, ended where it did not."""
        with self._free:
            with self._lock:
                worker = self._idle[profile].pop() if self._idle[profile] else None
            if worker is None:
                worker = self._start(profile)
            try:
                yield worker
            except BaseException:  # lost, or interrupted in the middle: its state is unknown
                self._end(worker)
                raise
            with self._lock:
                if not self._closed:
                    self._idle[profile].append(worker)

    def _start(self, profile: str) -> Worker:
        self._require_open()
        worker = Worker(profile)
        with self._lock:
            self._all.add(worker)
        return worker

    def _end(self, worker: Worker) -> None:
        with self._lock:
            self._all.discard(worker)
        worker.close()

    @property
    def _executor(self) -> ThreadPoolExecutor:
        with self._lock:
            self._require_open()
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self.workers, "autoif-sandbox")
            return self._threads

    def _require_open(self) -> None:
        if self._closed:
            raise SandboxUnavailable("this sandbox has been closed; make a new one")

    # ---- end -----------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """End every process. Safe to call twice."""
        with self._lock:
            self._closed = True
            threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=True, cancel_futures=True)
        self._finalizer()

    def forget(self) -> None:
        """In a process forked from ours: the workers are not its own."""
        self._closed = True
        self._finalizer.detach()
        for worker in self._all:
            worker.forget()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Sandbox:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)


def _close_all(workers: set[Worker]) -> None:
    while workers:
        workers.pop().close()


_SANDBOXES: weakref.WeakSet[Sandbox] = weakref.WeakSet()


def _after_fork() -> None:
    for sandbox in _SANDBOXES:
        sandbox.forget()


if hasattr(os, "register_at_fork"):  # importable everywhere, if only to be refused
    os.register_at_fork(after_in_child=_after_fork)
