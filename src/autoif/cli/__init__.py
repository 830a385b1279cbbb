"""The commands. They alone write to stdout: results there, everything else to stderr.

Exit 0: done. 1: the run failed, with a one-line reason. 2: wrong usage.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from autoif.base.errors import AutoIFError
from autoif.base.version import __version__
from autoif.cli import (
    calls,
    evals,
    export,
    inspect_run,
    judge_rows,
    look,
    push,
    recipes,
    serve,
    synth,
    train,
)
from autoif.cli.common import Parser, examples, fail, usage


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line; returns the exit code."""
    args = _parser().parse_args(argv)
    args.argv = list(sys.argv[1:] if argv is None else argv)
    try:
        return int(args.run(args))
    except AutoIFError as error:
        fail(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        fail("stopped at once; answered calls are stored, the same command goes on from there")
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        fail(f"{error.filename or 'system'}: {error.strerror or error}")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="autoif",
        description="Instruction-following training data, verified by running code.",
        **examples(
            "autoif doctor                                    # does it run here?",
            "autoif synth --preset smoke                      # seconds, no model",
            "autoif synth --preset strict --model openai:NAME --base-url URL",
            "autoif COMMAND --help",
        ),
    )
    parser.add_argument("--version", action="version", version=f"autoif {__version__}")
    parser.set_defaults(run=usage(parser))
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for module in (
        synth,
        recipes,
        inspect_run,
        judge_rows,
        look,
        export,
        push,
        train,
        serve,
        evals,
        calls,
    ):
        module.add(commands)
    return parser
