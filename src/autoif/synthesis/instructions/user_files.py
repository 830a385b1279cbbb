"""Verifiers that a user brings: taken as they are and never paid for."""

from __future__ import annotations

from dataclasses import replace

from autoif.base.errors import UsageError
from autoif.base.inputs import read_rows
from autoif.base.records import Verifier
from autoif.constraints.types import marked_type
from autoif.run.funnel import Funnel
from autoif.run.recipe import Recipe
from autoif.verifier.schema import parse_verifier


def verifiers(recipe: Recipe, funnel: Funnel) -> list[Verifier]:
    """Rows `{"instruction": text or record, "checks": [source, ...], "cases"?}`; each one once.

    A run's own `02-verifiers.jsonl` is such a file. Raises UsageError for a row that is none.
    """
    source = recipe.verifiers.own
    found: dict[str, Verifier] = {}
    for where, row in read_rows(source, "instruction"):
        parsed = parse_verifier(row, where)
        if not parsed.checks:
            raise UsageError(f'{where}: "checks" is empty: a verifier needs a function')
        if parsed.instruction is None:
            raise UsageError(f'{where}: "instruction" has to be its text')
        marks = row["instruction"] if isinstance(row["instruction"], dict) else row
        mark = marked_type(marks, parsed.instruction.text)
        instruction = replace(parsed.instruction, benchmark_type=mark)
        verifier = Verifier(
            instruction, parsed.checks, parsed.cases, parsed.accuracy, parsed.back_translations
        )
        funnel.enter("instructions")
        if instruction.lang not in recipe.langs:
            funnel.drop("instructions", instruction.id, "other_language", instruction.text)
        elif instruction.id in found:
            funnel.drop("instructions", instruction.id, "duplicate", instruction.text)
        elif instruction.benchmark_type and recipe.instructions.benchmarks == "drop":
            funnel.drop("instructions", instruction.id, "benchmark_type", instruction.text)
        else:
            funnel.keep("instructions")
            found[instruction.id] = verifier
    if not found:
        raise UsageError(f"{source}: no verifier in {' or '.join(recipe.langs)} in it")
    return list(found.values())
