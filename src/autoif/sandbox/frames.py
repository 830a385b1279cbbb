"""The memory that parent, zygote and child share. Offsets and one-byte codes, nothing else.

    payload   read-only for the jail (sealed): the job's header, the source, the texts
    results   one byte per call, and 64 slots of 256 bytes for error messages
    outputs   transforms only: 64 slots of 64 kB

What comes back was written by hostile code: every byte of it may be a lie about the function's own
calls, so it is only ever looked up in a table, cut to a length and decoded with care.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

PAYLOAD = 32 << 20
CALLS = 32 << 10
SLOTS, SLOT = 64, 256
DETAIL = 200  # bytes of an error message, at most
HEADER = 64  # of results; byte 0: the child's phase
DETAILS = HEADER + CALLS
PAGES = 64 << 10  # bytes; every region is a multiple of the largest page of any machine, because
# what lies in the last page beyond a region's end is shared as well, and is never cleared
RESULTS = -(-(DETAILS + SLOTS * SLOT) // PAGES) * PAGES
TEXTS_OUT, TEXT_OUT = 64, 64 << 10
OUTPUTS = TEXTS_OUT * TEXT_OUT
SOURCE = 64 << 10  # bytes of source, at most

STARTING, READY = 0, 1  # phases: before and after the module level of the source has run

PENDING, FALSE, TRUE = 0, 1, 2
FALSE_INT, TRUE_INT, FALSE_NUMPY, TRUE_NUMPY = 3, 4, 5, 6
CPU, WALL, TOTAL, MEMORY, CRASH = 7, 8, 9, 10, 11
SKIP = 16  # added to the code of the last strike for calls that were not made
NEEDS = 64  # + index of a profile: the function imports what only that profile has
ERROR = 128  # + slot of the message


class Job(NamedTuple):
    """The fixed head of the payload; then name, source, text lengths (u32 each), all texts.

    A function can read it. So nothing here says why it is called, or how often it has been.
    """

    transform: bool
    texts: int  # how many
    memory: int  # bytes a child may take beyond what the zygote has
    strikes: int
    cpu: float  # seconds, per call
    wall: float  # seconds, per call
    total: float  # seconds, for the whole job; what is left of them comes in the REQUEST
    name: int = 0  # bytes; these three are filled in by `pack`
    source: int = 0
    blob: int = 0


_JOB = struct.Struct("=?7xQQQdddQQQ")
HEAD = _JOB.size
REQUEST = struct.Struct("=d")  # to the zygote: seconds for this job
REPLY = struct.Struct("=i")  # from the zygote: wait status of the last crash


def pack(job: Job, name: bytes, source: bytes, texts: Sequence[str]) -> list[bytes]:
    """The payload's pieces, in order."""
    blob = "".join(texts).encode("utf-8", "surrogatepass")
    head = _JOB.pack(*job._replace(name=len(name), source=len(source), blob=len(blob)))
    head += name + source
    return [head, bytes(-len(head) % 4), struct.pack(f"={len(texts)}I", *map(len, texts)), blob]


def unpack_job(payload: bytes | memoryview) -> Job:
    return Job(*_JOB.unpack_from(payload))


def unpack_source(payload: memoryview, job: Job) -> tuple[str, str]:
    end = HEAD + job.name
    return (
        str(payload[HEAD:end], "utf-8", "surrogatepass"),
        str(payload[end : end + job.source], "utf-8", "surrogatepass"),
    )


def unpack_texts(payload: memoryview, job: Job) -> Iterator[str]:
    """The texts one after another: each is cut out when its turn comes, which spares the memory of
    thousands of them, and so the page faults."""
    at = HEAD + job.name + job.source
    at += -at % 4
    end = at + 4 * job.texts
    lengths = payload[at:end].cast("I")
    blob = str(payload[end : end + job.blob], "utf-8", "surrogatepass")
    start = 0
    for length in lengths:
        stop = start + length
        yield blob[start:stop]
        start = stop


def slot(results: memoryview, index: int) -> str:
    """An error message, as one printable line."""
    at = DETAILS + index * SLOT
    length = min(results[at], DETAIL)
    text = str(bytes(results[at + 1 : at + 1 + length]), "utf-8", "replace")
    return "".join(c if c.isprintable() else " " for c in text)
