"""From an instruction to a verifier: each gate of the presets acts, and at its border."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import pytest

from autoif.base.records import Case, Check, Filtered, Instruction, Request
from autoif.synthesis import slots
from autoif.synthesis.context import Context
from autoif.synthesis.prompts import examples
from autoif.synthesis.verifiers import write
from autoif.synthesis.verifiers.backtranslate import confirm
from autoif.synthesis.verifiers.build import Built, build
from runs import marker

Contexts = Callable[..., Context]

COMMA = Instruction("Use no comma at all.")
QUERIES = tuple(f"What is there to see in town number {n}?" for n in range(12))


def function(condition: str, arguments: str = "response") -> str:
    return f"def evaluate({arguments}):\n    return {condition}"


RIGHT = [function(c) for c in ("',' not in response", "not set(response) & {','}",
                               "response.find(',') < 0")]  # fmt: skip
WRONG = [function(c) for c in ("len(response) > 10**6", "response == 'never'")]
NEARLY = function("',' not in response or response == 'a, b'")
ACCEPTS_ALL = function("isinstance(response, str)")
BROKEN = function("no_such_name")


class Model:
    """Writes these functions, repairs them as told, and translates each back with this verdict."""

    def __init__(
        self,
        functions: Sequence[str],
        repairs: Mapping[str, str] | None = None,
        says: Mapping[str, str] | None = None,
        plain: Callable[[int], str] = "Well, there are many things, as in number {}.".format,
        programs: Sequence[str] = ("text.replace(',', '')", "text.replace(',', ';')"),
    ) -> None:
        self.functions, self.repairs, self.says = functions, repairs or {}, says or {}
        self.plain, self.programs = plain, programs
        self.asked_to_repair: list[str] = []

    def __call__(self, request: Request) -> str:
        last = request.messages[-1].content
        match request.stage:
            case "functions" if marker("repair") in last:
                self.asked_to_repair.append(last)
                return next((new for old, new in self.repairs.items() if old in last), "No.")
            case "functions":
                return self.functions[request.index]
            case "programs":
                return f"def comply(text):\n    return {self.programs[request.index]}"
            case "cases" if marker("cases") in last:
                return json.dumps({"follow": ["none", "no mark"], "break": ["one, two", "a, b"]})
            case "cases":
                return self.plain(int(re.findall(r"\d+", last)[0]))
            case "backtranslate" if "def evaluate" in last:
                return next((f"Do {n}" for n, f in enumerate(self.functions) if f in last), "Do")
            case "backtranslate":
                return next((word for text, word in self.says.items() if text in last), "yes")
        raise AssertionError(request.stage)


async def verifier_of(
    contexts: Contexts,
    model: Model,
    settings: Mapping[str, object] = {},
    instruction: Instruction = COMMA,
) -> tuple[Built, list[str], Counter[tuple[str, str]]]:
    """What was built, the sources in it, and the drops by stage and reason."""
    changed = {
        "verifiers.k": len(model.functions), "verifiers.comply": 2, "verifiers.plain": 6,
        "diagnose.drop": (), **settings,
    }  # fmt: skip
    context = contexts(model, queries=QUERIES, **changed)

    async def no_replies() -> Filtered[Case]:
        return Filtered("cases", [])

    built = await build(context, instruction, no_replies())
    sources = [check.source for check in built.verifier.checks] if built.verifier else []
    drops = Counter((d.stage, d.reason) for stage in built.stages for d in stage.dropped)
    return built, sources, drops


# ---- functions as they are written ---------------------------------------------------------------

TWICE = Instruction('Use the word "river" at least 3 times.')
THREE_RIVERS = function("response.count('river') >= 3")


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ((THREE_RIVERS, THREE_RIVERS), "duplicate"),
        ((THREE_RIVERS, f"{THREE_RIVERS}  # three"), "duplicate"),
        ((THREE_RIVERS, THREE_RIVERS.replace(">= 3", ">=3")), "duplicate"),
        ((THREE_RIVERS, function("response.lower().count('river') > 2")), ""),
        ((THREE_RIVERS, function("'river' in response")), "ungrounded"),  # which number?
        ((THREE_RIVERS, function("len(response.split()) >= 3")), "ungrounded"),  # which word?
        ((THREE_RIVERS, "I cannot."), "unparseable"),
    ],
)
async def test_a_function_that_adds_nothing_is_no_candidate(
    context: Contexts, answers: Sequence[str], reason: str
) -> None:
    tools = context(Model(answers), verifiers={"k": 2})
    written = await write.write(tools, TWICE)
    assert [d.reason for d in written.checks.dropped] == ([reason] if reason else [])
    if reason == "ungrounded":
        tools = context(Model(answers), verifiers={"k": 2, "grounded": False})
        assert len((await write.write(tools, TWICE)).checks.kept) == 2


async def test_the_copy_of_an_example_is_no_candidate(context: Contexts) -> None:
    copied = examples.shown("en", "evaluate", 0)["code_1"].replace("\n\n", "\n")
    written = await write.write(context(Model([copied]), verifiers={"k": 1}), Instruction("Ask."))
    assert [d.reason for d in written.checks.dropped] == ["ungrounded"]
    assert "it is an example" in written.checks.dropped[0].detail


def test_the_same_text_under_both_labels_is_no_case() -> None:
    rows = [("a", True), ("a", True), ("b", True), ("b", False), ("b", True), ("c", False)]
    answer = {"func": RIGHT[0], "cases": [{"input": t, "output": label} for t, label in rows]}
    cases = write.candidates([json.dumps(answer)], COMMA).cases
    assert [(case.text, case.expected) for case in cases.kept] == [("a", True), ("c", False)]
    dropped = Counter(d.reason for d in cases.dropped)
    assert dropped == {"duplicate": 1, "contradictory": 3}


STARS = Instruction(
    "Use at least 3 commas.", template="Use at least {n} commas.", n=3, bound="at_least"
)
ANY = [function(c, "response, n") for c in ("response.count(',') >= n", "n <= response.count(',')",
                                            "response.count(',') == n")]  # fmt: skip


def commas(n: int) -> str:
    """A plain reply with none to three commas."""
    return f"Town {n}" + "," * (n % 4)


THREE = ("text.replace(',', '') + ',,,'", "',,,' + text.replace(',', '')")


async def test_a_function_for_any_number_takes_it_and_minds_it(context: Contexts) -> None:
    functions = [*ANY, function("response.count(',') >= 3")]
    model = Model(functions, plain=commas, programs=THREE)
    _, sources, drops = await verifier_of(context, model, instruction=STARS)
    assert sorted(map(slots.opened, sources)) == sorted(ANY[:2])
    assert drops["functions", "not_monotone"] == 1
    assert drops["functions", "no_number"] == 1


# ---- repair --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rounds", "repairs", "asked", "added"),
    [
        (0, {}, 0, 0),
        (1, {WRONG[0]: RIGHT[1]}, 1, 1),
        (2, {WRONG[0]: RIGHT[1]}, 1, 1),  # what is whole is not asked for again
        (1, {WRONG[0]: WRONG[1], WRONG[1]: RIGHT[1]}, 1, 0),
        (2, {WRONG[0]: WRONG[1], WRONG[1]: RIGHT[1]}, 3, 1),
        (1, {WRONG[0]: f"{RIGHT[0]}  # mended"}, 1, 0),
        (1, {WRONG[0]: "No."}, 1, 0),
    ],
)
async def test_what_fails_goes_back_once_a_round(
    context: Contexts, rounds: int, repairs: Mapping[str, str], asked: int, added: int
) -> None:
    """One function is right and two are wanted, so all depends on the repair."""
    model = Model([RIGHT[0], WRONG[0]], repairs)
    _, sources, drops = await verifier_of(context, model, {"verifiers.repair": rounds})
    assert len(model.asked_to_repair) == asked
    assert sorted(sources) == (sorted(RIGHT[:2]) if added else [])
    assert drops["functions", "duplicate"] == any("mended" in s for s in repairs.values()) + max(
        0,
        asked - 2,  # the first one, asked for again, comes back as it did before
    )
    for prompt in model.asked_to_repair[:1]:
        assert "It returned False for the response below, which follows" in prompt
    if not added:
        assert drops["verifiers", "too_few_functions_left"] == 1


async def test_an_error_is_shown_to_whoever_repairs_it(context: Contexts) -> None:
    model = Model([RIGHT[0], BROKEN], {BROKEN: RIGHT[1]})
    _, sources, drops = await verifier_of(context, model)
    assert "It failed with ERROR NameError" in model.asked_to_repair[0]
    assert len(sources) == 2
    assert drops["functions", "error"] == 1


async def test_what_no_function_can_mend_is_not_repaired(context: Contexts) -> None:
    model = Model([*RIGHT, WRONG[0]], plain=lambda n: f"Town {n}" + ", a port" * (n < 4))
    _, _, drops = await verifier_of(context, model, {"verifiers.plain": 12})
    assert drops["verifiers", "uninformative"] == 1, drops
    assert not model.asked_to_repair


async def test_a_repaired_function_is_tried_with_every_number_too(context: Contexts) -> None:
    """No text has more than three commas, so that nothing else tells "exactly" from "at least"."""
    two_less = function("response.count(',') >= n - 2", "response, n")
    for mended, kept in ((ANY[2], 0), (function("not response.count(',') < n", "response, n"), 3)):
        model = Model([*ANY[:2], two_less], {two_less: mended}, plain=commas, programs=THREE)
        _, sources, drops = await verifier_of(context, model, {"crossval.min_checks": 3}, STARS)
        assert len(model.asked_to_repair) == 1
        assert len(sources) == kept
        assert drops["functions", "not_monotone"] == (not kept)


# ---- which functions are heard and taken ---------------------------------------------------------


@pytest.mark.parametrize(
    ("drop", "kept", "reason"), [(("accept_all",), 2, "accept_all"), ((), 0, "low_accuracy")]
)
async def test_an_unsound_function_has_no_vote(
    context: Contexts, drop: tuple[str, ...], kept: int, reason: str
) -> None:
    """Two cases are labelled wrongly. Under `reference` one function that agrees keeps a case: here
    the one that accepts all would, and the good ones would fall by it."""
    texts = [("none", True), ("no mark", True), ("not one", True),
             ("a, b", False), ("c, d", False), ("e, f", False),
             ("g, h", True), ("i, j", True)]  # fmt: skip
    cases = [{"input": text, "output": label} for text, label in texts]
    sources = [*RIGHT[:2], ACCEPTS_ALL]
    model = Model([json.dumps({"func": source, "cases": cases}) for source in sources])
    tools = context(
        model, "reference", QUERIES,
        verifiers={"k": 3}, crossval={"min_cases": 1}, diagnose={"drop": drop},
    )  # fmt: skip

    async def no_replies() -> Filtered[Case]:
        return Filtered("cases", [])

    built = await build(tools, COMMA, no_replies())
    assert len(built.verifier.checks if built.verifier else ()) == kept
    dropped = {d.record_id: d.reason for stage in built.stages for d in stage.dropped}
    assert dropped[Check(ACCEPTS_ALL).id] == reason


COPY = function("',' not in text", "text")  # of RIGHT[0]


@pytest.mark.parametrize(
    ("functions", "drop", "says", "kept", "reason"),
    [
        ((RIGHT[0], COPY), (), {}, 2, ""),
        ((RIGHT[0], COPY), ("slow",), {}, 0, "too_few_functions_left"),
        ((RIGHT[0], RIGHT[1]), ("slow",), {}, 2, ""),
        ((RIGHT[0], COPY, RIGHT[1]), ("slow",), {}, 3, ""),
        # What is left when the others have been said back in words:
        ((RIGHT[0], COPY, RIGHT[1]), ("slow",), {"Do 2": "no"}, 0, "backtranslation"),
        ((RIGHT[0], COPY, RIGHT[1]), ("slow",), {"Do 1": "no"}, 2, ""),
    ],
)
async def test_near_copies_are_one_function(
    context: Contexts,
    functions: Sequence[str],
    drop: tuple[str, ...],
    says: Mapping[str, str],
    kept: int,
    reason: str,
) -> None:
    settings = {"diagnose.drop": drop, "verifiers.repair": 0}
    _, sources, drops = await verifier_of(context, Model(functions, says=says), settings)
    assert len(sources) == kept
    assert [r for stage, r in drops if stage == "verifiers"] == ([reason] if reason else [])


@pytest.mark.parametrize("most", [2, 3, 4])
async def test_the_best_are_taken_up_to_so_many(context: Contexts, most: int) -> None:
    model = Model([NEARLY, *RIGHT])
    built, sources, drops = await verifier_of(context, model, {"crossval.max_checks": most})
    assert drops["functions", "surplus"] == 4 - most
    assert len(sources) == most
    assert (NEARLY in sources) is (most == 4)
    assert built.verifier
    assert built.verifier.accuracy[:3] == (1.0, 1.0, 1.0)[:most]
    assert all(0.9 <= accuracy < 1 for accuracy in built.verifier.accuracy[3:])


FICKLE = """SEEN = set()
def evaluate(response):
    again = response in SEEN
    SEEN.add(response)
    return (',' not in response) is not again"""


@pytest.mark.parametrize("both_ways", [True, False])
async def test_a_function_that_remembers_is_found_where_it_is_run_twice(
    context: Contexts, both_ways: bool
) -> None:
    model = Model([*RIGHT[:2], FICKLE])
    _, sources, drops = await verifier_of(context, model, {"crossval.deterministic": both_ways})
    assert (FICKLE in sources) is not both_ways
    assert drops["functions", "error"] == both_ways


# ---- said back in words --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "lenient", "strict"),
    [
        ("yes", "", ""),
        ("partly", "", "not_entailed"),
        ("no", "contradiction", "contradiction"),
        ("Hard to tell.", "unparseable", "unparseable"),
        ("", "no_answer", "no_answer"),
    ],
)
async def test_what_a_function_says_has_to_be_what_was_asked(
    context: Contexts, answer: str, lenient: str, strict: str
) -> None:
    for require, reason in (("no_contradiction", lenient), ("entailment", strict)):
        model = Model(RIGHT[:1], says={"Do 0": answer})
        tools = context(model, backtranslate={"require": require})
        filtered = await confirm(tools, COMMA, [Check(RIGHT[0])])
        assert [d.reason for d in filtered.dropped] == ([reason] if reason else [])


async def test_where_nobody_compares_every_function_stays_and_nothing_is_asked(
    context: Contexts,
) -> None:
    model = Model(RIGHT, says={"Do 0": "no"})
    _, sources, drops = await verifier_of(context, model, {"backtranslate.judge": "off"})
    assert len(sources) == len(RIGHT)
    assert not drops
    filtered = await confirm(context(model, backtranslate={"judge": "off"}), COMMA, [Check("x")])
    assert filtered.kept == [(Check("x"), "")]


@pytest.mark.parametrize(
    ("drop", "least", "against", "kept"),
    [
        ("check", 2, 0, 3),
        ("check", 2, 1, 2),
        ("check", 2, 2, 0),
        ("instruction", 2, 0, 3),
        ("instruction", 2, 1, 0),
    ],
)
async def test_a_contradiction_drops_the_function_or_the_instruction(
    context: Contexts, drop: str, least: int, against: int, kept: int
) -> None:
    model = Model(RIGHT, says={f"Do {n}": "no" for n in range(against)})
    settings = {"backtranslate.drop": drop, "crossval.min_checks": least}
    _, sources, drops = await verifier_of(context, model, settings)
    assert len(sources) == kept
    assert drops["verifiers", "backtranslation"] == (not kept)
    assert drops["backtranslate", "contradiction"] == against
