"""What hostile code may ask of the kernel: syscall numbers and a seccomp filter, assembled by hand.

About twenty calls for memory, time and exit; none can open, read or write anything. Everything else
fails with EPERM; a foreign or x32 ABI kills the process.

Numbers: Linux arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
"""

from __future__ import annotations

import os
import struct
import sys

# name: (x86-64, aarch64); None where the architecture has no such call
SYSCALLS: dict[str, tuple[int | None, int | None]] = {
    # allowed
    "futex": (202, 98),
    "munmap": (11, 215),
    "brk": (12, 214),
    "clock_gettime": (228, 113),
    "gettimeofday": (96, 169),
    "time": (201, None),
    "getrandom": (318, 278),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "sched_yield": (24, 124),
    "nanosleep": (35, 101),
    "clock_nanosleep": (230, 115),
    "clock_getres": (229, 114),
    "getrusage": (98, 165),
    "mremap": (25, 216),
    "close": (3, 57),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "madvise": (28, 233),
    # used by the jail while it is built, or attempted by its canary; never allowed
    "openat": (257, 56),
    "clone": (56, 220),
    "clone3": (435, 435),
    "execve": (59, 221),
    "kill": (62, 129),
    "socket": (41, 198),
    "write": (1, 64),
    "prctl": (157, 167),
    "pivot_root": (155, 41),
    "capset": (126, 91),
    "close_range": (436, 436),
    "landlock_create_ruleset": (444, 444),
    "landlock_restrict_self": (446, 446),
}

ALLOWED = tuple(SYSCALLS)[: tuple(SYSCALLS).index("openat")]

# Not allowed although harmless to files and processes: `getpid` and `gettid`, which would count the
# zygote's jobs (refused, the C library says -1).
PROT_EXEC, MAP_PRIVATE, MAP_ANONYMOUS, MAP_NORESERVE = 0x4, 0x02, 0x20, 0x4000

# (argument, mask, allowed values): allowed where (argument & mask) is one of the values. A shared
# mapping would escape RLIMIT_DATA, an executable one would let code be made out of data. A clock
# beyond the fixed ones is the CPU clock of a process or a device. Futexes that know their owner
# (PI) or move waiters (requeue) act on other tasks, and have had more bugs than all the rest.
_CLOCK = (0, 0xFFFFFFFF, tuple(range(12)))
_FUTEX_FLAGS = 128 | 256  # FUTEX_PRIVATE_FLAG, FUTEX_CLOCK_REALTIME
RULES: dict[str, tuple[tuple[int, int, tuple[int, ...]], ...]] = {
    "mmap": (
        (2, PROT_EXEC, (0,)),
        (3, 0xFFFFFFFF & ~MAP_NORESERVE, (MAP_PRIVATE | MAP_ANONYMOUS,)),
    ),
    "mprotect": ((2, PROT_EXEC, (0,)),),
    "madvise": ((2, 0xFFFFFFFF, (4, 8)),),  # MADV_DONTNEED, MADV_FREE
    "mremap": ((3, 0xFFFFFFFF, (0, 1)),),  # MREMAP_MAYMOVE
    # FUTEX_WAIT, FUTEX_WAKE, FUTEX_WAIT_BITSET, FUTEX_WAKE_BITSET
    "futex": ((1, 0xFFFFFFFF & ~_FUTEX_FLAGS, (0, 1, 9, 10)),),
    "clock_gettime": (_CLOCK,),
    "clock_getres": (_CLOCK,),
    "clock_nanosleep": (_CLOCK,),
}

ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column, AUDIT_ARCH_*

_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_EPERM, _ENOSYS = 1, 38
_LOAD, _EQUAL, _AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_X32 = 0x40000000
_Step = tuple[int, int, int, int]  # code, jump if true, jump if false, operand


def unsupported() -> str:
    """Why there can be no sandbox on this platform at all; empty where there can."""
    if sys.platform != "linux":
        return f"seccomp is missing ({sys.platform} is not Linux); run AutoIF in a Linux container"
    if (machine := os.uname().machine) not in ARCHITECTURES:
        return f"no seccomp filter for {machine}; use x86-64 or aarch64"
    return ""


def numbers(machine: str) -> dict[str, int]:
    """Syscall numbers of this machine (`os.uname().machine`) by name. KeyError where unknown."""
    column = ARCHITECTURES[machine][0]
    return {name: n for name, row in SYSCALLS.items() if (n := row[column]) is not None}


def assemble(machine: str) -> bytes:
    """The filter as an array of `struct sock_filter`.

    Offsets in `struct seccomp_data`: number 0, architecture 4, low word of argument i 16 + 8i.
    """
    number = numbers(machine)
    bodies = {number["clone3"]: [(_RETURN, 0, 0, _ERRNO | _ENOSYS)]}  # so that libc tries clone
    for name in ALLOWED:
        if name in number:
            bodies[number[name]] = _body(name)
    program: list[_Step] = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, ARCHITECTURES[machine][1]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),
    ]
    if machine == "x86_64":
        program += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _KILL)]
    program += _search(sorted(bodies.items()))
    return b"".join(struct.pack("=HBBI", *step) for step in program)


def _search(bodies: list[tuple[int, list[_Step]]]) -> list[_Step]:
    """Binary search for the syscall's number. The kernel runs the whole filter once per known
    number whenever it is installed, so a long chain of comparisons would cost every child."""
    if len(bodies) == 1:
        number, body = bodies[0]
        refuse = (_RETURN, 0, 0, _ERRNO | _EPERM)
        return [(_EQUAL, 0, len(body), number), *body, refuse]
    middle = len(bodies) // 2
    low, high = _search(bodies[:middle]), _search(bodies[middle:])
    return [(_AT_LEAST, len(low), 0, bodies[middle][0]), *low, *high]


def _body(name: str) -> list[_Step]:
    """What follows once the number matched: argument checks, ending in ALLOW or EPERM."""
    body: list[_Step] = []
    for argument, mask, values in RULES.get(name, ()):
        body += [(_LOAD, 0, 0, 16 + 8 * argument), (_AND, 0, 0, mask)]
        for i, value in enumerate(values):
            to_go = len(values) - 1 - i  # comparisons still to skip, then the refusal
            body.append((_EQUAL, to_go + 1, 0, value))
        body.append((_RETURN, 0, 0, _ERRNO | _EPERM))
    return [*body, (_RETURN, 0, 0, _ALLOW)]
