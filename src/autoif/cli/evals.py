"""`autoif eval` and `autoif compare`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from autoif.cli.common import (
    command,
    note,
    output_options,
    own_process,
    say,
    say_json,
    server_options,
    urls,
)

# Spelt out: to import them would make every command wait for the benchmarks' libraries.
NAMES = (
    "ifeval",
    "ifbench",
    "followbench",
    "followbench-zh",
    "gsm8k",
    "humaneval",
    "mmlu",
    "ceval",
)


def add(commands: Any) -> None:
    evaluate = command(
        commands, "eval", _eval, "score a model, or a file of responses, on a benchmark",
        "autoif eval ifeval --model hf:runs/sft/model --out runs/eval/sft",
        "autoif eval ifeval --model openai:NAME --base-url URL --out runs/eval/NAME",
        "autoif eval ifbench --responses responses.jsonl --data IFBench_test.jsonl",
    )  # fmt: skip
    group = evaluate.add_argument_group("benchmark")
    group.add_argument("benchmark", metavar="BENCH", help=", ".join(NAMES))
    group.add_argument("--data", metavar="F", help="a local copy; default: from the hub")
    group.add_argument("--limit", type=int, metavar="N", help="only the first N prompts")
    group = evaluate.add_argument_group("what is scored: responses or a model")
    group.add_argument("--responses", metavar="F", help='rows {"key" or "prompt", "response"}')
    group.add_argument(
        "--model",
        help="model that generates the responses: local:NAME, "
        "openai:NAME, hf:DIR-or-ID or scripted:FILE",
    )
    group.add_argument(
        "--samples",
        type=int,
        default=1,
        metavar="N",
        help="responses per prompt, for pass@k (default: 1)",
    )
    group.add_argument(
        "--temperature", type=float, metavar="T", help="default: 0; with several samples 0.8"
    )
    group.add_argument(
        "--max-tokens", type=int, metavar="N", help="longest response; default: the benchmark's"
    )
    group.add_argument("--judge", metavar="MODEL", help="FollowBench: judges the soft constraints")
    server_options(evaluate.add_argument_group("server"), "OPENAI_API_KEY")
    group = output_options(evaluate, json="print the scores as JSON", quiet="print no scores")
    group.add_argument("--out", metavar="DIR", help="scores.json, verdicts.jsonl, responses.jsonl")
    group.add_argument("--calls", metavar="F", help="call store; default: DIR/calls.sqlite")

    compare = command(
        commands, "compare", _compare, "print the paired differences of two evaluations, B minus A",
        "autoif compare runs/eval/base runs/eval/sft",
    )  # fmt: skip
    group = compare.add_argument_group("input")
    group.add_argument("a", metavar="A", help="directory of an evaluation (`eval --out`)")
    group.add_argument("b", metavar="B", help="directory of another one")
    output_options(compare, json="print the differences as JSON")


def _eval(args: argparse.Namespace) -> int:
    from autoif.evals.evaluation import evaluate

    own_process()
    scores = evaluate(
        args.benchmark,
        responses=args.responses,
        model=args.model,
        judge=args.judge,
        data=args.data,
        out=args.out,
        calls=args.calls,
        base_url=urls(args.base_url),
        api_key_env=args.api_key_env,
        samples=args.samples,
        temperature=args.temperature,
        max_tokens=args.max_tokens,
        limit=args.limit,
        on_notice=note,
    )
    if args.json:
        say_json(scores.to_json())
    elif not args.quiet:
        say(scores.table())
    return 0


def _compare(args: argparse.Namespace) -> int:
    from autoif.evals.evaluation import compare

    comparison = compare(Path(args.a), Path(args.b))
    say_json(comparison.to_json()) if args.json else say(comparison.table())
    return 0
