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
from autoif.cli import calls, evals, look, synth, train
from autoif.cli.common import fail


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
    parser = argparse.ArgumentParser(
        prog="autoif", description="Instruction-following training data, proved by running code."
    )
    parser.add_argument("--version", action="version", version=f"autoif {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for part in (synth, look, evals, train, calls):
        part.add(commands)
    return parser
