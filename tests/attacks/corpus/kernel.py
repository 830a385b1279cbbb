"""Raw system calls and machine code: what only a kernel can refuse."""

from __future__ import annotations

import platform

from .attack import Attack, nr, reach, vandal


def call(name: str, arguments: str = "0, 0, 0, 0, 0, 0") -> Attack:
    return reach("syscall", name.replace("_", "-"), f"return granted({nr(name)}, {arguments})")


_X32 = 0x40000000

ATTACKS = [
    call("add_key"),
    call("bpf"),
    call("capset"),
    call("close_range", "900, 901, 0"),
    call("copy_file_range", "0, 0, 1, 0, 1, 0"),
    call("dup3", "0, 77, 0"),
    call("io_setup"),
    call("io_uring_setup", "1, 0"),
    call("keyctl", "0, -3, 0"),
    call("landlock_create_ruleset", "0, 0, 1"),
    call("memfd_create", "grab('ctypes').c_char_p(b'x'), 0"),
    call("memfd_secret", "0"),
    call("move_pages"),
    call("msgget", "0, 0o1666"),
    call("perf_event_open"),
    call("personality", "0x0040000"),
    call("pipe2", "0, 0"),
    call("semget", "0, 1, 0o1666"),
    call("shmget", "0, 4096, 0o1666"),
    call("setns", "0, 0"),
    call("setuid", "0"),
    call("setpriority", "0, 0, 19"),
    call("splice", "0, 0, 1, 0, 1, 0"),
    call("timerfd_create", "0, 0"),
    call("unshare", "0x10000000"),
    call("userfaultfd", "0"),
    call("vmsplice", "1, 0, 0, 0"),
    call("write", "1, grab('ctypes').c_char_p(b'hello'), 5"),
    call("writev", "1, 0, 0"),
    reach(
        "syscall",
        "unshare-all",
        f"return any(granted({nr('unshare')}, 1 << bit) for bit in range(7, 32))",
    ),
    reach("syscall", "prctl-no-dump", f"return granted({nr('prctl')}, 4, 1, 0, 0, 0)"),
    reach("syscall", "prctl-pdeathsig", f"return granted({nr('prctl')}, 1, 0, 0, 0, 0)"),
    reach("syscall", "prctl-ambient", f"return granted({nr('prctl')}, 47, 2, 21, 0, 0)"),
    reach("syscall", "prctl-keepcaps", f"return granted({nr('prctl')}, 8, 1, 0, 0, 0)"),
    reach("syscall", "seccomp-strict-mode", f"return granted({nr('seccomp')}, 0, 0, 0)"),
    reach("syscall", "seccomp-loosen", f"return granted({nr('seccomp')}, 1, 0, 0)"),
    reach("syscall", "mmap-exec", f"return granted({nr('mmap')}, 0, 4096, 7, 0x22, -1, 0)"),
    reach(
        "syscall",
        "mmap-file",
        f"return any(granted({nr('mmap')}, 0, 4096, 1, 2, fd, 0) for fd in range(64))",
    ),
    reach(
        "syscall",
        "mmap-file-shared",
        f"return any(granted({nr('mmap')}, 0, 4096, 3, 1, fd, 0) for fd in range(64))",
    ),
    reach(
        "syscall",
        "mprotect-exec",
        f"""
        address, _ = syscall({nr("mmap")}, 0, 4096, 3, 0x22, -1, 0)
        return granted({nr("mprotect")}, address, 4096, 7)
        """,
    ),
    reach(
        "syscall",
        "mprotect-exec-read",
        f"""
        address, _ = syscall({nr("mmap")}, 0, 4096, 3, 0x22, -1, 0)
        return granted({nr("mprotect")}, address, 4096, 5)
        """,
    ),
    reach(
        "syscall",
        "high-bits",
        f"""
        # The kernel and the filter must agree on what they look at.
        return granted({nr("mmap")} | 1 << 32, 0, 4096, 7, 0x22, -1, 0)
        """,
    ),
    reach(
        "syscall",
        "mmap-high-bits",
        f"return granted({nr('mmap')}, 0, 4096, 7 | 1 << 40, 0x22, -1, 0)",
    ),
    reach(
        "syscall",
        "mmap-flags-high",
        f"return granted({nr('mmap')}, 0, 4096, 3, 0x21 | 1 << 40, -1, 0)",
    ),
    reach(
        "syscall",
        "madvise-advice",
        f"""
        # Remove, poison, offline, huge, merge, fork and wipe: all but the two that free.
        page, _ = syscall({nr("mmap")}, 0, 4096, 3, 0x22, -1, 0)
        advices = (9, 10, 11, 12, 14, 16, 18, 20, 21, 25, 100, 101)
        return any(granted({nr("madvise")}, page, 4096, advice) for advice in advices)
        """,
    ),
    reach(
        "syscall",
        "mmap-fixed-code",
        f"""
        # Replace a page of the C library's code by one of our own.
        ctypes = grab("ctypes")
        place = ctypes.cast(ctypes.CDLL(None).abort, ctypes.c_void_p).value & ~4095
        return granted({nr("mmap")}, place, 4096, 7, 0x32, -1, 0)
        """,
    ),
    reach(
        "syscall",
        "mprotect-code-writable",
        f"""
        ctypes = grab("ctypes")
        place = ctypes.cast(ctypes.CDLL(None).abort, ctypes.c_void_p).value & ~4095
        return granted({nr("mprotect")}, place, 4096, 7)
        """,
    ),
    reach(
        "syscall",
        "clocks-of-others",
        f"""
        # The CPU clock of any process needs no right, and tells when it works.
        clocks = [(~pid << 3) | kind for pid in range(1, 99) for kind in (0, 2, 3, 6)]
        calls = {nr("clock_gettime"), nr("clock_getres"), nr("clock_nanosleep")}
        room = grab("ctypes").create_string_buffer(64)
        return any(granted(call, clock, room, room, room) for call in calls for clock in clocks)
        """,
    ),
    reach(
        "syscall",
        "futex-operations",
        f"""
        # All but wait and wake: locks that know their owner, requeue, wake-and-modify.
        word = grab("ctypes").create_string_buffer(64)
        odd = [op for op in range(2, 128) if op not in (9, 10)]
        return any(granted({nr("futex")}, word, op | flags, 0, 0, word, 0)
                   for op in odd for flags in (0, 128, 256, 384))
        """,
    ),
    reach(
        "syscall",
        "futex-owned-by-others",
        f"""
        # FUTEX_LOCK_PI on a word that names another task as its owner.
        word = grab("ctypes").create_string_buffer(8)
        for owner in range(1, 99):
            word.value = owner.to_bytes(2, "little")
            if granted({nr("futex")}, word, 6 | 128, 0, word):
                return True
        return False
        """,
    ),
    reach(
        "syscall",
        "mremap-flags",
        f"""
        page, _ = syscall({nr("mmap")}, 0, 8192, 3, 0x22, -1, 0)
        return any(granted({nr("mremap")}, page, 4096, 4096, flags, page + 4096)
                   for flags in range(2, 16))
        """,
    ),
    call("rseq", "grab('ctypes').create_string_buffer(64), 32, 0, 0"),
    call("sigaltstack", "0, 0"),
    call("getpid"),
    call("gettid"),
    reach("syscall", "negative", "return granted(-1)"),
    reach(
        "syscall", "beyond-the-table", "return any(granted(number) for number in range(470, 1100))"
    ),
    reach(
        "syscall",
        "fd-writes",
        f"""
        text = grab("ctypes").c_char_p(b"\\x01" * 64)
        return any(syscall({nr("write")}, fd, text, 64)[0] > 0 for fd in range(256))
        """,
    ),
    vandal("native", "segv-null", "grab('ctypes').string_at(0)"),
    vandal("native", "segv-write", "grab('ctypes').memset(id(None), 255, 4096)"),
    vandal("native", "abort", "grab('posix').abort()"),
    vandal("native", "abort-libc", "grab('ctypes').CDLL(None).abort()"),
    vandal("native", "faulthandler-segv", "grab('faulthandler')._sigsegv()"),
    vandal("native", "faulthandler-fpe", "grab('faulthandler')._sigfpe()"),
    vandal("native", "faulthandler-overflow", "grab('faulthandler')._stack_overflow()"),
    vandal(
        "native",
        "refcount",
        """
        ctypes = grab("ctypes")
        for target in (None, True, (), "", 0, str, type):
            ctypes.c_ssize_t.from_address(id(target)).value = 1
        return not [None, True, (), "", 0]
        """,
    ),
    vandal(
        "native",
        "true-is-false",
        """
        ctypes = grab("ctypes")
        ctypes.memmove(id(True), id(False), 28)
        return False
        """,
    ),
    vandal(
        "native",
        "free-twice",
        """
        libc = grab("ctypes").CDLL(None)
        for address in (id(response), id(evaluate), 0x1000):
            libc.free(grab("ctypes").c_void_p(address))
        return True
        """,
    ),
    vandal("native", "longjmp-exit", "grab('ctypes').CDLL(None).exit(0)"),
    vandal("native", "thread-exit", "grab('ctypes').CDLL(None).pthread_exit(0)"),
    vandal(
        "native",
        "munmap-everything",
        f"""
        for address in range(1 << 46, 1 << 47, 1 << 40):
            syscall({nr("munmap")}, address, 1 << 40)
        return True
        """,
    ),
    vandal(
        "native",
        "munmap-around-self",
        f"""
        page = id(response) & ~0xFFFFF
        for step in range(64):
            syscall({nr("munmap")}, page + (step << 20), 1 << 20)
        return True
        """,
    ),
    vandal(
        "native",
        "brk-to-zero",
        """
        grab("ctypes").CDLL(None).brk(grab("ctypes").c_void_p(4096))
        return bool([bytearray(600) for _ in range(10 ** 4)])
        """,
    ),
    vandal(
        "native",
        "mremap-everything",
        f"""
        for step in range(-4096, 4096):
            place = (id(evaluate) & ~4095) + (step << 12)
            syscall({nr("mremap")}, place, 4096, 8192, 1)
        return True
        """,
    ),
    vandal(
        "native",
        "protect-everything",
        f"""
        for step in range(-4096, 4096):
            syscall({nr("mprotect")}, (id(evaluate) & ~4095) + (step << 12), 4096, 0)
        return True
        """,
    ),
    vandal(
        "native",
        "int-80",
        r"""
        # Existing bytes of the C library, entered at an `int 0x80`: the 32-bit system calls.
        ctypes = grab("ctypes")
        start = ctypes.cast(ctypes.CDLL(None).abort, ctypes.c_void_p).value
        code = ctypes.string_at(start, 1 << 18)
        place = code.find(b"\xcd\x80")
        while place >= 0:
            ctypes.CFUNCTYPE(ctypes.c_long)(start + place)()
            place = code.find(b"\xcd\x80", place + 1)
        return True
        """,
    ),
    vandal(
        "native",
        "jump-anywhere",
        """
        ctypes = grab("ctypes")
        start = ctypes.cast(ctypes.CDLL(None).abort, ctypes.c_void_p).value
        for step in range(1, 999):
            ctypes.CFUNCTYPE(ctypes.c_long)(start + step * 7)()
        return True
        """,
    ),
    vandal(
        "native",
        "bad-bytecode",
        """
        code = evaluate.__code__
        evaluate.__code__ = code.replace(co_code=bytes([9, 0, 100, 255, 124, 255, 83, 0]) * 64)
        return evaluate(response)
        """,
    ),
    vandal(
        "native",
        "bad-stack-size",
        """
        def victim():
            return [1, [2, [3, [4, [5, [6, [7, response]]]]]]]
        victim.__code__ = victim.__code__.replace(co_stacksize=0, co_consts=())
        return victim()
        """,
    ),
    vandal(
        "native",
        "constants-out-of-bounds",
        """
        def victim():
            return 123456789
        body = bytearray(victim.__code__.co_code)
        for i in range(0, len(body), 2):
            body[i + 1] = 250
        victim.__code__ = victim.__code__.replace(co_code=bytes(body))
        return victim()
        """,
    ),
    vandal(
        "native",
        "marshal-garbage",
        """
        marshal = grab("marshal")
        for size in range(64):
            try:
                exec(marshal.loads(b"\\xe3" + bytes([size]) * 4096))
            except Exception:
                pass
        return marshal.loads(b"\\xfb" * 99) is None
        """,
    ),
    vandal(
        "native",
        "opcode-fuzz",
        """
        import random
        dice = random.Random(7)
        for _ in range(2000):
            def victim():
                return response
            junk = bytes(dice.randrange(256) for _ in range(64))
            victim.__code__ = victim.__code__.replace(co_code=junk)
            try:
                victim()
            except Exception:
                pass
        return True
        """,
    ),
]

if platform.machine() == "x86_64":
    ATTACKS += [
        reach("x32", "getpid", f"return granted({_X32} + 39)"),
        reach(
            "x32", "open", f"return granted({_X32} + 2, grab('ctypes').c_char_p(b'/etc/passwd'), 0)"
        ),
        reach("x32", "execve", f"return granted({_X32} + 520, 0, 0, 0)"),
        reach("x32", "sweep", f"return any(granted({_X32} + n) for n in range(512, 548))"),
    ]
