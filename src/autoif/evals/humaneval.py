"""HumanEval: complete a Python function; it passes where the reference tests do. pass@k.

Chen et al. (2021). Candidates are hostile code: they run in the sandbox only, each with its tests
in a namespace of its own, with more time and memory than a checking function gets. The tests run in
the candidate's own process, so they catch what is wrong and not what cheats on purpose.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

from autoif.base.code import code_defining, fenced_blocks
from autoif.base.records import Outcome, Status
from autoif.evals.task import Answers, Benchmark, EvalContext, Item, Row, Unit, percent, text_in
from autoif.sandbox import Limits, Sandbox

LIMITS = Limits(cpu_seconds=3.0, wall_seconds=15.0, total_seconds=30.0, memory_mb=512)
KS = (1, 10, 100)
ASK = (
    "Complete this Python function. Answer with the whole function, its imports included, in one "
    "Python code block.\n\n```python\n{prompt}```"
)
# Results are compared as values of Python's own types, so that no object decides what it equals.
_HARNESS = """
def comply(text):
    def plain(value):
        kind = type(value)
        family = [k for k in (list, tuple, set, frozenset, dict, str, bytes) if k in kind.__mro__]
        if value is None or kind in (bool, int, float, complex, str, bytes):
            return value
        if dict in family:
            return {plain(k): plain(v) for k, v in dict.items(value)}
        if family and family[0] not in (str, bytes):
            return family[0](map(plain, family[0].__iter__(value)))
        if family:
            return family[0].__getitem__(value, slice(None))
        if hasattr(kind, "__index__"):
            return plain(kind.__index__(value))
        if hasattr(kind, "__complex__") and complex in kind.__mro__:
            return complex.__complex__(value)
        if hasattr(kind, "__float__"):
            return plain(kind.__float__(value))
        if kind.__name__ in ("bool", "bool_"):  # numpy's
            return kind.__bool__(value) is True
        raise TypeError("the result is no plain value: " + kind.__name__)

    check(lambda *args, **kwargs: plain(ENTRY_POINT(*args, **kwargs)))
    return text
"""
_AFTER_BODY = re.compile(r"^(?=\S)(?!#)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class HumanEval(Benchmark):
    name: str = "humaneval"
    max_tokens: int = 1024

    def items(self, rows: Iterable[Mapping[str, Any]]) -> list[Item]:
        needed = ("task_id", "prompt", "entry_point", "test")
        items = []
        for number, row in enumerate(rows, 1):
            data = {name: text_in(row, name, number) for name in needed}
            ask = ASK.format(prompt=data["prompt"])
            items.append(Item(data["task_id"], data["prompt"], data, ask))
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
    """One module: the candidate, the reference tests, and `comply`, which runs them on the
    candidate's results as plain data and at its end gives back the text that it was given.

    An answer with a whole function is taken as it is, after what the prompt has before it; one
    without is the body, up to the first line that is outside of it.
    """
    defines = re.compile(
        rf"^[ \t]*+(?:async[ \t]++)?def[ \t]++{re.escape(entry_point)}\b", re.MULTILINE
    )
    if code := code_defining(answer, entry_point):
        start = defines.search(prompt)
        candidate = (prompt[: start.start()] if start else "") + "\n" + code
    else:
        code = next(iter(fenced_blocks(answer)), answer)
        outside = _AFTER_BODY.search(code)
        candidate = prompt + (code[: outside.start()] if outside and outside.start() else code)
    return f"{candidate}\n\n{test}\n\n{_HARNESS.replace('ENTRY_POINT', entry_point)}"


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
    marker = secrets.token_hex(16)  # comes back from where the tests have ended
    (end,) = await sandbox.atransform(source, [marker])
    if end.status is Status.TRUE and end.text != marker:
        return Outcome(Status.ERROR, "it ended before its tests")
    return Outcome(end.status, end.detail)


def _pass_at(k: int, passed: Sequence[bool]) -> tuple[float, float]:
    """1 and the unbiased estimate, one less the chance that k of the samples, drawn without
    replacement, all fail; zeros where there are fewer than k."""
    n, good = len(passed), sum(passed)
    return (1, 1 - comb(n - good, k) / comb(n, k)) if n >= k else (0, 0.0)
