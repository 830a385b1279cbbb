"""A fresh interpreter that imports everything, locks itself in, and forks one child per function.

It never reads a source or a text: the child takes both from shared memory. So nothing of one
function can be found in the memory of the next. It is single-threaded for good.
"""

from __future__ import annotations

import gc
import json
import mmap
import os
import re
import select
import signal
import sys
import time
import warnings
from contextlib import suppress
from typing import Any

from autoif.sandbox import allowlist, child, frames, jail


class Zygote:
    def __init__(self, options: dict[str, Any]) -> None:
        """options: parent, control, payload, results, outputs (pid, descriptors), profile,
        path (of the text profile's modules), opcodes (of imports, see `allowlist`)."""
        self.profile: str = options["profile"]
        self.path: list[str] = options["path"]
        self.opcodes: tuple[int, int] = tuple(options["opcodes"])
        control, payload, results, outputs = inherited = [
            options[k] for k in ("control", "payload", "results", "outputs")
        ]
        self.control = os.dup(control)
        self.parent = _pidfd(options["parent"])
        self.payload = memoryview(
            mmap.mmap(payload, frames.PAYLOAD, mmap.MAP_SHARED, mmap.PROT_READ)
        )
        self.map = mmap.mmap(results, frames.RESULTS, mmap.MAP_SHARED)
        self.results = memoryview(self.map)
        self.outputs = memoryview(mmap.mmap(outputs, frames.OUTPUTS, mmap.MAP_SHARED))
        # What we keep has the lowest numbers there are; the parent's may be of any size.
        for descriptor in inherited:
            os.close(descriptor)
        self.layers: dict[str, bool | str] = {}
        self.poller = select.poll()

    # ---- becoming a jail -----------------------------------------------------------------------

    def close_in(self) -> None:
        """Every layer, in the only order that works."""
        layers = self.layers
        achieved = jail.namespaces()
        if "pid" in achieved:
            _become_init()
        layers["namespaces"] = " ".join(achieved) or False
        layers["rlimits"] = jail.limit_zygote()
        sys.path += self.path
        warnings.simplefilter("ignore")
        allowlist.warm(self.profile)
        child.prepare()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])  # taken by `_ended`
        self.lockdown = jail.Lockdown()
        jail.drop_bounding_set()
        layers["empty root"] = "mount" in achieved and jail.empty_root()
        layers["identity"] = jail.become_nobody()
        if "pid" in achieved:
            jail.die_with_parent()  # again: a change of identity has disarmed it
        layers["no_new_privs"] = jail.no_new_privileges()
        version = jail.landlock()
        layers["landlock"] = f"v{version}" if version and jail.landlock_holds() else False
        layers["no capabilities"] = jail.drop_capabilities()
        jail.undumpable()
        if not layers["no_new_privs"]:
            raise RuntimeError("no_new_privs is missing (prctl was refused)")

    def warm(self) -> None:
        """Run a function of our own here, so that the interpreter learns its way only once."""
        results, outputs = memoryview(bytearray(frames.RESULTS)), memoryview(bytearray(1))
        texts = _WARM_TEXTS * 2
        job = frames.Job(False, len(texts), 0, 1, 1.0, 1.0, 1.0)
        for source in _WARM * 12:
            payload = memoryview(b"".join(frames.pack(job, b"evaluate", source, texts)))
            runner = child.Runner(payload, results, outputs, self.profile, self.opcodes)
            runner(frames.unpack_job(payload), 0)
            results[:] = bytes(frames.RESULTS)
            re.purge()
        for pattern in _PATTERNS:
            re.compile(pattern)
        self.runner = child.Runner(
            self.payload, self.results, self.outputs, self.profile, self.opcodes
        )
        sys.meta_path.append(self.runner)
        gc.collect()
        jail.trim()
        gc.freeze()

    def canary(self) -> None:
        """Raise RuntimeError unless a child, locked down as for a job, fails at everything."""
        attempts = jail.attempts()
        results, first = self.results, frames.HEADER
        me = os.getpid()
        self.lockdown.limit(64 << 20, 5)
        pid = jail.fork()
        if pid == 0:
            self.lockdown.child(me)
            for i, (_, attempt) in enumerate(attempts):
                results[first + i] = frames.TRUE if attempt() else frames.FALSE
            os._exit(0)
        try:
            time.clock_gettime(_cpu_clock(pid))
            self.layers["cpu clock"] = True
        except OSError:
            self.layers["cpu clock"] = False
        status = os.waitpid(pid, 0)[1]
        outcomes = bytes(results[first : first + len(attempts)])
        results[:] = bytes(frames.RESULTS)
        if os.waitstatus_to_exitcode(status) == jail.LOCKDOWN_FAILED:
            raise RuntimeError("seccomp is missing: the kernel or the container refused the filter")
        for (what, _), code in zip(attempts, outcomes, strict=True):
            if code != frames.FALSE:
                raise RuntimeError(f"seccomp does not hold: code in the jail could {what}")
        if status:
            raise RuntimeError(f"seccomp does not hold: the canary died (wait status {status})")
        self.layers["seccomp"] = "strict"

    # ---- jobs ----------------------------------------------------------------------------------

    def serve(self) -> None:
        """Answer until the parent goes away."""
        size = frames.REQUEST.size
        while True:
            self.poll(None)
            message = os.read(self.control, size)
            if len(message) != size:
                os._exit(0)
            (seconds,) = frames.REQUEST.unpack(message)
            os.write(self.control, frames.REPLY.pack(self.job(seconds)))

    def poll(self, timeout_ms: float | None) -> None:
        """Wait for a message. Ends this process, and so its child, with the parent."""
        ready = dict(self.poller.poll(timeout_ms))
        if self.parent in ready or ready.get(self.control, 0) & (select.POLLHUP | select.POLLERR):
            os._exit(0)

    def job(self, seconds: float) -> int:
        """Run the job in the payload to its end; the wait status of its last crash, or 0.

        A child ends when all calls are made, after a MemoryError, or when it dies; each such end
        but the first is a strike, and the next child goes on at the next call.
        """
        job = frames.unpack_job(self.payload)
        results, find = self.results, self.map.find
        first, end = frames.HEADER, frames.HEADER + job.texts
        deadline = time.monotonic() + seconds
        me = os.getpid()
        self.lockdown.limit(job.memory, job.total)
        lockdown = self.lockdown.child
        strikes = crash = 0
        while (at := find(b"\0", first, end)) >= 0:
            results[0] = frames.STARTING
            pid = jail.fork()
            if pid == 0:
                try:
                    lockdown(me)
                    self.runner(job, at - first)
                finally:  # whatever happens, a child never goes on as a zygote
                    os._exit(0)
            if pid < 0:
                results[at:end] = bytes([frames.CRASH]) * (end - at)
                return -1
            why, stuck, status = self.watch(pid, job, at, end, deadline)
            now = find(b"\0", first, end)
            if now < 0:
                break
            if why == frames.TOTAL:
                results[now:end] = bytes([why]) * (end - now)
                break
            if why and now != stuck:
                continue  # that call came to an end while it was being killed
            if not why:
                if status == 0 and now > at and results[now - 1] == frames.MEMORY:
                    why = frames.MEMORY
                else:
                    why, crash = frames.CRASH, status
            if results[0] == frames.STARTING:  # the module level did not end, nor would it again
                results[now:end] = bytes([why]) * (end - now)
                break
            if why != frames.MEMORY:
                results[now] = why
                now += 1
            strikes += 1
            if strikes >= job.strikes:
                results[now:end] = bytes([why | frames.SKIP]) * (end - now)
        return crash

    def watch(
        self, pid: int, job: frames.Job, at: int, end: int, deadline: float
    ) -> tuple[int, int, int]:
        """Wait for a child or kill it: (CPU, WALL, TOTAL or 0, at which call, wait status).

        A call's clock starts when we see that the one before has ended, so never too early.
        """
        tick = min(max(job.cpu / 20, 0.002), 0.05)
        seen, used0, since = (frames.STARTING, at), 0.0, time.monotonic()
        # Most children end within the first tick: before it nothing is done that can wait, because
        # it may be done on the very core that the child is waiting for.
        while (status := _ended(pid, tick)) is None:
            self.poll(0)
            results, find, clock = self.results, self.map.find, _cpu_clock(pid)
            used, now = _clock(clock), time.monotonic()
            why = 0
            here = (results[0], find(b"\0", at, end))
            if now > deadline:
                why = frames.TOTAL
            elif here != seen:
                seen, used0, since = here, _clock(clock), now
            elif used - used0 > job.cpu:
                why = frames.CPU
            elif now - since > job.wall:
                why = frames.WALL
            if why:
                os.kill(pid, signal.SIGKILL)
                return why, seen[1], os.waitpid(pid, 0)[1]
        return 0, seen[1], status


