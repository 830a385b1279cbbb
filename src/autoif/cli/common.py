"""What all commands share: where words go, and how a command is declared."""

from __future__ import annotations

import argparse
import errno
import gc
import io
import re
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn, cast

import orjson
from rich.console import Console

from autoif.base.errors import UsageError, did_you_mean
from autoif.base.files import open_device, replacing
from autoif.base.printable import printable, printable_json


def console(*, stderr: bool = False) -> Console:
    """For what `report/terminal.py` makes. Text is shown as it is: no markup, no emoji codes."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


err = console(stderr=True)


def fail(line: str) -> None:
    """The one line that says what is wrong, on stderr."""
    sys.stderr.write(f"autoif: {printable(' '.join(line.split()))}\n")


def note(line: str) -> None:
    """A line beside the result, on stderr, in one piece however long."""
    err.print(printable(line), soft_wrap=True)


def say(text: str) -> None:
    sys.stdout.write(f"{printable(text)}\n")


def say_json(value: Any) -> None:
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    sys.stdout.write(f"{printable_json(text)}\n")


class _JsonLines(io.RawIOBase):
    """Stdout for rows of JSON, one or more whole ones a write."""

    def writable(self) -> bool:
        return True

    def write(self, rows: Any) -> int:
        text = bytes(rows).decode("utf-8", "surrogatepass")  # escaped below
        sys.stdout.buffer.write(printable_json(text).encode())
        return len(rows)


@contextmanager
def output(path: str | None, *inputs: str | Path | None) -> Iterator[IO[bytes]]:
    """The file to write JSON lines to, or stdout. It gets its name when it is whole; an input is
    never it."""
    if path is None:
        yield cast(IO[bytes], _JsonLines())
        sys.stdout.buffer.flush()
        return
    target = Path(path)
    for source in inputs:
        if source and Path(source).exists() and target.exists() and target.samefile(source):
            raise UsageError(f"--out {path} is the file that is read; choose another name")
    own = str(target.parent.resolve())
    device = own == "/dev" or own.startswith("/proc/")  # stdout, which may be a file
    if target.is_dir():
        raise UsageError(f"{path} is a directory; give the name of a file")
    if not target.parent.is_dir():
        raise UsageError(f"{path}: there is no directory {printable(str(target.parent))}")
    # Elsewhere a link gives its place to the file, wherever it leads.
    if target.exists() and (device or not (target.is_symlink() or target.is_file())):
        try:
            opened = open_device(target)
        except OSError as error:
            why = "nobody reads from it" if error.errno == errno.ENXIO else error.strerror
            raise UsageError(f"{path} cannot be written: {why}") from None
        with opened as out:
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


class Parser(argparse.ArgumentParser):
    """Says what a wrong command or choice may have meant."""

    def error(self, message: str) -> NoReturn:
        wrong = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message)
        if wrong:
            message += did_you_mean(wrong[1], re.findall(r"[\w-]+", wrong[2]))
        fail(f"{message}; `{self.prog} --help` lists the options")
        self.exit(2)


def examples(*lines: str) -> dict[str, Any]:
    """What every parser is given: its examples, shown under the options as they are written."""
    return {
        "epilog": "\n".join(["examples:", *(f"  {line}" for line in lines)]),
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }


def command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], text: str, *lines: str
) -> argparse.ArgumentParser:
    """A command, with examples of its use. Its options go into groups."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text, **examples(*lines)
    )
    parser.set_defaults(run=run)
    return parser


def output_options(parser: argparse.ArgumentParser, *, json: str = "", quiet: str = "") -> Any:
    """The last group of a command: `--json` and `--quiet` where they do something, each with what
    it does. The group, for more."""
    group = parser.add_argument_group("output")
    if json:
        group.add_argument("--json", action="store_true", help=json)
    if quiet:
        group.add_argument("--quiet", action="store_true", help=quiet)
    return group


def server_options(group: Any, key_default: str | None = None) -> None:
    """Where `openai:` models are served."""
    group.add_argument(
        "--base-url",
        metavar="URL",
        help="URL of the server, ending in /v1; several: commas. Default: $OPENAI_BASE_URL, "
        "else https://api.openai.com/v1",
    )
    group.add_argument(
        "--api-key-env",
        metavar="NAME",
        default=key_default,
        help="environment variable with the key (default: OPENAI_API_KEY)",
    )


def paid_options(group: Any) -> None:
    """Of a command that asks a model about a file: where it is served, what is kept and spent."""
    server_options(group)
    group.add_argument("--calls", metavar="F", help="call store; default: OUT.calls.sqlite")
    group.add_argument("--budget", metavar="B", help="spend at most this many tokens: 2Mtok")


def paid_settings(args: argparse.Namespace) -> dict[str, Any]:
    """What `paid_options` say, as arguments of what asks the model. Raises UsageError where there
    is no place for the answers."""
    from autoif.models.budget import Budget

    if not (args.calls or args.out):
        raise UsageError("the model's answers need a place: give --calls F or --out F")
    server = {"models.base_url": urls(args.base_url), "models.api_key_env": args.api_key_env}
    return {
        "calls": args.calls or f"{args.out}.calls.sqlite",
        "budget": Budget.parse(args.budget) if args.budget else None,
        "settings": {key: value for key, value in server.items() if value is not None},
        "on_notice": note,
    }


def note_refused(args: argparse.Namespace, refused: int) -> None:
    """Says of a budget that is spent how to go on."""
    if refused and not args.quiet:
        note(
            f"the budget is spent, {refused:,} calls were not made; the same command with a "
            "larger one goes on from there"
        )


def usage(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """For a command that was given no sub-command: prints its help to stderr. The exit code is 2,
    as for any wrong usage, so that a script with an empty variable in it does not go on."""

    def show(args: argparse.Namespace) -> int:
        parser.print_help(sys.stderr)
        return 2

    return show


def summary_apart(args: argparse.Namespace) -> None:
    """--json prints a summary to stdout, so the rows need a file. Raises UsageError."""
    if args.json and not args.out:
        raise UsageError("--json prints a summary to stdout: give --out F for the rows")
