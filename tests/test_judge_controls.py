"""A judge that lets texts pass that answer nothing is reported; `strict` does not trust it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from autoif.base.errors import SetupError
from autoif.base.records import Check, Instruction, Query, Request, Verifier
from autoif.synthesis import flow
from autoif.synthesis.context import Context
from autoif.synthesis.product import Product
from autoif.synthesis.responses.controls import judge_controls

Contexts = Callable[..., Context]
QUERIES = tuple(f"What is there to see in town {n}?" for n in "abcdef")
REPLIES = [(Query(q), f"The old harbour of town {q[-2]}.") for q in QUERIES]
GIVEN = Verifier(Instruction("Write."), (Check("def evaluate(response):\n    return True"),))


class Judge:
    """Answers each query with its own letter. As judge it accepts the right answer, and of other
    texts so many."""

    def __init__(self, accepts: int) -> None:
        self.left = accepts
        self.asked = Counter[str]()

    def __call__(self, request: Request) -> str:
        self.asked[request.stage] += 1
        prompt = request.messages[-1].content
        if request.stage != "controls":
            town = next(q for q in QUERIES if q in prompt)[-2]
            return "10" if request.stage == "judge" else f"The old harbour of town {town}."
        self.left -= 1
        return "10" if self.left >= 0 else "2"


def controlled(contexts: Contexts, judge: Judge, rule: str, floor: bool = False) -> Context:
    settings = {"judge.controls": rule, "judge.style": "number", "judge.floor": floor}
    return contexts(judge, queries=QUERIES, **settings, **{"responses.waves": (1,)})


async def test_replies_to_other_queries_are_its_controls(context: Contexts) -> None:
    """Six replies, each under another query; two queries again; two phrases."""
    judge = Judge(3)
    judged = await judge_controls(controlled(context, judge, "report"), "en", REPLIES)
    assert (judged.entered, len(judged.kept)) == (10, 7)
    assert judge.asked["controls"] == 10
    assert {drop.reason for drop in judged.dropped} == {"accepted"}
    own = [f"town {town}?" in d.detail and f"town {town}." in d.detail
           for town in "abcdef" for d in judged.dropped]  # fmt: skip
    assert not any(own)


async def test_the_floor_refuses_its_share_unasked(context: Contexts) -> None:
    judge = Judge(0)
    judged = await judge_controls(controlled(context, judge, "report", floor=True), "en", REPLIES)
    assert (judged.entered, len(judged.kept)) == (10, 10)
    assert judge.asked["controls"] == 6 + 2  # a query again has no word of its own


@pytest.mark.parametrize(
    ("accepts", "rule", "trusted"),
    [(3, "refuse", True), (4, "refuse", False), (10, "report", True), (10, "off", True)],
)
async def test_no_response_is_sampled_for_a_judge_that_accepts_anything(
    context: Contexts, accepts: int, rule: str, trusted: bool
) -> None:
    judge = Judge(accepts)
    tools = controlled(context, judge, rule)
    product = Product(GIVEN.instruction, (GIVEN,))
    if trusted:
        await flow.process(tools, product)
        assert product.sft
    else:
        with pytest.raises(SetupError, match="accepts 4 of 10 texts that answer nothing"):
            await flow.process(tools, product)
    assert bool(judge.asked["responses"]) == trusted
    assert bool(judge.asked["controls"]) == (rule != "off")


async def test_without_a_judge_there_is_nothing_to_control(context: Contexts) -> None:
    judge = Judge(10)
    tools = context(judge, queries=QUERIES, judge={"style": "off", "controls": "refuse"})
    await flow.process(tools, Product(GIVEN.instruction, (GIVEN,)))
    assert set(judge.asked) == {"responses"}
