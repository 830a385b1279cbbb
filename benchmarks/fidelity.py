"""Do verifiers mean what the instruction says? Ours beside the checkers of IFEval and IFBench.

    python benchmarks/fidelity.py [--model local:qwen2.5-coder-1.5b-instruct] [--calls FILE]

`fidelity.jsonl` states constraints of both benchmarks in words, each with the type and arguments of
its trusted checker. Each profile lets the model build verifiers for them; every survivor then
judges real responses, and its verdicts are held against the trusted checker's: GPT-4's responses to
IFEval (up to 20 to prompts of the same type, and 20 others), and responses of the model itself to
eight queries with the constraint, so that both classes occur. For measuring only: a benchmark's
constraint never enters training data.

    coverage            constraints with a surviving verifier / all constraints
    usable coverage     survivors with balanced accuracy >= 0.9 / constraints with both classes
    balanced accuracy   mean over survivors with both classes; false accept likewise
    tokens              completion tokens of all calls but the responses, per survivor

`--calls` keeps what was paid: with it a change of rules is measured again for nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from results_file import record
from rich.console import Console
from rich.table import Table

from autoif.base.errors import CallFailed
from autoif.base.records import Instruction, seed_from
from autoif.constraints.checkers import bind
from autoif.engine.resources import open_context
from autoif.models.cached import CallCounts
from autoif.run.recipe import Recipe
from autoif.store import open_store
from autoif.store.base import Store
from autoif.synthesis.context import Context
from autoif.synthesis.responses import queries, sample
from autoif.synthesis.verifiers.build import Built, build
from autoif.verifier.verify import accepts

HERE = Path(__file__).parent
DATA = HERE.parent.parent / "shared" / "data"
OWN, SAME_TYPE, OTHERS = 8, 20, 20  # responses per constraint
GOOD = 0.9  # balanced accuracy of a usable verifier

# About the same number of tokens for each; what differs is the rule.
PROFILES: dict[str, dict[str, Any]] = {
    "reference": {"verifiers.k": 7, "verifiers.max_tokens": 400},
    "paper": {"verifiers.k": 7, "verifiers.max_tokens": 400},
    "strict": {"verifiers.k": 10, "verifiers.comply": 6, "verifiers.max_tokens": 300},
}

Row = dict[str, Any]


def constraints(limit: int) -> list[tuple[Instruction, Row]]:
    rows = [json.loads(line) for line in (HERE / "fidelity.jsonl").read_text().splitlines()]
    if limit:
        rows = random.Random(0).sample(rows, limit)
    return [(Instruction(r["text"], origin="user", benchmark_type=r["type"]), r) for r in rows]


async def build_all(context: Context, asked: Sequence[Instruction]) -> list[Built]:
    """A verifier for each, or none; the profile's own way from the words to the survivors."""
    slots = asyncio.Semaphore(context.recipe.engine.in_flight)

    async def one(instruction: Instruction) -> Built:
        async with slots:
            drawn = queries.pair(context.recipe, context.queries, instruction)
            return await build(context, instruction, sample.instructed(context, instruction, drawn))

    return list(await asyncio.gather(*map(one, asked)))


async def instructed(context: Context, asked: Sequence[Instruction]) -> list[list[str]]:
    """What the model itself answers when it is told to."""

    async def one(instruction: Instruction, n: int, query: Any) -> str:
        words = context.recipe.responses.max_words
        try:
            reply = await context.ask(
                "respond",
                context.prompts.messages(
                    "respond",
                    "en",
                    brief=context.prompts.text("brief", "en", words=words),
                    query=query.text,
                    instruction=instruction.text,
                ),
                stage="responses",
                record=instruction.id,
                temperature=0.8,
                max_tokens=context.recipe.responses.max_tokens,
                index=n,
            )
        except CallFailed:
            return ""
        return reply.text.strip()

    async def all_of(instruction: Instruction) -> list[str]:
        drawn = queries.pair(context.recipe, context.queries, instruction)
        texts = await asyncio.gather(*(one(instruction, n, q) for n, q in enumerate(drawn)))
        return [t for t in texts if t]

    return list(await asyncio.gather(*map(all_of, asked)))


def natural() -> list[tuple[set[str], str]]:
    """GPT-4's responses with the types that their prompts asked for."""
    said = {}
    for line in (DATA / "ifeval" / "gpt4_responses.jsonl").read_text().splitlines():
        row = json.loads(line)
        said[row["prompt"]] = row["response"]
    out = []
    for line in (DATA / "ifeval" / "input_data_for_gpt4.jsonl").read_text().splitlines():
        row = json.loads(line)
        if said.get(row["prompt"]):
            out.append((set(row["instruction_id_list"]), said[row["prompt"]]))
    return out


def pool(row: Row, own: list[str], others: list[tuple[set[str], str]]) -> list[str]:
    rng = random.Random(seed_from("fidelity", row["text"]))
    same = [text for types, text in others if row["type"] in types]
    rest = [text for types, text in others if row["type"] not in types]
    drawn = rng.sample(same, min(SAME_TYPE, len(same))) + rng.sample(rest, OTHERS)
    return list(dict.fromkeys(own + drawn))


