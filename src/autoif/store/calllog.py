"""The write-ahead log beside a call store, read without SQLite.

SQLite believes a log up to the first frame whose checksum is wrong and takes what stands behind it
for the torn end of a transaction. After a kill that is so. After damage in the middle it would drop
committed answers without a word, and overwrite them. The two differ in what stands behind: a kill
leaves no later commit that is whole. The formats are SQLite's: https://www.sqlite.org/walformat.html
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAGE_SIZE = 8192  # a row of 2 to 4 kB leaves much of a smaller page empty
HEADER, FRAME_HEAD = 32, 24
FRAME = FRAME_HEAD + PAGE_SIZE


@dataclass(frozen=True, slots=True)
class Frame:
    """One version of a page. commits: it is the last of its transaction."""

    number: int
    page: int
    commits: bool
    at: int  # where in the log its page begins


def frames(log: mmap.mmap | bytes, after: int = 0) -> Iterator[Frame]:
    """The whole frames that were written since the log was last begun anew, in order, checksums
    unchecked, from number `after` + 1 on. (Those of earlier rounds bear another salt.)"""
    if len(log) < HEADER + FRAME:
        return
    salt = log[16:24] if _sound(log[:HEADER]) else log[HEADER + 8 : HEADER + 16]
    for at in range(HEADER + after * FRAME, len(log) - FRAME + 1, FRAME):
        page, size = struct.unpack_from(">II", log, at)
        if log[at + 8 : at + 16] == salt:
            yield Frame((at - HEADER) // FRAME + 1, page, size > 0, at + FRAME_HEAD)


def _sound(header: bytes) -> bool:
    """Whether the log's header is what its checksum says: else SQLite ignores the whole log."""
    order = ">" if header[3] & 1 else "<"
    a = b = 0
    for x, y in struct.iter_unpack(f"{order}II", header[:24]):
        a = a + x + b & 0xFFFFFFFF
        b = b + y + a & 0xFFFFFFFF
    return struct.pack(">II", a, b) == header[24:]


def commit_out_of_reach(path: Path) -> Frame | None:
    """The first commit behind the end of what SQLite believes of the log of the store at `path`, or
    None as it should be. A connection that has read the store must be open: this is where SQLite
    notes how far it got. Looks at the heads of the frames behind that end and at nothing else.

    One commit that lacks frames is none: a power cut may leave that of what was just being synced.
    """
    try:
        index = _index(path)
        if index is None:
            return None
        with open(f"{path}-wal", "rb") as file:
            if os.fstat(file.fileno()).st_size < HEADER + FRAME:
                return None
            (end,) = struct.unpack_from("=I", os.pread(index, 20, 0), 16)  # mxFrame
            torn = False
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as log:
                for number, frame in enumerate(frames(log, after=end), end + 1):
                    if frame.commits and (torn or frame.number == number):
                        return frame
                    torn = torn or frame.commits
    except FileNotFoundError:
        pass
    return None


def _index(path: Path) -> int | None:
    """The descriptor that SQLite itself has open on its index of the log. To close one of our own
    would drop the locks of this process on that file (so POSIX has it), and the next process to
    open the store would begin the index anew under the writer's feet: a bus error."""
    index = os.stat(f"{path}-shm")
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing's own is closed by now
            if os.path.samestat(os.fstat(int(name)), index):
                return int(name)
    return None
