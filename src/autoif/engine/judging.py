"""The gates of synthesis over rows that exist, whoever made them: does the reply follow its
instruction, does it answer its query, and does the instruction make sense?

    floor -> the row's own checks -> the judge -> the instruction, by what the judge said of all
    replies under it

Cheap ones come first, and a model is asked only about what they left. docs/judging.md has the
figures by which the thresholds were set.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from autoif.base.errors import CallFailed, UsageError
from autoif.base.inputs import language, read_rows, row_id
from autoif.base.loop import blocking
from autoif.base.printable import log
from autoif.base.records import dump_line
from autoif.engine.resources import open_context
from autoif.models import Backend
from autoif.models.budget import Budget, BudgetGuard
from autoif.run.recipe import Recipe
from autoif.store import open_store
from autoif.synthesis.context import Context, together
from autoif.synthesis.responses import judge
from autoif.synthesis.responses.substance import nothing_said
from autoif.verifier.schema import VerifierRow, parse_verifiers
from autoif.verifier.verify import accepts

TOGETHER = 64  # rows judged at once
QUERY, INSTRUCTION = ("query", "query_text"), ("instruction", "instruction_text")


@dataclass(frozen=True, slots=True)
class Answered:
    """A row: its last reply, and what that had to answer and to follow."""

    id: str
    query: str
    instructions: tuple[str, ...]
    reply: str
    lang: str
    verifiers: tuple[VerifierRow, ...]


@dataclass(frozen=True, slots=True)
class Judgement:
    """follows, sensible: None where nothing could tell. answers: 0 to 1, the probability of the
    judge's yes; None where it was not asked or gave none. reasons: why it is not kept."""

    id: str
    instructions: tuple[str, ...]
    follows: bool | None
    answers: float | None
    sensible: bool | None
    reasons: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "follows": self.follows,
            "answers": round(self.answers or 0.0, 4),
            "sensible": self.sensible,
            "keep": not self.reasons,
            "reasons": list(self.reasons),
        }


@dataclass(frozen=True, slots=True)
class JudgeCounts:
    """rows: how many there were. kept: how many of them have no reason against them. reasons: how
    often each was given. refused: calls that the budget did not allow."""

    rows: int
    kept: int
    reasons: Counter[str]
    refused: int


async def ajudge_file(
    rows: str,
    write_line: Callable[[bytes], object],
    model: str,
    *,
    calls: str | Path,
    budget: Budget | None = None,
    settings: Mapping[str, Any] | None = None,
    backends: Mapping[str, Backend] | None = None,
    on_notice: Callable[[str], None] = log,
) -> JudgeCounts:
    """Rows `{"messages", "query"?, "instruction"?, "verifiers"?, "id"?}` to rows `{"id",
    "follows", "answers", "sensible", "keep", "reasons"}`, in order.

    calls: the call store. settings: of the recipe, beside those of the preset `demo`. backends:
    models of your own, by name. Raises UsageError naming file and line for a row of another shape,
    and SetupError for a model that cannot be had.
    """
    recipe = Recipe.load("demo", None, {"models.default": model, **(settings or {})})
    guard = BudgetGuard(recipe.models.prices, budget)
    reasons: Counter[str] = Counter()
    kept = 0
    async with (
        open_store(calls, on_notice=on_notice) as store,
        open_context(
            recipe, store, backends=backends, wrap=guard.before, on_notice=on_notice
        ) as context,
    ):
        waiting, alone = _answered(rows), list[Judgement]()
        while chunk := list(islice(waiting, TOGETHER)):
            alone += await together(*(_judge(context, row) for row in chunk))
        for judgement in _together(context, alone):
            kept += not judgement.reasons
            reasons.update(judgement.reasons)
            write_line(dump_line(judgement.to_json()))
    if not alone:
        raise UsageError(f"{rows} is empty: it should hold rows with messages")
    return JudgeCounts(len(alone), kept, reasons, guard.refused)


judge_file = blocking(ajudge_file)


def _answered(rows: str) -> Iterator[Answered]:
    for number, (where, row) in enumerate(read_rows(rows), 1):
        asked, reply = _conversation(row, where)
        query = _text(row, QUERY, where) or asked
        instruction = _text(row, INSTRUCTION, where)
        verifiers = parse_verifiers(row, where) if row.get("verifiers") is not None else []
        yield Answered(
            row_id(row) or str(number),
            query,
            tuple(line for line in instruction.splitlines() if line.strip()),
            reply,
            language(row, query),
            tuple(verifiers),
        )


def _text(row: Mapping[str, Any], names: Sequence[str], where: object) -> str:
    value = next((row[name] for name in names if row.get(name)), "")
    if not isinstance(value, str):
        raise UsageError(f"{where}: {' or '.join(names)} has to be a text")
    return value.strip()


def _conversation(row: Mapping[str, Any], where: object) -> tuple[str, str]:
    """What the user asked first, and the model's last reply."""
    messages = row.get("messages")
    texts = {"user": list[str](), "assistant": list[str]()}
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict) and message.get("role") in texts:
            texts[message["role"]].append(str(message.get("content") or ""))
    if not texts["user"] or not texts["assistant"]:
        raise UsageError(
            f'{where}: "messages" has to be a list with a turn of the user and a reply of the '
            "assistant"
        )
    return texts["user"][0].strip(), texts["assistant"][-1].strip()


async def _judge(context: Context, row: Answered) -> Judgement:
    """By itself, without the other replies under its instruction."""
    demanded = "\n".join(row.instructions)
    reasons = []
    if empty := nothing_said(row.query, demanded, row.reply):
        reasons.append(empty)
    follows = await _follows(context, row)
    if follows is False:
        reasons.append("not_followed")
    answers = None
    if not reasons:  # nothing is paid for a row that is out already
        value = await judge.score(context, row.lang, row.query, demanded, row.reply, row.id)
        if isinstance(value, CallFailed):
            reasons.append(value.reason)
        else:
            answers = value / 10
            if not judge.good(context, value):
                reasons.append("low_score")
    return Judgement(row.id, row.instructions, follows, answers, None, tuple(reasons))


def _together(context: Context, alone: Sequence[Judgement]) -> Iterator[Judgement]:
    """With what the replies under an instruction say of it: where few of them answer their queries,
    it makes no sense, and the others do not make it better."""
    scores: defaultdict[str, list[float]] = defaultdict(list)
    for judgement in alone:
        for text in judgement.instructions:
            if judgement.answers is not None:
                scores[text].append(10 * judgement.answers)
    sense = {text: judge.makes_sense(context, values) for text, values in scores.items()}
    for judgement in alone:
        known = [sense.get(text) for text in judgement.instructions]
        sensible = False if False in known else True if known and None not in known else None
        reasons = (*judgement.reasons, *(["not_sensible"] if sensible is False else []))
        yield replace(judgement, sensible=sensible, reasons=reasons)


async def _follows(context: Context, row: Answered) -> bool | None:
    """What the row's own checks say."""
    if not row.verifiers:
        return None
    columns = await together(*(context.verdicts(v.checks, [row.reply]) for v in row.verifiers))
    verdicts = [column[0] for column in columns]
    if all(verdict.fraction is None for verdict in verdicts):
        return None
    return accepts(verdicts, [v.min_fraction for v in row.verifiers])
