"""What all commands share: where words go, and how a command is declared."""

from __future__ import annotations

import argparse
import gc
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import orjson
from rich.console import Console

from autoif.base.errors import UsageError
from autoif.base.files import replacing

err = Console(stderr=True, highlight=False)


def fail(line: str) -> None:
    """The one line that says what is wrong, on stderr."""
    sys.stderr.write(f"autoif: {' '.join(line.split())}\n")


def note(line: str) -> None:
    """A line beside the result, on stderr, in one piece however long."""
    err.print(line, markup=False, soft_wrap=True)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def say_json(value: Any) -> None:
    say(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


@contextmanager
def output(path: str | None, *inputs: str | Path | None) -> Iterator[IO[bytes]]:
    """The file to write, or stdout. It gets its name when it is whole; an input is never it."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(path)
    for source in inputs:
        if source and Path(source).exists() and target.exists() and target.samefile(source):
            raise UsageError(f"--out {path} is the file that is read; choose another name")
    if target.exists() and not target.is_file():  # a device, a pipe
        with target.open("wb") as out:
            yield out
        return
    with replacing(target) as out:
        yield out


def own_process() -> None:
    """Set this process up for a thousand calls at once. For commands alone: a library leaves its
    host as it is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)  # often 1,024 files
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    # Calls leave next to no reference cycles, and with a thousand in flight the default rhythm of
    # looking for them costs a fifth of all CPU time (benchmarks/calls.py).
    if 0 < gc.get_threshold()[0] < 20_000:
        gc.set_threshold(20_000, 20, 20)


def urls(text: str | None) -> list[str] | None:
    """--base-url: one URL, or several separated by commas."""
    if text is None:
        return None
    found = [url.strip() for url in text.split(",") if url.strip()]
    if not found:
        raise UsageError("--base-url is empty; give it like http://127.0.0.1:8000/v1")
    return found


def command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    """A command with the options that every command has."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("--json", action="store_true", help="machine-readable result")
    parser.add_argument("--quiet", action="store_true", help="errors alone")
    parser.set_defaults(run=run)
    return parser
