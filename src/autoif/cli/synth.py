"""`autoif synth`: the main job."""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import signal
from itertools import islice
from pathlib import Path
from typing import Any

from autoif.base import jsonl
from autoif.base.errors import RunFailed, UsageError
from autoif.base.loop import asyncio_run
from autoif.base.printable import printable
from autoif.cli.common import (
    command,
    console,
    err,
    fail,
    note,
    output,
    output_options,
    own_process,
    say,
    say_json,
    server_options,
    urls,
)
from autoif.cli.recipes import load_recipe, recipe_options
from autoif.run.recipe import Recipe, files_outside

ROLES = {
    "propose": "proposes instructions",
    "code": "writes functions",
    "respond": "answers queries",
    "judge": "scores answers",
}


def add(commands: Any) -> None:
    synth = command(
        commands, "synth", _synth, "make training data; run again to resume",
        "autoif synth --preset smoke",
        "autoif synth --preset strict --model openai:NAME --base-url http://127.0.0.1:8000/v1",
        "autoif synth recipe.toml --set responses.waves=[2,2] --dry-run",
    )  # fmt: skip
    group = synth.add_argument_group("recipe")
    recipe_options(group)
    group.add_argument("--lang", help="en, zh or en,zh")
    group.add_argument("--seed", type=int, metavar="N", help="random seed")
    group.add_argument("--target", type=int, metavar="N", help="stop at N samples")

    group = synth.add_argument_group("models")
    group.add_argument("--model", help="local:NAME, openai:NAME, hf:DIR-or-ID or scripted:FILE")
    for role, does in ROLES.items():
        group.add_argument(f"--model-{role}", metavar="MODEL", help=f"the model that {does}")
    server_options(group)

    group = synth.add_argument_group("your own files")
    group.add_argument("--seeds", metavar="F", help="seed instructions: a file or hf:DATASET")
    group.add_argument("--queries", metavar="F", help="user queries: a file or hf:DATASET")
    group.add_argument(
        "--instructions", metavar="F", help="finished instructions; the model proposes none"
    )
    group.add_argument(
        "--verifiers", metavar="F", help="finished verifiers; the model writes no functions"
    )

    group = synth.add_argument_group("run")
    group.add_argument("--out", metavar="DIR", help="run directory; default: runs/PRESET")
    group.add_argument(
        "--update",
        action="store_true",
        help="continue in an existing run directory with a changed recipe; "
        "stored answers are reused",
    )
    group.add_argument(
        "--calls",
        metavar="F",
        help="call store to use, shared between runs: a file, or postgresql://USER@HOST/NAME; "
        "default: DIR/calls.sqlite",
    )
    group.add_argument(
        "--cluster",
        metavar="C",
        help="work on every machine of a Ray cluster: ray, or ray:HOST:PORT; needs --calls "
        "postgresql://USER@HOST/NAME",
    )
    group.add_argument("--budget", metavar="B", help="spend at most this: 5USD or 2Mtok")
    group.add_argument(
        "--minutes",
        type=float,
        metavar="N",
        help="embedded model: make a run that takes about N minutes; demo: 20; 0: all of it",
    )
    group.add_argument(
        "--batch",
        metavar="F",
        help="make no calls; write the requests that are still needed to F (OpenAI batch JSONL)",
    )
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="print expected calls, tokens and cost; make no calls",
    )
    output_options(
        synth, json="print the report, or the plan of --dry-run, as JSON", quiet="print errors only"
    )


def _synth(args: argparse.Namespace) -> int:
    from autoif.engine import dry_run
    from autoif.run.directory import RunDir

    recipe = _recipe(args)
    if args.dry_run:
        plan = dry_run.plan(recipe)
        say_json(plan) if args.json else say(dry_run.render(plan))
        return 0
    if args.recipe and not args.quiet:
        for key, path in files_outside(Path(args.recipe)):
            note(
                f"{args.recipe} reads {path} ({key}): its text goes to the models and into the data"
            )
    own_process()
    out = RunDir(Path(args.out or Path("runs") / (recipe.preset or "defaults")))
    with out.locked():
        if args.batch:
            out.claim(recipe, update=args.update)
            if _collect(recipe, out, args):
                return 0
        return asyncio_run(_run(recipe, out, args))


