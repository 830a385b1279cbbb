"""A verifier in, its diagnosis out: read, try, judge.

    facts = read_sources(...)    what each source is made of, read in the sandbox
    trials = plan + outcomes     every function on every text, in two orders
    diagnosis = rules(trials)    flags and scores

`diagnose` does it all for one verifier; `examine` does the same within a run, where outcomes are
stored, and without the clock.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Protocol

from autoif.base.records import Case, Check, Instruction, Outcome, Status, Verdict, Verifier
from autoif.diagnosis.flags import (
    FLAGS,
    Facts,
    Trial,
    clusters,
    flags_of,
    near_copies,
    unbalanced_cases,
)
from autoif.diagnosis.plain import plain
from autoif.diagnosis.probes import Probes, plan
from autoif.diagnosis.reading import Reading, read
from autoif.sandbox import CHECK_LIMITS, Sandbox, Transformed

PROGRAMS = ("shape", "habits")
AGAIN = 3  # runs in a fresh child each


@dataclass(frozen=True, slots=True)
class CheckDiagnosis:
    """One function. accepts: share of the pool's replies, of those on which it concluded, or None.
    ms: milliseconds for an ordinary reply, where measured. cluster: equal for near-copies."""

    flags: tuple[str, ...]
    accepts: float | None
    ms: float | None
    cluster: int


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One verifier. `flags`: all of its functions' and its own, in the order of `FLAGS`.

    scores: `accepts` (mean share of the pool accepted), `right_true` and `right_false` (of its
    cases, those that a function has right, the mean), `cases`, `positive_cases`; None where
    undefined. clusters: how many functions there are when near-copies count once.
    """

    flags: tuple[str, ...]
    checks: tuple[CheckDiagnosis, ...]
    scores: dict[str, float | None]
    clusters: int


def diagnose(
    verifier: Verifier | Sequence[str | Check],
    instruction: str = "",
    *,
    lang: str = "",
    cases: Sequence[Case] = (),
    replies: Sequence[str] = (),
    sandbox: Sandbox | None = None,
) -> Diagnosis:
    """What is wrong with a verifier, as far as running and reading it shows.

    verifier: a Verifier, which brings its instruction and cases, or sources of functions.
    lang: "en" or "zh"; by default what the instruction, else the cases, are written in.
    replies: real replies of your own, beside those that are shipped.
    sandbox: one to be used; its limits decide what is slow.

    Raises SandboxUnavailable where this machine cannot contain hostile code.
    """
    if isinstance(verifier, Verifier):
        checks: Sequence[str | Check] = verifier.checks
        instruction, lang = verifier.instruction.text, lang or verifier.instruction.lang
        cases = verifier.cases
    else:
        checks = verifier
    sources = [c.source if isinstance(c, Check) else c for c in checks]
    if sandbox is None:
        with Sandbox(limits=CHECK_LIMITS) as own:
            return _diagnose(sources, instruction, lang, cases, replies, own)
    return _diagnose(sources, instruction, lang, cases, replies, sandbox)


def _diagnose(
    sources: Sequence[str],
    instruction: str,
    lang: str,
    cases: Sequence[Case],
    replies: Sequence[str],
    sandbox: Sandbox,
) -> Diagnosis:
    facts = facts_of(*(sandbox.transform(program(name), sources) for name in PROGRAMS))
    reading, texts = prepare(instruction, lang, cases, facts, replies)
    said = sandbox.evaluate_all(sources, texts.texts, check_order=True)
    late: list[list[Outcome]] = []
    again: list[tuple[bool, float | None]] = []
    for source, outcomes in zip(sources, said, strict=True):
        if any(o.status.machine_dependent for o in outcomes):  # nothing more need be known
            late.append([])
            again.append((False, None))
        else:
            late.append(sandbox.evaluate(source, texts.slow))
            again.append(_again(sandbox, source, texts, outcomes))
    trials = [
        replace(trial, unsteady=unsteady, ms=ms)
        for trial, (unsteady, ms) in zip(
            trials_of(reading, texts, facts, said, late), again, strict=True
        )
    ]
    return conclude(trials, texts)


def _again(
    sandbox: Sandbox, source: str, texts: Probes, first: Sequence[Outcome]
) -> tuple[bool, float | None]:
    """Whether fresh runs say otherwise, and the least milliseconds of a call on a real reply."""
    real = [texts.texts[i] for i in texts.pool]
    known = [first[i].status for i in texts.pool]
    unsteady, best = False, float("inf")
    for turn in range(AGAIN):
        order = slice(None, None, -1 if turn % 2 else 1)  # in a fresh process, backwards as well
        begun = time.perf_counter()
        said = [o.status for o in sandbox.evaluate(source, real[order])]
        best = min(best, (time.perf_counter() - begun) * 1000 / len(real))
        unsteady = unsteady or any(
            a is not b and a.concluded and b.concluded
            for a, b in zip(known[order], said, strict=True)
        )
    return unsteady, best