# What verifiers typically do. Our own code, run a few times before the jail serves anyone.
_WARM = (
    b"""
import re
import string

def evaluate(response: str) -> bool:
    words = re.findall(r"\\b[a-z]+(?:'[a-z]+)?\\b", response.lower())
    if not words or len(words) > 200:
        return False
    return len(words) > 3 and any(w[0] in string.ascii_letters for w in words)
""",
    b"""
import json

def evaluate(response):
    try:
        return isinstance(json.loads(response), dict)
    except ValueError:
        return False
""",
    b"""
import re
from collections import Counter

LIMIT = 3

class Line:
    def __init__(self, text):
        self.text = text.strip()

def evaluate(response):
    lines = [Line(l) for l in response.split("\\n") if l.strip()]
    counts = Counter(l.text[:1] for l in lines)
    bullets = [l for l in lines if re.match(r"^\\s*(?:[-*]|\\d+[.)])\\s+", l.text)]
    found = re.search(r'"([^"]+)"|\\((.*?)\\)', response, re.DOTALL | re.IGNORECASE)
    return len(bullets) >= LIMIT or bool(found) or max(counts.values(), default=0) > LIMIT
""",
    b"""
def evaluate(response):
    sentences = [s for s in response.replace("!", ".").replace("?", ".").split(".") if s.strip()]
    text = "".join(sorted(set(response.upper())))
    return len(sentences) == 3 and response.count(",") == 0 and not text.endswith("?") or unknown
""",
)
_WARM_TEXTS = [
    "one two three",
    'A text of some length. It has (parentheses), "quotes" and commas!\n\n- one\n- two\n3) three',
    '{"a": [1, 2.5, null, true], "b": "c"}',
    "",
    "\u4f60\u597d\uff0c\u4e16\u754c. It is fine? Yes",
]


