"""What a person sees: the funnel, the run at work, samples and stories. Text only, no decisions.

What models, servers and files say goes through `shown`: it is seen, and does nothing.

On a terminal the run is one table that renews itself; elsewhere it is a plain line now and then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from autoif.base.printable import printable
from autoif.report.lineage import Story
from autoif.run.funnel import STAGES
from autoif.run.progress import Progress

PLAIN_EVERY = 15.0  # seconds between two lines where there is no terminal


def shown(text: object, style: str = "") -> Text:
    """Text of anybody's: without markup, and without what a terminal would obey."""
    return Text(printable(str(text)), style)


def funnel(report: dict[str, Any]) -> Table:
    """One row per stage: in, kept, and every reason with its number."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, justify in (("stage", "left"), ("in", "right"), ("kept", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    table.add_column("dropped, and why")
    for stage in report["stages"]:
        reasons = sorted(stage["dropped"].items(), key=lambda item: (-item[1], item[0]))
        why = ", ".join(f"{reason} {n:,}" for reason, n in reasons)
        table.add_row(
            Text.assemble(stage["name"], (f" ({STAGES[stage['name']]})", "dim")),
            f"{stage['in']:,}",
            f"{stage['kept']:,}",
            shown(why or "-"),
        )
    return table


def totals(report: dict[str, Any]) -> str:
    calls, tokens = report["calls"], report["tokens"]
    cost = "" if not report.get("cost") else f", {report['cost']:.2f} USD"
    return (
        f"{calls['asked']:,} calls sent, {calls['replayed']:,} from the store; "
        f"{tokens['prompt']:,} tokens in ({tokens['cached']:,} cached), "
        f"{tokens['completion']:,} out{cost}; {report['seconds']:.0f} s"
    )


def samples(rows: Sequence[dict[str, Any]]) -> Group:
    """Data rows shown whole: what was asked, what was answered, which functions say so."""
    panels = []
    for row in rows:
        text = Text()
        for message in row["messages"]:
            user = message["role"] == "user"
            text.append("user  " if user else "model ", "bold cyan" if user else "bold green")
            text.append_text(shown(f"{message['content']}\n\n"))
        checks = [check for verifier in row["verifiers"] for check in verifier["checks"]]
        quality = "-" if row["quality"] is None else f"{row['quality']:g}"
        proved = (
            f"accepted by {len(checks)} functions, judge {quality} of 10; the first function:\n"
        )
        text.append_text(shown(f"{proved}{checks[0].strip()}", "dim"))
        panels.append(Panel(text, title=shown(row["id"]), title_align="left"))
    return Group(*panels)


class Watch:
    """Shows a run at work until it is left; `notice` puts a line above."""

    def __init__(self, console: Console, progress: Progress, *, quiet: bool) -> None:
        self._console, self._progress, self._quiet = console, progress, quiet
        self._task: asyncio.Task[None] | None = None
        self._live: Live | None = None
        self._last = (time.monotonic(), 0)

    def notice(self, line: str) -> None:
        self._console.print(shown(line), soft_wrap=True)

    async def __aenter__(self) -> Watch:
        if not self._quiet:
            if self._console.is_terminal:
                self._live = Live(console=self._console, auto_refresh=False, transient=True)
                self._live.start()
            self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task:
            self._task.cancel()
        if self._live:
            self._live.stop()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(1 if self._live else PLAIN_EVERY)
            if self._live:
                self._live.update(Group(self._table(), self._line()), refresh=True)
            else:
                self._console.print(self._line(), soft_wrap=True)

    def _table(self) -> Table:
        progress = self._progress
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("stage", "in", "kept", "dropped", "tokens in", "tokens out"):
            table.add_column(name, justify="left" if name == "stage" else "right")
        for stage, count in progress.total().counts.items():
            usage = progress.usage(stage)
            table.add_row(
                stage,
                f"{count.entered:,}",
                f"{count.kept:,}",
                f"{count.dropped.total():,}",
                f"{usage.prompt:,}" if usage.prompt else "",
                f"{usage.completion:,}" if usage.completion else "",
            )
        return table

    def _line(self) -> Text:
        progress = self._progress
        calls, usage = progress.calls(), progress.usage(paid=True)
        then, before = self._last
        now = time.monotonic()
        self._last = now, usage.completion
        rate = (usage.completion - before) / max(now - then, 1e-9)
        counts = progress.total().counts
        left = _left(progress)
        composed = f"{progress.composed}/{progress.compositions} compositions, "
        return shown(
            f"{progress.phase}: {progress.done}/{progress.instructions} instructions, "
            f"{composed if progress.compositions else ''}"
            f"{counts['crossval'].kept} verified, {counts['judge'].kept} samples | "
            f"{calls['asked']:,} calls (+{calls['replayed']:,} from the store), "
            f"{rate:.0f} tokens/s | "
            f"{now - progress.started:.0f} s{left}"
        )


def _left(progress: Progress) -> str:
    """A guess at the time left, from the share of work units that have been through."""
    funnel = progress.total().counts
    total = 2 * progress.instructions + progress.compositions
    through = funnel["crossval"].entered + progress.done + progress.composed
    if not total or not through:
        return ""
    elapsed = time.monotonic() - progress.started
    return f", about {max(0.0, elapsed * (total - through) / through):.0f} s left"


def story(lineage: Story) -> Group:
    """One record's or drop's whole lineage."""
    parts: list[Any] = []

    def head(text: str) -> None:
        parts.append(shown(f"\n{text}", style="bold"))

    for name, row in lineage.found:
        head(f"{lineage.wanted} in {name}")
        for key, value in row.items():
            if key not in ("checks", "cases", "messages", "verifiers", "prompt"):
                parts.append(shown(f"  {key}: {_short(value)}"))
    if lineage.instruction:
        row = lineage.instruction
        head(f"instruction {row['id']} ({row['origin']}, {row['lang']})")
        parts.append(shown(f"  {row['text']}"))
        if row["parents"]:
            parts.append(shown(f"  proposed after being shown: {', '.join(row['parents'])}"))
    if lineage.composition:
        row = lineage.composition
        head(f"composition {row['id']}: {len(row['turns'])} turns")
        opening = (f"  {m['role']}: {_short(m['content'], 200)}" for m in row["opening"])
        parts.extend(map(shown, opening))
        for turn in row["turns"]:
            how = "instead" if turn["change"] else "asked"
            parts.append(shown(f"  {how}: {', '.join(turn['verifiers'])}"))
    for row in [lineage.verifier] if lineage.verifier else lineage.verifiers:
        head(f"verifier {row['id']}: {len(row['checks'])} functions, {len(row['cases'])} cases")
        parts.append(shown(f"  of: {row['instruction']['text']}"))
        for n, check in enumerate(row["checks"]):
            told_back = (row["back_translations"] or [""] * 99)[n]
            accuracy = row["accuracy"][n] if n < len(row["accuracy"]) else None
            parts.append(shown(f"  check {check['id']}, accuracy {accuracy}, says: {told_back}"))
            parts.append(shown(_indent(check["source"]), style="dim"))
        for case in row["cases"]:
            text = _short(case["text"], 100)
            parts.append(
                shown(f"  case {case['id']} {case['expected']} ({case['origin']}): {text}")
            )
    if lineage.samples:
        head(f"{len(lineage.samples)} concluded responses")
        for row in lineage.samples:
            statuses = ["/".join(o["status"] for o in v["outcomes"]) for v in row["verdicts"]]
            fate = "kept" if row["kept"] else row["reason"]
            parts.append(
                shown(f"  {row['id']} {' '.join(statuses)} quality {row['quality']} {fate}")
            )
            parts.append(shown(_indent(f"{row['query']}\n-> {row['response']}"), style="dim"))
    if lineage.drops:
        head(f"{len(lineage.drops)} drops")
        for row in lineage.drops:
            detail = _short(row["detail"], 160)
            parts.append(shown(f"  {row['stage']} {row['record_id']} {row['reason']}: {detail}"))
    if lineage.calls:
        head(f"{len(lineage.calls)} calls")
        for call in lineage.calls:
            asked = "\n".join(m["content"] for m in call.body["messages"])
            parts.append(shown(f"  {call.stage} [{call.index}]"))
            parts.append(shown(_indent(asked), style="cyan"))
            parts.append(shown(_indent(call.reply.text), style="green"))
    return Group(*parts)


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def _short(value: Any, n: int = 600) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= n else f"{text[:n]}..."
