"""HumanEval: complete a Python function; it passes where the reference tests do. pass@k.

Chen et al. (2021). Candidates are hostile code: they run in the sandbox only, each with its tests
in a namespace of its own, with more time and memory than a checking function gets.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

from autoif.base.code import code_defining, fenced_blocks
from autoif.base.errors import UsageError
from autoif.base.records import Outcome, Status
from autoif.evals.task import Answers, Benchmark, EvalContext, Item, Row, Unit, percent
from autoif.sandbox import Limits, Sandbox

LIMITS = Limits(cpu_seconds=3.0, wall_seconds=15.0, total_seconds=30.0, memory_mb=512)
KS = (1, 10, 100)
ASK = (
    "Complete this Python function. Answer with the whole function, its imports included, in one "
    "Python code block.\n\n```python\n{prompt}```"
)
_AFTER_BODY = re.compile(r"^(?=\S)(?!#)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class HumanEval(Benchmark):
    name: str = "humaneval"
    max_tokens: int = 1024

    def items(self, rows: Iterable[Mapping[str, Any]]) -> list[Item]:
        needed = ("task_id", "prompt", "entry_point", "test")
        items = []
        for row in rows:
            if missing := [name for name in needed if name not in row]:
                raise UsageError(f"HumanEval's data has no {missing[0]!r} in a row")
            ask = ASK.format(prompt=row["prompt"])
            items.append(Item(str(row["task_id"]), row["prompt"], dict(row), ask))
        return items

    async def verdicts(
        self, items: Sequence[Item], answers: Answers, context: EvalContext
    ) -> list[Row]:
        if context.sandbox is None:
            with Sandbox(limits=LIMITS) as sandbox:
                return await self.verdicts(items, answers, EvalContext(sandbox=sandbox))
        # All at once: the sandbox has as many workers as there are cores.
        return await asyncio.gather(*(_row(item, answers, context.sandbox) for item in items))

    def units(self, rows: Sequence[Row]) -> list[Unit]:
        """Sums: for each k, the tasks with at least k samples and their estimates of pass@k."""
        return [
            Unit(row["key"], tuple(x for k in KS for x in _pass_at(k, row["passed"])))
            for row in rows
        ]

    def figures(self, sums: Sequence[float]) -> dict[str, float | None]:
        """pass@k, for k of 1, 10 and 100 as far as there are samples."""
        pairs = zip(KS, sums[::2], sums[1::2], strict=True)
        return {f"pass@{k}": percent(p, n) for k, n, p in pairs if n or k == 1}

    def counts(self, sums: Sequence[float]) -> dict[str, int]:
        return {f"pass@{k}": int(n) for k, n in zip(KS, sums[::2], strict=True)}


def program(prompt: str, answer: str, test: str, entry_point: str) -> str:
    """One module: the candidate, the reference tests, and `evaluate`, which runs them.

    An answer with a whole function is taken as it is, after what the prompt has before it; one
    without is the body, up to the first line that is outside of it.
    """
    defines = re.compile(rf"^[ \t]*+(?:async\s+)?def\s+{re.escape(entry_point)}\b", re.MULTILINE)
    if code := code_defining(answer, entry_point):
        start = defines.search(prompt)
        candidate = (prompt[: start.start()] if start else "") + "\n" + code
    else:
        code = next(iter(fenced_blocks(answer)), answer)
        outside = _AFTER_BODY.search(code)
        candidate = prompt + (code[: outside.start()] if outside and outside.start() else code)
    run = f"def evaluate(response):\n    check({entry_point})\n    return True\n"
    return f"{candidate}\n\n{test}\n\n{run}"


async def _row(item: Item, answers: Answers, sandbox: Sandbox) -> Row:
    samples = answers.get(item.key, ()) or (None,)
    outcomes = [await _outcome(item, answer, sandbox) for answer in samples]
    passed = [o.status is Status.TRUE for o in outcomes]
    detail = [
        "" if ok else f"{o.status.value}: {o.detail}"
        for ok, o in zip(passed, outcomes, strict=True)
    ]
    return {"key": item.key, "passed": passed, "detail": detail}


async def _outcome(item: Item, answer: str | None, sandbox: Sandbox) -> Outcome:
    if not answer or not answer.strip():
        return Outcome(Status.FALSE, "no answer")
    data = item.data
    source = program(data["prompt"], answer, data["test"], data["entry_point"])
    (outcome,) = await sandbox.aevaluate(source, [""])
    return outcome


def _pass_at(k: int, passed: Sequence[bool]) -> tuple[float, float]:
    """1 and the unbiased estimate, one less the chance that k of the samples, drawn without
    replacement, all fail; zeros where there are fewer than k."""
    n, good = len(passed), sum(passed)
    return (1, 1 - comb(n - good, k) / comb(n, k)) if n >= k else (0, 0.0)
