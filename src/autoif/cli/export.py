"""`autoif export`: a run's rows in the shape of a trainer."""

from __future__ import annotations

import argparse
import re
from typing import Any

from autoif.base.errors import UsageError
from autoif.cli.common import command, output_options, say, say_json
from autoif.export.formats import FORMATS


def add(commands: Any) -> None:
    parser = command(
        commands, "export", _export, "write a run's rows in the shape of a trainer",
        "autoif export runs/demo --to trl",
        "autoif export runs/demo --to verl --split train=0.95,test=0.05 --level 2-5",
        "autoif export runs/demo --to verifiers --min-pass 0.2 --out my-environment",
    )  # fmt: skip
    group = parser.add_argument_group("rows")
    group.add_argument("directory", metavar="DIR", help="run directory, or its data directory")
    group.add_argument(
        "--split",
        default="train=1",
        metavar="NAME=SHARE,...",
        help="splits that share no constraint and no query, as in train=0.98,test=0.02",
    )
    group.add_argument(
        "--level", default="", metavar="N,N-M", help="rows with so many constraints in force"
    )
    group.add_argument(
        "--min-pass",
        type=float,
        default=0.0,
        metavar="P",
        help="RLVR prompts of which at least this share of the responses passed",
    )
    group = output_options(parser, json="print what was written as JSON", quiet="print nothing")
    group.add_argument("--to", required=True, metavar="FORMAT", help=f"one of {', '.join(FORMATS)}")
    group.add_argument("--out", metavar="D", help="directory; default: DIR/export/FORMAT")


def _export(args: argparse.Namespace) -> int:
    from autoif.export.exporter import export

    done = export(
        args.directory,
        args.to,
        out=args.out,
        split=args.split,
        levels=_levels(args.level),
        min_pass=args.min_pass,
    )
    if args.json:
        say_json(
            {
                "out": str(done.path),
                "files": {one.path: one.rows for one in done.files},
                "left_out": done.left_out,
            }
        )
    elif not args.quiet:
        for one in done.files:
            say(f"{done.path / one.path}: {one.rows:,} rows")
        for why, n in sorted(done.left_out.items()):
            say(f"left out: {n:,} rows ({why})")
        say(f"how to train on it: {done.path / 'README.md'}")
    return 0


def _levels(text: str) -> list[int]:
    """ "1,3-5" as numbers. Raises UsageError."""
    levels: list[int] = []
    for part in filter(None, text.split(",")):
        ends = re.fullmatch(r"\s*(\d{1,2})(?:-(\d{1,2}))?\s*", part)
        if not ends:
            raise UsageError(f"--level {text}: give numbers and ranges, as in 1,3-5")
        levels += range(int(ends[1]), int(ends[2] or ends[1]) + 1)
    if text and not levels:
        raise UsageError(f"--level {text}: there is no such level")
    return levels
