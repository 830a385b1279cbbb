"""The commands. Alone writes to stdout; results go there, everything else to stderr.

Exit 0: done. 1: the run failed, with a one-line reason. 2: wrong usage.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console

from autoif import __version__
from autoif.errors import AutoIFError, RunFailed, UsageError
from autoif.recipe import PRESETS, Recipe, parse_settings

err = Console(stderr=True, highlight=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line; returns the exit code."""
    args = _parser().parse_args(argv)
    args.argv = list(sys.argv[1:] if argv is None else argv)
    try:
        return int(args.run(args))
    except AutoIFError as error:
        _fail(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        _fail("stopped at once; answered calls are stored, the same command goes on from there")
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        _fail(f"{error.filename or 'system'}: {error.strerror or error}")
        return 1


def _fail(line: str) -> None:
    sys.stderr.write(f"autoif: {' '.join(line.split())}\n")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _say_json(value: Any) -> None:
    _say(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


# ---- synth -------------------------------------------------------------------------------------


def _synth(args: argparse.Namespace) -> int:
    from autoif import estimate
    from autoif.rundir import RunDir

    recipe = _recipe(args)
    if args.dry_run:
        plan = estimate.plan(recipe)
        _say_json(plan) if args.json else _say(estimate.render(plan))
        return 0
    out = RunDir(Path(args.out or Path("runs") / (recipe.preset)))
    with out.locked():
        out.claim(recipe, update=args.update)
        return asyncio.run(_run(recipe, out, args))


async def _run(recipe: Recipe, out: Any, args: argparse.Namespace) -> int:
    from autoif import display
    from autoif.chat.gate import Budget
    from autoif.engine import Run, Stopped

    budget = Budget.parse(args.budget) if args.budget else None
    run = Run(recipe, out, Path(args.calls) if args.calls else None, budget=budget)
    watch = display.Watch(err, run.progress, quiet=args.quiet)
    run.on_notice = watch.notice
    again = shlex.join(["autoif", *args.argv])
    loop = asyncio.get_running_loop()
    told = asyncio.Event()

    def interrupted() -> None:
        if told.is_set():
            os._exit(_stop_at_once())
        told.set()
        watch.notice("stopping: what is in flight ends first (Ctrl-C again stops at once)")
        run.stop()

    loop.add_signal_handler(signal.SIGINT, interrupted)
    loop.add_signal_handler(signal.SIGTERM, run.stop)
    failed: RunFailed | None = None
    try:
        async with watch:
            report = await run.execute()
    except Stopped as stopped:
        kept = run.progress.ledger.counts["samples"].kept
        why = "the budget is spent" if str(stopped) == "budget" else "stopped"
        how = "with a larger --budget" if str(stopped) == "budget" else f"with: {again}"
        _fail(f"{why}; {kept} samples so far in {out.path}. Go on {how}")
        return 1
    except RunFailed as error:
        failed, report = error, out.report()
    if args.json:
        _say_json(report)
    elif not args.quiet:
        console = Console(highlight=False)
        console.print(display.funnel(report))
        console.print(display.totals(report))
        console.print(display.samples(_first_rows(out.artefact("data/sft"), 3)))
        if not failed:
            counts = {n: _lines(out.artefact(f"data/{n}")) for n in ("sft", "dpo", "rlvr")}
            console.print(
                f"{counts['sft']} samples, {counts['dpo']} preference pairs and {counts['rlvr']} "
                f"RLVR prompts in {out.path}/data",
                markup=False,
            )
    if failed:
        raise failed
    return 0


def _stop_at_once() -> int:
    _fail("stopped at once; answered calls are stored, the same command goes on from there")
    return 1


def _recipe(args: argparse.Namespace) -> Recipe:
    settings = parse_settings(args.set)
    flags = {
        "models.default": args.model,
        "models.propose": args.model_propose,
        "models.code": args.model_code,
        "models.respond": args.model_respond,
        "models.judge": args.model_judge,
        "models.base_url": args.base_url.split(",") if args.base_url else None,
        "models.api_key_env": args.api_key_env,
        "instructions.seeds": args.seeds,
        "instructions.own": args.instructions,
        "verifiers.own": args.verifiers,
        "queries.source": args.queries,
        "target": args.target,
        "seed": args.seed,
        "langs": args.lang.split(",") if args.lang else None,
    }
    settings |= {key: value for key, value in flags.items() if value is not None}
    return Recipe.load(args.preset, Path(args.recipe) if args.recipe else None, settings)


def _first_rows(path: Path, n: int) -> list[dict[str, Any]]:
    with path.open("rb") as lines:
        return [orjson.loads(line) for line, _ in zip(lines, range(n), strict=False)]


def _lines(path: Path) -> int:
    with path.open("rb") as lines:
        return sum(1 for _ in lines)


# ---- looking -----------------------------------------------------------------------------------


def _status(args: argparse.Namespace) -> int:
    from autoif import display
    from autoif.rundir import RunDir

    report = RunDir(Path(args.dir)).report()
    if args.json:
        _say_json(report)
        return 0
    console = Console(highlight=False)
    console.print(f"{args.dir}: {report['state']}", markup=False)
    console.print(display.funnel(report))
    console.print(display.totals(report))
    return 0


def _show(args: argparse.Namespace) -> int:
    from autoif import display, show
    from autoif.records import to_json
    from autoif.rundir import RunDir

    told = show.story(RunDir(Path(args.dir)), args.id, Path(args.calls) if args.calls else None)
    if args.json:
        _say_json(to_json(told))
    else:
        Console(highlight=False).print(display.story(told), soft_wrap=True)
    return 0


def _verify(args: argparse.Namespace) -> int:
    from autoif.verify import verify_files, verify_rows

    if args.rows:
        if args.verifiers or args.responses:
            raise UsageError("--rows stands alone: its rows carry their verifiers")
    elif not (args.verifiers and args.responses):
        raise UsageError("give --verifiers F and --responses F, or --rows F")
    with ExitStack() as stack:
        out = stack.enter_context(Path(args.out).open("wb")) if args.out else sys.stdout.buffer
        if args.rows:
            counts = verify_rows(Path(args.rows), out)
        else:
            counts = verify_files(Path(args.verifiers), Path(args.responses), out)
        out.flush()
    if not args.quiet:
        err.print(f"{counts.rows:,} rows, {counts.texts:,} texts, {counts.unscored:,} unscored")
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from autoif import doctor

    findings = doctor.examine()
    if args.json:
        _say_json([f.to_json() for f in findings])
    else:
        for f in findings:
            _say(f.line())
    bad = [f for f in findings if f.required and not f.holds]
    if bad:
        raise RunFailed(f"synthesis cannot run here: {bad[0].name}: {bad[0].advice}")
    return 0


# ---- the parser --------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="autoif", description="Instruction-following training data, proved by running code."
    )
    parser.add_argument("--version", action="version", version=f"autoif {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    synth = _command(commands, "synth", _synth, "make data; run again to resume")
    synth.add_argument("recipe", nargs="?", help="recipe.toml")
    synth.add_argument("--preset", help=f"{', '.join(PRESETS)}; default: demo")
    synth.add_argument("--model", help="local:NAME, openai:NAME, hf:DIR-or-ID or scripted:FILE")
    for role in ("propose", "code", "respond", "judge"):
        synth.add_argument(f"--model-{role}", metavar="MODEL", help=f"the model that {_DOES[role]}")
    synth.add_argument("--base-url", help="URL of the server, ending in /v1 (several: commas)")
    synth.add_argument("--api-key-env", metavar="NAME", help="environment variable with the key")
    synth.add_argument("--seeds", metavar="F", help="seed instructions: a file or hf:DATASET")
    synth.add_argument("--queries", metavar="F", help="user queries: a file or hf:DATASET")
    synth.add_argument("--instructions", metavar="F", help="your own instructions; none proposed")
    synth.add_argument("--verifiers", metavar="F", help="your own verifiers; none written")
    synth.add_argument("--lang", help="en, zh or en,zh")
    synth.add_argument("--seed", type=int, help="moves every random choice")
    synth.add_argument("--target", type=int, metavar="N", help="stop at N samples")
    synth.add_argument("--set", action="append", default=[], metavar="K=V", help="any recipe key")
    synth.add_argument("--out", metavar="DIR", help="run directory; default runs/PRESET")
    synth.add_argument("--budget", metavar="B", help="stop at 5USD or 2Mtok, all paid calls used")
    synth.add_argument("--calls", metavar="F", help="a call store shared between runs")
    synth.add_argument("--update", action="store_true", help="another recipe, the same directory")
    synth.add_argument(
        "--dry-run", action="store_true", help="say calls, tokens and cost; pay none"
    )

    status = _command(commands, "status", _status, "the funnel, also in mid-run")
    status.add_argument("dir", metavar="DIR")

    show = _command(commands, "show", _show, "one record's or drop's whole story")
    show.add_argument("dir", metavar="DIR")
    show.add_argument("id", metavar="ID")
    show.add_argument("--calls", metavar="F", help="the call store, if not in DIR")

    verify = _command(commands, "verify", _verify, "run verifiers over responses")
    verify.add_argument("--verifiers", metavar="F", help='rows {"id", "checks": [source, ...]}')
    verify.add_argument("--responses", metavar="F", help='rows {"id", "responses": [text, ...]}')
    verify.add_argument("--rows", metavar="F", help="data rows that carry their verifiers")
    verify.add_argument("--out", metavar="F", help="where the verdicts go; default stdout")

    _command(commands, "doctor", _doctor, "what works on this machine")
    return parser


_DOES = {
    "propose": "proposes instructions",
    "code": "writes functions",
    "respond": "answers queries",
    "judge": "scores answers",
}


def _command(commands: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("--json", action="store_true", help="machine-readable result")
    parser.add_argument("--quiet", action="store_true", help="errors alone")
    parser.set_defaults(run=run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
