"""Commands that show runs to a person: report, view, review."""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from autoif.base.errors import UsageError
from autoif.cli.common import command, note, output, output_options, say, say_json


def add(commands: Any) -> None:
    report = command(
        commands, "report", _report, "write one HTML file that shows runs: funnel, samples, "
        "functions, verdicts, drops",
        "autoif report runs/demo",
        "autoif report runs/demo runs/strict --out two.html",
    )  # fmt: skip
    _directories(report)
    report.add_argument_group("size").add_argument(
        "--samples",
        metavar="N",
        type=int,
        default=1000,
        help="rows of each table that the file holds, drawn by chance (default: 1000); "
        "counts are of all",
    )
    group = output_options(report, quiet="print nothing")
    group.add_argument(
        "--out", metavar="F", default="report.html", help="the file (default: report.html)"
    )

    view = command(
        commands, "view", _view, "serve that page to a browser on this machine, also during a run",
        "autoif view runs/demo",
    )  # fmt: skip
    _directories(view)
    view.add_argument_group("server").add_argument(
        "--port", metavar="N", type=int, default=0, help="port on 127.0.0.1 (default: a free one)"
    )

    review = command(
        commands, "review", _review, "print what people who judged samples by hand say of a run",
        "autoif review runs/demo",
        "autoif review runs/demo --n 50 --seed 2 --json",
    )  # fmt: skip
    group = review.add_argument_group("input")
    group.add_argument("dir", metavar="DIR", help="run directory")
    group.add_argument(
        "--n", metavar="N", type=int, default=30, help="kept samples that are drawn (default: 30)"
    )
    group.add_argument("--seed", metavar="S", type=int, default=1, help="of the draw (default: 1)")
    output_options(review, json="print it as JSON")


def _directories(parser: argparse.ArgumentParser) -> None:
    parser.add_argument_group("input").add_argument(
        "dirs",
        metavar="DIR",
        nargs="+",
        help="directory of `autoif synth`, `autoif eval` or `autoif train`",
    )


def _report(args: argparse.Namespace) -> int:
    from autoif.report.pages import report_html

    if args.samples < 1:
        raise UsageError("--samples is at least 1")
    notice = (lambda line: None) if args.quiet else note
    page = report_html([Path(d) for d in args.dirs], args.samples, notice)
    with output(args.out) as out:
        out.write(page.encode())
    if not args.quiet:
        say(f"{args.out}: {len(page) / 1e6:.1f} MB; open it in a browser")
    return 0


def _view(args: argparse.Namespace) -> int:
    from autoif.report.viewer import Viewer

    if not 0 <= args.port < 65_536:
        raise UsageError("--port is between 0 and 65535")
    viewer = Viewer([Path(d) for d in args.dirs])

    def ready(address: str) -> None:
        note("Open this address in a browser on this machine. Ctrl-C ends it.")
        say(address)
        sys.stdout.flush()  # somebody may wait for it in a pipe

    with suppress(KeyboardInterrupt):
        asyncio.run(viewer.serve(args.port, ready))
    return 0


def _review(args: argparse.Namespace) -> int:
    from autoif.report import dataset_card, reviewing
    from autoif.report.pages import open_pages
    from autoif.report.synthesis_pages import SynthesisPages
    from autoif.run.directory import RunDir

    if args.n < 1 or args.seed < 0:
        raise UsageError("--n is at least 1, --seed at least 0")
    with closing(open_pages(Path(args.dir))) as pages:
        if not isinstance(pages, SynthesisPages):
            raise UsageError(f"{args.dir}: samples of `autoif synth` alone are reviewed")
        while pages.refresh():
            pass
        drawn = pages.run.drawn(args.n, args.seed)
        result = pages.review()
    if args.json:
        say_json(result | {"ids": drawn})
        return 0
    say(f"{len(drawn)} kept samples drawn, seed {args.seed}")
    for name, of_one in result["reviewers"].items():
        say(f"{name} marked {of_one['marked']}")
        for question, share in of_one["precision"].items():
            say(f"  {reviewing.MEANINGS[question]}: {reviewing.in_words(share)}")
    for pair in result["agreement"]:
        kappa = "" if pair["kappa"] is None else f", kappa {pair['kappa']:.2f}"
        say(f"{pair['a']} and {pair['b']} agree on {pair['k']} of {pair['n']}{kappa}")
    if result["reviewers"]:
        if card := dataset_card.rewrite(RunDir(Path(args.dir))):
            say(f"the card says so too: {card}")
    else:
        say(f"none is marked yet: `autoif view {args.dir}` shows them one by one")
    return 0
