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
from autoif.models.activity import Activity
from autoif.report.lineage import Story
from autoif.report.pace import Rate, TimeLeft, in_words
from autoif.run.funnel import STAGES
from autoif.run.progress import Progress
from autoif.verifier.intent import REASONS

# Where there is no terminal: seconds after the start at which a line comes, and then between two.
PLAIN_FIRST, PLAIN_EVERY = (1, 5, 10, 20, 35), 15
AT_WORK = {
    "preparing": "preparing the model for this machine, once: about half a minute",
    "loading": "loading the model",
}


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


def hack_rate(report: dict[str, Any]) -> str:
    """How many of the verified responses say nothing, for what reasons; "" where none was seen."""
    for stage in report["stages"]:
        hacks = {reason: n for reason, n in stage["dropped"].items() if reason in REASONS}
        if hacks and stage["name"] == "judge":
            reasons = ", ".join(f"{reason} {n:,}" for reason, n in hacks.items())
            share = 100 * sum(hacks.values()) / stage["in"]
            return f"hack rate: {share:.1f}% of the verified responses say nothing ({reasons})"
    return ""


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
        self._generated, self._prefilled = Rate(), Rate()
        self._left = TimeLeft()

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
        """A look every second, for the rates; a line at its time."""
        seconds = 0
        while True:
            line = self._line()
            if self._live:
                self._live.update(Group(self._table(), line), refresh=True)
            elif seconds in PLAIN_FIRST or (
                seconds > PLAIN_FIRST[-1] and (seconds - PLAIN_FIRST[-1]) % PLAIN_EVERY == 0
            ):
                self._console.print(line, soft_wrap=True)
            await asyncio.sleep(1)
            seconds += 1

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
        now, progress = time.monotonic(), self._progress
        left = self._left.at(now, progress)
        spent = f"{now - progress.started:.0f} s"
        parts = [
            self._work(),
            self._models(now),
            spent if left is None else f"{spent}, {in_words(left)}",
        ]
        return shown(" | ".join(filter(None, parts)))

    def _work(self) -> str:
        progress = self._progress
        if not progress.instructions:
            return progress.phase
        counts = progress.total().counts
        composed = f"{progress.composed}/{progress.compositions} compositions, "
        return (
            f"{progress.phase}: {progress.done}/{progress.instructions} instructions, "
            f"{composed if progress.compositions else ''}"
            f"{counts['crossval'].kept} verified, {counts['judge'].kept} samples"
        )

    def _models(self, now: float) -> str:
        """What they have answered, and what they are at: never a 0 because nothing has ended."""
        progress = self._progress
        activity = progress.activity() or Activity()
        if not (progress.generated() or activity.running):
            self._generated = Rate()
        if not activity.running:
            self._prefilled = Rate()
        speed = self._generated.at(now, progress.generated())
        reading = self._prefilled.at(now, activity.prefilled)
        calls = progress.calls()
        parts = []
        if activity.phase == "downloading":
            parts.append(f"downloading the model: {activity.share:.0%}")
        elif activity.phase != "ready":
            parts.append(AT_WORK[activity.phase])
        if any(calls.values()):
            parts.append(f"{calls['asked']:,} calls (+{calls['replayed']:,} from the store)")
        if activity.running or activity.waiting:
            parts.append(f"{activity.running:,} under way, {activity.waiting:,} waiting")
        if speed:
            parts.append(f"{_number(speed)} tokens/s")
        if activity.reading:
            parts.append(
                f"reading prompts at {_number(reading)} tokens/s" if reading else "reading prompts"
            )
        return ", ".join(parts)


def _number(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"


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
