"""`autoif serve`: the reward over HTTP."""

from __future__ import annotations

import argparse
import logging
import math
import os
import sys
from typing import Any

from autoif.base.errors import UsageError
from autoif.cli.common import command, note, output_options, own_process, say

TOKEN = "AUTOIF_REWARD_TOKEN"


def add(commands: Any) -> None:
    serve = command(
        commands, "serve", _serve, "judge completions for trainers, over HTTP",
        "autoif serve                                     # rows come with the requests",
        "autoif serve runs/demo --port 8001               # or are named by their ids",
        "autoif serve --host 0.0.0.0 --processes 4        # with a token in $AUTOIF_REWARD_TOKEN",
    )  # fmt: skip
    group = serve.add_argument_group("rows")
    group.add_argument(
        "rows",
        nargs="*",
        metavar="DIR|FILE",
        help="run directories or files of rows, which requests then name by their ids",
    )
    group = serve.add_argument_group("server")
    group.add_argument("--host", default="127.0.0.1", help="address (default: 127.0.0.1)")
    group.add_argument(
        "--port", type=int, default=8000, help="port; 0: any that is free (default: 8000)"
    )
    group.add_argument(
        "--token-env",
        metavar="NAME",
        default=TOKEN,
        help=f"environment variable with the token that requests have to bring (default: {TOKEN})",
    )
    group.add_argument("--processes", type=int, default=1, metavar="N", help="default: 1")
    group.add_argument(
        "--workers",
        type=int,
        default=0,
        metavar="N",
        help="functions that run at once, all processes together (default: one per core)",
    )
    group.add_argument(
        "--queue",
        type=int,
        default=16_384,
        metavar="N",
        help="completions that wait at once, all processes together; more are refused with 429 "
        "(default: 16384)",
    )
    group.add_argument(
        "--deadline",
        type=float,
        default=60.0,
        metavar="S",
        help="seconds that a request may take; what is not judged then has no reward (default: 60)",
    )
    output_options(serve, quiet="print the URL and errors only")


def _serve(args: argparse.Namespace) -> int:
    from autoif.serve.processes import serve
    from autoif.serve.reward_server import ServerSettings, is_loopback
    from autoif.serve.row_index import RowIndex

    token = os.environ.get(args.token_env, "")
    if not is_loopback(args.host) and not token:
        raise UsageError(
            f"--host {args.host} lets others run functions here: set a token in {args.token_env}"
        )
    for name in ("processes", "queue", "deadline"):
        if not 0 < getattr(args, name) < math.inf:
            raise UsageError(f"--{name} has to be above 0")
    if not 0 <= args.port < 1 << 16 or args.workers < 0:
        raise UsageError("--port is 0 to 65535, --workers 0 or more")
    workers = args.workers or len(os.sched_getaffinity(0))
    os.environ["AUTOIF_REWARD_WORKERS"] = str(math.ceil(workers / args.processes))
    os.environ.pop("AUTOIF_REWARD_URL", None)  # it judges here
    own_process()
    if not args.quiet:
        logger = logging.getLogger("autoif")
        logger.addHandler(logging.StreamHandler())
        logger.setLevel(logging.INFO)
    logging.getLogger("aiohttp").addHandler(logging.NullHandler())  # of broken connections
    logging.getLogger("aiohttp").propagate = False
    settings = ServerSettings(
        args.host,
        args.port,
        token,
        args.processes,
        math.ceil(args.queue / args.processes),
        args.deadline,
    )
    rows = RowIndex(args.rows)

    def ready(url: str) -> None:
        say(url)
        sys.stdout.flush()
        if not args.quiet:
            note(f"{len(rows):,} rows are loaded; {url}/openapi.json says what can be asked")

    counters = serve(settings, rows, ready)
    if not args.quiet:
        judged, unscored = (
            int(counters.total(f"autoif_{name}_total")) for name in ("completions", "unscored")
        )
        note(f"{judged:,} completions judged, {unscored:,} unscored")
    return 0
