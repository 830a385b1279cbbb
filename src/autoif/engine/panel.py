"""A second opinion on verifiers that people bring: a model's own functions and texts.

For each verifier the model, which is not shown its functions, writes functions of its own for the
instruction, and texts that are hard to judge. All functions are run on all texts. Where a function
of the verifier differs from those of the model, or from what a text was written as, the model is
asked in several ways what the text is; and of two texts that nobody disputes as well: who is wrong
about those is not heard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any

from autoif.base.errors import UsageError
from autoif.base.inputs import read_rows
from autoif.base.loop import blocking
from autoif.base.printable import log
from autoif.base.records import Case, Check, dump_line
from autoif.diagnosis.core import Diagnosis, Disputed, conclude, tried
from autoif.diagnosis.file import DiagnoseCounts, VerifierToDiagnose, Write, parse_row
from autoif.diagnosis.flags import FLAGS, OF_A_MODEL, Trial, flags_of
from autoif.engine.resources import open_context
from autoif.models import Backend
from autoif.models.budget import Budget, BudgetGuard
from autoif.run.recipe import Recipe
from autoif.store import open_store
from autoif.synthesis.context import Context, together
from autoif.synthesis.verifiers import adversary, write

FUNCTIONS, TEXTS = 3, 1  # asked of the model: functions, and times for texts
AT_ONCE = 8  # verifiers
MOST_ASKED = 4  # texts of a function that the model is asked about
LONGEST = 600  # characters of such a text
LEAST_WRONG = 2  # texts on which a function has to be wrong
# A function of the model's with one of these is no witness.
NO_WITNESS = {"slow", "fails", "nondeterministic"}


async def adiagnose_with_model(
    verifiers: Path,
    write_line: Write,
    model: str,
    *,
    calls: str | Path,
    budget: Budget | None = None,
    settings: dict[str, Any] | None = None,
    backends: dict[str, Backend] | None = None,
    on_notice: Any = log,
) -> DiagnoseCounts:
    """`diagnose_file` with a model's opinion. Rows without an instruction are diagnosed without it.

    calls: the call store. settings: more of the recipe's, such as where the server is. backends:
    models of your own, by name. Raises UsageError naming file and line for a row that is none, and
    SetupError for a model that cannot be had.
    """
    chosen = {"models.default": model, "verifiers.k": FUNCTIONS, "verifiers.adversary": TEXTS}
    recipe = Recipe.load("strict", None, chosen | {"verifiers.case_asks": 0} | (settings or {}))
    guard = BudgetGuard(recipe.models.prices, budget)
    counts = DiagnoseCounts()
    async with (
        open_store(calls, on_notice=on_notice) as store,
        open_context(
            recipe, store, backends=backends, wrap=guard.before, on_notice=on_notice
        ) as context,
    ):
        rows = (parse_row(n, *row) for n, row in enumerate(read_rows(verifiers), 1))
        one_at_a_time = asyncio.Lock()  # so that nothing else is timed as a function's
        while some := list(islice(rows, AT_ONCE)):
            opinions = await together(*(_one(context, row, one_at_a_time) for row in some))
            for row, (diagnosis, heard) in zip(some, opinions, strict=True):
                counts.add(diagnosis)
                counts.unheard += not heard
                write_line(dump_line({"id": row.id, **asdict(diagnosis)}))
    if not counts.flags:
        raise UsageError(f"{verifiers} is empty: it should hold verifiers")
    counts.refused = guard.refused
    return counts


diagnose_with_model = blocking(adiagnose_with_model)


async def _one(
    context: Context, row: VerifierToDiagnose, turn: asyncio.Lock
) -> tuple[Diagnosis, bool]:
    """The diagnosis, and whether the model was heard."""
    sources = [check.source for check in row.checks]
    checks: list[Check] = []
    texts: list[Case] = []
    instruction = row.instruction
    if instruction:
        written, asked = await together(
            write.write(context, instruction),
            write.texts(context, instruction, "adversary", TEXTS),
        )
        checks, texts = written.checks.kept, asked.kept
    async with turn:
        every = [*sources, *(check.source for check in checks)]
        trials = await asyncio.to_thread(
            tried, every, row.text, row.lang, row.cases, (), context.sandbox
        )
        outcomes = await asyncio.to_thread(
            context.sandbox.evaluate_all, every, [text.text for text in texts]
        )
    diagnosis = conclude(trials[: len(sources)])
    said = [_Said.of(trial, texts, column) for trial, column in zip(trials, outcomes, strict=True)]
    mine, model = said[: len(sources)], said[len(sources) :]
    model = [s for s, t in zip(model, trials[len(sources) :], strict=True) if _is_witness(s, t)]
    claims = {case.text: case.expected for case in texts}
    suspects = [_suspects(one, model, claims) for one in mine]
    asked_about = list(dict.fromkeys(chain.from_iterable(suspects)))
    controls = _controls(said)
    if not instruction or not asked_about:
        return diagnosis, bool(instruction)
    labels = await together(
        *(adversary.label(context, instruction, t) for t in (*controls, *asked_about))
    )
    heard = len(controls) == 2 and list(labels[:2]) == [True, False]
    if not heard:
        return diagnosis, False
    expected = dict(zip(asked_about, labels[len(controls) :], strict=True))
    return _with_labels(diagnosis, mine, expected), True


def _with_labels(
    diagnosis: Diagnosis, said: Sequence[_Said], expected: dict[str, bool | None]
) -> Diagnosis:
    """With the texts that have a label, and the flag of whoever is wrong on more than it has right
    of those that were disputed."""
    shown = []
    for text, label in expected.items():
        verdicts = tuple(one.verdicts.get(text) for one in said)
        if label is not None:
            kind = next(one.kinds[text] for one in said)
            shown.append(Disputed(text, kind, verdicts, label))
    checks = []
    for n, check in enumerate(diagnosis.checks):
        wrong = sum(one.verdicts[n] is (not one.expected) for one in shown)
        right = sum(one.verdicts[n] is one.expected for one in shown)
        flagged = wrong >= LEAST_WRONG and wrong > right
        checks.append(replace(check, flags=(*check.flags, OF_A_MODEL)) if flagged else check)
    raised = {*diagnosis.flags, *chain.from_iterable(check.flags for check in checks)}
    return replace(
        diagnosis,
        flags=tuple(flag for flag in FLAGS if flag in raised),
        checks=tuple(checks),
        disputed=(*shown, *diagnosis.disputed),
    )


# ---- who says what -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Said:
    """One function: its verdict on each text, and what kind of text that is."""

    verdicts: dict[str, bool | None]
    kinds: dict[str, str]

    @classmethod
    def of(cls, trial: Trial, texts: Sequence[Case], outcomes: Sequence[Any]) -> _Said:
        verdicts: dict[str, bool | None] = {}
        kinds: dict[str, str] = {}
        for case, outcome in zip(texts, outcomes, strict=True):
            verdicts[case.text] = _concluded(outcome)
            kinds[case.text] = "written to follow" if case.expected else "written to break"
        for change, i in trial.near.changed:
            verdicts.setdefault(trial.near.texts[i], trial.near_verdict(i))
            kinds.setdefault(trial.near.texts[i], change)
        plan = trial.plan
        for i in (*plan.pool, *plan.made):
            verdicts.setdefault(plan.texts[i], _concluded(trial.outcomes[i]))
            kinds.setdefault(plan.texts[i], "a reply" if i in plan.pool else "made from its words")
        return cls(verdicts, kinds)


def _concluded(outcome: Any) -> bool | None:
    return outcome.status.value == "TRUE" if outcome.status.concluded else None


def _is_witness(said: _Said, trial: Trial) -> bool:
    """It accepts some texts and rejects others, and would say so again."""
    tells_apart = {True, False} <= set(said.verdicts.values())
    return tells_apart and NO_WITNESS.isdisjoint(flags_of(trial))


def _suspects(one: _Said, model: Sequence[_Said], claims: dict[str, bool]) -> list[str]:
    """Texts on which a function differs from all of the model's, or from what the text was written
    as: as many that it accepts as that it rejects, of different kinds."""
    by_verdict: dict[bool, dict[str, str]] = {True: {}, False: {}}
    for text, verdict in one.verdicts.items():
        if verdict is None or not text.strip() or len(text) > LONGEST:
            continue
        votes = {other.verdicts.get(text) for other in model}
        if votes == {not verdict} or (claims.get(text) is (not verdict) and verdict not in votes):
            by_verdict[verdict].setdefault(one.kinds[text], text)
    sides = (_spread(list(texts.values())) for texts in by_verdict.values())
    in_turn = chain.from_iterable(zip_longest(*sides))
    return [text for text in in_turn if text is not None][:MOST_ASKED]


def _spread(texts: list[str]) -> list[str]:
    """Shorter ones first: the model is better at them."""
    return sorted(texts, key=len)


def _controls(said: Sequence[_Said]) -> list[str]:
    """A text that every function accepts, and one that every function rejects."""
    return list(chain(*(_undisputed(said, verdict) for verdict in (True, False))))


def _undisputed(said: Sequence[_Said], verdict: bool) -> Iterator[str]:
    agreed = [
        text
        for text in said[0].verdicts
        if all(one.verdicts.get(text) is verdict for one in said) and 8 < len(text) <= LONGEST
    ]
    if agreed:
        yield min(agreed, key=len)
