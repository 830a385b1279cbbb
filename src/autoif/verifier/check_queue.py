"""Checks and texts of many callers, judged in batches.

Trainers ask for the reward of one sample at a time, hundreds at once, from threads and from event
loops. A text waits here until a worker is free, and the worker takes all texts that wait for the
same check.

There are two lanes, each with workers of its own. Every text begins in the fast lane, where a call
has 0.05 s of CPU: honest checks end there and wait little for one that loops. A text that is cut
off there goes on alone: the slow lane calls one text at a time, with the limits of a reward. So no
text takes the verdict of another, whatever its check has done before.

A check is trusted once it has ended, until the slow lane has to cut it off; after that it has to
end there. One that is not trusted has one worker of a lane at most. Where both kinds wait, each has
half of the workers; in the slow lane, where a job is long, checks that are not trusted never have
more than half. So what an honest check waits for is other honest ones.

The deadline of a caller counts from when a worker took a check that had failed to end, not while it
waited.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
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
TRUSTED = 1 << 16  # checks of which it is remembered how they last ended

Outcomes = dict[str, Outcome | None]  # by text; None: not judged by the deadline
Ended = Callable[[str, str | None], object]  # source and text; None where the check cannot be run


@dataclass(slots=True, eq=False)
class Asked:
    """The texts that one caller wants judged by one check. Where he cancels the future, `outcomes`
    has what was judged before that. ended: called of each text, in any thread."""

    source: str
    missing: set[str]
    ended: Ended | None = None
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
        if self.ended is not None:
            self.ended(self.source, text)

    def fail(self, error: BaseException) -> None:
        if not self.future.done() and self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)
            if self.ended is not None:
                self.ended(self.source, None)


Waiting = dict[str, list[Asked]]  # by text: who waits for it


class _Lane:
    """most: workers at once for checks that are not trusted."""

    def __init__(self, lock: threading.Lock, limits: Limits, workers: int, most: int) -> None:
        self.limits = limits
        self.workers = workers
        self.most = most
        # By source, in the order of arrival: of checks that are trusted, and of the others.
        self.trusted: dict[str, Waiting] = {}
        self.others: dict[str, Waiting] = {}
        self.running_trusted = 0
        self.running_others: set[str] = set()
        self.trusted_last = False  # whether such a check had the last turn
        self.filled = threading.Condition(lock)
        self.threads = 0
        self._sandbox: Sandbox | None = None
        self._starting = threading.Lock()

    def begin(self, source: str, trusted: bool) -> None:
        self.trusted_last = trusted
        if trusted:
            self.running_trusted += 1
        else:
            self.running_others.add(source)

    def end(self, source: str, trusted: bool) -> None:
        if trusted:
            self.running_trusted -= 1
        else:
            self.running_others.remove(source)
        self.filled.notify()

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
        self._fast = _Lane(self._lock, FAST_LIMITS, workers, workers)
        slow, limits = max(2, workers), replace(REWARD_LIMITS, total_seconds=total)
        self._slow = _Lane(self._lock, limits, slow, slow // 2)
        # By source, jobs without a verdict since its last. It comes the later for that.
        self._strikes: dict[str, int] = {}
        self._trust: dict[int, bool] = {}  # by the hash of a source; not there: it never ended

    def ask(
        self, texts: Mapping[str, Collection[str]], ended: Ended | None = None
    ) -> dict[str, Asked]:
        """texts: by the source of a check. A future raises SandboxUnavailable where this machine
        cannot contain hostile code."""
        requests = {source: Asked(source, set(asked), ended) for source, asked in texts.items()}
        with self._lock:
            for source, request in requests.items():
                self._add(self._fast, source, {text: [request] for text in texts[source]})
        return requests

    def _add(self, lane: _Lane, source: str, more: Waiting) -> None:
        if not more:
            return
        queue = lane.trusted if self._trust.get(hash(source)) else lane.others
        waiting = queue.setdefault(source, {})
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
                while (turn := self._turn(lane)) is None:
                    lane.filled.wait()
                source, trusted = turn
                waiting = self._take(lane, source, trusted)
                if not waiting:
                    continue
                lane.begin(source, trusted)
            texts = list(waiting)
            try:
                outcomes = dict(zip(texts, lane.sandbox().evaluate(source, texts), strict=True))
            except BaseException as error:
                with self._lock:
                    lane.end(source, trusted)
                    for request in {r for requests in waiting.values() for r in requests}:
                        request.fail(error)
            else:
                with self._lock:
                    lane.end(source, trusted)
                    self._judged(lane, source, waiting, outcomes)

    def _turn(self, lane: _Lane) -> tuple[str, bool] | None:
        """The source that is judged next, and whether it is trusted; None where no worker may be
        given to those that wait."""
        trusted, others = lane.running_trusted, len(lane.running_others)
        first = trusted < others or (trusted == others and not lane.trusted_last)
        for kind in (True, False) if first else (False, True):
            if kind:
                source = self._fewest_strikes(lane.trusted)
            elif others < lane.most:
                source = self._fewest_strikes(lane.others, lane.running_others)
            else:
                continue
            if source is not None:
                return source, kind
        return None

    def _fewest_strikes(self, queue: Collection[str], without: Collection[str] = ()) -> str | None:
        best, fewest = None, 0
        for source in queue:
            strikes = self._strikes.get(source, 0)
            if source not in without and (best is None or strikes < fewest):
                best, fewest = source, strikes
                if not strikes:
                    break
        return best

    def _take(self, lane: _Lane, source: str, trusted: bool) -> Waiting:
        """Those of its texts that are to be judged now: one in the slow lane, in the fast lane all,
        or a few where the source has strikes."""
        now, slow = time.monotonic(), lane is self._slow
        suspect = slow or source in self._strikes
        most = 1 if slow else FEW if suspect else inf
        queue = lane.trusted if trusted else lane.others
        # What a worker of the slow lane might not be done with in time is not begun.
        latest = now + lane.limits.total_seconds if slow else now
        looked = [*lane.trusted.values(), *lane.others.values()] if slow else [queue[source]]
        for texts in looked if suspect else ():
            for text, requests in texts.items():
                for request in requests:
                    if request.expires < latest:
                        request.settle(text, None)
        taken: Waiting = {}
        later: Waiting = {}
        for text, requests in queue.pop(source).items():
            if living := [r for r in requests if r.waits(text)]:
                (taken if len(taken) < most else later)[text] = living
            if suspect:
                for request in living:
                    request.expires = min(request.expires, now + self.deadline)
        self._add(lane, source, later)
        return taken

    def _judged(
        self, lane: _Lane, source: str, waiting: Waiting, outcomes: Mapping[str, Outcome]
    ) -> None:
        """What concluded is answered; what the fast lane cut off waits in the slow one."""
        late = [text for text, o in outcomes.items() if o.status is Status.TIMEOUT]
        ended = len(late) < len(outcomes)
        if ended:
            self._strikes.pop(source, None)
        else:
            self._strike(source)
        if lane is self._slow or (ended and self._trust.get(hash(source), True)):
            self._set_trust(source, ended)
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

    def _set_trust(self, source: str, trusted: bool) -> None:
        key = hash(source)
        before = self._trust.pop(key, False)
        self._trust[key] = trusted
        if len(self._trust) > TRUSTED:
            del self._trust[next(iter(self._trust))]
        for lane in (self._fast, self._slow) if trusted is not before else ():
            queue = lane.others if trusted else lane.trusted
            self._add(lane, source, queue.pop(source, {}))
