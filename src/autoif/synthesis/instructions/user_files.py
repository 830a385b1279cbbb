"""Verifiers that a user brings: taken as they are and never paid for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoif.base.errors import UsageError
from autoif.base.inputs import language, read_rows
from autoif.base.records import Case, Check, Drop, Filtered, Instruction, Verifier
from autoif.constraints.types import marked_type
from autoif.run.recipe import Recipe
from autoif.synthesis.prompts.parsing import parse_bool

STAGE = "instructions"


def verifiers(recipe: Recipe) -> Filtered[Verifier]:
    """Rows `{"instruction": text or record, "checks": [source, ...], "cases"?}`; each one once.

    A run's own `02-verifiers.jsonl` is such a file. Raises UsageError for a row that is none.
    """
    source = recipe.verifiers.own
    kept: dict[str, Verifier] = {}
    dropped = []
    for number, row in enumerate(read_rows(source, "instruction"), 1):
        verifier = _verifier(row, f"{source}: row {number}")
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
        raise UsageError(f"{source}: no verifier in {' or '.join(recipe.langs)} in it")
    return Filtered(STAGE, list(kept.values()), dropped)


def _verifier(row: dict[str, Any], where: str) -> Verifier:
    checks = row.get("checks")
    if not isinstance(checks, list) or not checks:
        raise UsageError(f'{where}: "checks" has to be a list of function sources')
    return Verifier(
        _instruction(row, where),
        tuple(Check(_source(check, where)) for check in checks),
        tuple(_case(case, where) for case in row.get("cases") or ()),
        tuple(_beside(row, "accuracy", len(checks), (int, float), where)),
        tuple(_beside(row, "back_translations", len(checks), str, where)),
    )


def _instruction(row: dict[str, Any], where: str) -> Instruction:
    value = row.get("instruction")
    if isinstance(value, str) and value.strip():
        text = value.strip()
        mark = marked_type(row, text)
        return Instruction(text, lang=language(row, text), origin="user", benchmark_type=mark)
    if isinstance(value, dict) and isinstance(value.get("text"), str):
        names = ("text", "lang", "origin", "family", "benchmark_type", "template", "bound")
        n = value.get("n")
        parents = value.get("parents") or []
        known = {k: value[k] for k in names if k in value}
        known["benchmark_type"] = marked_type(value, value["text"])
        if isinstance(parents, list) and all(
            isinstance(v, str) for v in (*known.values(), *parents)
        ):
            return Instruction(**known, parents=tuple(parents), n=n if isinstance(n, int) else None)
    raise UsageError(f'{where}: "instruction" has to be its text')


def _beside(row: Mapping[str, Any], column: str, n: int, kind: Any, where: str) -> list[Any]:
    """A value for each check, or none at all."""
    values = row.get(column) or []
    if not isinstance(values, list) or len(values) not in (0, n):
        raise UsageError(f'{where}: "{column}" has to be a list as long as "checks"')
    if not all(isinstance(v, kind) for v in values):
        raise UsageError(f'{where}: "{column}" holds something else than {kind}')
    return values


def _source(check: object, where: str) -> str:
    if isinstance(check, dict):
        check = check.get("source")
    if not isinstance(check, str):
        raise UsageError(f'{where}: "checks" has to be a list of function sources')
    return check


def _case(case: object, where: str) -> Case:
    expected = parse_bool(case.get("expected")) if isinstance(case, dict) else None
    if not isinstance(case, dict) or not isinstance(case.get("text"), str) or expected is None:
        raise UsageError(f'{where}: a case is {{"text": ..., "expected": true or false}}')
    return Case(case["text"], expected, str(case.get("origin", "user")), str(case.get("query", "")))
