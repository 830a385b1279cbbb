"""A verifier in, its diagnosis out: read, try, judge.

    facts = read_sources(...)    what each source is made of, read in the sandbox
    trials = plan + outcomes     every function on every text, in two orders
    trials += near + outcomes    and on texts made from those that were accepted
    diagnosis = rules(trials)    flags and scores

`diagnose` does it all for one verifier; `examine` does the same within a run, where outcomes are
stored, and without the clock.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Protocol

from autoif.base.errors import UsageError
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
from autoif.diagnosis.near import NearTexts, near_texts
from autoif.diagnosis.plain import plain
from autoif.diagnosis.probes import Probes, plan
from autoif.diagnosis.reading import Reading, read
from autoif.sandbox import CHECK_LIMITS, Sandbox, Transformed
from autoif.verifier.schema import MIN_FRACTION
from autoif.verifier.verify import reason

PROGRAMS = ("shape", "habits")
AGAIN = 3  # runs in a fresh child each
MOST_DISPUTED = 8  # texts that are shown


@dataclass(frozen=True, slots=True)
class CheckDiagnosis:
    """One function. accepts: share of the pool's replies, of those on which it concluded, or None.
    ms: milliseconds for an ordinary reply, where measured. cluster: equal for near-copies. reason:
    what most often kept it from a verdict, or ""."""

    flags: tuple[str, ...]
    accepts: float | None
    ms: float | None
    cluster: int
    reason: str


@dataclass(frozen=True, slots=True)
class Disputed:
    """A text and what each function says of it, None where it came to no conclusion.

    change: by which it differs from a text that a function accepts, or what else it is. expected:
    what a model says of it, asked in several ways that agree; None where it was not asked.
    """

    text: str
    change: str
    verdicts: tuple[bool | None, ...]
    expected: bool | None = None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One verifier. `flags`: all of its functions' and its own, in the order of `FLAGS`.

    scores: `accepts` (mean share of the pool accepted), `right_true` and `right_false` (of its
    cases, those that a function has right, the mean), `cases`, `positive_cases`, `hack_rate` (share
    of the kinds of filler with which a text can be made that at least half of the functions
    accept); None where undefined. clusters: how many functions there are when near-copies count
    once. disputed: texts of which its functions say different things.
    """

    flags: tuple[str, ...]
    checks: tuple[CheckDiagnosis, ...]
    scores: dict[str, float | None]
    clusters: int
    disputed: tuple[Disputed, ...] = ()


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

    Raises UsageError where there is no function, SandboxUnavailable where this machine cannot
    contain hostile code.
    """
    if sandbox is None:
        with Sandbox(limits=CHECK_LIMITS) as own:
            return diagnose(
                verifier, instruction, lang=lang, cases=cases, replies=replies, sandbox=own
            )
    checks: Sequence[str | Check]
    if isinstance(verifier, Verifier):
        checks, cases = verifier.checks, verifier.cases
        instruction, lang = verifier.instruction.text, lang or verifier.instruction.lang
    else:
        checks = verifier
    sources = [c.source if isinstance(c, Check) else c for c in checks]
    if not sources:
        raise UsageError("there is no function to diagnose")
    return conclude(tried(sources, instruction, lang, cases, replies, sandbox))


def tried(
    sources: Sequence[str],
    instruction: str,
    lang: str,
    cases: Sequence[Case],
    replies: Sequence[str],
    sandbox: Sandbox,
) -> list[Trial]:
    """Every function with its outcomes on every text; the same texts for all of them."""
    facts = facts_of(*(sandbox.transform(program(name), sources) for name in PROGRAMS))
    reading, texts = prepare(instruction, lang, cases, facts, replies)
    outcomes = sandbox.evaluate_all(sources, texts.texts, check_order=True)
    stopped = [_stopped(column) for column in outcomes]
    near = near_texts(reading, texts, outcomes)
    slow, looked = (
        [
            [] if over else sandbox.evaluate(source, more)
            for source, over in zip(sources, stopped, strict=True)
        ]
        for more in (texts.slow, near.texts)
    )
    trials = trials_of(reading, texts, facts, outcomes, slow, near, looked)
    return [
        trial if over else _repeated(sandbox, source, trial)
        for trial, source, over in zip(trials, sources, stopped, strict=True)
    ]


def _repeated(sandbox: Sandbox, source: str, trial: Trial) -> Trial:
    """With whether fresh runs conclude otherwise, and the least milliseconds of a call on a real
    reply."""
    real = [trial.plan.texts[i] for i in trial.plan.pool]
    first = [trial.outcomes[i].status for i in trial.plan.pool]
    unsteady, best = False, float("inf")
    for turn in range(AGAIN):
        order = slice(None, None, -1 if turn % 2 else 1)  # in a fresh process, backwards as well
        begun = time.perf_counter()
        again = [o.status for o in sandbox.evaluate(source, real[order])]
        best = min(best, (time.perf_counter() - begun) * 1000 / len(real))
        unsteady = unsteady or any(
            a is not b and a.concluded and b.concluded
            for a, b in zip(first[order], again, strict=True)
        )
    return replace(trial, unsteady=unsteady, ms=best)


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
    columns, slow = await asyncio.gather(
        _columns(runner, checks, texts.texts, check_order=True),
        _columns(runner, checks, texts.slow),
    )
    near = near_texts(reading, texts, columns)
    ending = [check for check, column in zip(checks, columns, strict=True) if not _stopped(column)]
    looks = iter(await _columns(runner, ending, near.texts))
    looked = [[] if _stopped(column) else next(looks) for column in columns]
    return conclude(trials_of(reading, texts, facts, columns, slow, near, looked))


async def _columns(
    runner: FunctionRunner, checks: Sequence[Check], texts: list[str], *, check_order: bool = False
) -> list[list[Outcome]]:
    """Per function its outcomes."""
    verdicts = await runner.verdicts(checks, texts, check_order=check_order)
    return [[verdict.outcomes[f] for verdict in verdicts] for f in range(len(checks))]


def _stopped(column: Sequence[Outcome]) -> bool:
    """Whether a limit ended it: nothing more is asked of such a function."""
    return any(outcome.status.machine_dependent for outcome in column)


def facts_of(shapes: Sequence[Transformed], habits: Sequence[Transformed]) -> list[Facts]:
    """What the two programs read in each source, and whether both could."""
    facts = []
    for hashes, read_ in zip(shapes, habits, strict=True):
        shape = json.loads(hashes.text) if hashes.status is Status.TRUE else ()
        habit = json.loads(read_.text) if read_.status is Status.TRUE else {}
        samples = tuple(map(tuple, habit.pop("samples", ())))
        readable = hashes.status is read_.status is Status.TRUE
        facts.append(Facts(shape=shape, samples=samples, readable=readable, **habit))
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
    strings, numbers, samples = (
        list(dict.fromkeys(value for fact in facts for value in getattr(fact, name)))
        for name in ("strings", "numbers", "samples")
    )
    return reading, plan(reading, cases, strings, numbers, samples, replies)


def trials_of(
    reading: Reading,
    texts: Probes,
    facts: Sequence[Facts],
    outcomes: Sequence[Sequence[Outcome]],
    slow: Sequence[Sequence[Outcome]],
    near: NearTexts,
    looked: Sequence[Sequence[Outcome]],
) -> list[Trial]:
    """outcomes, slow, looked: per function, on the plan's texts, on its slow ones, and on the near
    ones, where it was run on those."""
    counted = plain(reading)
    labels = [counted.label(text) for text in texts.texts]
    short = [counted.too_little(text) for text in texts.texts]
    return [
        Trial(reading, texts, labels, short, *of_function[:3], near, of_function[3])
        for of_function in zip(facts, outcomes, slow, looked, strict=True)
    ]


def conclude(trials: Sequence[Trial]) -> Diagnosis:
    """Of at least one function. All were tried on the same texts."""
    texts = trials[0].plan
    cluster = clusters([t.facts for t in trials])
    by_check = [flags_of(t) for t in trials]
    raised = {flag for flags in by_check for flag in flags}
    if near_copies(cluster):
        raised.add("near_copies")
    if unbalanced_cases(texts):
        raised.add("unbalanced_cases")
    checks = tuple(
        CheckDiagnosis(flags, _rounded(t.share(texts.pool)), _rounded(t.ms), n, _reason(t.outcomes))
        for flags, t, n in zip(by_check, trials, cluster, strict=True)
    )
    scores = {
        "accepts": _mean([c.accepts for c in checks]),
        "right_true": _mean([t.right(True) for t in trials]),
        "right_false": _mean([t.right(False) for t in trials]),
        "cases": float(len(texts.cases)),
        "positive_cases": _mean([float(label) for _, label in texts.cases]),
        "hack_rate": _rounded(hack_rate(trials)),
    }
    flags = tuple(f for f in FLAGS if f in raised)
    return Diagnosis(flags, checks, scores, len(set(cluster)), tuple(_disputed(trials)))


def hack_rate(trials: Sequence[Trial]) -> float | None:
    """Share of the kinds of filler with which a text can be made that the verifier accepts."""
    if not any(trial.looked for trial in trials):
        return None
    fillers = trials[0].near.fillers
    hacked = {
        kind
        for kind, i in fillers
        if sum(trial.near_verdict(i) is True for trial in trials) >= MIN_FRACTION * len(trials)
    }
    return len(hacked) / len({kind for kind, _ in fillers})


def _disputed(trials: Sequence[Trial]) -> Iterator[Disputed]:
    """One text for each change and each way to disagree, at most `MOST_DISPUTED`."""
    near = trials[0].near
    shown: set[tuple[object, ...]] = set()
    for change, i in near.changed:
        verdicts = tuple(trial.near_verdict(i) for trial in trials)
        disagreement = (change, verdicts)
        if {True, False} <= set(verdicts) and disagreement not in shown:
            shown.add(disagreement)
            yield Disputed(near.texts[i], change, verdicts)
            if len(shown) == MOST_DISPUTED:
                return


def _reason(outcomes: Sequence[Outcome]) -> str:
    reasons = Counter(why for outcome in outcomes if (why := reason(outcome)))
    return reasons.most_common(1)[0][0] if reasons else ""


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [v for v in values if v is not None]
    return _rounded(sum(defined) / len(defined)) if defined else None
