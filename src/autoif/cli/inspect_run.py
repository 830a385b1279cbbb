"""Commands that read: status, show, verify, diagnose, decontaminate, doctor. None of them makes a
call, but for `diagnose --model`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from autoif.base.errors import RunFailed, UsageError
from autoif.base.printable import printable
from autoif.cli.common import (
    command,
    console,
    note,
    note_refused,
    output,
    output_options,
    own_process,
    paid_options,
    paid_settings,
    say,
    say_json,
    summary_apart,
)

if TYPE_CHECKING:
    from autoif.diagnosis.file import DiagnoseCounts

REASONS = 5  # shown of what kept functions from a verdict; all are in --json
COUNTS = "print the counts as JSON; needs --out"


def add(commands: Any) -> None:
    status = command(
        commands, "status", _status, "print what each stage kept and dropped, also during a run",
        "autoif status runs/demo", "autoif status runs/demo --json",
    )  # fmt: skip
    status.add_argument_group("input").add_argument("dir", metavar="DIR", help="run directory")
    output_options(status, json="print the report as JSON")

    lineage = command(
        commands, "show", _show, "print what a run holds of one id: record, drop or function",
        "autoif show runs/demo 1ded0579",
    )  # fmt: skip
    group = lineage.add_argument_group("input")
    group.add_argument("dir", metavar="DIR", help="run directory")
    group.add_argument("id", metavar="ID", help="an id in one of its files, or its first digits")
    group.add_argument("--calls", metavar="F", help="call store; default: DIR/calls.sqlite")
    output_options(lineage, json="print it as JSON")

    verify = command(
        commands, "verify", _verify, "run verifiers over responses, in the sandbox",
        "autoif verify --rows runs/demo/data/sft.jsonl --out verdicts.jsonl",
        "autoif verify --verifiers verifiers.jsonl --responses responses.jsonl",
    )  # fmt: skip
    group = verify.add_argument_group("input: --rows, or --verifiers and --responses")
    group.add_argument("--rows", metavar="F", help="data rows, which hold their verifiers")
    group.add_argument("--verifiers", metavar="F", help='rows {"id", "checks": [source, ...]}')
    group.add_argument("--responses", metavar="F", help='rows {"id", "responses": [text, ...]}')
    group = output_options(verify, json=COUNTS, quiet="print no counts")
    group.add_argument("--out", metavar="F", help="file for the verdicts; default: stdout")

    decontaminate = command(
        commands, "decontaminate", _decontaminate,
        "remove rows that share 13 words with a benchmark, or label the constraint types of "
        "verifiers or instructions",
        "autoif decontaminate --rows sft.jsonl --against ifeval.jsonl --out clean.jsonl",
        "autoif decontaminate --verifiers verifiers.jsonl --out types.jsonl",
        "autoif decontaminate --instructions instructions.txt",
    )  # fmt: skip
    group = decontaminate.add_argument_group("rows without a benchmark's prompts")
    group.add_argument("--rows", metavar="F", help="rows with messages, prompt, text or the like")
    group.add_argument(
        "--against",
        metavar="BENCH",
        action="append",
        default=[],
        help="file of benchmark prompts; may be repeated",
    )
    group.add_argument(
        "--dropped", metavar="F", help="file for the dropped rows' numbers, with the shared words"
    )
    group = decontaminate.add_argument_group("benchmark constraint types")
    group.add_argument(
        "--verifiers", metavar="F", help='by execution: rows {"id", "checks", "instruction", ...}'
    )
    group.add_argument(
        "--instructions", metavar="F", help='by words: rows {"id", "text"}, or lines of text'
    )
    group = output_options(decontaminate, json=COUNTS, quiet="print no counts")
    group.add_argument(
        "--out", metavar="F", help="file for the clean rows or the types; default: stdout"
    )

    diagnose = command(
        commands, "diagnose", _diagnose, "find verifiers that are hackable, slow or too strict",
        "autoif diagnose --verifiers verifiers.jsonl --out diagnoses.jsonl",
        "autoif diagnose --verifiers verifiers.jsonl --model openai:NAME --out diagnoses.jsonl",
    )  # fmt: skip
    group = diagnose.add_argument_group("input")
    group.add_argument(
        "--verifiers", metavar="F", required=True, help='rows {"id", "checks", "instruction", ...}'
    )
    group = diagnose.add_argument_group("a model's second opinion")
    group.add_argument(
        "--model",
        help="writes functions and texts of its own and labels what is disputed: local:NAME, "
        "openai:NAME, hf:DIR-or-ID or scripted:FILE",
    )
    paid_options(group)
    group = output_options(diagnose, json=COUNTS, quiet="print no counts")
    group.add_argument("--out", metavar="F", help="file for the diagnoses; default: stdout")

    doctor = command(
        commands, "doctor", _doctor, "check what works on this machine", "autoif doctor"
    )
    output_options(doctor, json="print the findings as JSON")


def _status(args: argparse.Namespace) -> int:
    from autoif.report import terminal as terminal
    from autoif.run.directory import RunDir

    run = RunDir(Path(args.dir))
    report = run.report()
    if args.json:
        say_json(report)
        return 0
    show = console().print
    recipe = run.recipe()
    preset = f", preset {recipe.profile}" if recipe else ""
    why = f": {report['error']}" if "error" in report else ""
    show(printable(f"{args.dir}: {report['state']}{preset}{why}"), soft_wrap=True)
    show(terminal.funnel(report))
    show(terminal.totals(report))
    return 0


def _show(args: argparse.Namespace) -> int:
    from autoif.base.records import to_json
    from autoif.report import lineage as lineage
    from autoif.report import terminal as terminal
    from autoif.run.directory import RunDir

    try:
        told = lineage.story(RunDir(Path(args.dir)), args.id, args.calls)
        shown = to_json(told) if args.json else terminal.story(told)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        raise UsageError(f"{args.dir}: its files are not what a run wrote") from None
    if args.json:
        say_json(shown)
    else:
        console().print(shown, soft_wrap=True)
    return 0


def _verify(args: argparse.Namespace) -> int:
    from autoif.verifier.verify import verify_files, verify_rows

    if args.rows:
        if args.verifiers or args.responses:
            raise UsageError("--rows cannot be combined with --verifiers or --responses")
    elif not (args.verifiers and args.responses):
        raise UsageError("give --verifiers F and --responses F, or --rows F")
    summary_apart(args)
    with output(args.out, args.rows, args.verifiers, args.responses) as out:
        if args.rows:
            counts = verify_rows(Path(args.rows), out)
        else:
            counts = verify_files(Path(args.verifiers), Path(args.responses), out)
    if args.json:
        summary: dict[str, Any] = {
            "rows": counts.rows,
            "texts": counts.texts,
            "unscored": counts.unscored,
            "reasons": dict(counts.reasons.most_common()),
        }
        if args.rows:
            levels = {str(level): rows for level, rows in sorted(counts.levels.items())}
            summary |= {
                "disagreed": counts.disagreed,
                "reproduced_by_level": levels,
                "without_a_response": counts.unclaimed,
                "min_fraction_below_half": counts.lenient,
            }
        say_json(summary)
    elif not args.quiet:
        note(f"{counts.rows:,} rows, {counts.texts:,} texts, {counts.unscored:,} unscored")
        if args.rows:
            same = ", ".join(f"{rows:,} with {n}" for n, rows in sorted((+counts.levels).items()))
            note(f"rows whose verdicts were reproduced, by number of constraints: {same or 0}")
        if counts.unclaimed:
            note(
                f"{counts.unclaimed:,} rows have a prompt and no response: their checks can be run"
            )
        if counts.lenient:
            note(f"{counts.lenient:,} rows ask for less than half of the checks of a verifier")
        for why, n in counts.reasons.most_common(REASONS):
            note(f"no verdict, {n:,} times: {why}")
    if args.rows and counts.disagreed:
        raise RunFailed(
            f"{counts.disagreed:,} texts of {args.rows} do not get the verdicts that "
            "their rows claim"
        )
    return 0


def _decontaminate(args: argparse.Namespace) -> int:
    if sum(map(bool, (args.rows, args.verifiers, args.instructions))) != 1:
        raise UsageError("give --rows F and --against BENCH, or --verifiers F, or --instructions F")
    if bool(args.rows) != bool(args.against) or (args.dropped and not args.rows):
        raise UsageError("--rows and --against need each other; --dropped needs both")
    if args.dropped and args.dropped == args.out:
        raise UsageError("--out and --dropped name the same file")
    summary_apart(args)
    return _clean_rows(args) if args.rows else _label_types(args)


def _clean_rows(args: argparse.Namespace) -> int:
    from autoif.clean.decontaminate import decontaminate

    with (
        output(args.out, args.rows, *args.against) as out,
        output(args.dropped or os.devnull, args.rows, *args.against) as dropped,
    ):
        rows, dropped_by, unread = decontaminate(args.rows, args.against, out, dropped)
    if args.json:
        counts = {"dropped": dropped_by.total(), "by_benchmark": dict(dropped_by)}
        say_json({"rows": rows, **counts, "benchmark_rows_without_text": unread})
    elif not args.quiet:
        names = ", ".join(f"{n:,} {name}" for name, n in dropped_by.items() if n)
        note(f"{rows:,} rows, {dropped_by.total():,} dropped{f' ({names})' if names else ''}")
        if unread:
            note(f"{unread:,} rows of the benchmarks hold no text: nothing is compared with them")
    return 0


def _label_types(args: argparse.Namespace) -> int:
    from autoif.base.records import dump_line
    from autoif.clean.verifier_types import typed_verifiers
    from autoif.constraints.types import typed

    what = "verifiers" if args.verifiers else "instructions"
    source = args.verifiers or args.instructions
    rows = labelled = 0
    with output(args.out, source) as out:
        for row in (typed_verifiers if args.verifiers else typed)(source):
            out.write(dump_line(row))
            rows, labelled = rows + 1, labelled + bool(row["type"])
    if args.json:
        say_json({what: rows, "of_a_benchmark_type": labelled})
    elif not args.quiet:
        note(f"{rows:,} {what}, {labelled:,} of a benchmark's constraint type")
    return 0


def _diagnose(args: argparse.Namespace) -> int:
    from autoif.diagnosis import FLAGS, diagnose_file

    summary_apart(args)
    if not args.model and (args.calls or args.budget or args.base_url):
        raise UsageError("--calls, --budget and --base-url are for --model: give one")
    with output(args.out, args.verifiers) as out:
        counts = (
            _second_opinion(args, out) if args.model else diagnose_file(Path(args.verifiers), out)
        )
    flags = {flag: counts.flags[flag] for flag in FLAGS if counts.flags[flag]}
    rate = counts.hack_rate
    if args.json:
        say_json({"without_a_flag": counts.flags[""], "flags": flags, "hack_rate": rate})
    elif not args.quiet:
        flagged = [f"{flag} {n:,}" for flag, n in flags.items()]
        note(", ".join([f"{counts.flags['']:,} verifiers without a flag", *flagged]))
        if rate is not None:
            note(f"hack rate {rate:.0%}: kinds of filler that they accept, on average")
    note_refused(args, counts.refused)
    if counts.unheard and not args.quiet:
        note(f"{counts.unheard:,} verifiers have no second opinion: the model failed its controls")
    return 0


def _second_opinion(args: argparse.Namespace, out: IO[bytes]) -> DiagnoseCounts:
    from autoif.engine.panel import diagnose_with_model

    paid = paid_settings(args)
    own_process()
    return diagnose_with_model(Path(args.verifiers), out.write, args.model, **paid)


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