# ---- the steps ---------------------------------------------------------------------------------


@cache
def program(name: str) -> str:
    """One of our programs that read sources, `shape` or `habits`, for `Sandbox.transform`."""
    return (files("autoif.diagnosis") / f"{name}.py").read_text("utf-8")


class FunctionRunner(Protocol):
    """Where functions run, with what depends on the machine remembered."""

    async def verdicts(
        self, checks: Sequence[Check], texts: list[str], *, check_order: bool = False
    ) -> list[Verdict]: ...

    async def transformed(self, program: str, texts: list[str]) -> list[Transformed]: ...


async def examine(
    runner: FunctionRunner,
    checks: Sequence[Check],
    instruction: Instruction,
    cases: Sequence[Case],
    replies: Sequence[str],
) -> Diagnosis:
    """`diagnose` in a run. Only outcomes decide, so that the run stays a function of its answers:
    how long a call took is not looked at. cases: with labels that are believed."""
    sources = [check.source for check in checks]
    facts = facts_of(*[await runner.transformed(program(name), sources) for name in PROGRAMS])
    reading, texts = prepare(instruction.text, instruction.lang, cases, facts, replies)
    columns, slow = [
        [[verdict.outcomes[f] for verdict in verdicts] for f in range(len(checks))]
        for verdicts in await asyncio.gather(
            runner.verdicts(checks, texts.texts, check_order=True),
            runner.verdicts(checks, texts.slow),
        )
    ]
    return conclude(trials_of(reading, texts, facts, columns, slow), texts)


def facts_of(shapes: Sequence[Transformed], habits: Sequence[Transformed]) -> list[Facts]:
    """What the two programs said of each source; nothing of what one could not read."""
    facts = []
    for shape, found in zip(shapes, habits, strict=True):
        hashes = json.loads(shape.text) if shape.status is Status.TRUE else []
        read_ = json.loads(found.text) if found.status is Status.TRUE else {}
        facts.append(
            Facts(
                tuple(hashes),
                tuple(read_.get("strings", ())),
                tuple(read_.get("numbers", ())),
                read_.get("chars", ""),
                frozenset(read_.get("marks", ())),
                tuple(map(tuple, read_.get("samples", ()))),
                tuple(read_.get("compared", ())),
            )
        )
    return facts


def prepare(
    instruction: str,
    lang: str,
    cases: Sequence[Case],
    facts: Sequence[Facts],
    replies: Sequence[str] = (),
) -> tuple[Reading, Probes]:
    """The instruction, read, and the texts to try its functions on."""
    reading = read(instruction, lang, tuple(c.text for c in cases))
    strings = dict.fromkeys(s for fact in facts for s in fact.strings)
    numbers = dict.fromkeys(n for fact in facts for n in fact.numbers)
    samples = list(dict.fromkeys(s for fact in facts for s in fact.samples))
    return reading, plan(reading, cases, list(strings), list(numbers), samples, replies)


def trials_of(
    reading: Reading,
    texts: Probes,
    facts: Sequence[Facts],
    said: Sequence[Sequence[Outcome]],
    late: Sequence[Sequence[Outcome]],
) -> list[Trial]:
    """said, late: per function its outcomes on the plan's texts, and on its slow ones."""
    counted = plain(reading)
    known = [counted.known(text) for text in texts.texts]
    short = [counted.too_little(text) for text in texts.texts]
    return [
        Trial(reading, texts, known, short, fact, outcomes, slow)
        for fact, outcomes, slow in zip(facts, said, late, strict=True)
    ]


def conclude(trials: Sequence[Trial], texts: Probes) -> Diagnosis:
    cluster = clusters([t.facts for t in trials])
    by_check = [flags_of(t) for t in trials]
    found = {flag for flags in by_check for flag in flags}
    if near_copies(cluster):
        found.add("near_copies")
    if unbalanced_cases(texts):
        found.add("unbalanced_cases")
    checks = tuple(
        CheckDiagnosis(flags, _rounded(t.share(texts.pool)), _rounded(t.ms), n)
        for flags, t, n in zip(by_check, trials, cluster, strict=True)
    )
    scores = {
        "accepts": _mean([c.accepts for c in checks]),
        "right_true": _mean([t.right(True) for t in trials]),
        "right_false": _mean([t.right(False) for t in trials]),
        "cases": float(len(texts.cases)),
        "positive_cases": _mean([float(label) for _, label in texts.cases]),
    }
    flags = tuple(f for f in FLAGS if f in found)
    return Diagnosis(flags, checks, scores, len(set(cluster)))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return round(sum(known) / len(known), 4) if known else None
