"""Measures for verifiers: what is brought is proved, what is missing is found by running them."""

from __future__ import annotations

from collections.abc import Sequence

from autoif.base.language import CJK
from autoif.base.records import Check
from autoif.constraints.execution import AGREEMENT, TypeTrial, followed
from autoif.constraints.measures import agreement, measure_of
from autoif.diagnosis.probes import pool
from autoif.sandbox import Sandbox
from autoif.verifier.grading import bound_check
from autoif.verifier.schema import Measure, VerifierRow
from autoif.verifier.verify import verify


def proved_measure(verifier: VerifierRow, sandbox: Sandbox) -> Measure | None:
    """The verifier's own measure where its bound says what the functions say of the texts that tell
    constraint types apart; else the count that does; else None."""
    text = verifier.instruction.text if verifier.instruction else ""
    sources = [check.source for check in verifier.checks]
    replies = pool("zh" if CJK.search(text) else "en")
    trial = TypeTrial.of(text, sources, [case.text for case in verifier.cases], replies)
    verdicts = _followed(verifier.checks, trial.texts, verifier.min_fraction, sandbox)
    if verifier.measure:
        within = _followed([bound_check(verifier.measure)], trial.texts, 1.0, sandbox)
        both = [
            (a, b) for a, b in zip(within, verdicts, strict=True) if a is not None and b is not None
        ]
        if agreement([a for a, _ in both], [b for _, b in both]) > AGREEMENT:
            return verifier.measure
    derived = measure_of(trial, verdicts)
    return Measure(derived.source, derived.low, derived.high) if derived else None


def _followed(
    checks: Sequence[Check], texts: Sequence[str], least: float, sandbox: Sandbox
) -> list[bool | None]:
    return followed(verify(checks, texts, sandbox=sandbox), least)
