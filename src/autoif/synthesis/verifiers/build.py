"""From an instruction to a verifier, or to the reason why there is none.

write, gather evidence -> find what is disputed -> diagnose -> cross-validate -> [repair, once more]
-> say back
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autoif.base.records import (
    Case,
    Check,
    Drop,
    Filtered,
    Instruction,
    Status,
    Verdict,
    Verifier,
)
from autoif.synthesis import slots
from autoif.synthesis.context import Context, together
from autoif.synthesis.verifiers import backtranslate, benchmark, evidence, write
from autoif.synthesis.verifiers.adversary import adversarial
from autoif.synthesis.verifiers.crossval import Survivors, believed, cross_validate
from autoif.synthesis.verifiers.disputes import disputed
from autoif.synthesis.verifiers.soundness import Soundness, soundness

FUNCTIONS, CASES, CROSSVAL, VERIFIERS = "functions", "cases", "crossval", "verifiers"
REPAIRABLE = ("no_function_left", "too_few_functions_left", "no_case_left")


@dataclass(frozen=True)
class Built:
    """The verifier, if there is one, and what each stage kept and dropped on the way."""

    verifier: Verifier | None
    stages: tuple[Filtered[Any], ...]


@dataclass(frozen=True)
class CrossValidation:
    """Functions and cases, run against one another. table: per case the verdict of all functions.
    sound: for each function."""

    checks: list[Check]
    cases: list[Case]
    table: list[Verdict]
    sound: list[Soundness]
    survivors: Survivors


async def build(
    context: Context, instruction: Instruction, replies: Awaitable[Filtered[Case]]
) -> Built:
    """Functions that survived one another, the evidence and their own back-translation.

    replies: first responses to the instruction, which are evidence as well.
    """
    (written, agreed), gathered, instructed = await together(
        together(write.write(context, instruction), adversarial(context, instruction)),
        evidence.gather(context, instruction),
        replies,
    )
    cases = written.cases + agreed + gathered.cases + instructed
    cases >>= _distinct(instruction, cases.kept)
    checks = written.checks
    checks >>= await slots.at_edges(context, instruction, checks.kept, cases.kept)
    cases += await disputed(context, instruction, checks.kept, gathered.programs.kept, cases.kept)
    validation = await _validate(context, instruction, checks.kept, cases.kept)
    for _ in range(context.recipe.verifiers.repair):
        failing = _failing(validation)
        if validation.survivors.reason not in REPAIRABLE or not failing:
            break
        fresh = await write.repair(context, instruction, failing)
        fresh >>= await slots.at_edges(context, instruction, fresh.kept, cases.kept)
        checks += fresh >> write.new_only(fresh.kept, checks.kept, instruction)
        validation = await _validate(context, instruction, checks.kept, cases.kept)
    checks >>= _taken(instruction, validation, context.recipe.crossval.max_checks)
    cases >>= _believed(instruction, validation)
    ran = checks, gathered.programs, cases
    if reason := validation.survivors.reason:
        drops = [
            Drop.of(stage, instruction.id, reason, validation.survivors.detail, instruction.id)
            for stage in (CROSSVAL, VERIFIERS)
        ]
        return Built(None, (*ran, *(Filtered(drop.stage, [], [drop]) for drop in drops)))
    confirmed = await backtranslate.confirm(
        context, instruction, _best_first(validation, checks.kept)
    )
    verifier = _verifier(context, instruction, validation, confirmed)
    verifier >>= await benchmark.decided(context, verifier.kept)
    compared = (confirmed,) if context.recipe.backtranslate.judge != "off" else ()
    return Built(
        next(iter(verifier.kept), None),
        (*ran, Filtered(CROSSVAL, [instruction]), *compared, verifier),
    )


def _distinct(instruction: Instruction, cases: list[Case]) -> Filtered[Case]:
    """A text counts once; the first case with it stays."""
    kept: dict[str, Case] = {}
    dropped = []
    for case in cases:
        if case.text in kept:
            dropped.append(Drop.of(CASES, case.id, "duplicate", case.text, instruction.id))
        else:
            kept[case.text] = case
    return Filtered(CASES, list(kept.values()), dropped)


async def _validate(
    context: Context, instruction: Instruction, checks: list[Check], cases: list[Case]
) -> CrossValidation:
    """Runs every function on every case. Unsound functions say nothing; the others and the cases
    then judge one another."""
    rules = context.recipe.crossval
    table: list[Verdict] = []
    if checks and cases:
        texts = [c.text for c in cases]
        table = await context.verdicts(checks, texts, check_order=rules.deterministic)
    columns = [
        [_concluded(verdict.outcomes[f].status) for verdict in table] for f in range(len(checks))
    ]
    labels = believed(columns, cases, rules)
    credible = [
        replace(case, expected=label)
        for case, label in zip(cases, labels, strict=True)
        if label is not None
    ]
    sound = await soundness(context, instruction, checks, credible)
    heard = [
        [None] * len(column) if one.flag else column
        for column, one in zip(columns, sound, strict=True)
    ]
    survivors = cross_validate(heard, cases, rules, [one.cluster for one in sound])
    return CrossValidation(checks, cases, table, sound, survivors)


def _concluded(status: Status) -> bool | None:
    return status is Status.TRUE if status.concluded else None


def _failing(validation: CrossValidation) -> list[tuple[Check, str]]:
    """Each function that fell, with what it did wrong: an error first, else a wrong answer."""
    failing = []
    for f, check in enumerate(validation.checks):
        if f not in validation.survivors.checks and (failure := _failure(validation, f)):
            failing.append((check, failure))
    return failing


def _failure(validation: CrossValidation, f: int) -> str:
    outcomes = [verdict.outcomes[f] for verdict in validation.table]
    for outcome in outcomes:
        if not outcome.status.concluded:
            return f"It failed with {outcome.status.value} {outcome.detail}".strip()
    labels = validation.survivors.labels
    for case, label, outcome in zip(validation.cases, labels, outcomes, strict=False):
        if label is not None and (outcome.status is Status.TRUE) is not label:
            says = "follows" if label else "does not follow"
            return (
                f"It returned {outcome.status is Status.TRUE} for the response below, "
                f"which {says} the instruction:\n{case.text[:600]}"
            )
    return ""


def _taken(instruction: Instruction, validation: CrossValidation, most: int) -> Filtered[Check]:
    """The best of the surviving functions, at most `most`; a reason for each of the others."""
    survivors = validation.survivors
    best = _ranked(validation)
    taken = [] if survivors.reason else best[:most]
    top = max(survivors.accuracy, default=0.0)
    filtered: Filtered[Check] = Filtered(FUNCTIONS, [])
    for f, check in enumerate(validation.checks):
        if f in taken:
            filtered.kept.append(check)
            continue
        reason = "low_accuracy"
        detail = f"{survivors.accuracy[f]:.2f} on {len(survivors.cases)} cases; best {top:.2f}"
        outcomes = [verdict.outcomes[f] for verdict in validation.table]
        if flag := validation.sound[f].flag:
            reason, detail = flag, check.source
        elif f in best and survivors.reason:
            reason, detail = survivors.reason, survivors.detail
        elif f in best:
            reason, detail = "surplus", f"{len(best)} survived"
        elif outcomes and not any(o.status.concluded for o in outcomes):
            reason, detail = outcomes[0].status.value.lower(), outcomes[0].detail
        elif not survivors.cases:
            reason, detail = "no_case", "there was no case left to measure it with"
        filtered.dropped.append(Drop.of(FUNCTIONS, check.id, reason, detail, instruction.id))
    return filtered


def _ranked(validation: CrossValidation) -> list[int]:
    """The surviving functions, best first."""
    accuracy = validation.survivors.accuracy
    return sorted(
        validation.survivors.checks, key=lambda f: (-accuracy[f], validation.checks[f].id)
    )


def _best_first(validation: CrossValidation, taken: Sequence[Check]) -> list[Check]:
    return [check for f in _ranked(validation) if (check := validation.checks[f]) in taken]


def _believed(instruction: Instruction, validation: CrossValidation) -> Filtered[Case]:
    """The cases whose label is believed."""
    filtered: Filtered[Case] = Filtered(CASES, [])
    for t, case in enumerate(validation.cases):
        if t in validation.survivors.cases:
            filtered.kept.append(case)
        else:
            reason = "no_agreement" if validation.checks else "no_function"
            filtered.dropped.append(Drop.of(CASES, case.id, reason, case.text, instruction.id))
    return filtered


def _verifier(
    context: Context,
    instruction: Instruction,
    validation: CrossValidation,
    confirmed: Filtered[tuple[Check, str]],
) -> Filtered[Verifier]:
    """Of the functions that say what the instruction says; too few of them are none."""
    checks = [check for check, _ in confirmed.kept]
    lost = bool(confirmed.dropped) and context.recipe.backtranslate.drop == "instruction"
    clusters = dict(zip(validation.checks, validation.sound, strict=True))
    distinct = len({clusters[check].cluster for check in checks})
    if lost or distinct < context.recipe.crossval.min_checks:
        detail = f"{len(confirmed.dropped)} of {confirmed.entered} functions say something else"
        drop = Drop.of(VERIFIERS, instruction.id, "backtranslation", detail, instruction.id)
        return Filtered(VERIFIERS, [], [drop])
    survivors = validation.survivors
    accuracy = dict(zip(validation.checks, survivors.accuracy, strict=True))
    verifier = Verifier(
        instruction,
        tuple(checks),
        tuple(_labelled(validation.cases[t], survivors.labels[t]) for t in survivors.cases),
        tuple(round(accuracy[check], 4) for check in checks),
        tuple(text for _, text in confirmed.kept),
    )
    return Filtered(VERIFIERS, [verifier])


def _labelled(case: Case, label: bool | None) -> Case:
    """The label that was estimated stands, not the one that was claimed."""
    return case if label is None else replace(case, expected=label)
