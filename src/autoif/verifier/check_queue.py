"""Checks and texts of many callers, judged in batches.

Trainers ask for the reward of one sample at a time, hundreds at once, from threads and from event
loops. A text waits here until a worker is free, and the worker takes all texts that wait for the
same check.

There are two lanes, each with workers of its own. Every text begins in the fast lane, where a call
has 0.05 s of CPU: honest checks end there and wait little for one that loops. A text that is cut
off there goes on alone: the slow lane calls one text at a time, with the limits of a reward. So no
text takes the verdict of another, whatever its check has done before.

The deadline of a caller counts from when a worker took a check that had failed to end, not while it
waited.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from math import inf

from autoif.base.records import Outcome, Status
from autoif.sandbox import REWARD_LIMITS, Limits, Sandbox, frames
from autoif.sandbox.worker import NOT_RUN, OUTCOMES

# Honest calls take well under that. Strikes have no end: a text that is cut off takes no verdict
# from those that came with it.
FAST_LIMITS = Limits(cpu_seconds=0.05, wall_seconds=0.25, total_seconds=2.0, strikes=1 << 30)
TOTAL = OUTCOMES[frames.TOTAL].detail
FEW = 8  # texts that the fast lane takes at once of a check that has not ended of late
REMEMBERED = 4096  # such checks

Outcomes = dict[str, Outcome | None]  # by text; None: not judged by the deadline


@dataclass(slots=True, eq=False)
class Asked:
    """The texts that one caller wants judged by one check. Where he cancels the future, `outcomes`
    has what was judged before that."""

    missing: set[str]
    outcomes: Outcomes = field(default_factory=dict)
    future: Future[Outcomes] = field(default_factory=Future)
    expires: float = inf  # on the monotonic clock; infinite until a worker had a slow check of it

    def waits(self, text: str) -> bool:
        return text in self.missing and not self.future.done()

    def settle(self, text: str, outcome: Outcome | None) -> None:
        if not self.waits(text):
            return
        self.missing.discard(text)
        self.outcomes[text] = outcome
        if not self.missing and self.future.set_running_or_notify_cancel():
            self.future.set_result(self.outcomes)

    def fail(self, error: BaseException) -> None:
        if not self.future.done() and self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)


Waiting = dict[str, list[Asked]]  # by text: who waits for it


class _Lane:
    def __init__(self, lock: threading.Lock, limits: Limits, workers: int) -> None:
        self.limits = limits
        self.workers = workers
        self.waiting: dict[str, Waiting] = {}  # by source, in the order of arrival
        self.filled = threading.Condition(lock)
        self.threads = 0
        self._sandbox: Sandbox | None = None
        self._starting = threading.Lock()

    def sandbox(self) -> Sandbox:
        with self._starting:
            if self._sandbox is None:
                self._sandbox = Sandbox(self.workers, self.limits)
            return self._sandbox


class CheckQueue:
    """Judges for all callers of a process. Safe to use from threads and from any asyncio loop.

    workers: checks at once in each lane. deadline: seconds. Threads and processes start when they
    are needed.
    """

    def __init__(self, workers: int, deadline: float) -> None:
        self.deadline = deadline
        total = min(REWARD_LIMITS.total_seconds, deadline / 4)
        self._lock = threading.Lock()
        self._fast = _Lane(self._lock, FAST_LIMITS, workers)
        self._slow = _Lane(self._lock, replace(REWARD_LIMITS, total_seconds=total), workers)
        # By source, jobs without a verdict since its last. It comes the later for that.
        self._strikes: dict[str, int] = {}

    def ask(self, texts: Mapping[str, Collection[str]]) -> dict[str, Asked]:
        """texts: by the source of a check. A future raises SandboxUnavailable where this machine
        cannot contain hostile code."""
        requests = {source: Asked(set(asked)) for source, asked in texts.items()}
        with self._lock:
            for source, request in requests.items():
                self._add(self._fast, source, {text: [request] for text in texts[source]})
        return requests

    def _add(self, lane: _Lane, source: str, more: Waiting) -> None:
        if not more:
            return
        waiting = lane.waiting.setdefault(source, {})
        for text, requests in more.items():
            waiting.setdefault(text, []).extend(requests)
        self._wake(lane)

    def _wake(self, lane: _Lane) -> None:
        if lane.threads < lane.workers:
            lane.threads += 1
            threading.Thread(target=self._work, args=(lane,), daemon=True).start()
        lane.filled.notify()

    # ---- a worker ------------------------------------------------------------------------------

    def _work(self, lane: _Lane) -> None:
        while True:
            with self._lock:
                while not lane.waiting:
                    lane.filled.wait()
                source, waiting = self._take(lane)
            if not waiting:
                continue
            texts = list(waiting)
            try:
                outcomes = dict(zip(texts, lane.sandbox().evaluate(source, texts), strict=True))
            except BaseException as error:
                with self._lock:
                    for request in {r for requests in waiting.values() for r in requests}:
                        request.fail(error)
            else:
                with self._lock:
                    self._judged(lane, source, waiting, outcomes)

    def _take(self, lane: _Lane) -> tuple[str, Waiting]:
        """The next source, and those of its texts that are to be judged now: one in the slow lane,
        in the fast lane all, or a few where the source has strikes."""
        now, slow = time.monotonic(), lane is self._slow
        if slow:
            source = min(lane.waiting, key=lambda waits: self._strikes.get(waits, 0))
        else:
            source = next((s for s in lane.waiting if s not in self._strikes), "")
            source = source or next(iter(lane.waiting))
        suspect = slow or source in self._strikes
        most = 1 if slow else FEW if suspect else inf
        # What a worker of the slow lane might not be done with in time is not begun.
        latest = now + lane.limits.total_seconds if slow else now
        for name in lane.waiting if slow else [source] * suspect:
            for text, requests in lane.waiting[name].items():
                for request in requests:
                    if request.expires < latest:
                        request.settle(text, None)
        taken: Waiting = {}
        later: Waiting = {}
        for text, requests in lane.waiting.pop(source).items():
            if living := [r for r in requests if r.waits(text)]:
                (taken if len(taken) < most else later)[text] = living
            if suspect:
                for request in living:
                    request.expires = min(request.expires, now + self.deadline)
        self._add(lane, source, later)
        return source, taken

    def _judged(
        self, lane: _Lane, source: str, waiting: Waiting, outcomes: Mapping[str, Outcome]
    ) -> None:
        """What concluded is answered; what the fast lane cut off waits in the slow one."""
        late = [text for text, o in outcomes.items() if o.status is Status.TIMEOUT]
        if len(late) < len(outcomes):
            self._strikes.pop(source, None)
        else:
            self._strike(source)
        if lane is self._slow:
            late = []
        # Its turn had not come, or the time of the batch ran out just then.
        unrun = [t for t in late if outcomes[t].detail.startswith((NOT_RUN, TOTAL))]
        if len(unrun) == len(outcomes):
            unrun = []
        cut = [text for text in late if text not in unrun]
        self._add(self._slow, source, {text: waiting[text] for text in cut})
        self._add(self._fast, source, {text: waiting[text] for text in unrun})
        for text in outcomes.keys() - set(late):
            for request in waiting[text]:
                request.settle(text, outcomes[text])

    def _strike(self, source: str) -> None:
        self._strikes[source] = self._strikes.get(source, 0) + 1
        if len(self._strikes) > REMEMBERED:
            del self._strikes[next(iter(self._strikes))]
