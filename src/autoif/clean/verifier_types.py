"""Which benchmark's constraint each verifier of a file tests, by running it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from autoif.base.errors import UsageError
from autoif.base.inputs import read_rows, row_id
from autoif.base.language import CJK
from autoif.constraints.execution import TypeTrial, decide, followed
from autoif.diagnosis.probes import pool
from autoif.sandbox import CHECK_LIMITS, Sandbox
from autoif.verifier.schema import parse_verifier
from autoif.verifier.verify import verify


def typed_verifiers(source: str | Path, sandbox: Sandbox | None = None) -> Iterator[dict[str, Any]]:
    """Rows `{"id"?, "instruction", "checks", "cases"?, "texts"?}` to rows `{"id", "type": str or
    None, "followbench": str or None, "by": "execution" or "words"}`, in order, one at a time. A row
    without an id gets its number; `texts` are replies of one's own to run the functions on.

    Raises UsageError naming file and line for a row that is none.
    """
    with ExitStack() as stack:
        sandbox = sandbox or stack.enter_context(Sandbox(limits=CHECK_LIMITS))
        number = 0
        for number, (place, row) in enumerate(read_rows(source), 1):
            parsed = parse_verifier(row, place)
            if not parsed.checks:
                raise UsageError(f'{place}: "checks" is empty: there is nothing to run')
            text = parsed.instruction.text if parsed.instruction else ""
            trial = TypeTrial.of(
                text,
                [check.source for check in parsed.checks],
                [*(case.text for case in parsed.cases), *_texts(row, place)],
                pool("zh" if CJK.search(text) else "en"),
            )
            verdicts = verify(parsed.checks, trial.texts, sandbox=sandbox)
            decision = decide(trial, followed(verdicts, parsed.min_fraction), text)
            yield {
                "id": row_id(row) or str(number),
                "type": decision.type or None,
                "followbench": decision.followbench or None,
                "by": decision.by,
            }
        if not number:
            raise UsageError(f"{source} is empty: it should hold verifiers")


def _texts(row: dict[str, Any], place: object) -> list[str]:
    texts = row.get("texts") or []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UsageError(f'{place}: "texts" has to be a list of texts')
    return texts
