"""One process at a time in a directory."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autoif.base.errors import SetupError


@contextmanager
def alone(folder: Path, otherwise: str) -> Iterator[None]:
    """Holds `folder/run.lock`, which the kernel lets go of when this process dies. Raises
    SetupError where another process holds it (`otherwise`: what to do then), or nothing can be
    made there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "run.lock").open("a")
    except OSError as error:
        raise SetupError(f"{folder}: cannot be written: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetupError(
                f"{folder} is in use by another run: wait for it, stop it, or {otherwise}"
            ) from None
        yield
