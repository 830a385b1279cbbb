"""Texts of which the candidate functions say different things, one small change away from a text
that they accept: cases that tell functions apart where plain replies do not.

What such a text is claimed to be is up to the comply programs, which were written without sight of
any function: a program that makes texts follow and leaves what follows alone says of a text that it
leaves alone that it follows. Where the functions hold, by a majority, the opposite, nobody knows,
and there is no case: a lone function that is right is not to fall, since a response has to pass
every function. The label model weighs the claim like any other.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain, zip_longest

from autoif.base.records import Case, Check, Filtered, Instruction, Status, Verdict
from autoif.diagnosis.boundary import neighbours
from autoif.diagnosis.core import program
from autoif.diagnosis.probes import terms_of
from autoif.diagnosis.reading import read
from autoif.synthesis.context import Context, together

CASES = "cases"
MOST_BASES = 6  # accepted texts that are changed
LONGEST = 1500  # characters of such a text
STEADY = 0.8  # share of its own outputs that a program has to leave alone


async def disputed(
    context: Context,
    instruction: Instruction,
    checks: Sequence[Check],
    programs: Sequence[str],
    cases: Sequence[Case],
) -> Filtered[Case]:
    """At most `crossval.boundary` cases, none where no program has a say."""
    most = context.recipe.crossval.boundary
    if not most or len(checks) < 2 or not programs or not cases:
        return Filtered(CASES, [])
    changed = await _changed(context, instruction, checks, cases)
    verdicts = await context.verdicts(checks, list(changed))
    split: dict[tuple[object, ...], str] = {}  # one text for each change and way to disagree
    majority: dict[str, bool | None] = {}
    for (text, (change, _)), verdict in zip(changed.items(), verdicts, strict=True):
        said = tuple(o.status for o in verdict.outcomes)
        if {Status.TRUE, Status.FALSE} <= set(said):
            split.setdefault((change, said), text)
            majority[text] = _most([s is Status.TRUE for s in said if s.concluded])
    texts = list(split.values())[: 4 * most]
    claims = await _claims(context, programs, [case.text for case in cases], texts)
    kept = [
        Case(text, claim, "boundary", changed[text][1].query)
        for text, claim in zip(texts, claims, strict=True)
        if claim is not None and majority[text] in (claim, None)
    ]
    return Filtered(CASES, kept[:most])


async def _changed(
    context: Context, instruction: Instruction, checks: Sequence[Check], cases: Sequence[Case]
) -> dict[str, tuple[str, Case]]:
    """New texts, with what was changed in which case."""
    verdicts, habits = await together(
        context.verdicts(checks, [case.text for case in cases]),
        context.transformed(program("habits"), [check.source for check in checks]),
    )
    constants = [json.loads(h.text)["strings"] for h in habits if h.status is Status.TRUE]
    reading = read(instruction.text, instruction.lang)
    terms = terms_of(reading, list(chain.from_iterable(constants)))
    bases = _bases(cases, verdicts)
    in_turn = zip_longest(*(neighbours(base.text, terms, reading.zh) for base in bases))
    old = {case.text for case in cases}
    return {
        change[1]: (change[0], base)
        for changes in in_turn
        for base, change in zip(bases, changes, strict=True)
        if change and change[1] not in old
    }


def _bases(cases: Sequence[Case], verdicts: Sequence[Verdict]) -> list[Case]:
    """Cases with accepted texts, those of several sources in turn."""
    by_source: dict[str, list[Case]] = {}
    for case, verdict in zip(cases, verdicts, strict=True):
        if (verdict.fraction or 0) >= 0.5 and 0 < len(case.text) <= LONGEST:
            by_source.setdefault(case.origin, []).append(case)
    in_turn = chain.from_iterable(zip_longest(*by_source.values()))
    return [case for case in in_turn if case is not None][:MOST_BASES]


async def _claims(
    context: Context, programs: Sequence[str], texts: Sequence[str], disputed: Sequence[str]
) -> list[bool | None]:
    """Of each disputed text, what most programs say that leave their own outputs alone."""
    votes: list[list[bool]] = [[] for _ in disputed]
    for source in programs:
        made = await context.transformed(source, list(texts))
        outputs = [r.text for r in made if r.status is Status.TRUE]
        again = await context.transformed(source, [*outputs, *disputed])
        kept = [r.text for r in again[: len(outputs)]]
        if sum(a == b for a, b in zip(outputs, kept, strict=True)) < STEADY * len(outputs):
            continue
        for vote, text, result in zip(votes, disputed, again[len(outputs) :], strict=True):
            if result.status is Status.TRUE:
                vote.append(result.text == text)
    return [_most(vote) for vote in votes]


def _most(votes: Sequence[bool]) -> bool | None:
    yes = sum(votes)
    return None if 2 * yes == len(votes) else 2 * yes > len(votes)
