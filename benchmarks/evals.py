"""Scoring IFEval, strict and loose: ours beside the official code's way, in one process.

    pip install "autoif[crosscheck]"
    AUTOIF_DATA=... python benchmarks/evals.py [rounds]

The official code is no package; if-verifiable carries its checkers and its procedure (a checker per
instruction, once for strict, up to eight times for loose), and stands in for it. Its language
detection is seeded here, else its verdicts would change from run to run. Both are warm, on one
thread, and take turns; medians and the ratio of medians are what counts on a busy machine.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import langdetect
import nltk
from if_verifiable.common import evaluate_instructions
from if_verifiable.ifeval.instructions_registry import INSTRUCTION_DICT

from autoif.constraints import langid, text
from autoif.evals.ifeval import InstructionFollowing, judge

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("AUTOIF_DATA") or ROOT.parent / "shared" / "data")
REMEMBERED = (
    text.word_count,
    text.sentences,
    text.tokens,
    langid.language,
)
RANDOM = (1122, 1129)  # there the official code counts a random letter, if-verifiable with it
Verdicts = list[tuple[list[bool], list[bool]]]


def main(rounds: int) -> None:
    langdetect.DetectorFactory.seed = 0
    nltk.data.path.insert(0, str(DATA / "nltk_data"))
    rows = _lines("input_data_for_gpt4.jsonl")
    said = {row["prompt"]: row["response"] for row in _lines("gpt4_responses.jsonl")}
    items = InstructionFollowing("ifeval").items(rows)

    def ours() -> Verdicts:
        for function in REMEMBERED:
            function.cache_clear()  # nothing is left from the round before
        followed = [judge(item.data[1], said[item.prompt]) for item in items]
        return [(list(f.strict), list(f.loose)) for f in followed]

    def official() -> Verdicts:
        verdicts = []
        for row in rows:
            results, _ = evaluate_instructions(
                said[row["prompt"]],
                row["instruction_id_list"],
                row["kwargs"],
                row["prompt"],
                INSTRUCTION_DICT,
            )
            verdicts.append(([r.strict_pass for r in results], [r.loose_pass for r in results]))
        return verdicts

    a, b = ours(), official()  # warm
    differing = [row["key"] for row, x, y in zip(rows, a, b, strict=True) if x != y]
    times: dict[str, list[float]] = {"ours": [], "official way": []}
    for _ in range(rounds):
        times["ours"].append(_cpu(ours))
        times["official way"].append(_cpu(official))
    for name, seconds in times.items():
        middle = median(seconds)
        print(f"{name:<13} {middle:6.3f} s CPU, {1000 * middle / len(rows):5.2f} ms a response")
    ratio = median(times["official way"]) / median(times["ours"])
    print(
        f"ratio         {ratio:6.2f}   ({len(rows)} responses, strict and loose, {rounds} rounds)"
    )
    differing = [key for key in differing if int(key) not in RANDOM]
    print(f"verdicts differ on {len(differing)} prompts {differing or ''}(but for {RANDOM})")


def _lines(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (DATA / "ifeval" / name).open(encoding="utf-8")]


def _cpu(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
