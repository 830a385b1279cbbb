"""`autoif push`: a run's data, or an export, to the Hugging Face hub."""

from __future__ import annotations

import argparse
from typing import Any

from autoif.cli.common import command, note, output_options, say, say_json


def add(commands: Any) -> None:
    parser = command(
        commands, "push", _push, "send a run's data, or an export, to the Hugging Face hub",
        "autoif push runs/demo --to ORG/NAME --dry-run    # what would be sent",
        "autoif push runs/demo --to ORG/NAME              # to a private repository",
        "autoif push runs/demo/export/trl --to ORG/NAME --public",
    )  # fmt: skip
    group = parser.add_argument_group("where to")
    group.add_argument("directory", metavar="DIR", help="run directory, or that of an export")
    group.add_argument("--to", required=True, metavar="ORG/NAME", help="dataset repository")
    group.add_argument(
        "--public", action="store_true", help="a new repository is public (default: private)"
    )
    group.add_argument(
        "--dry-run", action="store_true", help="say what would be sent, send nothing"
    )
    output_options(parser, json="print what was sent as JSON", quiet="print nothing")


def _push(args: argparse.Namespace) -> int:
    from autoif.publish.hub import push

    pushed = push(args.directory, args.to, public=args.public, dry_run=args.dry_run)
    if args.json:
        say_json(
            {
                "url": pushed.url or None,
                "private": pushed.private if pushed.url else None,
                "files": pushed.files,
                "rows": pushed.rows,
                "left_out": pushed.left_out,
            }
        )
        return 0
    if args.quiet:
        return 0
    for path, size in pushed.files.items():
        rows = f", {pushed.rows[path]:,} rows" if path in pushed.rows else ""
        say(f"{path}: {size:,} bytes{rows}")
    if pushed.left_out:
        say(f"left out: {pushed.left_out:,} rows (lone surrogates, which no reader loads)")
    if pushed.url:
        say(f"{pushed.url} ({'private' if pushed.private else 'public'})")
    else:
        note("nothing was sent")
    return 0
