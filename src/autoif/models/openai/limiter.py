"""How many calls an endpoint gets at once: measured, not configured.

`Limiter` is one endpoint's arithmetic; it knows no loop and no clock (`now` comes in, in monotonic
seconds, so that a jump of the wall clock changes nothing). `Admission` is the queue before
all endpoints of one model.

A window is as many finished calls as the limit allows at its start, counted only among calls begun
in it: the replies to one burst cannot shrink the limit twice. Within a window each overload (429,
5xx, timeout) takes back the permit it came on, down to half. A window with under 5% of them grows
the limit at its end (doubling at first, later by a twentieth, and only if the limit was reached).
Growth also rests while queueing endangers the deadline: more in flight would then only make every
call later.

The circuit of an endpoint opens when calls fail and none succeeds in between. Then all calls wait,
and a small request that nobody's data is in asks, ever more rarely, whether it was the endpoint or
the calls: an answer to it closes the circuit, and what fails then fails by its own fault. An
endpoint in trouble for longer than `patience` is given up, and when all are, so is the run.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from autoif.base.errors import ModelUnavailable

START = 64
CEILING = 1024
FAILURES_TO_OPEN = 10
SHORTEST_PROBE_WAIT, LONGEST_PROBE_WAIT = 0.5, 15.0


class CallResult(Enum):
    """What became of one attempt, as far as the endpoint is concerned."""

    ANSWERED = auto()  # also a refusal of this one request: the endpoint works
    BUSY = auto()  # 429: it works and asks for less
    FAILED = auto()  # 5xx, reset, timeout, garbage
    REFUSED = auto()  # no connection at all
    ABANDONED = auto()  # our own task was cancelled: says nothing


class Retry(Exception):
    """One attempt came to nothing, and another may succeed.

    overload: the endpoint asks for fewer calls at once. paid: it may have done the work.
    garbage: it answered with something that is no chat completion. after: seconds for which it
    asked for silence.
    """

    def __init__(
        self,
        outcome: CallResult,
        why: str,
        *,
        overload: bool = False,
        paid: bool = False,
        garbage: bool = False,
        after: float | None = None,
    ) -> None:
        super().__init__(why)
        self.outcome = outcome
        self.overload = overload
        self.paid = paid
        self.garbage = garbage
        self.after = after


@dataclass(slots=True)
class Permit:
    limiter: Limiter
    started: float
    window: int


class Limiter:
    """One endpoint: its adaptive limit, its pause, its circuit."""

    def __init__(
        self, name: str, *, deadline: float = 600.0, start: int = START, ceiling: int = CEILING
    ) -> None:
        self.name = name
        self.deadline = deadline
        self.limit = float(start)
        self.in_flight = 0
        self.resume_at = 0.0  # no call before
        self.silent_until = 0.0  # because the endpoint asked for it: Retry-After
        self.is_open = False
        self.trouble_since: float | None = None  # open, or busy, without a success since
        self.last_heard = 0.0
        self._start, self._ceiling = start, ceiling
        self._doubling = True
        self._failures = 0  # since the last success
        self._shortest_latency = float("inf")
        self._new_window()

    def _new_window(self) -> None:
        self._window = getattr(self, "_window", 0) + 1
        self._size = int(self.limit)
        self._finished = self._overloaded = 0
        self._latency = 0.0
        self._reached = False

    def share(self, workers: int) -> None:
        """So many processes ask this endpoint: each begins with its share, and stays within it."""
        untried, self._start = self.limit == self._start, max(1, START // workers)
        self._ceiling = max(1, CEILING // workers)
        self.limit = float(self._start if untried else min(self.limit, self._ceiling))

    def silence(self, until: float) -> None:
        """The endpoint has asked for no call before."""
        self.silent_until = max(self.silent_until, until)
        self.resume_at = max(self.resume_at, until)

    def free(self, now: float) -> bool:
        return not self.is_open and now >= self.resume_at and self.in_flight < int(self.limit)

    def begin(self, now: float) -> Permit:
        if self.in_flight == 0:
            self.last_heard = now
        self.in_flight += 1
        self._reached = self._reached or self.in_flight >= int(self.limit)
        return Permit(self, now, self._window)

    def end(
        self, permit: Permit, now: float, outcome: CallResult, *, overload: bool = False
    ) -> None:
        """overload: this outcome asks for fewer calls at once (429, 5xx, timeout)."""
        self.in_flight -= 1
        if outcome is CallResult.ABANDONED:
            return
        self.last_heard = now
        if outcome is CallResult.ANSWERED:
            self.answered()
        elif outcome is CallResult.BUSY:
            if self.trouble_since is None:
                self.trouble_since = now
            if self.limit < 2:  # one at a time is still too much: leave time between them
                pause = max(0.02, now - self.trouble_since)
                self.resume_at = max(self.resume_at, now + min(LONGEST_PROBE_WAIT, pause))
        else:
            self._failures += 1
            if outcome is CallResult.REFUSED or self._failures >= FAILURES_TO_OPEN:
                self.open(now)
        if permit.window == self._window and not self.is_open:
            self._count(now - permit.started, overload)

    def _count(self, latency: float, overload: bool) -> None:
        self._finished += 1
        self._latency += latency
        if overload:
            self._overloaded += 1
            self.limit = max(1.0, self._size / 2, self.limit - 1)
        if self._finished < self._size:
            return
        share, latency = self._overloaded / self._finished, self._latency / self._finished
        self._shortest_latency = min(self._shortest_latency, latency)
        late = latency > self.deadline / 3 and latency > 2 * self._shortest_latency
        if share >= 0.05:
            self._doubling = False
        elif self._reached and not late:
            step = self.limit if self._doubling else max(1.0, self.limit / 20)
            self.limit = min(self._ceiling, self.limit + step)
        self._new_window()

    # ---- the circuit ---------------------------------------------------------------------------

    def open(self, now: float) -> None:
        self.is_open = True
        self.trouble_since = now if self.trouble_since is None else self.trouble_since

    def answered(self) -> None:
        """It works: a call was answered, or a probe."""
        self._failures, self.trouble_since = 0, None
        if self.is_open:
            self.is_open, self._doubling, self.resume_at = False, True, 0.0
            self.limit = min(self.limit, float(self._start))
            self._new_window()


_Queue = deque[tuple[int, asyncio.Future[Permit]]]  # group, who waits
Probe = Callable[[str], Awaitable[str]]  # endpoint -> why it does not answer, or ""


class Admission:
    """Lets calls through to the endpoints of one model: first come, first served, least loaded
    endpoint, except that calls of one prefix group go to the same endpoint while it keeps up (its
    cache holds their prefix). `probe` asks an endpoint whose circuit is open."""

    def __init__(
        self,
        limiters: Sequence[Limiter],
        patience: float,
        on_notice: Callable[[str], None],
        probe: Probe,
    ) -> None:
        self.limiters = limiters
        self.patience = patience
        self.fatal: ModelUnavailable | None = None
        self.outlived = False  # fatal because the patience ended: nothing in flight will come
        self._notice = on_notice
        self._probe = probe
        self._probes: dict[str, asyncio.Task[None]] = {}  # by endpoint, the last one
        self._announced: set[str] = set()  # endpoints that the user was told are away
        self._warm: _Queue = deque()  # they go first
        self._cold: _Queue = deque()
        self._why = "no reply"  # the last failure's
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        return len(self._warm) + len(self._cold)

    async def enter(self, group: int, *, warm: bool = False) -> Permit:
        """A permit, when one is free. Raises ModelUnavailable once all endpoints are given up.
        warm: its prompt lies in a cache now, and later perhaps no more, so it goes before others.
        """
        if self.fatal is not None:
            raise self.fatal
        loop = asyncio.get_running_loop()
        if not self.waiting:
            limiter = self._choose(group, loop.time())
            if limiter is not None:
                return limiter.begin(loop.time())
        future: asyncio.Future[Permit] = loop.create_future()
        (self._warm if warm else self._cold).append((group, future))
        self._arm()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.leave(future.result(), CallResult.ABANDONED)
            raise

    def leave(self, permit: Permit, outcome: CallResult, failure: Retry | None = None) -> None:
        now, limiter = asyncio.get_running_loop().time(), permit.limiter
        was_open, since = limiter.is_open, limiter.trouble_since
        limiter.end(permit, now, outcome, overload=failure is not None and failure.overload)
        if outcome is CallResult.ANSWERED and not was_open and not self.waiting:
            return  # as nearly every call ends
        why = "" if failure is None else str(failure)
        if failure is not None and failure.after is not None:
            limiter.silence(now + failure.after)
        if limiter.is_open and not was_open:
            self._ask_whether_it_answers(limiter, why)
        elif was_open and not limiter.is_open:
            self._closed(limiter, since)
        self.look(why)

    # ---- an endpoint that may be down ----------------------------------------------------------

    def down(self, limiter: Limiter, why: str) -> None:
        """It does not answer: its circuit opens."""
        if not limiter.is_open:
            limiter.open(asyncio.get_running_loop().time())
            self._announce(limiter, why)
            self._ask_whether_it_answers(limiter, why)

    def _ask_whether_it_answers(self, limiter: Limiter, why: str) -> None:
        task = asyncio.create_task(self._probing(limiter, why), name="probe")
        self._probes[limiter.name] = task

    async def _probing(self, limiter: Limiter, why: str) -> None:
        loop, wait = asyncio.get_running_loop(), SHORTEST_PROBE_WAIT
        await asyncio.sleep(limiter.resume_at - loop.time())  # it may have asked for silence
        while (reason := await self._probe(limiter.name)) and self.fatal is None:
            self._announce(limiter, why or reason)
            self.look(reason)
            await asyncio.sleep(max(wait, limiter.resume_at - loop.time()))
            wait = min(LONGEST_PROBE_WAIT, 2 * wait)
        if self.fatal is not None:
            return
        since = limiter.trouble_since
        limiter.answered()
        self._closed(limiter, since)
        self.look()

    def _announce(self, limiter: Limiter, why: str) -> None:
        if limiter.name in self._announced:
            return
        self._announced.add(limiter.name)
        others = any(not other.is_open for other in self.limiters)
        self._notice(
            f"{limiter.name} does not answer ({why}): "
            + ("its calls go to the other endpoints" if others else "the run is paused")
            + f" and it is tried again for {self.patience:.0f} s"
        )

    def _closed(self, limiter: Limiter, since: float | None) -> None:
        probe = self._probes[limiter.name]
        if probe is not asyncio.current_task():  # a call was answered before it
            probe.cancel()
        if limiter.name in self._announced:
            self._announced.remove(limiter.name)
            now = asyncio.get_running_loop().time()
            lasted = now - (now if since is None else since)
            self._notice(f"{limiter.name} answers again after {lasted:.0f} s; going on")

    def share(self, workers: int) -> None:
        """So many processes ask the endpoints."""
        for limiter in self.limiters:
            limiter.share(workers)

    def pauses(self) -> dict[str, float]:
        """Seconds for which endpoints have asked for silence still."""
        now = asyncio.get_running_loop().time()
        every = ((x.name, x.silent_until - now) for x in self.limiters)
        return {name: seconds for name, seconds in every if seconds > 0}

    def pause(self, pauses: Mapping[str, float]) -> None:
        """What endpoints have asked of another process."""
        now = asyncio.get_running_loop().time()
        for limiter in self.limiters:
            if limiter.name in pauses:
                limiter.silence(now + pauses[limiter.name])

    async def close(self) -> None:
        """Ends the probes."""
        for task in self._probes.values():
            task.cancel()
        await asyncio.gather(*self._probes.values(), return_exceptions=True)

    # ---- who goes when -------------------------------------------------------------------------

    def look(self, why: str = "") -> None:
        """Hand out what is free, or give up. Called whenever something changed."""
        self._why = why or self._why
        now = asyncio.get_running_loop().time()
        in_trouble = [limiter.trouble_since for limiter in self.limiters]
        if self.fatal is None and all(
            t is not None and now - t > self.patience for t in in_trouble
        ):
            self.outlived = True
            names = ", ".join(limiter.name for limiter in self.limiters)
            self.give_up(
                ModelUnavailable(
                    f"{names} has not answered for {self.patience:.0f} s ({self._why}): "
                    "every answer so far is stored; run the same command again when it is back"
                )
            )
        while (queue := self._warm or self._cold) and self.fatal is None:
            if queue[0][1].done():  # its task was cancelled
                queue.popleft()
                continue
            limiter = min(
                (x for x in self.limiters if x.free(now)), key=lambda x: x.in_flight, default=None
            )
            if limiter is None:
                break
            self._next(queue, limiter).set_result(limiter.begin(now))
        self._arm()

    def give_up(self, error: ModelUnavailable) -> None:
        self.fatal = error
        for queue in (self._warm, self._cold):
            while queue:
                _, future = queue.popleft()
                if not future.done():
                    future.set_exception(error)

    def _arm(self) -> None:
        """Be called when a pause or the patience ends, though no call ends then."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self.waiting or self.fatal is not None:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        moments = [x.resume_at for x in self.limiters if x.resume_at > now]
        troubles = [x.trouble_since for x in self.limiters if x.trouble_since is not None]
        if len(troubles) == len(self.limiters):
            moments.append(max(max(troubles) + self.patience, now) + 0.01)
        if moments:
            self._timer = loop.call_at(min(moments), self.look)

    # ---- several endpoints ---------------------------------------------------------------------

    def _home(self, group: int) -> Limiter:
        """Where a group's prefix lives: rendezvous hashing over the endpoints that are up."""
        if len(self.limiters) == 1:
            return self.limiters[0]
        up = [x for x in self.limiters if not x.is_open] or self.limiters
        return max(up, key=lambda x: hash((group, x.name)))

    def _choose(self, group: int, now: float) -> Limiter | None:
        home = self._home(group)
        if len(self.limiters) == 1:
            return home if home.free(now) else None
        free = [x for x in self.limiters if x.free(now)]
        if not free:
            return None
        least = min(free, key=lambda x: x.in_flight)
        return home if home in free and home.in_flight <= 1.5 * least.in_flight + 2 else least

    def _next(self, queue: _Queue, limiter: Limiter) -> asyncio.Future[Permit]:
        """The first of the 32 longest waiting whose home this is, else the longest waiting."""
        at = 0
        if len(self.limiters) > 1:
            for i, (group, future) in enumerate(queue):
                if i == 32:
                    break
                if not future.done() and self._home(group) is limiter:
                    at = i
                    break
        _, future = queue[at]
        del queue[at]
        return future
