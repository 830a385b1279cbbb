"""One zygote as its parent sees it: a process, a socket, and the memory shared with it.

The zygote is exec'd, never forked from here, so nothing of this process is in its memory.
"""

from __future__ import annotations

import errno
import importlib.util
import json
import mmap
import opcode
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from autoif.base.errors import SandboxUnavailable
from autoif.base.records import Outcome, Status
from autoif.sandbox import allowlist, frames


class Lost(Exception):
    """The zygote is gone or does not answer."""


NOT_RUN = "not run after"


def _outcomes() -> list[Outcome]:
    table = [Outcome(Status.ERROR, "unknown verdict")] * 256
    outcomes = {
        frames.FALSE: Outcome(Status.FALSE),
        frames.TRUE: Outcome(Status.TRUE),
        frames.FALSE_INT: Outcome(Status.FALSE, "returned int"),
        frames.TRUE_INT: Outcome(Status.TRUE, "returned int"),
        frames.FALSE_NUMPY: Outcome(Status.FALSE, "returned numpy bool"),
        frames.TRUE_NUMPY: Outcome(Status.TRUE, "returned numpy bool"),
        frames.CPU: Outcome(Status.TIMEOUT, "CPU limit"),
        frames.WALL: Outcome(Status.TIMEOUT, "wall-clock limit"),
        frames.TOTAL: Outcome(Status.TIMEOUT, "total limit"),
        frames.MEMORY: Outcome(Status.MEMORY, "memory limit"),
        frames.CRASH: Outcome(Status.CRASH, "the process died"),
    }
    for code, outcome in outcomes.items():
        table[code] = outcome
        if code >= frames.CPU:
            table[code | frames.SKIP] = Outcome(outcome.status, f"{NOT_RUN} {outcome.detail}")
    return table


OUTCOMES = _outcomes()
START_SECONDS, GRACE_SECONDS = 120.0, 15.0
# no site, no user site, no current directory, no .pyc files written
_FLAGS = ("-s", "-S", "-P", "-B", "-X", "utf8", "-c")
_PATHS = [str(p) for p in list(Path(__file__).resolve().parents)[1::-1]]  # of our two packages
# Packages without their __init__: the zygote wants these few modules and no dependency of ours.
_BOOT = """
import sys, types
for name, path in (("autoif", sys.argv[1]), ("autoif.sandbox", sys.argv[2])):
    sys.modules[name] = module = types.ModuleType(name)
    module.__path__ = [path]
from autoif.sandbox.zygote import main
main(sys.argv[3])
"""
_REGIONS = (("payload", frames.PAYLOAD), ("results", frames.RESULTS), ("outputs", frames.OUTPUTS))
_BLANK = bytes(frames.RESULTS)
ROOM = frames.PAYLOAD - (1 << 20)  # bytes of texts in one job; the rest is head, source, lengths


