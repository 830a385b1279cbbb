"""Commands that look and do not pay: status, show, verify, diagnose, decontaminate, doctor."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from autoif.base.errors import RunFailed, UsageError
from autoif.cli.common import command, note, output, say, say_json


def add(commands: Any) -> None:
    status = command(commands, "status", _status, "the funnel, also in mid-run")
    status.add_argument("dir", metavar="DIR")

    lineage = command(commands, "show", _show, "one record's or drop's whole story")
    lineage.add_argument("dir", metavar="DIR")
    lineage.add_argument("id", metavar="ID")
    lineage.add_argument("--calls", metavar="F", help="the call store, if not in DIR")

    verify = command(commands, "verify", _verify, "run verifiers over responses")
    verify.add_argument("--verifiers", metavar="F", help='rows {"id", "checks": [source, ...]}')
    verify.add_argument("--responses", metavar="F", help='rows {"id", "responses": [text, ...]}')
    verify.add_argument("--rows", metavar="F", help="data rows that carry their verifiers")
    verify.add_argument("--out", metavar="F", help="where the verdicts go; default stdout")

    text = "which benchmark's constraint type each instruction states, by rule"
    decontaminate = command(commands, "decontaminate", _decontaminate, text)
    decontaminate.add_argument(
        "--instructions", metavar="F", required=True, help='rows {"id", "text"}, or lines of text'
    )
    decontaminate.add_argument("--out", metavar="F", help="where the types go; default stdout")

    diagnose = command(commands, "diagnose", _diagnose, "what is wrong with verifiers")
    diagnose.add_argument(
        "--verifiers", metavar="F", required=True, help='rows {"id", "checks", "instruction", ...}'
    )
    diagnose.add_argument("--out", metavar="F", help="where the diagnoses go; default stdout")

    command(commands, "doctor", _doctor, "what works on this machine")


def _status(args: argparse.Namespace) -> int:
    from autoif.report import terminal as terminal
    from autoif.run.directory import RunDir

    report = RunDir(Path(args.dir)).report()
    if args.json:
        say_json(report)
        return 0
    console = Console(highlight=False)
    why = f": {report['error']}" if "error" in report else ""
    console.print(f"{args.dir}: {report['state']}{why}", markup=False)
    console.print(terminal.funnel(report))
    console.print(terminal.totals(report))
    return 0


def _show(args: argparse.Namespace) -> int:
    from autoif.base.records import to_json
    from autoif.report import lineage as lineage
    from autoif.report import terminal as terminal
    from autoif.run.directory import RunDir

    told = lineage.story(RunDir(Path(args.dir)), args.id, Path(args.calls) if args.calls else None)
    if args.json:
        say_json(to_json(told))
    else:
        Console(highlight=False).print(terminal.story(told), soft_wrap=True)
    return 0


def _verify(args: argparse.Namespace) -> int:
    from autoif.verifier.verify import verify_files, verify_rows

    if args.rows:
        if args.verifiers or args.responses:
            raise UsageError("--rows stands alone: its rows carry their verifiers")
    elif not (args.verifiers and args.responses):
        raise UsageError("give --verifiers F and --responses F, or --rows F")
    with output(args.out, args.rows, args.verifiers, args.responses) as out:
        if args.rows:
            counts = verify_rows(Path(args.rows), out)
        else:
            counts = verify_files(Path(args.verifiers), Path(args.responses), out)
    if not args.quiet:
        note(f"{counts.rows:,} rows, {counts.texts:,} texts, {counts.unscored:,} unscored")
        if args.rows:
            levels = (f"level {n} {rows:,}" for n, rows in sorted(counts.levels.items()))
            note(f"rows that are what they claim: {', '.join(levels)}")
    if args.rows and counts.disagreed:
        raise RunFailed(f"{counts.disagreed:,} texts of {args.rows} are not what their rows claim")
    return 0


def _decontaminate(args: argparse.Namespace) -> int:
    from autoif.base.records import dump_line
    from autoif.constraints.types import typed

    n = found = 0
    with output(args.out, args.instructions) as out:
        for row in typed(args.instructions):
            out.write(dump_line(row))
            n, found = n + 1, found + bool(row["type"])
    if not args.quiet:
        note(f"{n:,} instructions, {found:,} of a benchmark's constraint type")
    return 0


def _diagnose(args: argparse.Namespace) -> int:
    from autoif.diagnosis import FLAGS, diagnose_file

    with output(args.out, args.verifiers) as out:
        counts = diagnose_file(Path(args.verifiers), out)
    if not args.quiet:
        clean = counts.pop("", 0)
        told = [f"{flag} {counts[flag]:,}" for flag in FLAGS if counts[flag]]
        note(", ".join([f"{clean:,} without a flag", *told]))
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from autoif.cli import doctor

    findings = doctor.examine()
    if args.json:
        say_json([f.to_json() for f in findings])
    else:
        for f in findings:
            say(f.line())
    bad = [f for f in findings if f.required and not f.holds]
    if bad:
        raise RunFailed(f"synthesis cannot run here: {bad[0].name}: {bad[0].advice}")
    return 0
