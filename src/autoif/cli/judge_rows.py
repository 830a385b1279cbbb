"""`autoif judge`: the gates of synthesis over rows that exist."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from autoif.base.errors import UsageError
from autoif.cli.common import (
    command,
    note,
    output,
    output_options,
    own_process,
    say_json,
    server_options,
    summary_apart,
    urls,
)

MODEL = "local:qwen2.5-coder-1.5b-instruct"


def add(commands: Any) -> None:
    judge = command(
        commands, "judge", _judge, "say which rows of a data file are worth training on",
        "autoif judge --rows data/sft.jsonl --out judgements.jsonl",
        "autoif judge --rows data/sft.jsonl --model openai:NAME --base-url URL --out kept.jsonl",
    )  # fmt: skip
    group = judge.add_argument_group("input")
    group.add_argument(
        "--rows",
        metavar="F",
        required=True,
        help='rows {"messages", "query", "instruction", "verifiers", ...}',
    )
    group = judge.add_argument_group("the model")
    group.add_argument("--model", default=MODEL, help=f"judges; default: {MODEL}")
    server_options(group)
    group.add_argument("--calls", metavar="F", help="call store; default: OUT.calls.sqlite")
    group.add_argument("--budget", metavar="B", help="spend at most this many tokens: 2Mtok")
    group = output_options(judge, json="print the counts as JSON", quiet="print no counts")
    group.add_argument("--out", metavar="F", help="file for the judgements; default: stdout")


def _judge(args: argparse.Namespace) -> int:
    from autoif.engine.judging import judge_file
    from autoif.models.budget import Budget

    if not (args.calls or args.out):
        raise UsageError("the model's answers need a place: give --calls F or --out F")
    summary_apart(args)
    own_process()
    server = {"models.base_url": urls(args.base_url), "models.api_key_env": args.api_key_env}
    with output(args.out, args.rows) as out:
        counts = judge_file(
            args.rows,
            out.write,
            args.model,
            calls=Path(args.calls or f"{args.out}.calls.sqlite"),
            budget=Budget.parse(args.budget) if args.budget else None,
            settings={key: value for key, value in server.items() if value is not None},
            on_notice=note,
        )
    reasons = dict(counts.reasons.most_common())
    if args.json:
        say_json({"rows": counts.rows, "kept": counts.kept, "reasons": reasons})
    elif not args.quiet:
        parts = [f"{counts.rows:,} rows, {counts.kept:,} kept"]
        parts += [f"{reason} {n:,}" for reason, n in reasons.items()]
        note(", ".join(parts))
    if counts.refused and not args.quiet:
        note(
            f"the budget is spent, {counts.refused:,} calls were not made; the same command with a "
            "larger one goes on from there"
        )
    return 0
