"""Candidate functions and cases from the model: asked together (as published) or apart.

Asked apart, the author of a case has not seen the function that will judge it, and a short answer
in one code block is what weak models get right (of the official sample's answers 3 in 40 are not
valid JSON).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from typing import Any

from autoif.base.errors import CallFailed
from autoif.base.records import Case, Check, Instruction, content_id
from autoif.run.funnel import Funnel
from autoif.synthesis import slots
from autoif.synthesis.context import Context
from autoif.synthesis.prompts import examples
from autoif.synthesis.prompts.parsing import parse_code, parse_json
from autoif.synthesis.verifiers.grounding import ungrounded
from autoif.verifier.schema import parse_label

FUNCTIONS, CASES = "functions", "cases"
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


async def write(
    context: Context, instruction: Instruction, funnel: Funnel
) -> tuple[list[Check], list[Case]]:
    """Distinct candidate functions and cases; the cases are kept or dropped by what follows."""
    part = context.recipe.verifiers
    if part.ask == "together" and not instruction.n:
        answers = await _ask(context, instruction, "together", part.k, schema=TOGETHER)
        return candidates(answers, instruction, funnel)
    functions, cases = await asyncio.gather(
        _ask(context, instruction, "function_n" if instruction.n else "function", part.k),
        _ask(context, instruction, "cases", part.case_asks, schema=APART),
    )
    # Copies but for comments and white space are one function: their agreement is no evidence.
    sources = [_code(answer, instruction) for answer in functions]
    checks = _distinct_checks(sources, instruction, funnel, same=normalise)
    checks = _grounded(context, checks, instruction, funnel)
    return checks, _distinct_cases(map(_apart, cases), instruction, funnel)


def candidates(
    answers: Iterable[str | CallFailed],
    instruction: Instruction,
    funnel: Funnel,
    *,
    tolerant: bool = True,
) -> tuple[list[Check], list[Case]]:
    """Functions and cases of answers that hold both as one JSON object."""
    parsed = [_together(a, tolerant) for a in answers]
    return (
        _distinct_checks((check for check, _ in parsed), instruction, funnel),
        _distinct_cases((cases for _, cases in parsed), instruction, funnel),
    )


async def repair(
    context: Context, instruction: Instruction, failing: list[tuple[Check, str]], funnel: Funnel
) -> list[Check]:
    """New functions in place of failing ones, each shown what went wrong when it was run."""

    answers = await asyncio.gather(
        *(
            _one(context, instruction, "repair", 0, None, function=source, failure=failure)
            for source, failure in ((slots.opened(c.source), failure) for c, failure in failing)
        )
    )
    sources = [_code(answer, instruction) for answer in answers]
    checks = _distinct_checks(sources, instruction, funnel, same=normalise)
    return _grounded(context, checks, instruction, funnel)


async def _ask(
    context: Context, instruction: Instruction, prompt: str, n: int, schema: Any = None
) -> list[str | CallFailed]:
    return list(
        await asyncio.gather(*(_one(context, instruction, prompt, i, schema) for i in range(n)))
    )


async def _one(
    context: Context, instruction: Instruction, prompt: str, index: int, schema: Any, **values: str
) -> str | CallFailed:
    part = context.recipe.verifiers
    if prompt in ("function", "function_n"):
        kind: examples.Kind = "evaluate_n" if prompt == "function_n" else "evaluate"
        values = examples.shown(instruction.lang, kind, index)
    # Functions for any number are asked for without it: all numbers share them.
    text = instruction.template if prompt == "function_n" else instruction.text
    try:
        reply = await context.ask(
            "code",
            context.prompts.messages(prompt, instruction.lang, instruction=text, **values),
            stage=CASES if prompt == "cases" else FUNCTIONS,
            record=instruction.id,
            temperature=part.temperature,
            max_tokens=part.max_tokens,
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
    found = parse_json(answer, tolerant=tolerant)
    if not isinstance(found, dict):
        failed = CallFailed("unparseable", answer)
        return failed, failed
    function = found.get("func")
    rows = found.get("cases")
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
    found = parse_json(answer)
    if not isinstance(found, dict):
        return CallFailed("unparseable", answer)
    cases: list[Case] = []
    for key, expected in (("follow", True), ("break", False)):
        texts = found.get(key)
        if isinstance(texts, list):
            cases += [Case(text, expected) for text in texts if isinstance(text, str)]
    return cases or CallFailed("unparseable", answer)


def _distinct_checks(
    sources: Iterable[str | CallFailed],
    instruction: Instruction,
    funnel: Funnel,
    same: Callable[[str], str] = str,
) -> list[Check]:
    """One check for all sources that are the `same`: by default letter for letter, as published."""
    kept: dict[str, Check] = {}
    for number, source in enumerate(sources):
        funnel.enter(FUNCTIONS)
        if isinstance(source, CallFailed):
            name = content_id(instruction.id, FUNCTIONS, number)
            funnel.drop(FUNCTIONS, name, source.reason, source.detail, instruction.id)
            continue
        check = Check(source)
        if same(source) in kept:
            funnel.drop(FUNCTIONS, check.id, "duplicate", source, instruction.id)
            continue
        kept[same(source)] = check
    return list(kept.values())


def _grounded(
    context: Context, checks: list[Check], instruction: Instruction, funnel: Funnel
) -> list[Check]:
    """Without those that do not name what the instruction names, or are an example they saw."""
    if not context.recipe.verifiers.grounded:
        return checks
    kept = []
    for check in checks:
        flaw = ungrounded(instruction.text, check.source)
        kind: examples.Kind = "evaluate_n" if instruction.n else "evaluate"
        if examples.is_copy(instruction.lang, kind, slots.opened(check.source)):
            flaw = "it is an example that was shown"
        if flaw:
            funnel.drop(
                FUNCTIONS, check.id, "ungrounded", f"{flaw}\n{check.source}", instruction.id
            )
        else:
            kept.append(check)
    return kept


def _distinct_cases(
    answers: Iterable[list[Case] | CallFailed], instruction: Instruction, funnel: Funnel
) -> list[Case]:
    """The same text with both labels says nothing: both go."""
    found: dict[str, Case] = {}
    torn: set[str] = set()
    for number, cases in enumerate(answers):
        if isinstance(cases, CallFailed):
            funnel.enter(CASES)
            name = content_id(instruction.id, CASES, number)
            funnel.drop(CASES, name, cases.reason, cases.detail, instruction.id)
            continue
        for case in cases:
            funnel.enter(CASES)
            if case.text in torn:
                funnel.drop(CASES, case.id, "contradictory", case.text, instruction.id)
            elif case.text not in found:
                found[case.text] = case
            elif found[case.text].expected == case.expected:
                funnel.drop(CASES, case.id, "duplicate", case.text, instruction.id)
            else:
                for one in (found.pop(case.text), case):
                    funnel.drop(CASES, one.id, "contradictory", one.text, instruction.id)
                torn.add(case.text)
    return list(found.values())


def normalise(source: str) -> str:
    """Source without comments and white space; text only, nothing is compiled. A # that a quote
    follows may stand in a string, and stays."""
    return re.sub(r"\s+", "", re.sub(r"""(?m)(?:^|(?<=\s))#[^'"\n]*$""", "", source))
