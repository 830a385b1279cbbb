"""Constraints put together: each gate acts, and at its border."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from autoif.base.records import Case, Composition, Message, Request, Turn, Verifier
from autoif.run.recipe import Recipe
from autoif.synthesis.compositions import compose
from autoif.synthesis.compositions.draw import Pool, possible
from autoif.synthesis.context import Context
from autoif.synthesis.product import Product
from runs import write_rows
from test_gates_of_responses import QUERY, SMALL, STAR, verifier

Contexts = Callable[..., Context]


def at_least(n: int, right: int = 10, wrong: int = 10) -> Verifier:
    """Of numbers written out: those below 100 are of the one label, the others of the other."""
    cases = [Case(str(100 + t), True) for t in range(right)]
    cases += [Case(str(99 - t), False) for t in range(wrong)]
    return verifier(f"At least {n}.", f"int(response) >= {n}", cases=cases)


def below(n: int) -> Verifier:
    """The other way round, with the same texts."""
    cases = [Case(c.text, not c.expected) for c in at_least(100).cases]
    return verifier(f"Below {n}.", f"int(response) < {n}", cases=cases)


HUNDRED = verifier("A hundred or more.", "100 <= int(response)", cases=at_least(0, 9, 1).cases)


async def composed(
    contexts: Contexts,
    unit: Composition,
    given: Sequence[Verifier],
    *answers: str,
    judge: str = "model",
) -> tuple[Product, int]:
    """What became of a composition, and how often the model was asked whether it can be."""
    asks: list[str] = []

    def answer(request: Request) -> str:
        if request.stage == "compositions":
            asks.append(request.messages[-1].content)
            return answers[(len(asks) - 1) % len(answers)]
        return "101" if request.stage == "responses" else "10"

    product = Product(unit, tuple(given))
    await compose.process(contexts(answer, compose={"judge": judge}), product)
    return product, len(asks)


def of_replies(text: str, source: str, program: Callable[[str], str]) -> Verifier:
    """With what it says of plain replies, and of what a program made of them."""
    plain = [f"{word} is seen soon" for word in ("snow", "Sun", "sand", "silk")]
    cases = [Case(t, False, "plain", f"query {n}") for n, t in enumerate(plain)]
    cases += [Case(program(t), True, "comply:0", f"query {n}") for n, t in enumerate(plain)]
    return verifier(text, source, cases=cases)


WORDS = "[w for w in {}.split() if w.startswith('s')]"
NO_S = ("Let no word start with s.", lambda t: t.replace("s", "z").replace("S", "Z"))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (f"not {WORDS.format('response')}", "blinded"),  # to the S of SNOW
        (f"not {WORDS.format('response.lower()')}", "none_passed"),
    ],
)
async def test_a_verifier_has_to_mean_the_same_in_the_company_of_another(
    context: Contexts, source: str, reason: str
) -> None:
    text, program = NO_S
    one = of_replies(text, source, program)
    other = of_replies("Write in capitals.", "response.isupper()", str.upper)
    for pair in ((one, other), (other, one)):
        unit = Composition(QUERY, (Turn(tuple(v.id for v in pair)),))
        product, _ = await composed(context, unit, pair, "yes")
        drops = [d for d in product.funnel.drops if d.stage == "compositions"]
        assert [d.reason for d in drops] == [reason]
        if reason == "blinded":
            assert drops[0].detail == f"{text} / Write in capitals."


@pytest.mark.parametrize(
    ("one", "other", "answers", "reason", "asked"),
    [
        (at_least(100), at_least(101), ("no",), "redundant", 0),
        (at_least(100), at_least(102), ("yes",), "redundant", 0),  # 0.9 right of the other's cases
        (at_least(100), at_least(103), ("yes",), "none_passed", 1),  # 0.85: not the same
        (at_least(100, 2, 2), HUNDRED, ("yes",), "redundant", 0),
        (at_least(100, 1, 9), HUNDRED, ("yes",), "", 1),  # too few cases to say so
        (at_least(100), below(100), ("yes",), "contradictory", 0),
        (at_least(100), below(98), ("yes",), "contradictory", 0),  # 0.1
        (at_least(100), below(97), ("yes",), "none_passed", 1),
        (SMALL, STAR, ("no", "no"), "incompatible", 2),
        (SMALL, STAR, ("no", "yes"), "none_passed", 2),
        (SMALL, STAR, ("yes",), "none_passed", 1),
        (SMALL, STAR, ("maybe",), "unparseable", 1),
    ],
)
async def test_constraints_are_put_together_where_one_reply_can_follow_all(
    context: Contexts,
    one: Verifier,
    other: Verifier,
    answers: Sequence[str],
    reason: str,
    asked: int,
) -> None:
    unit = Composition(QUERY, (Turn((one.id, other.id)),))
    product, asks = await composed(context, unit, (one, other), *answers)
    assert [d.reason for d in product.funnel.drops if d.stage == "compositions"] == (
        [reason] if reason else []
    )
    assert asks == asked


async def test_nobody_is_asked_where_the_responses_shall_tell(context: Contexts) -> None:
    unit = Composition(QUERY, (Turn((SMALL.id, STAR.id)),))
    product, asks = await composed(context, unit, (SMALL, STAR), "no", judge="off")
    assert [d.reason for d in product.funnel.drops if d.stage == "compositions"] == ["none_passed"]
    assert asks == 0


@pytest.mark.parametrize(("before", "reason"), [("no star", ""), ("a *", "already_followed")])
async def test_a_turn_has_to_ask_for_something_new(
    context: Contexts, before: str, reason: str
) -> None:
    number = verifier("Be a number.", "response.isdigit()")
    opening = (Message("user", QUERY.text), Message("assistant", before))
    new = STAR if reason else number
    unit = Composition(QUERY, (Turn((SMALL.id,)), Turn((new.id,))), opening)
    product, _ = await composed(context, unit, (SMALL, new), "yes")
    reasons = [d.reason for d in product.funnel.drops if d.stage == "compositions"]
    assert reasons == ([reason] if reason else [])
    assert bool(product.sft) is not bool(reason)


@pytest.mark.parametrize(
    ("verifiers", "kinds"),
    [
        ([("a", "a"), ("b", "b")], ["level 2", "turns 3"]),
        ([("a", "a"), ("b", "a")], []),  # two numbers of one template are one kind
        ([("a", "a"), ("b", "b"), ("c", "c")], ["level 2", "level 3", "turns 3"]),
        ([("a", "a")], []),
    ],
)
def test_a_level_needs_as_many_kinds_of_verifier(
    tmp_path: Path, verifiers: Sequence[tuple[str, str]], kinds: Sequence[str]
) -> None:
    """Of one more verifier no sample was kept, and of another only within a composition."""
    named = [*verifiers, ("x", "x"), ("y", "y")]
    write_rows(
        tmp_path / "02-verifiers.jsonl",
        [{"id": n, "instruction": {"id": n, "template": k, "lang": "en"}} for n, k in named],
    )
    write_rows(
        tmp_path / "03-samples.jsonl",
        [
            {"id": n, "verifiers": [n], "kept": n != "x", "composition": "c" * (n == "y")}
            for n, _ in named
        ],
    )
    recipe = Recipe.load("strict", None, {"compose.levels": 3, "compose.turns": 3})
    found = possible(recipe, Pool([tmp_path]))
    assert [f"{kind.name} {kind.n}" for kind in found.kept] == kinds
    assert {d.reason for d in found.dropped} <= {"too_few_verifiers"}
    assert found.entered == 3
