"""Memory between jobs: one function leaves a mark wherever it can write, another looks for it.

Each runs in several jobs as several functions. A mark names the process that left it, so that only
another's counts: what a function keeps between its own calls is no secret.
"""

from __future__ import annotations

from dataclasses import replace

from .attack import Attack, reach
from .forging import BUFFERS

MARKS = """
TURN = @RUN@
MARK = b"autoif-residue-"
MINE = MARK + grab("posix").urandom(8).hex().encode()

def foreign(data):
    return data.count(MARK) > data.count(MINE)

def mapped():
    \"\"\"Address and bytes of each map that can be written, to the end of its last page.\"\"\"
    ctypes = grab("ctypes")
    for view in list(buffers()):
        try:
            start = ctypes.addressof(ctypes.c_char.from_buffer(view))
        except Exception:
            continue
        if start % 4096 == 0:
            yield start, -(-view.nbytes // 4096) * 4096
"""


def residue(name: str, body: str) -> Attack:
    attack = reach("residue", name, body)
    tools, evaluate = attack.source.split("\ndef evaluate")
    source = tools + BUFFERS + MARKS + "\ndef evaluate" + evaluate
    return replace(attack, source=source, texts=("x",), runs=3)


_PLANT = """
seen = False
for view in list(buffers()):
    try:
        flat = view.cast("B")
        seen = seen or foreign(bytes(flat))
        for place in (0, len(flat) // 2, len(flat) - len(MINE)):
            flat[place : place + len(MINE)] = MINE
    except Exception:
        pass
"""

ATTACKS = [
    residue("buffers", _PLANT + "return seen"),
    residue(
        "buffers-and-crash",
        _PLANT + "if not seen:\n    grab('posix')._exit(0)\nreturn True",
    ),
    residue(
        "page-tails",
        """
        # A region that ends in the middle of a page shares what follows it there.
        ctypes, seen = grab("ctypes"), False
        for start, size in mapped():
            tail = start + size - 1024
            seen = seen or foreign(ctypes.string_at(tail, 1024))
            ctypes.memmove(tail, MINE, len(MINE))
        return seen
        """,
    ),
    residue(
        "left-by-one-that-moves-on",
        _PLANT + "if TURN == 0:\n    __import__('html')  # in another profile\nreturn seen",
    ),
    residue(
        "in-every-profile",
        _PLANT + "if not seen:\n    __import__('html' if TURN else 'numpy')\nreturn seen",
    ),
    residue(
        "outputs",
        """
        # By the harness's own name for it.
        frame = grab("sys")._getframe(1)
        outputs = frame.f_locals["self"].outputs
        seen = foreign(bytes(outputs[:64]))
        outputs[: len(MINE)] = MINE
        return seen
        """,
    ),
]
