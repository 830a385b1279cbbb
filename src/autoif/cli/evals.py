"""`autoif eval` and `autoif compare`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from autoif.base.errors import UsageError
from autoif.base.loop import asyncio_run
from autoif.cli.common import command, note, own_process, say, say_json, urls


def add(commands: Any) -> None:
    evaluate = command(commands, "eval", _eval, "score responses, or a model, on a benchmark")
    evaluate.add_argument("benchmark", metavar="BENCH", help="ifeval, ifbench, followbench, ...")
    evaluate.add_argument("--data", metavar="F", help="a local copy of it; default: from the hub")
    evaluate.add_argument("--responses", metavar="F", help='rows {"key" or "prompt", "response"}')
    evaluate.add_argument("--model", help="asked for the responses")
    evaluate.add_argument("--judge", metavar="MODEL", help="FollowBench: judges the soft part")
    evaluate.add_argument("--base-url", help="URL of the server, ending in /v1 (several: commas)")
    evaluate.add_argument("--api-key-env", default="OPENAI_API_KEY", metavar="NAME")
    evaluate.add_argument("--samples", type=int, default=1, help="answers per prompt, for pass@k")
    evaluate.add_argument("--temperature", type=float, help="default: 0; several samples: 0.8")
    evaluate.add_argument("--max-tokens", type=int, help="of an answer; default: the benchmark's")
    evaluate.add_argument("--limit", type=int, metavar="N", help="only the first N prompts")
    evaluate.add_argument("--calls", metavar="F", help="call store; default: DIR/calls.sqlite")
    evaluate.add_argument("--out", metavar="DIR", help="scores.json and verdicts.jsonl go here")

    compare = command(commands, "compare", _compare, "paired differences of two evaluations")
    compare.add_argument("a", metavar="A", help="directory of an evaluation")
    compare.add_argument("b", metavar="B", help="directory of another one")


def _eval(args: argparse.Namespace) -> int:
    from autoif.evals.harness import HARNESS, evaluate_in_harness

    own_process()
    if bool(args.responses) == bool(args.model):
        raise UsageError("give --responses F or --model NAME")
    if args.benchmark in HARNESS and args.model:
        out = Path(args.out) if args.out else None
        return _tell(
            args, evaluate_in_harness(args.benchmark, args.model, out=out, limit=args.limit)
        )
    if args.model and not (args.out or args.calls):
        raise UsageError("--model needs --out DIR (or --calls F): its answers are stored there")
    return _tell(args, asyncio_run(_scores(args)))


def _tell(args: argparse.Namespace, scores: Any) -> int:
    if args.json:
        say_json(scores.to_json())
    elif not args.quiet:
        say(scores.table())
    return 0


async def _scores(args: argparse.Namespace) -> Any:
    from autoif.evals.evaluation import aevaluate
    from autoif.models.cached import CachedChat
    from autoif.models.open import open_backend
    from autoif.store import open_store

    wanted = {
        "responses": Path(args.responses) if args.responses else None,
        "data": Path(args.data) if args.data else None,
        "out": Path(args.out) if args.out else None,
        "samples": args.samples,
        "temperature": args.temperature,
        "max_tokens": args.max_tokens,
        "limit": args.limit,
    }
    if not (args.model or args.judge):
        return await aevaluate(args.benchmark, **wanted)
    path = Path(args.calls) if args.calls else Path(args.out) / "calls.sqlite"
    path.parent.mkdir(parents=True, exist_ok=True)
    store = open_store(path)
    chats: dict[str, CachedChat] = {}
    try:
        for spec in {args.model, args.judge} - {None}:
            backend = open_backend(
                spec,
                base_url=urls(args.base_url),
                api_key_env=args.api_key_env,
                on_notice=note,
            )
            chats[spec] = CachedChat(backend, store)
        chat, judge = chats.get(args.model), chats.get(args.judge)
        return await aevaluate(args.benchmark, chat=chat, judge=judge, **wanted)
    finally:
        for opened in chats.values():
            await opened.close()
        await store.close()


def _compare(args: argparse.Namespace) -> int:
    from autoif.evals.evaluation import compare

    found = compare(Path(args.a), Path(args.b))
    say_json(found.to_json()) if args.json else say(found.table())
    return 0
