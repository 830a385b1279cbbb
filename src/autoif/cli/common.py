"""What all commands share: where words go, and how a command is declared."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

import orjson
from rich.console import Console

err = Console(stderr=True, highlight=False)


def fail(line: str) -> None:
    """The one line that says what is wrong, on stderr."""
    sys.stderr.write(f"autoif: {' '.join(line.split())}\n")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def say_json(value: Any) -> None:
    say(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    """A command with the options that every command has."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("--json", action="store_true", help="machine-readable result")
    parser.add_argument("--quiet", action="store_true", help="errors alone")
    parser.set_defaults(run=run)
    return parser
