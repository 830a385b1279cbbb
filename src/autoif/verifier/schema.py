"""A verifier as a row, in files that users bring and in the data that a run writes.

    {"checks": [source or {"source"}, ...], "min_fraction"?: 0.5, "instruction"?: text or record,
     "measure"?: {"source", "low"?: number, "high"?: number}, "lang"?,
     "cases"?: [{"text", "expected", "origin"?, "query"?}, ...],
     "accuracy"?: [number, ...], "back_translations"?: [text, ...]}

A case may call its text `input` and its label `output`; a label is true, false, or a word for it.
Whatever reads such rows takes the same ones: a value that is absent, null or empty is not there,
any other that is none of these is a UsageError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from autoif.base.errors import UsageError
from autoif.base.inputs import language
from autoif.base.language import language_tag
from autoif.base.records import Case, Check, Instruction

MIN_FRACTION = 0.5  # where a row says nothing
_RECORD = ("text", "origin", "family", "benchmark_type", "template", "bound")
_LABELS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True)
class Measure:
    """A function `measure(response: str) -> number`, as source text, and between which two values
    a response follows; None: no bound on that side. Untrusted."""

    source: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class VerifierRow:
    """min_fraction: the least share of the checks, above 0 and up to 1, that have to accept a text.
    lang: as the row says, or ""; the instruction's own is then read off its characters. accuracy,
    back_translations: one for each check, or none."""

    checks: tuple[Check, ...]
    min_fraction: float = MIN_FRACTION
    instruction: Instruction | None = None
    lang: str = ""
    cases: tuple[Case, ...] = ()
    accuracy: tuple[float, ...] = ()
    back_translations: tuple[str, ...] = ()
    measure: Measure | None = None


def parse_verifier(row: object, where: object) -> VerifierRow:
    """Raises UsageError naming `where` for what is no verifier."""
    if not isinstance(row, Mapping):
        raise UsageError(f'{where}: a verifier is an object with "checks"')
    checks = row.get("checks")
    sources = [_source(check) for check in checks] if isinstance(checks, list) else [None]
    if None in sources:
        raise UsageError(f'{where}: "checks" has to be a list of function sources')
    instruction, lang = _instruction(row, where)
    return VerifierRow(
        tuple(Check(source) for source in sources if source is not None),
        _min_fraction(row, where),
        instruction,
        lang,
        tuple(_case(case, where) for case in _list(row, "cases", where)),
        tuple(map(float, _of_checks(row, "accuracy", len(sources), is_number, where))),
        tuple(_of_checks(row, "back_translations", len(sources), _is_text, where)),
        _measure(row, where),
    )


def parse_verifiers(row: Mapping[str, Any], where: object) -> list[VerifierRow]:
    """Those that a data row carries in its column `verifiers`."""
    values = row.get("verifiers")
    if not isinstance(values, list):
        raise UsageError(f'{where}: "verifiers" has to be a list of {{"checks": [source, ...]}}')
    return [parse_verifier(value, where) for value in values]


def parse_label(value: object) -> bool | None:
    """True, "True", "yes", 1; None for what is no label. Compared raw, whole case sets score 0."""
    if isinstance(value, bool):
        return value
    if isinstance(value, (int, float)) and value in (0, 1):
        return bool(value)
    if isinstance(value, str):
        return _LABELS.get(value.strip().strip("'\"`.").lower())
    return None


def is_number(value: object) -> bool:
    """A bool is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    return is_number(value) and abs(value) < 1e15  # type: ignore[arg-type]


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _source(check: object) -> str | None:
    source = check.get("source") if isinstance(check, Mapping) else check
    return source if isinstance(source, str) else None


def _min_fraction(row: Mapping[str, Any], where: object) -> float:
    value = row.get("min_fraction")
    if value is None:
        return MIN_FRACTION
    if not is_number(value) or not 0 < value <= 1:
        raise UsageError(
            f'{where}: "min_fraction" has to be a number above 0 and up to 1, not {value!r}'
        )
    return float(value)


def _measure(row: Mapping[str, Any], where: object) -> Measure | None:
    value = row.get("measure")
    if not value or (isinstance(value, Mapping) and set(value.values()) == {None}):
        return None  # columnar files write an absent object as one of nulls
    source = value.get("source") if isinstance(value, Mapping) else None
    bounds = [value.get(side) for side in ("low", "high")] if isinstance(source, str) else []
    given = [bound for bound in bounds if bound is not None]
    if not isinstance(source, str) or not given or not all(map(_is_finite, given)):
        raise UsageError(
            f'{where}: "measure" has to be {{"source", "low", "high"}}: a function source, and '
            "one number at least"
        )
    low, high = (None if bound is None else float(bound) for bound in bounds)
    return Measure(source, low, high)


def _instruction(row: Mapping[str, Any], where: object) -> tuple[Instruction | None, str]:
    """What the verifier is for, and the language that the row says it is in."""
    value = row.get("instruction") or ""
    record = value if isinstance(value, Mapping) else {"text": value, "origin": "user"}
    texts: dict[str, Any] = {k: record[k] for k in _RECORD if record.get(k) is not None}
    lang = row.get("lang") or record.get("lang") or ""
    parents, n = record.get("parents") or [], record.get("n")
    if not isinstance(parents, list) or not all(
        isinstance(v, str) for v in (*texts.values(), *parents, lang)
    ):
        raise UsageError(f'{where}: "instruction" has to be a text, or {{"text", "lang"}}')
    text = texts.get("text", "")
    if not text.strip():
        return None, lang
    if record is not value:
        texts["text"] = text.strip()
    lang = lang.strip() and language_tag(lang)
    stated = lang or language({}, text)
    whole = n if isinstance(n, int) and not isinstance(n, bool) else None
    return Instruction(**texts, lang=stated, parents=tuple(parents), n=whole), lang


def _case(value: object, where: object) -> Case:
    case: Mapping[str, Any] = value if isinstance(value, Mapping) else {}
    text, expected = case.get("text"), case.get("expected")
    text = case.get("input") if text is None else text
    label = parse_label(case.get("output") if expected is None else expected)
    if not isinstance(text, str) or label is None:
        raise UsageError(f'{where}: a case is {{"text": ..., "expected": true or false}}')
    return Case(text, label, str(case.get("origin") or "user"), str(case.get("query") or ""))


def _list(row: Mapping[str, Any], column: str, where: object) -> list[Any]:
    values = row.get(column) or []
    if not isinstance(values, list):
        raise UsageError(f'{where}: "{column}" has to be a list')
    return values


def _of_checks(
    row: Mapping[str, Any], column: str, n: int, is_one: Callable[[object], bool], where: object
) -> list[Any]:
    """A value for each of n checks, or none at all."""
    values = _list(row, column, where)
    if len(values) not in (0, n) or not all(map(is_one, values)):
        kind = "number" if is_one is is_number else "text"
        raise UsageError(f'{where}: "{column}" has to be a list with a {kind} for each check')
    return values
