"""What an attack is, and the burglar's tools that most of them start from."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from textwrap import dedent, indent

from autoif.base.records import Status

TEXTS = ("one two three", "", "Grüße, 世界! " * 40)

ANYTHING: frozenset[Status] = frozenset()
NEVER_TRUE = frozenset({Status.TRUE})


@dataclass(frozen=True, slots=True)
class Attack:
    """One hostile function.

    source: the code; `@VICTIM@` and `@HOST@` stand for a file and a process id of the host.
    never: verdicts that would mean it got through. An attacker may forge his own verdict (that is
        `return True` by other means), so for most any verdict will do.
    runs: in so many jobs, for what one leaves to the next. `@RUN@` stands for which: so each is
        another function.
    function: `evaluate` is run by Sandbox.evaluate, `comply` by Sandbox.transform.
    """

    name: str
    family: str
    source: str
    never: frozenset[Status] = ANYTHING
    function: str = "evaluate"
    texts: tuple[str, ...] = TEXTS
    runs: int = 1

    def armed(self, victim: str, host: int, run: int = 0) -> str:
        source = self.source.replace("@VICTIM@", victim).replace("@HOST@", str(host))
        return source.replace("@RUN@", str(run))


# Most attacks need a module that no allowlist would grant. These are the usual ways round one.
TOOLS = """
import collections
import functools
import re

def grab(name):
    for route in (_import, _loaded, _subclass, _frame, _builtin):
        try:
            module = route(name)
        except Exception:
            continue
        if module is not None:
            return module
    raise LookupError("no route to " + name)

def _import(name):
    return __import__(name)

def _loaded(name):
    for holder in (collections, getattr(re, "enum", None), functools):
        for alias in ("_sys", "sys"):
            if name in getattr(getattr(holder, alias, None), "modules", ()):
                return getattr(holder, alias).modules[name]

def _subclass(name):
    for cls in object.__subclasses__():
        space = getattr(cls.__init__, "__globals__", {})
        if name in getattr(space.get("sys"), "modules", ()):
            return space["sys"].modules[name]

def _frame(name):
    try:
        raise ValueError
    except ValueError as error:
        frame = error.__traceback__.tb_frame
    while frame is not None:
        for space in (frame.f_builtins, frame.f_globals):
            try:
                return space["__import__"](name)
            except Exception:
                pass
        frame = frame.f_back

def _builtin(name):
    for cls in object.__subclasses__():
        if cls.__name__ == "BuiltinImporter":
            return cls.load_module(name)

def parent():
    # A refused getppid says -1, and to kill -1 would mean to kill everybody.
    return max(grab("posix").getppid(), 1)

def syscall(number, *arguments):
    ctypes = grab("ctypes")
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = call(ctypes.c_long(number), *words)
    return result, ctypes.get_errno()

def granted(number, *arguments):
    # Refused is EPERM, EACCES or ENOSYS; any other errno means that the kernel took it up.
    result, errno = syscall(number, *arguments)
    return result >= 0 or errno not in (1, 13, 38)
"""


def vandal(family: str, name: str, body: str, never: frozenset[Status] = ANYTHING) -> Attack:
    """`body` of an `evaluate` that wants to do harm; it may return what it likes."""
    return Attack(f"{family}-{name}", family, TOOLS + _evaluate(body), never)


def reach(family: str, name: str, body: str) -> Attack:
    """`body` of an `evaluate` that returns True only where it got what it must not get."""
    return vandal(family, name, body, NEVER_TRUE)


def module(family: str, name: str, source: str, never: frozenset[Status] = ANYTHING) -> Attack:
    """A whole source, as it stands."""
    return Attack(f"{family}-{name}", family, dedent(source), never)


def transform(family: str, name: str, body: str) -> Attack:
    """`body` of a `comply` whose output is the weapon."""
    return Attack(f"{family}-{name}", family, TOOLS + _evaluate(body, "comply"), function="comply")


def _evaluate(body: str, function: str = "evaluate") -> str:
    return f"\ndef {function}(response):\n" + indent(dedent(body).strip("\n"), "    ") + "\n"


_SYSCALLS = {  # name: (x86-64, aarch64)
    "add_key": (248, 217),
    "bpf": (321, 280),
    "capset": (126, 91),
    "chroot": (161, 51),
    "clock_getres": (229, 114),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "clone": (56, 220),
    "clone3": (435, 435),
    "close_range": (436, 436),
    "copy_file_range": (326, 285),
    "dup3": (292, 24),
    "execve": (59, 221),
    "execveat": (322, 281),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "fanotify_init": (300, 262),
    "fcntl": (72, 25),
    "ftruncate": (77, 46),
    "futex": (202, 98),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "inotify_init1": (294, 26),
    "io_setup": (206, 0),
    "io_uring_setup": (425, 425),
    "keyctl": (250, 219),
    "landlock_create_ruleset": (444, 444),
    "madvise": (28, 233),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "mmap": (9, 222),
    "mount": (165, 40),
    "move_pages": (279, 239),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "msgget": (68, 186),
    "munmap": (11, 215),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "openat": (257, 56),
    "openat2": (437, 437),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pipe2": (293, 59),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "remap_file_pages": (216, 234),
    "rseq": (334, 293),
    "rt_sigaction": (13, 134),
    "rt_sigqueueinfo": (129, 138),
    "sched_setaffinity": (203, 122),
    "seccomp": (317, 277),
    "semget": (64, 190),
    "setns": (308, 268),
    "sigaltstack": (131, 132),
    "setpriority": (141, 140),
    "setsid": (112, 157),
    "setuid": (105, 146),
    "shmget": (29, 194),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "splice": (275, 76),
    "tgkill": (234, 131),
    "timer_create": (222, 107),
    "timerfd_create": (283, 85),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vmsplice": (278, 75),
    "write": (1, 64),
    "writev": (20, 66),
}


def nr(name: str) -> int:
    """The number of a system call on this machine."""
    return _SYSCALLS[name][platform.machine() == "aarch64"]
