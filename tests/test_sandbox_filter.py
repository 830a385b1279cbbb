"""The seccomp filter lets through what the allowlist says and nothing else: shown by running it in
a small BPF interpreter for both architectures, and by trying every system call inside the jail."""

from __future__ import annotations

import errno
import json
import platform
import re
import struct
from pathlib import Path

import pytest

from autoif.base.records import Status
from autoif.sandbox import Sandbox
from autoif.sandbox.syscalls import ALLOWED, ARCHITECTURES, assemble, numbers

KILL, ALLOW, EPERM, ENOSYS = 0x80000000, 0x7FFF0000, 0x00050001, 0x00050026
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
# arguments that the filter looks at, such that it lets the call through
HARMLESS = {
    "mmap": (0, 4096, 3, 0x22, 0xFFFFFFFF, 0),
    "mprotect": (0, 4096, 3),
    "madvise": (0, 4096, 4),
    "futex": (0, 129),
    "clock_gettime": (0,),
    "clock_getres": (0,),
    "clock_nanosleep": (0,),
}


def run(program: bytes, arch: int, number: int, arguments: tuple[int, ...] = ()) -> int:
    """What this filter says of a system call. Fails on a jump out of the program."""
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("=IIQ6Q", number, arch, 0, *padded)
    steps = list(struct.iter_unpack("=HBBI", program))
    accumulator = at = 0
    while True:
        code, if_true, if_false, operand = steps[at]
        at += 1
        match code:
            case 0x20:
                accumulator = struct.unpack_from("=I", data, operand)[0]
            case 0x54:
                accumulator &= operand
            case 0x15:
                at += if_true if accumulator == operand else if_false
            case 0x35:
                at += if_true if accumulator >= operand else if_false
            case 0x06:
                return int(operand)
            case _:
                raise AssertionError(f"unknown instruction {code:#x}")


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_every_number(machine: str) -> None:
    arch, program = ARCHITECTURES[machine][1], assemble(machine)
    name_of = {n: name for name, n in numbers(machine).items()}
    allowed = {n for n, name in name_of.items() if name in ALLOWED}
    reached = set()
    for n in range(1024):
        said = run(program, arch, n, HARMLESS.get(name_of.get(n, ""), ()))
        assert said in ((ENOSYS,) if name_of.get(n) == "clone3" else (ALLOW, EPERM))
        reached |= {n} if said == ALLOW else set()
    assert reached == allowed


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_foreign_architectures_are_killed(machine: str) -> None:
    arch, program = ARCHITECTURES[machine][1], assemble(machine)
    for foreign in (0x40000003, 0x40000028, *(a for _, a in ARCHITECTURES.values() if a != arch)):
        assert run(program, foreign, numbers(machine)["getuid"]) == KILL
    if machine == "x86_64":
        for n in (39, 0, 0x1FFFFFFF):
            assert run(program, arch, 0x40000000 | n) == KILL


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_arguments(machine: str) -> None:
    arch, number = ARCHITECTURES[machine][1], numbers(machine)

    def says(name: str, *arguments: int) -> bool:
        return run(assemble(machine), arch, number[name], arguments) == ALLOW

    assert says("mmap", 0, 4096, 3, 0x4022)
    for protection, flags in ((3, 0x21), (3, 0x02), (7, 0x22), (4, 0x22), (3, 0x23), (3, 0x122)):
        assert not says("mmap", 0, 4096, protection, flags)
    assert says("mprotect", 0, 4096, 1)
    assert not says("mprotect", 0, 4096, 5)
    assert [a for a in range(30) if says("madvise", 0, 0, a)] == [4, 8]
    assert [f for f in range(16) if says("mremap", 0, 4096, 8192, f)] == [0, 1]
    for flags in (0, 128, 256, 128 | 256):  # FUTEX_PRIVATE_FLAG, FUTEX_CLOCK_REALTIME
        assert [o for o in range(128) if says("futex", 0, o | flags)] == [0, 1, 9, 10]
    for clock in ("clock_gettime", "clock_getres", "clock_nanosleep"):
        assert [c for c in range(-99, 99) if says(clock, c & (1 << 64) - 1)] == list(range(12))
        assert not says(clock, 0x8000000B)
    assert not says("openat")


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_numbers_are_the_kernel_headers(machine: str) -> None:
    header = HEADERS[machine]
    if not header.exists():
        pytest.skip(f"{header} is not installed")
    pattern = r"#define __NR(?:3264)?_(\w+)\s+(\d+)"
    there = {name: int(n) for name, n in re.findall(pattern, header.read_text())}
    there.setdefault("newfstatat", there.get("fstatat", -1))  # its name in the generic table
    ours = numbers(machine)
    assert {name: there.get(name) for name in ours} == ours


SWEEP = """
import json
def comply(text):
    ctypes = __import__("ctypes")
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    harmless = {int(n): a for n, a in json.loads(text).items()}
    reached = []
    for n in range(700):
        if n in harmless and harmless[n] is None:
            continue
        arguments = harmless.get(n, [-1, 0, 0, 0, 0, 0])
        ctypes.set_errno(0)
        if syscall(n, *map(ctypes.c_long, arguments)) != -1 or ctypes.get_errno() != 1:
            reached.append(n)
    return json.dumps(reached)
"""


def test_sweep_inside_the_jail() -> None:
    """What a child can really reach equals the allowlist; clone3 answers ENOSYS."""
    number = numbers(platform.machine())
    harmless: dict[int, tuple[int, ...] | None] = {
        number[name]: arguments for name, arguments in HARMLESS.items()
    }
    ends = ("exit", "exit_group")  # these end the caller; tried one by one below
    harmless |= {number[name]: None for name in ends}
    if platform.machine() == "x86_64":
        # uretprobe and uprobe: recent kernels let them past any filter, and end whoever calls them
        # from elsewhere than a kernel probe's trampoline
        harmless |= {335: None, 336: None}
    with Sandbox(workers=1) as sandbox:
        (said,) = sandbox.transform(SWEEP, [json.dumps(harmless)])
        assert said.status is Status.TRUE, said.detail
        reached = set(json.loads(said.text))
        assert reached == {
            n for name, n in number.items() if name in (*ALLOWED, "clone3") and name not in ends
        }
        for name in ends:
            source = (
                "def evaluate(r):\n"
                "    ctypes = __import__('ctypes')\n"
                f"    return ctypes.CDLL(None).syscall({number[name]}, 7) and False"
            )
            (outcome,) = sandbox.evaluate(source, ["x"])
            assert outcome.status is Status.CRASH


@pytest.mark.skipif(platform.machine() != "x86_64", reason="x32 exists on x86-64 only")
def test_x32_kills() -> None:
    source = (
        "def evaluate(r):\n"
        "    ctypes = __import__('ctypes')\n"
        "    return ctypes.CDLL(None).syscall(0x40000000 | 39) > 0"
    )
    with Sandbox(workers=1) as sandbox:
        (outcome,) = sandbox.evaluate(source, ["x"])
    assert outcome.status is Status.CRASH
    assert "SIGSYS" in outcome.detail
    assert errno.EPERM == EPERM & 0xFFFF
