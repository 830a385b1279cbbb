"""Instructions with a number left open: `at least {n} sentences`.

A seed with a slot says which numbers may stand there and how the number binds (`bound`). For each
number drawn there is an instruction like any other; its functions are written once for all numbers,
as `evaluate(response, n)`, and shipped with the number filled in, so that the source stands alone.

That one function serves all numbers is a chance to catch it out: over n, what it says of one text
has to fall once (at least), rise once (at most), or be True for one n alone (exactly).
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from autoif.base.errors import UsageError
from autoif.base.records import Case, Check, Drop, Filtered, Instruction, Status, seed_from
from autoif.run.recipe import Recipe
from autoif.synthesis.context import Context

FUNCTIONS = "functions"  # the stage
SLOT = "{n}"
BOUNDS = ("at_least", "at_most", "exactly")
MOST = 200  # a larger number is not counted out
TEXTS = 16  # on which a function is tried with every number

_TWO = re.compile(r"def\s+evaluate\s*+\(\s*+\w++[^,)]{0,200}+,\s*+n\b")
_FILLED = "# The number, filled in."
_ONE = f"""


{_FILLED}
def evaluate(response, _any=evaluate):
    return _any(response, {{n}})"""
_ANY = """


def evaluate(response, _any=evaluate):
    n, _, text = response.partition(" ")
    return _any(text, int(n))
"""


def fill(recipe: Recipe, text: str, row: Mapping[str, Any]) -> list[tuple[str, int]]:
    """The texts of a seed with a slot, each with its number; drawn by the recipe's seed.

    Raises UsageError for a slot that cannot be filled.
    """
    params, bound = row["params"], row.get("bound")
    numbers = params.get("n") if isinstance(params, dict) else None
    if SLOT not in text or not isinstance(numbers, list) or not numbers:
        raise UsageError(f'seed {text!r}: a slot is {{n}} in the text and "params": {{"n": [...]}}')
    if not all(isinstance(n, int) and 0 < n <= MOST for n in numbers):
        raise UsageError(f"seed {text!r}: its numbers have to be whole, from 1 to {MOST}")
    if bound not in BOUNDS:
        raise UsageError(f'seed {text!r}: "bound" has to be one of {", ".join(BOUNDS)}')
    rng = random.Random(seed_from(recipe.seed, "slot", text))
    distinct = sorted(set(numbers))
    drawn = rng.sample(distinct, min(recipe.instructions.numbers, len(distinct)))
    return [(text.replace(SLOT, str(n)), n) for n in sorted(drawn)]


def filled(source: str, n: int) -> str | None:
    """The function for one number; None where it takes none."""
    source = opened(source)
    return source + _ONE.format(n=n) if _TWO.search(source) else None


def opened(source: str) -> str:
    """The function for any number again; other sources as they are."""
    return source.partition(_FILLED)[0].rstrip("\n")


async def at_edges(
    context: Context, instruction: Instruction, checks: list[Check], cases: list[Case]
) -> Filtered[Check]:
    """The functions that treat every number alike; the others are dropped with a reason."""
    if not instruction.n or not checks or not cases:
        return Filtered(FUNCTIONS, checks)
    texts = [c.text for c in sorted(cases, key=lambda c: c.id)[:TEXTS]]
    numbers = range(1, 2 * instruction.n + 2)
    trial = [f"{n} {text}" for text in texts for n in numbers]
    whole = [Check(opened(check.source) + _ANY) for check in checks]
    verdicts = await context.verdicts(whole, trial)
    filtered: Filtered[Check] = Filtered(FUNCTIONS, [])
    for f, check in enumerate(checks):
        column = [v.outcomes[f].status for v in verdicts]
        by_text = [column[i : i + len(numbers)] for i in range(0, len(column), len(numbers))]
        if reason := _flaw(instruction.bound, by_text):
            drop = Drop.of(FUNCTIONS, check.id, reason, check.source, instruction.id)
            filtered.dropped.append(drop)
        else:
            filtered.kept.append(check)
    return filtered


def _flaw(bound: str, by_text: Sequence[Sequence[Status]]) -> str:
    """What is wrong with a function's verdicts, for each text over n = 1, 2, ..."""
    rows = [[s is Status.TRUE for s in row if s.concluded] for row in by_text]
    if not any(rows):
        return ""  # it never concludes: cross-validation says so, with the error
    if not any(len(set(row)) > 1 for row in rows):
        return "ignores_number"
    for row in rows:
        if bound == "exactly" and sum(row) > 1:
            return "not_single"
        if bound != "exactly" and row != sorted(row, reverse=bound == "at_least"):
            return "not_monotone"
    return ""
