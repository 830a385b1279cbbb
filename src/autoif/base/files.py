"""Files that are whole or not there, and locks that die with their process.

A directory may come from somebody else. So all writing and removing of AutoIF goes through here,
and nothing here follows a link: no name in a directory leads to a file outside it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import IO

from autoif.base.errors import SetupError

SMALL = 64 << 20  # bytes


@contextmanager
def in_place_of(path: Path) -> Iterator[Path]:
    """A path at which the block makes a file or a directory, which takes the place of `path` when
    it is whole; after an error `path` is as it was.

    It is beside `path`, and its name cannot be guessed: nothing is there before.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        if temporary.is_dir():
            remove(path)
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            remove(temporary)
        if isinstance(error, OSError) and error.filename in (temporary, str(temporary)):
            error.filename = str(path)  # a name that somebody knows
        raise


@contextmanager
def replacing(path: Path, *, sync: bool = False, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of `path` when it is whole. With `sync` its bytes are on
    the disk before it gets the name."""
    with in_place_of(path) as temporary, _create(temporary, mode) as file:
        yield file
        file.flush()
        if sync:
            os.fsync(file.fileno())


def write_whole(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """All of it under its name, or nothing; on the disk when this returns."""
    with replacing(path, sync=True, mode=mode) as file:
        file.write(content)


def new_file(path: Path) -> IO[bytes]:
    """To write a file that others read meanwhile. What had the name before loses it, unchanged."""
    path.unlink(missing_ok=True)
    return _create(path, 0o666)


def appending(path: Path) -> IO[bytes]:
    """To add to a file, which is made where it is not there. Raises OSError for a link, symbolic or
    hard, and for anything but a plain file."""
    return os.fdopen(_open_plain(path, os.O_WRONLY | os.O_APPEND), "ab")


def open_device(path: Path) -> IO[bytes]:
    """To write to a device or a pipe, which is never a file: nothing is made, nothing cut off.
    Raises OSError (ENXIO) for a pipe that nobody reads, rather than wait for somebody."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(fd, True)
    return os.fdopen(fd, "wb")


def read_small(path: Path) -> bytes:
    """The content of a file that is read as a whole. Raises OSError, also for one of more than
    `SMALL` bytes: it may be anybody's."""
    with path.open("rb") as file:
        content = file.read(SMALL + 1)
    if len(content) > SMALL:
        raise OSError(errno.EFBIG, f"larger than {SMALL >> 20} MB", str(path))
    return content


def remove(path: Path) -> None:
    """The file, or the directory with all in it, if there is one; of a link, the link alone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_temporaries(path: Path) -> None:
    """What a process that was killed while it replaced `path` left beside it. No other process may
    be replacing it."""
    for left in path.parent.glob(f".{path.name}.{'[0-9a-f]' * 16}.tmp"):
        remove(left)


def make_folder(path: Path) -> None:
    """A directory that is for its user alone, as prompts and answers are; one that is there stays
    as it is."""
    path.mkdir(0o700, parents=True, exist_ok=True)


def is_plain(path: Path, *, hard_links: bool = False) -> bool:
    """Whether writing to it reaches nothing else: a file, not a link, pipe or device; without
    another name, unless `hard_links` are allowed. True where nothing is there."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return True
    return stat.S_ISREG(found.st_mode) and (hard_links or found.st_nlink <= 1)


def refuse_links(
    folder: Path, names: Sequence[str], otherwise: str, *, hard_links: bool = False
) -> None:
    """Raises SetupError where one of these names in `folder` (`*` allowed), or anything below one,
    is a link, a pipe or a device. `otherwise`: what to do then. `hard_links`: whether files may
    have other names: where none of them is written in place.

    Names that begin with a dot are passed over: nothing of AutoIF's is read or written there.
    """
    below = [Path(e) for e in _entries(folder) if any(fnmatch(e.name, name) for name in names)]
    while below:
        path = below.pop()
        if path.is_dir() and not path.is_symlink():
            below += [Path(e) for e in _entries(path) if not e.name.startswith(".")]
        elif not is_plain(path, hard_links=hard_links):
            raise SetupError(
                f"{path} is a link, a pipe or a device, and what is written to it ends up "
                f"elsewhere: remove it, or {otherwise}"
            )


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []


def _create(path: Path, mode: int) -> IO[bytes]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, mode), "wb")


def _open_plain(path: Path, flags: int) -> int:
    """A descriptor of a file with one name; made where it is not there. Raises OSError."""
    # O_NONBLOCK: opening a pipe must not wait for its other end.
    flags |= os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        fd = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _not_plain(path) from None
        raise
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(fd)
        raise _not_plain(path)
    return fd


def _not_plain(path: Path) -> OSError:
    return OSError(errno.ELOOP, f"{path.name} is a link or not a plain file", str(path))


class InUseError(BlockingIOError):
    """Another process holds the lock. `owner`: its pid, or "unknown"."""

    def __init__(self, owner: str) -> None:
        super().__init__(f"locked by pid {owner}")
        self.owner = owner


def take_lock(path: Path) -> int:
    """An flock on this file; closing the descriptor, or the end of the process, lets go of it.

    The file names its owner and is never removed: else two processes could lock two files of one
    name. Raises InUseError where another process holds it, OSError where it cannot be made or is
    no plain file.
    """
    fd = _open_plain(path, os.O_RDWR)
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
        make_folder(folder)
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