def rates(said: Sequence[bool], truth: Sequence[bool]) -> tuple[float | None, float | None]:
    """Balanced accuracy and false-accept rate; None where a class is empty."""
    positive = [s for s, t in zip(said, truth, strict=True) if t]
    negative = [s for s, t in zip(said, truth, strict=True) if not t]
    accepts = sum(negative) / len(negative) if negative else None
    if not positive or accepts is None:
        return None, accepts
    return (sum(positive) / len(positive) + 1 - accepts) / 2, accepts


def recipe(profile: str, model: str) -> Recipe:
    common = {
        "models.default": model,
        "queries.per_instruction": OWN,
        "responses.max_words": 60,
        "responses.max_tokens": 220,
    }
    return Recipe.load(profile, None, common | PROFILES[profile])


async def measure(profile: str, model: str, calls: Path, limit: int) -> tuple[Row, list[Row]]:
    made = recipe(profile, model)
    asked = constraints(limit)
    async with open_store(calls) as store:
        return await measured(made, store, asked)


async def measured(
    made: Recipe, store: Store, asked: list[tuple[Instruction, Row]]
) -> tuple[Row, list[Row]]:
    counts: dict[str, Mapping[str, CallCounts]] = {}
    async with open_context(made, store, counts=counts, on_notice=print) as context:
        only = [instruction for instruction, _ in asked]
        built, own = await asyncio.gather(build_all(context, only), instructed(context, only))
        tokens = sum(
            c.usage.completion + c.replayed_usage.completion
            for stage, c in counts[made.models.role("code")].items()
            if stage != "responses"
        )
        others = natural()
        rows = []
        for (_, row), result, texts in zip(asked, built, own, strict=True):
            verifier = result.verifier
            trusted = bind(row["type"], row["kwargs"])
            texts = pool(row, texts, others)
            truth = [trusted(text) for text in texts]
            found: Row = {
                "text": row["text"],
                "type": row["type"],
                "positive": sum(truth),
                "negative": len(truth) - sum(truth),
                "both": 0 < sum(truth) < len(truth),
                "survived": verifier is not None,
                "why": next(
                    (
                        drop.reason
                        for filtered in result.stages
                        for drop in filtered.dropped
                        if drop.stage == "verifiers"
                    ),
                    "",
                ),
            }
            if verifier is not None:
                verdicts = await context.verdicts(verifier.checks, texts)
                least = made.responses.accuracy.share(len(verifier.checks))
                said = [accepts([v], [least]) for v in verdicts]
                found["balanced_accuracy"], found["false_accept"] = rates(said, truth)
                found["checks"] = [c.source for c in verifier.checks]
                found["wrong"] = [t for t, s, w in zip(texts, said, truth, strict=True) if s != w]
            rows.append(found)
    return summary(rows, tokens), rows


def summary(rows: Sequence[Row], tokens: int) -> Row:
    survivors = [r for r in rows if r["survived"]]
    judged = [r for r in survivors if r["both"]]
    both = [r for r in rows if r["both"]]
    usable = [r for r in judged if r["balanced_accuracy"] >= GOOD]

    def mean(values: Sequence[float]) -> float | None:
        return round(statistics.fmean(values), 4) if values else None

    return {
        "n_constraints": len(rows),
        "n_one_class": len(rows) - len(both),
        "n_survivors": len(survivors),
        "n_judged": len(judged),
        "coverage": mean([float(r["survived"]) for r in rows]),
        "usable_coverage": round(len(usable) / len(both), 4) if both else None,
        "balanced_accuracy": mean([r["balanced_accuracy"] for r in judged]),
        "false_accept": mean([r["false_accept"] for r in judged]),
        "tokens": tokens,
        "tokens_per_survivor": round(tokens / len(survivors), 1) if survivors else None,
    }


def render(profiles: Mapping[str, Row]) -> Table:
    table = Table("profile", *next(iter(profiles.values())))
    for name, row in profiles.items():
        table.add_row(name, *("-" if v is None else f"{v:g}" for v in row.values()))
    return table


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="local:qwen2.5-coder-1.5b-instruct")
    parser.add_argument("--calls", type=Path, help="a call store that stays")
    parser.add_argument("--profiles", default=",".join(PROFILES))
    parser.add_argument("--limit", type=int, default=0, help="so many constraints, drawn at random")
    parser.add_argument("--detail", type=Path, help="a row per constraint and profile, as JSONL")
    args = parser.parse_args()
    found: dict[str, Row] = {}
    details: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for profile in args.profiles.split(","):
            calls = args.calls or folder / "calls.sqlite"
            found[profile], rows = asyncio.run(measure(profile, args.model, calls, args.limit))
            details += [{"profile": profile, **row} for row in rows]
            print(profile, json.dumps(found[profile]), file=sys.stderr)
    Console(width=200).print(render(found))
    if args.detail:
        args.detail.write_text("".join(json.dumps(row) + "\n" for row in details))
    if not args.limit and set(found) == set(PROFILES):
        command = f"python benchmarks/fidelity.py --model {args.model}"
        report = {"command": command, "model": args.model, "profiles": found}
        record("fidelity", report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
