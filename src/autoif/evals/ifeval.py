"""IFEval and IFBench: a prompt with verifiable instructions, each followed or not.

Strict looks at the response as it is. Loose passes where any of eight readings passes: the response
without its first line, its last line or both, each also without asterisks. A null response counts
as empty, and an empty one follows nothing; the denominator stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoif.base.errors import UsageError
from autoif.constraints.checkers import Checker, bind
from autoif.evals.task import Answers, Benchmark, EvalContext, Item, Row, Unit, percent, text_in

METRICS = ("prompt_strict", "inst_strict", "prompt_loose", "inst_loose")


@dataclass(frozen=True, slots=True)
class Followed:
    """Which instructions of a prompt a response followed, in the prompt's order."""

    strict: tuple[bool, ...]
    loose: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class InstructionFollowing(Benchmark):
    """The benchmark. `name`: ifeval or ifbench; the two differ in their data alone."""

    name: str
    max_tokens: int = 2048

    def items(self, rows: Iterable[Mapping[str, Any]]) -> list[Item]:
        return [_item(row, number) for number, row in enumerate(rows, 1)]

    async def verdicts(
        self, items: Sequence[Item], answers: Answers, context: EvalContext
    ) -> list[Row]:
        rows = []
        for item in items:
            ids, checks = item.data
            followed = judge(checks, item.first(answers))
            strict, loose = list(followed.strict), list(followed.loose)
            rows.append({"key": item.label, "strict": strict, "loose": loose, "instructions": ids})
        return rows

    def units(self, rows: Sequence[Row]) -> list[Unit]:
        units = []
        for row in rows:
            strict, loose = row["strict"], row["loose"]
            passed = all(strict), sum(strict), all(loose), sum(loose)
            units.append(Unit(str(row["key"]), (1, len(strict), *passed)))
        return units

    def figures(self, sums: Sequence[float]) -> dict[str, float | None]:
        prompts, instructions, *passed = sums
        wholes = (prompts, instructions) * 2
        return {m: percent(p, w) for m, p, w in zip(METRICS, passed, wholes, strict=True)}

    def counts(self, sums: Sequence[float]) -> dict[str, int]:
        return {m: int(sums[i % 2]) for i, m in enumerate(METRICS)}

    def groups(self, rows: Sequence[Row]) -> dict[str, dict[str, float]]:
        """Per instruction type, for the two instruction-level metrics."""
        passed: dict[str, dict[str, list[bool]]] = {"inst_strict": {}, "inst_loose": {}}
        for row in rows:
            for i, name in enumerate(row["instructions"]):
                passed["inst_strict"].setdefault(name, []).append(row["strict"][i])
                passed["inst_loose"].setdefault(name, []).append(row["loose"][i])
        return {
            metric: {name: 100 * sum(v) / len(v) for name, v in sorted(types.items())}
            for metric, types in passed.items()
        }


def judge(checks: Sequence[Checker], response: str | None) -> Followed:
    """Strict and loose verdicts of one response. Never raises, whatever the text."""
    response = response or ""
    if not response.strip():
        nothing = (False,) * len(checks)
        return Followed(nothing, nothing)
    strict = tuple(check(response) for check in checks)
    if all(strict):
        return Followed(strict, strict)
    others = readings(response)
    loose = tuple(
        passed or any(check(reading) for reading in others)
        for check, passed in zip(checks, strict, strict=True)
    )
    return Followed(strict, loose)


def readings(response: str) -> list[str]:
    """The loose readings other than the response itself, blank and equal ones left out."""
    lines = response.split("\n")
    cut = ["\n".join(kept).strip() for kept in (lines[1:], lines[:-1], lines[1:-1])]
    texts = [response.replace("*", ""), *cut, *(text.replace("*", "") for text in cut)]
    return [text for text in dict.fromkeys(texts) if text != response and text.strip()]


def _item(row: Mapping[str, Any], at: int) -> Item:
    """From the benchmark's own JSON. Raises UsageError for what no checker can decide."""
    prompt = text_in(row, "prompt", at)
    ids, kwargs = row.get("instruction_id_list"), row.get("kwargs")
    if not isinstance(row.get("key"), (str, int)):
        raise UsageError(f"row {at}: 'key' has to be a text or a whole number")
    key = str(row["key"])
    if not isinstance(ids, list) or not all(isinstance(i, str) for i in ids):
        raise UsageError(f"row {at}: 'instruction_id_list' has to be a list of texts")
    if not isinstance(kwargs, list) or not all(k is None or isinstance(k, dict) for k in kwargs):
        raise UsageError(f"row {at}: 'kwargs' has to be a list of objects")
    if len(ids) != len(kwargs):
        raise UsageError(f"key {key}: {len(ids)} instructions, but {len(kwargs)} kwargs")
    try:
        checks = tuple(bind(i, k or {}) for i, k in zip(ids, kwargs, strict=True))
    except UsageError as wrong:
        raise UsageError(f"key {key}: {wrong}") from None
    number = row["key"] if isinstance(row["key"], int) else None
    return Item(key, prompt, data=(list(ids), checks), number=number)
