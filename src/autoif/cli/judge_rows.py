"""`autoif judge`: the gates of synthesis over rows that exist."""

from __future__ import annotations

import argparse
from typing import Any

from autoif.cli.common import (
    command,
    note,
    note_refused,
    output,
    output_options,
    own_process,
    paid_options,
    paid_settings,
    say_json,
    summary_apart,
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
    paid_options(group)
    group = output_options(judge, json="print the counts as JSON", quiet="print no counts")
    group.add_argument("--out", metavar="F", help="file for the judgements; default: stdout")


def _judge(args: argparse.Namespace) -> int:
    from autoif.engine.judging import judge_file

    paid = paid_settings(args)
    summary_apart(args)
    own_process()
    with output(args.out, args.rows) as out:
        counts = judge_file(args.rows, out.write, args.model, **paid)
    reasons = dict(counts.reasons.most_common())
    if args.json:
        say_json({"rows": counts.rows, "kept": counts.kept, "reasons": reasons})
    elif not args.quiet:
        parts = [f"{counts.rows:,} rows, {counts.kept:,} kept"]
        parts += [f"{reason} {n:,}" for reason, n in reasons.items()]
        note(", ".join(parts))
    note_refused(args, counts.refused)
    return 0