class Worker:
    """One zygote process and the memory shared with it. Used by one thread at a time."""

    def __init__(self, profile: str) -> None:
        self.profile = profile
        self.used = 0
        with ExitStack() as theirs:  # descriptors that only the zygote goes on to have
            try:
                self.maps, files = zip(*(_shared(r, theirs) for r in _REGIONS), strict=True)
            except OSError as error:
                why = f"sealed memory is missing ({error.strerror}); use Linux 5.4 or later"
                raise _unavailable(error, why) from None
            self.payload, self.results, self.outputs = self.maps
            try:
                self.control, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            except OSError as error:
                raise _unavailable(error, f"there is no socket for it ({error})") from None
            theirs.callback(end.close)
            options = {
                "parent": os.getpid(),
                "control": end.fileno(),
                **dict(zip(("payload", "results", "outputs"), files, strict=True)),
                "profile": profile,
                # looked up here: the module that knows them would add to the cost of every fork
                "opcodes": [opcode.opmap["IMPORT_NAME"], opcode.opmap["EXTENDED_ARG"]],
                "path": _libraries() if profile == "text" else [],
            }
            try:
                self.process = subprocess.Popen(
                    [sys.executable, *_FLAGS, _BOOT, *_PATHS, json.dumps(options)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/dev",  # not above any library: nltk refuses what lies below it
                    env=_environment(),
                    pass_fds=(end.fileno(), *files),
                    start_new_session=True,
                )
            except OSError as error:
                self.control.close()
                raise _unavailable(error, f"cannot start its interpreter: {error}") from None
        try:
            self.layers = self._ready()
        except BaseException:
            self.close()
            raise

    def _ready(self) -> dict[str, bool | str]:
        self.control.settimeout(START_SECONDS)
        try:
            message = json.loads(self.control.recv(1 << 16) or b'{"error": "it died at start"}')
        except OSError:
            message = {"error": f"it did not start within {START_SECONDS:.0f} s"}
        if "layers" in message:
            return dict(message["layers"])
        raise SandboxUnavailable(
            f"the sandbox cannot hold here: {message.get('error')}; `autoif doctor` says what to do"
        )

    def run(
        self, job: frames.Job, seconds: float, name: bytes, source: bytes, texts: Sequence[str]
    ) -> int:
        """Run one job, for so long; results and outputs then stand in shared memory. The last
        crash's status.

        Raises Lost where the zygote does not answer in time, or is another process's.
        """
        if self.control.fileno() < 0:
            raise Lost
        buffers = frames.pack(job, name, source, texts)
        payload = self.payload
        at = 0
        for buffer in buffers:
            payload[at : at + len(buffer)] = buffer
            at += len(buffer)
        # Nothing of the job before: all that a child can write is cleared, whatever the job was.
        if at < self.used:
            payload[at : self.used] = bytes(self.used - at)
        self.used = at
        self.results[:] = _BLANK
        self.outputs.madvise(mmap.MADV_REMOVE)
        try:
            self.control.settimeout(seconds + job.wall + GRACE_SECONDS)
            self.control.send(frames.REQUEST.pack(seconds))
            message = self.control.recv(frames.REPLY.size)
        except OSError as error:
            raise Lost from error
        if len(message) != frames.REPLY.size:
            raise Lost
        return int(frames.REPLY.unpack(message)[0])

    def wanted_profile(self, source: bytes) -> str | None:
        """The larger profile that the last job's child asks for, if it does and has a ground to."""
        index = self.results[frames.HEADER] - frames.NEEDS
        if not allowlist.PROFILES.index(self.profile) < index < len(allowlist.PROFILES):
            return None
        wanted = allowlist.PROFILES[index]
        if wanted == "text" and not any(name.encode() in source for name in allowlist.TEXT_NAMES):
            return None
        return wanted

    def read(self, job: frames.Job, crash: int) -> tuple[list[Outcome], list[bytes]]:
        """What the last job left: an outcome per call and, of transforms, the bytes per text."""
        codes = self.results[frames.HEADER : frames.HEADER + job.texts]
        table = OUTCOMES
        if max(codes) >= frames.CRASH:
            table = OUTCOMES.copy()
            died = Outcome(Status.CRASH, _death(crash))
            table[frames.CRASH] = died
            table[frames.CRASH | frames.SKIP] = Outcome(Status.CRASH, f"{NOT_RUN} {died.detail}")
            results = memoryview(self.results)
            for code in set(codes):
                if code >= frames.ERROR and (index := code - frames.ERROR) < frames.SLOTS:
                    table[code] = Outcome(Status.ERROR, frames.slot(results, index))
            results.release()
        outputs = []
        if job.transform:
            for i, code in enumerate(codes):
                at = i * frames.TEXT_OUT
                size = int.from_bytes(self.outputs[at : at + 4], "little")
                size = min(size, frames.TEXT_OUT - 4) if code == frames.TRUE else 0
                outputs.append(self.outputs[at + 4 : at + 4 + size])
        return [table[code] for code in codes], outputs

    def close(self) -> None:
        """End the process: it goes when the socket closes, and is killed if it does not."""
        self.control.close()
        try:
            self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for region in self.maps:
            region.close()

    def forget(self) -> None:
        """In a process forked from the one that owns the zygote: let go, touch nothing."""
        self.process.returncode = 0
        self.control.close()
        for region in self.maps:
            with suppress(BufferError):  # a thread of the parent's was reading it
                region.close()


def _shared(region: tuple[str, int], opened: ExitStack) -> tuple[mmap.mmap, int]:
    """A memfd of fixed size, sealed, and our map of it. The payload is read-only for all others.
    `opened` closes the memfd."""
    import fcntl

    name, size = region
    file = os.memfd_create(f"autoif-{name}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    opened.callback(os.close, file)
    os.ftruncate(file, size)
    memory = mmap.mmap(file, size)
    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
    if name == "payload":
        seals |= 0x10  # F_SEAL_FUTURE_WRITE: only the map we already have can be written
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, seals)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL)
    return memory, file


def _unavailable(error: OSError, why: str) -> SandboxUnavailable:
    if error.errno in (errno.EMFILE, errno.ENFILE):
        why = f"no descriptor is left for it ({error.strerror}); close files, or raise the limit"
        why += " (`ulimit -n`)" if error.errno == errno.EMFILE else " (sysctl fs.file-max)"
    return SandboxUnavailable(f"the sandbox cannot start: {why}")


def _libraries() -> list[str]:
    """Where the modules of the text profile are installed, as this process would import them."""
    folders: dict[str, None] = {}
    for name in sorted(allowlist.TEXT_NAMES):
        spec = importlib.util.find_spec(name)
        for place in (spec and spec.submodule_search_locations) or ():
            folders[os.path.dirname(os.path.abspath(place))] = None
    return list(folders)


def _environment() -> dict[str, str]:
    """The whole environment of the zygote's interpreter. None of the caller's secrets."""
    fixed = {"PYTHONHASHSEED": "0", "TZ": "UTC0", "LC_ALL": "C.UTF-8"}
    fixed["LD_BIND_NOW"] = "1"  # else every child looks the same symbols up again
    threads = ("OPENBLAS", "OMP", "MKL", "NUMEXPR", "VECLIB_MAXIMUM")
    fixed |= {f"{name}_NUM_THREADS": "1" for name in threads}
    passed = ("LD_LIBRARY_PATH", "NLTK_DATA")
    return fixed | {name: os.environ[name] for name in passed if name in os.environ}


def _death(status: int) -> str:
    """A wait status in words."""
    code = os.waitstatus_to_exitcode(status) if status >= 0 else 0
    if code >= 0:
        return f"the process died (exit {code})"
    try:
        return f"the process died ({signal.Signals(-code).name})"
    except ValueError:
        return f"the process died (signal {-code})"
