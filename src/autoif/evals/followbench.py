"""FollowBench, English and Chinese: groups of five levels, each with one constraint more.

Jiang et al. (2024). HSR: all constraints of a level satisfied; SSR: the fraction of them; CSL: how
many levels in a row, from the first, are satisfied. Some sources are decided by rules, the others
by a judge. What the judge did not answer, or not readably, is unscored: it stands in no figure and
is counted apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from autoif.base.errors import CallFailed, UsageError
from autoif.base.records import Message, Request
from autoif.evals.followbench_judge import Lang, judge_prompt, parse_judge
from autoif.evals.followbench_rules import Rule, rule_for
from autoif.evals.task import Answers, Benchmark, EvalContext, Item, Row, Unit, percent, text_in
from autoif.models import Chat

KINDS = ("content", "situation", "style", "format", "mixed", "example")
LEVELS = range(1, 6)
JUDGED_KINDS = KINDS[:-1]  # the aggregates are over these; "example" stands apart
_METRICS = ("hsr", "ssr")
_WIDTH = 3  # sums per kind and level: HSR's, SSR's, how many answers are scored
_CSL = len(KINDS) * len(LEVELS) * _WIDTH  # where CSL's sums start: per kind levels and groups


@dataclass(frozen=True, slots=True)
class FollowBenchItem:
    """`path`: the initial instruction and those of the levels up to this one."""

    kind: str
    group: int
    level: int
    target: str
    path: tuple[str, ...]
    rule: Rule | None


@dataclass(frozen=True, slots=True)
class FollowBench(Benchmark):
    name: str = "followbench"
    lang: Lang = "en"
    max_tokens: int = 2048

    def items(self, rows: Iterable[Mapping[str, Any]]) -> list[Item]:
        """Rows of the benchmark's files, each with its `kind` (the file it comes from).

        The Chinese format group 30 is left out: the benchmark scores it neither way.
        """
        items: list[Item] = []
        path: list[str] = []
        place = ("", 0)
        for number, row in enumerate(rows, 1):
            names = ("kind", "instruction", "target", "source")
            kind, instruction, target, source = (text_in(row, name, number) for name in names)
            try:
                group, level = int(row["example_id"]), int(row["level"])
            except (KeyError, TypeError, ValueError):
                raise UsageError(
                    f"row {number}: 'example_id' and 'level' have to be whole numbers"
                ) from None
            if kind not in KINDS:
                raise UsageError(f"FollowBench has no constraints of kind {kind!r}")
            path = [*path, instruction] if level and (kind, group) == place else [instruction]
            place = kind, group
            if not level or (self.lang == "zh" and kind == "format" and group == 30):
                continue
            if kind in JUDGED_KINDS and len(path) != level + 1:
                raise UsageError(f"FollowBench, {kind} {group}: level {level} is out of order")
            rule = rule_for(kind, source, group, self.lang)
            case = FollowBenchItem(kind, group, level, target, tuple(path), rule)
            items.append(Item(f"{kind}/{group}/{level}", instruction, case))
        return items

    async def verdicts(
        self, items: Sequence[Item], answers: Answers, context: EvalContext
    ) -> list[Row]:
        return await asyncio.gather(*(self._row(i, i.first(answers), context) for i in items))

    async def _row(self, item: Item, answer: str | None, context: EvalContext) -> Row:
        case: FollowBenchItem = item.data
        row: Row = {"key": item.key, "by": "rule" if case.rule else "judge"}
        if case.rule is not None:
            hard = case.rule(answer or "", case.target, case.level)
            return {**row, "hard": hard, "soft": float(hard)}
        if answer is None or not answer.strip():
            return {**row, "hard": False, "soft": 0.0}
        if context.judge is None:
            return {**row, "hard": None, "soft": None, "detail": "no judge"}
        prompt = judge_prompt(case.kind, case.path, answer, self.lang)
        output = await _ask(context.judge, prompt, item)
        verdict = None if output is None else parse_judge(output, case.level, self.lang)
        if verdict is None:
            return {**row, "hard": None, "soft": None, "detail": "judge not understood"}
        return {**row, "hard": verdict.hard, "soft": verdict.soft}

    def units(self, rows: Sequence[Row]) -> list[Unit]:
        """One per group of five levels, which are drawn together."""
        units = []
        for (kind, group), levels in groupby(rows, key=lambda row: _place(row)[:2]):
            sums = [0.0] * (_CSL + 2 * len(KINDS))
            ordered = sorted(levels, key=lambda row: _place(row)[2])
            for row in ordered:
                if row["hard"] is not None:
                    at = _at(kind, _place(row)[2])
                    sums[at : at + _WIDTH] = row["hard"], row["soft"], 1
            run = _run([row["hard"] for row in ordered])
            if run is not None:
                at = _CSL + 2 * KINDS.index(kind)
                sums[at : at + 2] = run, 1
            units.append(Unit(f"{kind}/{group}", tuple(sums)))
        return units

    def figures(self, sums: Sequence[float]) -> dict[str, float | None]:
        """`hsr` and `ssr`: per kind the mean over levels weighted 1 to 5, then the mean over kinds,
        example left out; `hsr_1` ...: plain means over kinds, by level; `csl` (0 to 5): the mean
        over kinds; `example_*`: that kind alone, HSR and CSL only."""
        named: dict[str, float | None] = {}
        for metric in _METRICS:
            rates = {k: [_rate(sums, k, level, metric) for level in LEVELS] for k in KINDS}
            named[metric] = _mean([_mean(rates[k], LEVELS) for k in JUDGED_KINDS])
            for i, level in enumerate(LEVELS):
                named[f"{metric}_{level}"] = _mean([rates[k][i] for k in JUDGED_KINDS])
            if metric == "hsr":
                named["example_hsr"] = _mean(rates["example"], LEVELS)
        named["csl"] = _mean([_csl(sums, k) for k in JUDGED_KINDS])
        named["example_csl"] = _csl(sums, "example")
        return named

    def counts(self, sums: Sequence[float]) -> dict[str, int]:
        """Scored answers; for CSL, groups."""
        scored = {k: [int(sums[_at(k, level) + 2]) for level in LEVELS] for k in KINDS}
        groups = dict(zip(KINDS, map(int, sums[_CSL + 1 :: 2]), strict=True))
        counts = {"example_hsr": sum(scored["example"]), "example_csl": groups["example"]}
        counts["csl"] = sum(groups[k] for k in JUDGED_KINDS)
        by_level = [sum(scored[k][i] for k in JUDGED_KINDS) for i in range(len(LEVELS))]
        for metric in _METRICS:
            counts[metric] = sum(by_level)
            counts |= {f"{metric}_{level}": by_level[i] for i, level in enumerate(LEVELS)}
        return counts

    def groups(self, rows: Sequence[Row]) -> dict[str, dict[str, float]]:
        """HSR and SSR per kind and level, CSL per kind."""
        units = self.units(rows)
        sums = [sum(column) for column in zip(*(u.sums for u in units), strict=True)]
        if not sums:
            return {}
        by_group: dict[str, dict[str, float | None]] = {
            metric: {f"{k}/{n}": _rate(sums, k, n, metric) for k in kinds for n in LEVELS}
            for metric, kinds in (("hsr", KINDS), ("ssr", JUDGED_KINDS))
        }
        by_group["csl"] = {k: _csl(sums, k) for k in KINDS}
        return {
            metric: {group: value for group, value in groups.items() if value is not None}
            for metric, groups in by_group.items()
        }

    def notes(self, rows: Sequence[Row]) -> list[str]:
        details = [row.get("detail") for row in rows]
        unread, unasked = details.count("judge not understood"), details.count("no judge")
        notes = []
        if unread:
            notes.append(f"judge failures: {unread} answers are unscored and in no figure")
        if unasked:
            notes.append(f"no judge: {unasked} answers are unscored; the figures are the rules'")
        return notes


async def _ask(judge: Chat, prompt: str, item: Item) -> str | None:
    request = Request((Message("user", prompt),), max_tokens=1024, stage="judge", record=item.key)
    try:
        return (await judge(request)).text
    except CallFailed:
        return None


def _place(row: Row) -> tuple[str, str, int]:
    kind, group, level = str(row["key"]).split("/")
    return kind, group, int(level)


def _at(kind: str, level: int) -> int:
    return (KINDS.index(kind) * len(LEVELS) + level - 1) * _WIDTH


def _run(hits: Sequence[bool | None]) -> int | None:
    """Satisfied levels from the first on; None where an unscored one leaves it open."""
    for count, hit in enumerate(hits):
        if hit is None:
            return None
        if not hit:
            return count
    return len(hits)


def _rate(sums: Sequence[float], kind: str, level: int, metric: str) -> float | None:
    at = _at(kind, level)
    return percent(sums[at + _METRICS.index(metric)], sums[at + 2])


def _csl(sums: Sequence[float], kind: str) -> float | None:
    at = _CSL + 2 * KINDS.index(kind)
    return sums[at] / sums[at + 1] if sums[at + 1] else None


def _mean(values: Sequence[float | None], weights: Sequence[int] = ()) -> float | None:
    """Of the values that there are."""
    weighted = zip(values, weights or [1] * len(values), strict=True)
    pairs = [(v, w) for v, w in weighted if v is not None]
    return sum(v * w for v, w in pairs) / sum(w for _, w in pairs) if pairs else None
