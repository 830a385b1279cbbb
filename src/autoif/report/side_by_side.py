"""Two directories of one kind: what B has that A lacks, and the reverse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from autoif.report import columns
from autoif.report.evaluation_pages import EvaluationPages
from autoif.report.synthesis_pages import SynthesisPages

Row = dict[str, Any]
NAMED = 100  # of what was won, and of what was lost


def compare(a: object, b: object) -> Row:
    """{"instructions", "prompts"} of two runs: those with a verifier, those with a kept sample;
    {"prompts"} of two evaluations: those that were followed; nothing of others."""
    if isinstance(a, SynthesisPages) and isinstance(b, SynthesisPages):
        return {
            "instructions": _compared(_verified(a), _verified(b), _instruction(a), _instruction(b)),
            "prompts": _compared(_kept(a), _kept(b), _query(a), _query(b)),
        }
    if isinstance(a, EvaluationPages) and isinstance(b, EvaluationPages):
        return {"prompts": _compared(_followed(a), _followed(b), _prompt(a), _prompt(b))}
    return {}


def _compared(
    a: Mapping[object, int],
    b: Mapping[object, int],
    of_a: Callable[[int], list[str]],
    of_b: Callable[[int], list[str]],
) -> Row:
    """a, b: row numbers by key. of_a, of_b: [id, words] of a row."""
    won = [number for key, number in b.items() if key not in a]
    lost = [number for key, number in a.items() if key not in b]
    return {
        "both": len(a) - len(lost),
        "won": [of_b(number) for number in won[:NAMED]],
        "won_total": len(won),
        "lost": [of_a(number) for number in lost[:NAMED]],
        "lost_total": len(lost),
    }


def _numbers(frame: pl.DataFrame, key: str, mask: pl.Expr) -> dict[object, int]:
    rows = frame.with_row_index("row").filter(mask).unique(key, keep="first", maintain_order=True)
    return dict(zip(rows[key].to_list(), rows["row"].to_list(), strict=True))


def _verified(pages: SynthesisPages) -> dict[object, int]:
    return _numbers(pages.run.instructions.frame, "id", pl.col("functions") > 0)


def _kept(pages: SynthesisPages) -> dict[object, int]:
    kept = pages.run.samples.number(columns.KEPT)
    return _numbers(pages.run.samples.frame, "prompt", pl.col("fate") == kept)


def _followed(pages: EvaluationPages) -> dict[object, int]:
    return _numbers(pages.prompts.frame, "id", pl.col("followed") == 1)


def _instruction(pages: SynthesisPages) -> Callable[[int], list[str]]:
    return lambda number: _words(pages.listed("instructions", number), "text")


def _query(pages: SynthesisPages) -> Callable[[int], list[str]]:
    return lambda number: _words(pages.listed("samples", number), "query")


def _prompt(pages: EvaluationPages) -> Callable[[int], list[str]]:
    return lambda number: _words(pages.listed("prompts", number), "query")


def _words(row: Row, text: str) -> list[str]:
    return [str(row["id"]), str(row[text])]
