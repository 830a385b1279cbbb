"""Verifiers that a user brings: taken as they are and never paid for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from autoif.base.errors import UsageError
from autoif.base.inputs import read_rows, why_none
from autoif.base.records import Drop, Filtered, Verifier
from autoif.constraints.types import marked
from autoif.run.recipe import Recipe
from autoif.verifier.schema import parse_verifier

STAGE = "instructions"


def verifiers(recipe: Recipe) -> Filtered[Verifier]:
    """Rows `{"instruction": text or record, "checks": [source, ...], "cases"?}`; each one once.

    A run's own `02-verifiers.jsonl` is such a file. Raises UsageError for a row that is none.
    """
    source = recipe.verifiers.own
    kept: dict[str, Verifier] = {}
    dropped = []
    for where, row in read_rows(source, "instruction"):
        verifier = _verifier(row, where)
        instruction = verifier.instruction
        if instruction.lang not in recipe.langs:
            reason = "other_language"
        elif instruction.id in kept:
            reason = "duplicate"
        elif instruction.benchmark_type and recipe.instructions.benchmarks == "drop":
            reason = "benchmark_type"
        else:
            kept[instruction.id] = verifier
            continue
        dropped.append(Drop.of(STAGE, instruction.id, reason, instruction.text))
    if not kept:
        langs = " or ".join(recipe.langs)
        raise UsageError(f"{source}: no verifier in {langs}; {why_none(dropped)}")
    return Filtered(STAGE, list(kept.values()), dropped)


def _verifier(row: dict[str, Any], where: object) -> Verifier:
    parsed = parse_verifier(row, where)
    if not parsed.checks:
        raise UsageError(f'{where}: "checks" is empty: a verifier needs a function')
    if parsed.instruction is None:
        raise UsageError(f'{where}: "instruction" has to be its text')
    marks = row["instruction"] if isinstance(row["instruction"], dict) else row
    instruction = replace(parsed.instruction, **marked(marks, parsed.instruction.text))
    return Verifier(
        instruction, parsed.checks, parsed.cases, parsed.accuracy, parsed.back_translations
    )
