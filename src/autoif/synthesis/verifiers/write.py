"""Candidate functions and cases from the model: asked together (as published) or apart.

Asked apart, the author of a case has not seen the function that will judge it, and a short answer
in one code block is what weak models get right (of the official sample's answers 3 in 40 are not
valid JSON).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from autoif.base.errors import CallFailed
from autoif.base.records import Case, Check, Drop, Filtered, Instruction
from autoif.synthesis import slots
from autoif.synthesis.context import Context, together
from autoif.synthesis.prompts import examples
from autoif.synthesis.prompts.parsing import parse_code, parse_json
from autoif.synthesis.slots import FUNCTIONS
from autoif.synthesis.verifiers.grounding import ungrounded
from autoif.verifier.schema import parse_label

CASES = "cases"
_COMMENT = re.compile(r"(?<!\S)#")
TOGETHER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "func": {"type": "string"},
        "cases": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"input": {"type": "string"}, "output": {"type": "boolean"}},
                "required": ["input", "output"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["func", "cases"],
    "additionalProperties": False,
}
APART: dict[str, Any] = {
    "type": "object",
    "properties": {
        "follow": {"type": "array", "items": {"type": "string"}},
        "break": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["follow", "break"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Written:
    """Candidates: both go on to cross-validation."""

    checks: Filtered[Check]
    cases: Filtered[Case]


async def write(context: Context, instruction: Instruction) -> Written:
    """Distinct candidate functions and cases."""
    asks = context.recipe.verifiers
    if asks.ask == "together" and not instruction.n:
        answers = await _ask(context, instruction, "together", asks.k, schema=TOGETHER)
        return candidates(answers, instruction)
    functions, cases = await together(
        _ask(context, instruction, "function_n" if instruction.n else "function", asks.k),
        texts(context, instruction, "cases", asks.case_asks),
    )
    return Written(_distinct_functions(context, instruction, functions), cases)


async def texts(
    context: Context, instruction: Instruction, prompt: str, asks: int
) -> Filtered[Case]:
    """Distinct texts that follow and texts that break the instruction, each as it was asked for."""
    answers = await _ask(context, instruction, prompt, asks, schema=APART)
    return _distinct_cases(map(_apart, answers), instruction)


def candidates(
    answers: Iterable[str | CallFailed], instruction: Instruction, *, tolerant: bool = True
) -> Written:
    """Functions and cases of answers that hold both as one JSON object."""
    parsed = [_together(a, tolerant) for a in answers]
    return Written(
        _distinct_checks((check for check, _ in parsed), instruction),
        _distinct_cases((cases for _, cases in parsed), instruction),
    )


async def repair(
    context: Context, instruction: Instruction, failing: list[tuple[Check, str]]
) -> Filtered[Check]:
    """New functions in place of failing ones, each shown what went wrong when it was run."""
    answers = await together(
        *(
            _one(context, instruction, "repair", 0, None, function=source, failure=failure)
            for source, failure in ((slots.opened(c.source), failure) for c, failure in failing)
        )
    )
    return _distinct_functions(context, instruction, answers)


def new_only(fresh: list[Check], earlier: list[Check], instruction: Instruction) -> Filtered[Check]:
    """The repaired functions that are not one of the earlier ones again."""
    sources = {normalise(check.source) for check in earlier}
    filtered: Filtered[Check] = Filtered(FUNCTIONS, [])
    for check in fresh:
        if normalise(check.source) in sources:
            drop = Drop.of(FUNCTIONS, check.id, "duplicate", check.source, instruction.id)
            filtered.dropped.append(drop)
        else:
            filtered.kept.append(check)
    return filtered


async def _ask(
    context: Context, instruction: Instruction, prompt: str, n: int, schema: Any = None
) -> Sequence[str | CallFailed]:
    return await together(*(_one(context, instruction, prompt, i, schema) for i in range(n)))


async def _one(
    context: Context, instruction: Instruction, prompt: str, index: int, schema: Any, **values: str
) -> str | CallFailed:
    settings = context.recipe.verifiers
    if prompt in ("function", "function_n"):
        kind: examples.Kind = "evaluate_n" if prompt == "function_n" else "evaluate"
        values = examples.shown(instruction.lang, kind, index)
    # Functions for any number are asked for without it: all numbers share them.
    text = instruction.template if prompt == "function_n" else instruction.text
    try:
        reply = await context.ask(
            "code",
            context.prompts.messages(prompt, instruction.lang, instruction=text, **values),
            stage=CASES if schema is APART else FUNCTIONS,
            record=instruction.id,
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
            index=index,
            schema=schema,
        )
    except CallFailed as failed:
        return failed
    return reply.text


def _code(answer: str | CallFailed, instruction: Instruction) -> str | CallFailed:
    if isinstance(answer, CallFailed):
        return answer
    source = parse_code(answer, "evaluate")
    if source is None:
        return CallFailed("unparseable", answer)
    if instruction.n:
        return slots.filled(source, instruction.n) or CallFailed("no_number", source)
    return source


def _together(
    answer: str | CallFailed, tolerant: bool
) -> tuple[str | CallFailed, list[Case] | CallFailed]:
    if isinstance(answer, CallFailed):
        return answer, answer
    answered = parse_json(answer, tolerant=tolerant)
    if not isinstance(answered, dict):
        failed = CallFailed("unparseable", answer)
        return failed, failed
    function = answered.get("func")
    rows = answered.get("cases")
    cases = [_case(row) for row in rows] if isinstance(rows, list) else []
    return (
        function if isinstance(function, str) else CallFailed("unparseable", answer),
        [c for c in cases if c] or CallFailed("unparseable", answer),
    )


def _case(row: Any) -> Case | None:
    if not isinstance(row, dict):
        return None
    expected = parse_label(row.get("output"))
    text = row.get("input")
    return Case(text, expected) if isinstance(text, str) and expected is not None else None


def _apart(answer: str | CallFailed) -> list[Case] | CallFailed:
    if isinstance(answer, CallFailed):
        return answer
    answered = parse_json(answer)
    if not isinstance(answered, dict):
        return CallFailed("unparseable", answer)
    cases: list[Case] = []
    for key, expected in (("follow", True), ("break", False)):
        texts = answered.get(key)
        if isinstance(texts, list):
            cases += [Case(text, expected) for text in texts if isinstance(text, str)]
    return cases or CallFailed("unparseable", answer)


def _distinct_functions(
    context: Context, instruction: Instruction, answers: Iterable[str | CallFailed]
) -> Filtered[Check]:
    """Copies but for comments and white space are one function: their agreement is no evidence."""
    sources = [_code(answer, instruction) for answer in answers]
    distinct = _distinct_checks(sources, instruction, same=normalise)
    if not context.recipe.verifiers.grounded:
        return distinct
    return distinct >> _grounded(distinct.kept, instruction)


def _distinct_checks(
    sources: Iterable[str | CallFailed],
    instruction: Instruction,
    same: Callable[[str], str] = str,
) -> Filtered[Check]:
    """One check for all sources that are the `same`: by default letter for letter, as published."""
    kept: dict[str, Check] = {}
    dropped = []
    for number, source in enumerate(sources):
        if isinstance(source, CallFailed):
            name = (instruction.id, FUNCTIONS, number)
            dropped.append(Drop.of(FUNCTIONS, name, source.reason, source.detail, instruction.id))
            continue
        check = Check(source)
        if same(source) in kept:
            dropped.append(Drop.of(FUNCTIONS, check.id, "duplicate", source, instruction.id))
        else:
            kept[same(source)] = check
    return Filtered(FUNCTIONS, list(kept.values()), dropped)


def _grounded(checks: list[Check], instruction: Instruction) -> Filtered[Check]:
    """Without those that do not name what the instruction names, or are an example they saw."""
    kind: examples.Kind = "evaluate_n" if instruction.n else "evaluate"
    filtered: Filtered[Check] = Filtered(FUNCTIONS, [])
    for check in checks:
        flaw = ungrounded(instruction.text, check.source)
        if examples.is_copy(instruction.lang, kind, slots.opened(check.source)):
            flaw = "it is an example that was shown"
        if flaw:
            detail = f"{flaw}\n{check.source}"
            drop = Drop.of(FUNCTIONS, check.id, "ungrounded", detail, instruction.id)
            filtered.dropped.append(drop)
        else:
            filtered.kept.append(check)
    return filtered


def _distinct_cases(
    answers: Iterable[list[Case] | CallFailed], instruction: Instruction
) -> Filtered[Case]:
    """The same text with both labels says nothing: both go."""
    kept: dict[str, Case] = {}
    torn: set[str] = set()
    dropped = []

    def drop(case: Case, reason: str) -> None:
        dropped.append(Drop.of(CASES, case.id, reason, case.text, instruction.id))

    for number, cases in enumerate(answers):
        if isinstance(cases, CallFailed):
            name = (instruction.id, CASES, number)
            dropped.append(Drop.of(CASES, name, cases.reason, cases.detail, instruction.id))
            continue
        for case in cases:
            if case.text in torn:
                drop(case, "contradictory")
            elif case.text not in kept:
                kept[case.text] = case
            elif kept[case.text].expected == case.expected:
                drop(case, "duplicate")
            else:
                drop(kept.pop(case.text), "contradictory")
                drop(case, "contradictory")
                torn.add(case.text)
    return Filtered(CASES, list(kept.values()), dropped)


def normalise(source: str) -> str:
    """Source without comments and white space; text only, nothing is compiled. A # that a quote
    follows may stand in a string, and stays."""
    lines = []
    for line in source.split("\n"):
        quote = max(line.rfind("'"), line.rfind('"'))
        comment = _COMMENT.search(line, quote + 1)
        lines.append(line[: comment.start()] if comment else line)
    return "".join("".join(lines).split())
