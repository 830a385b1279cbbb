"""Files that are whole or not there, and locks that die with their process."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from autoif.base.errors import SetupError


@contextmanager
def replacing(path: Path, *, sync: bool = False) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of `path` when it is whole; after an error `path` is as
    it was. With `sync` its bytes are on the disk before it gets the name.

    It stands beside `path` under a name that cannot be guessed, and must not be there before, links
    included.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    with temporary.open("xb") as file:
        try:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_whole(path: Path, content: bytes) -> None:
    """All of it under its name, or nothing; on the disk when this returns."""
    with replacing(path, sync=True) as file:
        file.write(content)


def remove_temporaries(path: Path) -> None:
    """What a process that was killed while it replaced `path` left beside it. No other process may
    be replacing it."""
    for left in path.parent.glob(f".{path.name}.{'[0-9a-f]' * 16}.tmp"):
        left.unlink(missing_ok=True)


class InUseError(BlockingIOError):
    """Another process holds the lock. `owner`: its pid, or "unknown"."""

    def __init__(self, owner: str) -> None:
        super().__init__(f"locked by pid {owner}")
        self.owner = owner


def take_lock(path: Path) -> int:
    """An flock on this file; closing the descriptor, or the end of the process, lets go of it.

    The file names its owner and is never removed: else two processes could lock two files of one
    name. Raises InUseError where another process holds it, OSError where it cannot be made.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(fd, 32).decode(errors="replace").strip() or "unknown"
        os.close(fd)
        raise InUseError(owner) from None
    except OSError:
        os.close(fd)
        raise
    with suppress(OSError):  # a full disk: the lock holds all the same, only without a name
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


@contextmanager
def alone(folder: Path, otherwise: str) -> Iterator[None]:
    """Holds `folder/run.lock`. Raises SetupError where another process holds it (`otherwise`: what
    to do then), or nothing can be made there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = take_lock(folder / "run.lock")
    except InUseError as error:
        raise SetupError(
            f"{folder} is in use by another run (pid {error.owner}): "
            f"wait for it, stop it, or {otherwise}"
        ) from None
    except OSError as error:
        raise SetupError(f"{folder}: cannot be written: {error.strerror}") from None
    try:
        yield
    finally:
        os.close(lock)
