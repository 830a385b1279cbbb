"""Waves against the paper's fixed K: response and judge tokens for each prompt that gets solved.

    python benchmarks/waves.py --verifiers runs/demo/02-verifiers.jsonl [--model ...] [--queries 4]

The same verifiers, queries, seeds and model; a prompt (one instruction with one query) is solved
when a response passed its checks and the judge. Fixed K asks for 8 responses and judges all that
pass; waves ask for 1, 1, 2 and 4 and stop at the first kept. Both read one call store, so what
waves need is a part of what fixed K has paid, and the second run costs nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

from results_file import record

from autoif.engine.local import Run
from autoif.run.directory import RunDir
from autoif.run.recipe import Recipe

WAYS: dict[str, dict[str, Any]] = {
    "fixed": {"responses.waves": [8], "responses.enough": 0, "responses.hopeless": 0},
    "waves": {"responses.waves": [1, 1, 2, 4], "responses.enough": 1, "responses.hopeless": 12},
}
FLOOR = 0.6


async def measure(
    folder: Path, verifiers: str, model: str, queries: int, calls: Path
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for way, settings in WAYS.items():
        recipe = Recipe.load(
            "demo",
            None,
            settings
            | {
                "models.default": model,
                "verifiers.own": verifiers,
                "queries.per_instruction": queries,
                "judge.per_prompt": 0,
                "pairs.instruction_level": 0,
            },
        )
        out = RunDir(folder / way)
        out.claim(recipe)
        run = Run(recipe, out, calls, on_notice=print)
        report = await run.execute()
        usage = run.progress.usage("responses") + run.progress.usage("judge")
        stages = {s["name"]: s for s in report["stages"]}
        solved = stages["prompts"]["kept"]
        tokens = usage.prompt + usage.completion
        found[way] = {
            "prompts": stages["prompts"]["in"],
            "solved": solved,
            "samples": stages["samples"]["kept"],
            "responses": stages["responses"]["in"],
            "judged": stages["judge"]["in"],
            "tokens": tokens,
            "tokens_per_solved": round(tokens / solved, 1),
            "completion_tokens_per_solved": round(usage.completion / solved, 1),
            "calls": run.progress.calls(),
            "seconds": report["seconds"],
        }
    ratio = found["waves"]["tokens_per_solved"] / found["fixed"]["tokens_per_solved"]
    return found | {"tokens_per_kept_vs_fixed_k": round(ratio, 3)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--verifiers", required=True, help="a run's 02-verifiers.jsonl")
    parser.add_argument("--model", default="local:qwen2.5-coder-1.5b-instruct")
    parser.add_argument("--queries", type=int, default=4, help="queries per instruction")
    parser.add_argument("--calls", type=Path, help="a call store that stays")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        calls = args.calls or folder / "calls.sqlite"
        found = asyncio.run(measure(folder, args.verifiers, args.model, args.queries, calls))
    print(json.dumps(found, indent=2))
    key = "tokens_per_kept_vs_fixed_k"
    record("calls", {key: found[key], "waves": found})
    return 0 if found["tokens_per_kept_vs_fixed_k"] <= FLOOR else 1


if __name__ == "__main__":
    raise SystemExit(main())
