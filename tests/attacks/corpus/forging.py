"""Lies about the result: verdict bytes, progress, lengths, the channel to the parent.

The format is not known here, so every writable buffer that can be reached is filled with each lie.
A forger may earn himself any verdict; his neighbours and the pool must not notice.
"""

from __future__ import annotations

from .attack import Attack, nr, reach, vandal

BUFFERS = """
def buffers():
    gc, sys = grab("gc"), grab("sys")
    found, frame = list(gc.get_objects()), sys._getframe()
    while frame is not None:
        found += list(frame.f_locals.values()) + list(frame.f_globals.values())
        frame = frame.f_back
    for module in list(sys.modules.values()):
        found += list(vars(module).values())
    for thing in list(found):
        found += [getattr(thing, "obj", None)] if type(thing) is memoryview else []
        if hasattr(thing, "__dict__") and not isinstance(thing, type):
            try:
                found += list(vars(thing).values())
            except Exception:
                pass
    for thing in found:
        try:
            view = memoryview(thing)
        except Exception:
            continue
        if not view.readonly and view.nbytes:
            yield view
"""


def forge(name: str, body: str) -> Attack:
    attack = vandal("forge", name, body)
    return Attack(attack.name, attack.family, BUFFERS + attack.source)


def fill(name: str, pattern: str, after: str = "return False") -> Attack:
    return forge(
        f"fill-{name}",
        f"""
for view in list(buffers()):
    try:
        flat = view.cast("B")
        pattern = {pattern}
        flat[:] = (pattern * (len(flat) // len(pattern) + 1))[: len(flat)]
    except Exception:
        pass
{after}
""",
    )


ATTACKS = [
    fill("zeros", "bytes(1)"),
    fill("ones", "b'\\x01'"),
    fill("twos", "b'\\x02'"),
    fill("threes", "b'\\x03'"),
    fill("high", "b'\\xff'"),
    fill("huge-lengths", "b'\\xff\\xff\\xff\\x7f'"),
    fill("negative-lengths", "b'\\xfe\\xff\\xff\\xff\\xff\\xff\\xff\\xff'"),
    fill("ascii", "b'T'"),
    fill("json", 'b\'[true,{"status":"TRUE"},\''),
    fill("pickle", "b'cposix\\nsystem\\n(S\"true\"\\ntR.'"),
    fill("newlines", "b'\\n'"),
    fill("invalid-utf8", "b'\\xc3\\x28\\xed\\xa0\\x80'"),
    fill("counting", "bytes(range(256))"),
    fill("then-loop", "b'\\x01'", "while True: pass"),
    fill("then-exit", "b'\\x01'", "grab('posix')._exit(0)"),
    fill("then-crash", "b'\\x01'", "grab('ctypes').string_at(0)"),
    fill("then-raise", "b'\\xff'", "raise ValueError('x')"),
    forge(
        "fake-progress",
        """
        turn = 0
        views = [view.cast("B") for view in buffers()]
        while True:
            turn += 1
            for view in views:
                for place in range(min(len(view), 64)):
                    try:
                        view[place] = turn % 256
                    except Exception:
                        pass
        """,
    ),
    forge(
        "fake-progress-forward",
        """
        views = [view.cast("B") for view in buffers()]
        for place in range(1 << 20):
            for view in views:
                try:
                    view[place] = 1
                except Exception:
                    pass
        while True:
            pass
        """,
    ),
    forge(
        "release-buffers",
        """
        for view in list(buffers()):
            for thing in (view.obj, view):
                for act in ("release", "close", "clear", "flush"):
                    try:
                        getattr(thing, act)()
                    except Exception:
                        pass
        return True
        """,
    ),
    forge(
        "resize-buffers",
        """
        for view in list(buffers()):
            thing = view.obj
            view.release()
            for size in (0, 1, 1 << 30):
                try:
                    thing.resize(size)
                except Exception:
                    pass
        return True
        """,
    ),
    vandal(
        "forge",
        "memset-shared",
        """
        # Shared mappings lie between the heap and the stack: look near every buffer we know.
        ctypes = grab("ctypes")
        base = id(evaluate) & ~0xFFFFF
        for step in range(-32, 32):
            ctypes.memset(base + (step << 20), 1, 1 << 20)
        return True
        """,
    ),
    reach(
        "forge",
        "ftruncate-fds",
        f"""
        sizes = (0, 1 << 30)
        return any(granted({nr("ftruncate")}, fd, size) for fd in range(64) for size in sizes)
        """,
    ),
    reach(
        "forge",
        "control-fds",
        """
        posix, sent = grab("posix"), 0
        for fd in range(64):
            for reply in (b"\\x00" * 4, b"\\xff" * 8, b"TRUE\\n", b'{"status": "TRUE"}\\n'):
                try:
                    sent += posix.write(fd, reply) > 0
                except OSError:
                    pass
        return sent > 0
        """,
    ),
    reach(
        "forge",
        "pwrite-fds",
        """
        posix, sent = grab("posix"), 0
        for fd in range(64):
            try:
                sent += posix.pwrite(fd, b"\\x01" * 4096, 0) > 0
            except OSError:
                pass
        return sent > 0
        """,
    ),
    reach(
        "forge",
        "send-fds",
        """
        socket, sent = grab("_socket"), 0
        for fd in range(64):
            try:
                sent += socket.socket(fileno=fd).send(b"\\x01" * 64) > 0
            except OSError:
                pass
        return sent > 0
        """,
    ),
    reach(
        "forge",
        "mmap-fds",
        """
        mmap, got = grab("mmap"), 0
        for fd in range(64):
            for access in (mmap.ACCESS_READ, mmap.ACCESS_WRITE, mmap.ACCESS_COPY):
                try:
                    got += len(mmap.mmap(fd, 4096, access=access)) > 0
                except (OSError, ValueError):
                    pass
        return got > 0
        """,
    ),
    reach(
        "forge",
        "dup-fds",
        """
        posix, got = grab("posix"), 0
        for fd in range(64):
            for act in (posix.dup, lambda fd: posix.dup2(fd, 200)):
                try:
                    act(fd)
                    got += 1
                except OSError:
                    pass
        return got > 0
        """,
    ),
    vandal(
        "forge",
        "frames-locals",
        """
        # Rewrite whatever the harness holds: lists of texts, results, counters.
        frame = grab("sys")._getframe(1)
        while frame is not None:
            for value in list(frame.f_locals.values()):
                if isinstance(value, list):
                    value[:] = [True] * 10 ** 4
                elif isinstance(value, dict) and value is not frame.f_globals:
                    value.clear()
                elif isinstance(value, bytearray):
                    value[:] = b"\\x01" * len(value)
            frame = frame.f_back
        return True
        """,
    ),
    vandal(
        "forge",
        "frames-globals",
        """
        frame = grab("sys")._getframe(1)
        while frame is not None:
            for name, value in list(frame.f_globals.items()):
                if callable(value) and not name.startswith("__"):
                    frame.f_globals[name] = lambda *a, **k: True
                elif isinstance(value, int):
                    frame.f_globals[name] = 0
            frame = frame.f_back
        return True
        """,
    ),
    vandal(
        "forge",
        "resume-harness",
        """
        # Throw into the harness by tracing it.
        sys = grab("sys")
        def tracer(frame, event, argument):
            raise SystemExit(0)
        frame = sys._getframe()
        while frame is not None:
            frame.f_trace = tracer
            frame = frame.f_back
        sys.settrace(tracer)
        return True
        """,
    ),
]
