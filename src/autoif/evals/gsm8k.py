"""GSM8K, zero-shot: a word problem, the last number of the answer against the reference's.

Cobbe et al. (2021). The model is asked to end with `#### number`; an answer that does not is read
by what it says last: a boxed number, "the answer is", the last number of all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from autoif.base.errors import UsageError
from autoif.evals.task import Answers, Benchmark, EvalContext, Item, Row, Unit, percent, text_in

ASK = (
    "{question}\n\n"
    "Think step by step. Then write the final answer, a plain number, on a last line of the form:\n"
    "#### number"
)
_NUMBER = r"[-−]?[$€£]?\d(?:[\d,]*\d)?(?:\.\d+)?|[-−]?[$€£]?\.\d+"
_MARKED = (
    re.compile(rf"####\s*({_NUMBER})"),
    re.compile(rf"\\boxed\{{\s*+(?:\\\$\s*+)?({_NUMBER})"),
    re.compile(rf"answer\s*(?:is|:)[\s*:$]*+({_NUMBER})", re.IGNORECASE),
    re.compile(f"({_NUMBER})"),
)


@dataclass(frozen=True, slots=True)
class GSM8K(Benchmark):
    name: str = "gsm8k"
    max_tokens: int = 1024

    def items(self, rows: Iterable[Mapping[str, Any]]) -> list[Item]:
        items = []
        for number, row in enumerate(rows):
            question = text_in(row, "question", number + 1)
            gold = extract(text_in(row, "answer", number + 1))
            if gold is None:
                raise UsageError(f"row {number + 1}: no number in the reference answer")
            key = str(row.get("key", number))
            items.append(Item(key, question, gold, ASK.format(question=question)))
        return items

    async def verdicts(
        self, items: Sequence[Item], answers: Answers, context: EvalContext
    ) -> list[Row]:
        rows = []
        for item in items:
            number = extract(item.first(answers) or "")
            rows.append(
                {
                    "key": item.key,
                    "correct": number == item.data,
                    "said": None if number is None else str(number),
                    "expected": str(item.data),
                }
            )
        return rows

    def units(self, rows: Sequence[Row]) -> list[Unit]:
        return [Unit(str(row["key"]), (1, row["correct"])) for row in rows]

    def figures(self, sums: Sequence[float]) -> dict[str, float | None]:
        return {"accuracy": percent(sums[1], sums[0])}

    def counts(self, sums: Sequence[float]) -> dict[str, int]:
        return {"accuracy": int(sums[0])}

    def notes(self, rows: Sequence[Row]) -> list[str]:
        unread = sum(1 for row in rows if row["said"] is None)
        return [f"{unread} answers have no number in them"] if unread else []


def extract(answer: str) -> Decimal | None:
    """The number an answer ends with, None where there is none. 1,000 and $1000.00 are equal."""
    numbers = next(filter(None, (pattern.findall(answer) for pattern in _MARKED)), None)
    if numbers is None:
        return None
    try:
        return Decimal(re.sub(r"[$€£,]", "", numbers[-1]).replace("−", "-")).normalize()
    except InvalidOperation:
        return None