def _collect(recipe: Recipe, out: Any, args: argparse.Namespace) -> int:
    """Writes the batch file; returns the number of calls in it."""
    from autoif.engine.start import open_run
    from autoif.models.batch import write_batch

    run = open_run(recipe, out, calls=args.calls)
    noted = asyncio_run(run.collect())
    if noted:
        with output(args.batch, run.store_path) as file:
            asyncio_run(write_batch(run.store_path, file))
        note(
            f"{noted:,} calls in {args.batch}. When they are answered: autoif calls import "
            f"{run.store_path} RESULTS, then this command again"
        )
    return noted


async def _run(recipe: Recipe, out: Any, args: argparse.Namespace) -> int:
    from autoif.engine.local import GRACE, Stopped
    from autoif.engine.sizing import begin
    from autoif.engine.start import open_run
    from autoif.models.budget import Budget
    from autoif.report import terminal as terminal

    budget = Budget.parse(args.budget) if args.budget else None
    run = open_run(recipe, out, calls=args.calls, budget=budget)
    watch = terminal.Watch(err, run.progress, quiet=args.quiet)
    run.on_notice = watch.notice
    again = shlex.join(["autoif", *args.argv])
    loop = asyncio.get_running_loop()
    told = asyncio.Event()

    def interrupted() -> None:
        if told.is_set():
            os._exit(_stop_at_once())
        told.set()
        watch.notice(
            f"stopping: calls in flight have {GRACE:.0f} s to end (Ctrl-C again stops at once)"
        )
        run.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted)
    failed: RunFailed | None = None
    try:
        async with watch:
            await begin(run, update=args.update)
            report = await run.execute()
    except Stopped as stopped:
        kept = run.progress.funnel.counts["samples"].kept
        why = "the budget is spent" if str(stopped) == "budget" else "stopped"
        how = "it again with a larger --budget" if str(stopped) == "budget" else f"again: {again}"
        fail(f"{why}; {kept} samples so far in {out.path}. Run {how}")
        return 1
    except RunFailed as error:
        failed, report = error, out.report()
    if args.json:
        say_json(report)
    elif not args.quiet:
        show = console().print
        show(terminal.funnel(report))
        show(terminal.totals(report))
        show(terminal.samples(_first_rows(out.artefact("data/sft"), 3)))
        if not failed:
            counts = {n: _lines(out.artefact(f"data/{n}")) for n in ("sft", "dpo", "rlvr")}
            show(
                f"{counts['sft']} samples, {counts['dpo']} preference pairs and {counts['rlvr']} "
                f"RLVR prompts in {printable(str(out.path))}/data"
            )
    if failed:
        raise failed
    return 0


def _stop_at_once() -> int:
    fail("stopped at once; answered calls are stored, the same command goes on from there")
    return 1


def _recipe(args: argparse.Namespace) -> Recipe:
    flags = {
        "models.default": args.model,
        **{f"models.{role}": getattr(args, f"model_{role}") for role in ROLES},
        "models.base_url": urls(args.base_url),
        "models.api_key_env": args.api_key_env,
        "instructions.seeds": args.seeds,
        "instructions.own": args.instructions,
        "verifiers.own": args.verifiers,
        "queries.source": args.queries,
        "target": args.target,
        "engine.minutes": args.minutes,
        "engine.cluster": args.cluster,
        "seed": args.seed,
        "langs": None if args.lang is None else args.lang.split(","),
    }
    recipe = load_recipe(args, flags)
    models = {recipe.models.role(role) for role in ROLES}
    if args.minutes and not all(model.startswith("local:") for model in models):
        raise UsageError(
            "--minutes is for the embedded model, which is timed first; for another one give "
            "--target or --budget"
        )
    if args.base_url and not any(model.startswith("openai:") for model in models):
        raise UsageError(
            f"--base-url is for openai: models, and every model is {', '.join(sorted(models))}: "
            "give --model openai:NAME"
        )
    return recipe


def _first_rows(path: Path, n: int) -> list[dict[str, Any]]:
    return [row for _, row in islice(jsonl.read(path), n)]


def _lines(path: Path) -> int:
    with path.open("rb") as lines:
        return sum(1 for _ in lines)
