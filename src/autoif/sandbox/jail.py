"""The layers, each a small function over one system call. Runs in the zygote and its children only.

Around the zygote, once: namespaces, an empty root, Landlock, no capabilities, nobody's identity,
limits. Around each child: death with its parent, limits on memory and time, seccomp. Only seccomp
is indispensable; the canary proves that it holds before the first function runs.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import struct
from collections.abc import Callable
from contextlib import suppress

from autoif.sandbox import syscalls

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_prctl = _libc.prctl

# For what every child does: PyDLL lets go of nothing and saves no errno, so it touches the fewest
# pages, each of which the child would have to copy.
_bare = ctypes.PyDLL(None)
_bare.syscall.restype = ctypes.c_long
# Python's at-fork hooks cost more than the fork itself and a single-threaded zygote needs none of
# them. As the interpreter's lock is kept, the child goes on exactly where the parent stood.
fork: Callable[[], int] = _bare.fork

MACHINE = os.uname().machine
NUMBER = syscalls.numbers(MACHINE) if MACHINE in syscalls.ARCHITECTURES else {}

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 4, 22, 24
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 38, 47
CLONE = {
    "mount": 0x00020000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "pid": 0x20000000,
    "net": 0x40000000,
}
CLONE_NEWUSER = 0x10000000
NOBODY = 65534
LOCKDOWN_FAILED = 113


def _call(function: Callable[..., int], *args: object) -> bool:
    return function(*args) == 0


# ---- around the zygote -------------------------------------------------------------------------


def namespaces() -> list[str]:
    """Unshare what the kernel grants; the names achieved. Only while single-threaded.

    Real root needs no user namespace. Anyone else gets one in which he is himself.
    """
    uid, gid = os.geteuid(), os.getegid()
    everything = sum(CLONE.values())
    if _call(_libc.unshare, everything):
        return sorted(CLONE)
    if _call(_libc.unshare, CLONE_NEWUSER | everything):
        for name, line in (
            ("setgroups", "deny"),
            ("uid_map", f"{uid} {uid} 1"),
            ("gid_map", f"{gid} {gid} 1"),
        ):
            with suppress(OSError), open(f"/proc/self/{name}", "w") as f:
                f.write(line)
        return sorted([*CLONE, "user"])
    return [name for name, flag in sorted(CLONE.items()) if _call(_libc.unshare, flag)]


def empty_root() -> bool:
    """Make an empty read-only tmpfs the root. Needs a mount namespace of our own."""
    private, read_only = 1 << 18 | 1 << 14, 1 | 2 | 4 | 8  # REC|PRIVATE; RDONLY|NOSUID|NODEV|NOEXEC
    place = next((d for d in (b"/tmp", b"/mnt", b"/dev", b"/proc") if os.path.isdir(d)), b"/")
    ok = (
        _call(_libc.mount, b"none", b"/", None, private, None)
        and _call(_libc.mount, b"none", place, b"tmpfs", read_only, b"size=4k,nr_inodes=2")
        and _call(_libc.chdir, place)
        and _call(_syscall, NUMBER["pivot_root"], b".", b".")
        and _call(_libc.umount2, b".", 2)  # MNT_DETACH: the old root lies on top of the new
    )
    return ok and _call(_libc.chdir, b"/")


def landlock() -> int:
    """Deny every file, TCP, signals and abstract sockets.

    Returns Landlock's version, 0 where the kernel has none.
    """
    create = NUMBER["landlock_create_ruleset"]
    version = int(_syscall(create, None, 0, 1))
    if version < 1:
        return 0
    # access rights per version: 1 has 13, 2 REFER, 3 TRUNCATE, 5 IOCTL_DEV
    files = (1 << (13 + (version >= 2) + (version >= 3) + (version >= 5))) - 1
    network, scope = (3 if version >= 4 else 0), (3 if version >= 6 else 0)
    attributes = struct.pack("=QQQ", files, network, scope)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _syscall(create, attributes, size, 0)
    if ruleset < 0:
        return 0
    ok = _call(_syscall, NUMBER["landlock_restrict_self"], ruleset, 0)
    os.close(ruleset)
    return version if ok else 0


def become_nobody() -> str:
    """Root becomes nobody; anyone else stays who he is. Returns the identity achieved."""
    if os.geteuid() == 0:
        with suppress(OSError):
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
    return "root" if os.geteuid() == 0 else "nobody" if os.geteuid() == NOBODY else "user"


def drop_bounding_set() -> None:
    for capability in range(64):
        _prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    _prctl(PR_CAP_AMBIENT, 4, 0, 0, 0)  # PR_CAP_AMBIENT_CLEAR_ALL


def drop_capabilities() -> bool:
    header = struct.pack("=Ii", 0x20080522, 0)
    return _call(_syscall, NUMBER["capset"], header, bytes(24))


def no_new_privileges() -> bool:
    return _call(_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def undumpable() -> None:
    """No core file, and no other process of this user may look into our memory."""
    _prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def die_with_parent() -> None:
    _prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0)


def renounce() -> None:
    """For a process that has nothing left to do: every right that it can give away."""
    drop_bounding_set()
    become_nobody()
    no_new_privileges()
    drop_capabilities()
    undumpable()


def limit_zygote() -> bool:
    """No core files, no locked memory, few descriptors; the first to go when memory is short."""
    for which, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_STACK, 8 << 20),
    ):
        hard = resource.getrlimit(which)[1]
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        resource.setrlimit(which, (most, most))
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as f:
        f.write("1000")
    return True


def size() -> tuple[int, int]:
    """Bytes of address space and of writable private data that this process has now."""
    try:
        with open("/proc/self/statm") as f:
            fields = f.read().split()
        page = resource.getpagesize()
        return int(fields[0]) * page, int(fields[5]) * page
    except OSError:  # no /proc: a generous guess; the child's growth is what matters
        return 1 << 30, 256 << 20


def trim() -> None:
    """Give free memory back: a child copies a page that was used, but is given an empty one."""
    with suppress(AttributeError):  # a libc without it
        _libc.malloc_trim(0)


# ---- around each child -------------------------------------------------------------------------


class Lockdown:
    """What a child does to itself before it looks at untrusted source.

    All is prepared beforehand, and `child` is one plain function over C's own: each object that a
    child touches for the first time is a page that it has to copy.
    """

    def __init__(self) -> None:
        self._space, self._data = size()
        self._limits = {
            which: ctypes.create_string_buffer(16)  # struct rlimit
            for which in (
                *(resource.RLIMIT_CPU, resource.RLIMIT_DATA, resource.RLIMIT_AS),
                *(resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE),  # these stay 0
            )
        }
        code = syscalls.assemble(MACHINE)
        self._steps = ctypes.create_string_buffer(code, len(code))
        program = ctypes.create_string_buffer(16)  # struct sock_fprog
        at = ctypes.addressof(self._steps)
        struct.pack_into("=HxxxxxxQ", program, 0, len(code) // 8, at)
        self.child = _lockdown(program, list(self._limits.items()))

    def limit(self, memory: int, seconds: float) -> None:
        """For the children to come. memory: bytes beyond what the zygote has. seconds: CPU time, a
        backstop for the watchdog."""
        for which, most in (
            (resource.RLIMIT_CPU, int(seconds) + 2),
            (resource.RLIMIT_DATA, self._data + memory),
            (resource.RLIMIT_AS, self._space + memory),
        ):
            struct.pack_into("=QQ", self._limits[which], 0, most, most)


_Struct = ctypes.Array[ctypes.c_char]


def _lockdown(program: _Struct, limits: list[tuple[int, _Struct]]) -> Callable[[int], None]:
    """A function that closes every descriptor, dies with the zygote (whose pid it takes), limits,
    filters. It does not return on failure."""
    syscall, prctl = _bare.syscall, _bare.prctl
    setrlimit, getppid = _bare.setrlimit, _bare.getppid
    close_range, end = NUMBER["close_range"], os._exit

    def child(parent: int) -> None:
        try:
            if syscall(close_range, 3, 0xFFFFFFFF, 0) != 0:
                os.closerange(3, 64)  # the zygote has none above
            prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0)
            if getppid() != parent:
                end(LOCKDOWN_FAILED)
            for which, most in limits:
                if setrlimit(which, most) != 0:
                    end(LOCKDOWN_FAILED)
            if prctl(PR_SET_SECCOMP, 2, program, 0, 0) != 0:
                end(LOCKDOWN_FAILED)
        except BaseException:
            end(LOCKDOWN_FAILED)

    return child


# ---- the canary --------------------------------------------------------------------------------


def attempts() -> list[tuple[str, Callable[[], bool]]]:
    """What must fail inside the jail: (what, attempt); an attempt says whether it succeeded."""
    number = NUMBER
    page = resource.getpagesize()

    def call(name: str, *args: object) -> Callable[[], bool]:
        return lambda: _syscall(number[name], *args) >= 0

    def forked() -> bool:
        pid = int(_syscall(number["clone"], 17, 0, 0, 0, 0))
        if pid == 0:
            os._exit(0)
        return pid > 0

    def mapped(protection: int, flags: int) -> Callable[[], bool]:
        return lambda: _syscall(number["mmap"], 0, page, protection, flags, -1, 0) != -1

    at_fdcwd = -100
    writing = os.O_WRONLY | os.O_CREAT
    return [
        ("write a file", call("openat", at_fdcwd, b"/tmp/autoif-canary", writing, 0o600)),
        ("open a socket", call("socket", 2, 1, 0)),
        ("fork", forked),
        ("clone3", lambda: _syscall(number["clone3"], None, 0) >= 0 or _errno() != errno.ENOSYS),
        ("kill", call("kill", os.getpid(), 0)),
        ("execute a program", call("execve", b"/bin/true", None, None)),
        ("write to a descriptor", call("write", 1, b"", 0)),
        ("change the process", call("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)),
        ("map shared memory", mapped(3, 0x21)),
        ("map executable memory", mapped(7, 0x22)),
        ("open a file", call("openat", at_fdcwd, b"/", os.O_RDONLY, 0)),
    ]


def _errno() -> int:
    return ctypes.get_errno()


def landlock_holds() -> bool:
    """Tried, not believed: nothing opens, not even the root directory."""
    try:
        os.close(os.open("/", os.O_RDONLY | os.O_DIRECTORY))
    except OSError as error:
        return isinstance(error, PermissionError)
    return False
