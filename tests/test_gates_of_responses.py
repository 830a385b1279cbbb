"""From a verifier to data rows: each gate of the presets acts, and at its border."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import pytest

from autoif.base.records import (
    Case,
    Check,
    Instruction,
    Outcome,
    Query,
    Reply,
    Request,
    Sample,
    Status,
    Verdict,
    Verifier,
)
from autoif.engine.shards import ShardResult, commit
from autoif.synthesis import flow
from autoif.synthesis.context import Context
from autoif.synthesis.product import Product
from autoif.synthesis.responses.sample import Prompt, Sampled, Task, sample, user_message
from autoif.verifier.pairs import query_pairs
from runs import balanced, marker

Contexts = Callable[..., Context]

QUERY = Query("What is there to see in town?")


def verifier(text: str, *conditions: str, cases: Sequence[Case] = ()) -> Verifier:
    checks = [Check(f"def evaluate(response):\n    return {c}") for c in conditions]
    return Verifier(Instruction(text), tuple(checks), tuple(cases))


SMALL = verifier("Use small letters only.", "response == response.lower()")
STAR = verifier("Add a star.", "'*' in response")


class Model:
    """Replies by these texts in turn; scores come from `judge`: by a text in the prompt, in turn.
    `asked`: how often, by stage."""

    def __init__(
        self,
        replies: Sequence[str | Reply] = (),
        judge: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.replies, self.judge = replies, judge or {}
        self.asked = Counter[str]()
        self.temperatures: list[float] = []

    def __call__(self, request: Request) -> str | Reply:
        self.asked[request.stage] += 1
        if request.stage == "responses":
            return self.replies[request.index % len(self.replies)]
        self.temperatures.append(request.temperature)
        last = request.messages[-1].content
        scores = next((s for text, s in self.judge.items() if text in last), ["10"])
        return scores[request.index % len(scores)]


async def sampled(
    contexts: Contexts,
    model: Callable[[Request], str | Reply],
    *verifiers: Verifier,
    prompts: int = 1,
    soft: tuple[str, ...] = (),
    settings: Mapping[str, object],
) -> tuple[Sampled, Counter[str]]:
    """What came of sampling, and why the rest fell."""
    asked = [Query(f"{QUERY.text} ({n})") for n in range(prompts)]
    context = contexts(model, **settings)
    task = Task(verifiers, verifiers, context.recipe.responses.accuracy, soft=soft)
    made = await sample(
        context,
        task,
        [Prompt(q, (user_message(q.text, verifiers, soft),), task.demanded) for q in asked],
    )
    return made, Counter(d.reason for stage in made.stages for d in stage.dropped)


def kept(made: Sampled) -> list[str]:
    return [s.response for prompt in made.prompts for s in prompt.samples if s.kept]


OFF = {"judge.style": "off"}

# ---- waves ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("replies", "enough", "hopeless", "asked", "reason"),
    [
        (("a", "b", "c", "D"), 2, 24, 2, ""),  # two good ones in the first wave of two
        (("a", "B", "c", "d"), 2, 24, 4, ""),
        (("a", "B", "C", "D"), 2, 24, 8, ""),
        (("a", "b", "c", "d"), 0, 24, 8, ""),
        (("A", "B", "C", "D"), 2, 24, 8, "none_passed"),
        (("A", "B", "C", "D"), 2, 5, 8, "hopeless"),  # the wave in which the fifth is asked ends
        (("A", "B", "C", "D"), 2, 4, 4, "hopeless"),
        (("A", "B", "C", "D"), 2, 2, 2, "hopeless"),
        (("A", "B", "C", "D"), 2, 0, 8, "none_passed"),
        (("A", "b", "C", "D"), 2, 2, 8, ""),  # one that passed is hope
    ],
)
async def test_it_is_asked_as_often_as_is_worth_it(
    context: Contexts, replies: Sequence[str], enough: int, hopeless: int, asked: int, reason: str
) -> None:
    model = Model([f"{r} {n}" for n, r in enumerate([*replies, *replies])])
    settings = {"responses.enough": enough, "responses.hopeless": hopeless, **OFF}
    made, drops = await sampled(context, model, SMALL, settings=settings)
    assert model.asked["responses"] == asked
    assert drops["hopeless"] + drops["none_passed"] == bool(reason)
    assert drops[reason] == bool(reason)
    assert bool(kept(made)) is not bool(reason)


async def test_a_prompt_that_has_enough_waits_for_no_other(context: Contexts) -> None:
    def answer(request: Request) -> str:
        good = "(0)" in request.messages[-1].content or request.index > 3
        return f"{'a' if good else 'A'} {request.index}"

    settings = {"judge": {"style": "off"}}
    made, _ = await sampled(context, answer, SMALL, prompts=2, settings=settings)
    assert [p.asked for p in made.prompts] == [2, 8]


# ---- what a response needs -----------------------------------------------------------------------

HALF = ("'a' in response", "'b' in response", "'c' in response", "'d' in response")


@pytest.mark.parametrize(
    ("accuracy", "passes"),
    [
        (1.0, ["abcd"]),
        (0.75, ["abcd", "abc"]),
        (0.5, ["abcd", "abc", "ab"]),
        ("above 0.5", ["abcd", "abc"]),
        ("above 0.0", ["abcd", "abc", "ab", "a"]),
    ],
)
async def test_a_response_needs_its_share_of_the_checks(
    context: Contexts, accuracy: float | str, passes: Sequence[str]
) -> None:
    model = Model(["abcd", "abc", "ab", "a", "-"])
    settings = {"responses.accuracy": accuracy, "responses.waves": (5,), **OFF}
    made, drops = await sampled(context, model, verifier("", *HALF), settings=settings)
    assert kept(made) == passes
    assert drops["failed_check"] == 5 - len(passes)


FAILS = verifier("", "no_such_name")


@pytest.mark.parametrize(
    ("verifiers", "reason"),
    [
        ((STAR,), "failed_check"),
        ((FAILS,), "unconcluded"),
        ((FAILS, STAR), "failed_check"),
        ((FAILS, SMALL), "unconcluded"),
        ((verifier("", "'*' in response", "no_such_name"),), "failed_check"),
    ],
)
async def test_what_no_check_decided_is_no_failure(
    context: Contexts, verifiers: tuple[Verifier, ...], reason: str
) -> None:
    settings = {"responses.waves": (1,), **OFF}
    _, drops = await sampled(context, Model(["all small"]), *verifiers, settings=settings)
    assert drops == {reason: 1, "none_passed": 1}


async def test_the_same_reply_counts_once_and_half_a_one_never(context: Contexts) -> None:
    model = Model(["so", "so", Reply("cut o", "length"), "so", "it is"])
    settings = {"responses.waves": (3, 2), "responses.enough": 0, **OFF}
    made, drops = await sampled(context, model, SMALL, settings=settings)
    assert kept(made) == ["so", "it is"]
    assert drops == {"duplicate": 2, "truncated": 1}


# ---- the judge -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "settings", "keeps"),
    [
        (["8"], {}, True),
        (["7.9"], {}, False),
        (["8"], {"threshold": "above 8"}, False),
        (["8.1"], {"threshold": "above 8"}, True),
        (["6", "-", "10"], {"votes": 2}, True),
        (["6", "-", "9"], {"votes": 2}, False),
        (["9", "-", "6"], {"votes": 2}, False),
        (["9", "-", "6"], {"votes": 1}, True),
        (["?", "9"], {}, True),  # an answer without a score is asked for once more
        (["?", "7"], {}, False),
        (["?", "?", "9"], {}, False),  # and no third time
        (["?", "?", "9"], {"votes": 2}, True),  # the votes that were understood count
    ],
)
async def test_a_sample_needs_its_score(
    context: Contexts, scores: Sequence[str], settings: Mapping[str, object], keeps: bool
) -> None:
    """Vote n is asked with index 2n, and once more with 2n + 1."""
    model = Model(["all small"], {"": scores})
    given = {f"judge.{key}": value for key, value in settings.items()}
    made, drops = await sampled(context, model, SMALL, settings={"responses.waves": (1,), **given})
    assert bool(kept(made)) is keeps
    unscored = scores == ["?", "?", "9"] and not keeps
    reasons = {} if keeps else {"no_score" if unscored else "low_score": 1, "none_judged_good": 1}
    assert drops == reasons
    assert model.temperatures[0] == 0
    assert all(t > 0 for t in model.temperatures[1:])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ('{"yes": 0.9, "no": 0.1}', ""),
        ('{"yes": 0.9}', ""),
        ('{"yes": 0.89, "no": 0.11}', "low_score"),
        ('{"no": 0.6, "well": 0.4}', "low_score"),
        ("yes", ""),  # of a model that gives no probabilities
        ("no", "low_score"),
        ('{"well": 0.9}', "no_score"),
        ("{", "no_score"),
    ],
)
async def test_a_sample_needs_so_sure_a_yes(context: Contexts, answer: str, reason: str) -> None:
    model = Model(["all small"], {"": [answer]})
    settings = {"responses.waves": (1,), "judge.style": "yes", "judge.threshold": 9.0}
    made, drops = await sampled(context, model, SMALL, settings=settings)
    assert bool(kept(made)) is not bool(reason)
    assert drops == ({reason: 1, "none_judged_good": 1} if reason else {})
    assert model.asked["judge"] == 1


@pytest.mark.parametrize(
    ("reply", "floor", "reason"),
    [
        ("a boat and a lighthouse", True, ""),
        ("yes", True, "no_substance"),
        ("yes", False, ""),
        ("boat boat boat boat boat boat", True, "repetition"),
        ("boat boat boat boat boat boat", False, ""),
        (QUERY.text.lower(), True, "copied_prompt"),
    ],
)
async def test_a_reply_that_says_nothing_is_not_judged(
    context: Contexts, reply: str, floor: bool, reason: str
) -> None:
    model = Model([reply])
    settings = {"responses.waves": (1,), "judge.floor": floor}
    made, drops = await sampled(context, model, SMALL, settings=settings)
    assert kept(made) == ([] if reason else [reply])
    assert drops == ({reason: 1, "none_judged_good": 1} if reason else {})
    assert model.asked["judge"] == (not reason)


@pytest.mark.parametrize(
    ("scores", "mean", "keeps"),
    [
        (["10", "2", "2"], 5.0, 0),  # 4.7
        (["10", "3", "2"], 5.0, 1),  # 5
        (["10", "2", "2"], 4.6, 1),
        (["10", "2", "2"], 0, 1),  # nobody asks
        (["10", "2"], 9.0, 1),  # too few to say so
    ],
)
async def test_an_instruction_under_which_replies_fail_keeps_none(
    context: Contexts, scores: Sequence[str], mean: float, keeps: int
) -> None:
    """A score for each query."""

    def answer(request: Request) -> str:
        text = request.messages[-1].content
        number = next(n for n in range(len(scores)) if f"({n})" in text)
        return scores[number] if request.stage == "judge" else f"a boat {request.index}"

    settings = {"responses.waves": (2,), "responses.enough": 0, "judge.mean": mean}
    made, drops = await sampled(context, answer, SMALL, prompts=len(scores), settings=settings)
    assert len(kept(made)) == 2 * keeps
    assert drops["senseless_instruction"] == 2 * (1 - keeps)
    assert drops["low_score"] == 2 * (len(scores) - 1)


@pytest.mark.parametrize(("most", "judged"), [(0, 4), (1, 1), (3, 3)])
async def test_so_many_are_judged_of_a_prompt(context: Contexts, most: int, judged: int) -> None:
    model = Model(["a", "b", "c", "d"])
    settings = {"responses.waves": (4,), "judge.per_prompt": most}
    made, drops = await sampled(context, model, SMALL, prompts=2, settings=settings)
    assert model.asked["judge"] == 2 * judged
    assert kept(made) == ["a", "b", "c", "d"][:judged] * 2
    assert drops["surplus"] == 2 * (4 - judged)


KIND, BRIEF = "Be kind to the reader.", "Write for a child."


@pytest.mark.parametrize(
    ("judge", "style", "reason", "asked"),
    [
        ({KIND: ["8"], BRIEF: ["8"]}, "number", "", 3),
        ({KIND: ["8"], BRIEF: ["7"]}, "number", "low_soft_score", 3),
        ({KIND: ["?"], BRIEF: ["8"]}, "number", "low_soft_score", 4),  # unscored is no pass
        ({"Reply:": ["3"]}, "number", "low_score", 1),  # nothing more is asked
        ({KIND: ["8"], BRIEF: ["8"]}, "off", "", 2),
        ({KIND: ["7"], BRIEF: ["8"]}, "off", "low_soft_score", 2),
    ],
)
async def test_every_soft_constraint_needs_its_score(
    context: Contexts, judge: Mapping[str, Sequence[str]], style: str, reason: str, asked: int
) -> None:
    def answer(request: Request) -> str | Reply:
        wish = request.stage == "judge" and marker("rubric") in request.messages[-1].content
        first = request.stage == "judge" and not wish and KIND in judge
        model.asked[request.stage] += first
        return "10" if first else model(request)

    model = Model(["all small"], judge)
    settings = {"responses.waves": (1,), "judge.style": style}
    made, drops = await sampled(context, answer, SMALL, soft=(KIND, BRIEF), settings=settings)
    assert drops == ({reason: 1, "none_judged_good": 1} if reason else {})
    assert model.asked["judge"] == asked
    assert bool(kept(made)) is not bool(reason)


# ---- rows ----------------------------------------------------------------------------------------

CASES = [Case(t, t[0] == "*") for t in ("* one", "none", "* two", "nothing")]


@pytest.mark.parametrize(
    ("per_prompt", "instruction_level", "score", "pairs"),
    [
        (0, 0, "10", (0, 0)),
        (1, 0, "10", (1, 0)),
        (2, 0, "10", (4, 0)),
        (0, 1, "10", (0, 1)),
        (0, 2, "10", (0, 2)),
        (0, 2, "7", (0, 0)),  # a program may have maimed it: the judge has to find it good
    ],
)
async def test_pairs_are_made_up_to_so_many(
    context: Contexts, per_prompt: int, instruction_level: int, score: str, pairs: tuple[int, int]
) -> None:
    queries = [*(f"What is there to see in town {n}?" for n in range(2))]
    cases = [Case(c.text, c.expected, query=q) for c, q in zip(CASES, sorted(queries * 2))]  # noqa: B905
    given = verifier(STAR.instruction.text, "'*' in response", cases=cases)

    def answer(request: Request) -> str:
        if request.stage == "judge":
            return score if any(c.text in request.messages[-1].content for c in cases) else "10"
        return ("a *", "b *", "c", "d")[request.index % 4]

    settings = {
        "queries.per_instruction": 1, "responses.waves": (4,),
        "pairs.per_prompt": per_prompt, "pairs.instruction_level": instruction_level,
    }  # fmt: skip
    tools = context(answer, queries=tuple(queries), **settings)
    product = Product(given.instruction, (given,))
    await flow.process(tools, product)
    kinds = Counter(row["kind"] for row in product.dpo)
    assert (kinds["query"], kinds["instruction"]) == pairs


T, F, E = Status.TRUE, Status.FALSE, Status.ERROR


@pytest.mark.parametrize(
    ("verdicts", "rejected"),
    [
        (((F, F),), True),
        (((T, T), (F, F)), True),  # one constraint is broken for certain
        (((T, F),), False),
        (((E, F),), False),
        (((E, E),), False),
        (((T, F), (F, T)), False),
        (((T, T),), False),  # it passed and was judged poor
    ],
)
def test_a_rejected_response_breaks_a_constraint_by_every_check(
    verdicts: Sequence[Sequence[Status]], rejected: bool
) -> None:
    said = tuple(Verdict.of(map(Outcome, each)) for each in verdicts)
    good = Sample((), QUERY.text, (), "good", (Verdict.of([Outcome(T)]),), kept=True)
    other = Sample((), QUERY.text, (), "other", said)
    pairs = query_pairs([good, other], 2)
    assert [(pair.chosen, pair.rejected) for pair in pairs] == [("good", "other")] * rejected


@pytest.mark.parametrize("room", [0, 1, 3, 4])
async def test_a_target_is_met_to_the_sample(context: Contexts, room: int) -> None:
    """0: there is no target."""
    settings = {"responses.waves": (4,), **OFF}
    tools = context(Model(["a", "b", "c", "d"]), **settings)
    product, result = Product(SMALL.instruction), ShardResult()
    prompt = Prompt(QUERY, (user_message(QUERY.text, (SMALL,)),), "")
    task = Task.single(SMALL, tools.recipe.responses.accuracy)
    product.take(tools.recipe, task, await sample(tools, task, [prompt]))
    commit(product, result, room)
    left = room or 4
    assert result.lines["data/sft"].count(b"\n") == left
    assert result.lines["03-samples.dropped"].count(b"over_target") == 4 - left
    assert sum(s.kept for s in product.samples) == left
    assert balanced({"stages": result.funnel.to_json()})