# What verifiers ask `re` for most often: compiled once here, found in its cache by every child.
_PATTERNS = (
    *(r"\w+", r"\b\w+\b", r"[A-Za-z]+", r"[a-zA-Z]+", r"\b[a-zA-Z]+\b", r"[A-Za-z']+", r"\S+"),
    *(r"\s+", r"\W+", r"\d+", r"\b\d+\b", r"\d", r"[A-Z]", r"[a-z]", r"[A-Z]+", r"[^\w\s]", r"\n+"),
    *(r"[.!?]", r"[.!?]+", r"[.!?]\s*", r"(?<=[.!?])\s+", r"[.!?]+\s+", r"\n\s*\n", r"\n\n+"),
    *(r"\(.*?\)", r"\([^)]*\)", r"\[.*?\]", r"\[[^\]]*\]", r"\{.*?\}", r'"[^"]*"', r'"([^"]*)"'),
    *(r"\*\*.*?\*\*", r"\*\*[^*]+\*\*", r"^\s*[-*]\s+", r"^\s*\d+\.\s+", r"^\d+\.", r"<[^>]+>"),
    *(r"[\u4e00-\u9fff]", r"[\u4e00-\u9fff]+", r"[。！？]", r"[。！？]+", r"https?://\S+"),
)


def _cpu_clock(pid: int) -> int:
    return (~pid << 3) | 2  # the kernel's MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED)


def _clock(clock: int) -> float:
    try:
        return time.clock_gettime(clock)
    except OSError:  # a kernel without such clocks: elapsed time must do
        return time.monotonic()


def _ended(pid: int, seconds: float) -> int | None:
    """Wait so long for a child; its wait status, or None where it goes on."""
    # The signal is blocked, so one that came before is not lost; one that is left over from an
    # earlier child costs a round.
    signal.sigtimedwait([signal.SIGCHLD], seconds)
    done, status = os.waitpid(pid, os.WNOHANG)
    return status if done else None


def _pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return -1


def _become_init() -> None:
    """Fork the first process of the new PID namespace and go on there; stay to await its end.

    When it dies the kernel kills all that is in the namespace; when we are killed it dies.
    """
    pid = os.fork()
    if pid:
        os.closerange(3, 1 << 20)
        jail.renounce()
        os.waitpid(pid, 0)
        os._exit(0)
    # Armed only here, where the parent has one thread: the signal comes when the parent's *thread*
    # ends. Without a PID namespace the end of the socket and of the parent's pidfd must do.
    jail.die_with_parent()


def main(options: str) -> None:
    """Entry point of the fresh interpreter; `options` is JSON from the pool."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored by a caller, it hides how a child ends
    zygote = Zygote(json.loads(options))
    try:
        zygote.close_in()
        zygote.warm()
        zygote.canary()
    except Exception as error:
        with suppress(OSError):
            os.write(zygote.control, json.dumps({"error": f"{error}"}).encode())
        os._exit(1)
    zygote.poller.register(zygote.control, select.POLLIN)
    if zygote.parent >= 0:
        zygote.poller.register(zygote.parent, select.POLLIN)
    os.write(zygote.control, json.dumps({"layers": zygote.layers}).encode())
    zygote.serve()
