"""Order, chance and bad luck: whatever a model answers, in whichever order, a run balances, and
makes the same of the same answers."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoif.base.errors import CallFailed, RunFailed
from autoif.base.records import Message, Reply, Request, content_id
from autoif.engine.local import Run, Stopped
from autoif.models.budget import Budget, BudgetGuard
from autoif.models.scripted import ScriptedBackend
from autoif.run.directory import RunDir, ShardFiles
from autoif.run.recipe import Recipe
from runs import Row, artefacts, balanced, marker, rows, stages

pytestmark = pytest.mark.timeout(400)

SEEDS = ["End with AMEN.", "Use no comma at all.", "Write three lines or more."]
QUERIES = ["Why is the sky blue at noon?", "How do I boil an egg so that it is soft?"]
SMALL: Row = {
    "models": {"default": "scripted:test"},
    "instructions": {"rounds": 1, "asks": 1, "per_ask": 3},
    "verifiers": {"k": 3, "comply": 1, "plain": 2},
    "queries": {"per_instruction": 2},
    "responses": {"waves": (1, 1), "hopeless": 2},
    "judge": {"style": "number"},
}


def small(folder: Path, preset: str = "strict", **more: Any) -> Recipe:
    seeds, queries = folder / "seeds.txt", folder / "queries.txt"
    seeds.write_text("\n".join(SEEDS))
    queries.write_text("\n".join(QUERIES))
    values = {**SMALL, "instructions.seeds": str(seeds), "queries.source": str(queries)}
    # the prepared answers are a word or two, and the prepared judge likes all of them
    unjudged = {"judge.floor": False, "judge.controls": "off"}
    return Recipe.load(preset, None, {**unjudged, **values, **more})


def execute(recipe: Recipe, out: Path, backend: ScriptedBackend) -> Row:
    """The report, of an empty dataset too."""
    directory = RunDir(out)
    directory.claim(recipe)
    try:
        asyncio.run(Run(recipe, directory, backends={"scripted:test": backend}).execute())
    except RunFailed:
        assert not rows(out / "data/sft.jsonl")
    return directory.report()


# ---- any answers -------------------------------------------------------------------------------

PIECES = [
    "```python\ndef evaluate(response):\n    return True\n```",
    "```python\ndef evaluate(response):\n    return ',' not in response\n```",
    "```python\ndef evaluate(response):\n    return response.count(',') == 0\n```",
    "```python\ndef evaluate(response):\n    return response[0] == 'a'\n```",
    "```python\ndef evaluate(response):\n    raise ValueError(object())\n```",
    "```python\ndef evaluate(response)\n```",
    "```python\ndef comply(text):\n    return text.replace(',', '')\n```",
    "```python\ndef comply(text):\n    return text + str(map(len, text))\n```",
    "```python\nimport time\ndef comply(text):\n    return text + str(time.time_ns())\n```",
    "```python\ndef comply(text):\n    return text + '\\ud800'\n```",
    json.dumps({"follow": ["no comma", "none"], "break": ["a, b", "c, d"]}),
    json.dumps({"func": "def evaluate(r): return True", "cases": [{"input": "", "output": 1}]}),
    '{"follow": ["\\ud800", 3, null], "break": "no"}',
    "- Use no comma!\n- Begin with an A and end with a Z.\n- \ud800",
    "entailment", "contradiction", "no", "yes", "Score: 9", "10", "3", "11/10",
    "One\ntwo, three\nAMEN", "plain words without any mark", "", " \n", "\x00", "\ud800",
]  # fmt: skip


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    answers=st.lists(st.sampled_from(PIECES) | st.text(max_size=40), min_size=1, max_size=12),
    preset=st.sampled_from(["strict", "paper", "reference"]),
    reason=st.sampled_from(["stop", "stop", "length", "content_filter"]),
)
def test_whatever_a_model_answers_the_books_balance(
    answers: list[str], preset: str, reason: str
) -> None:
    def answer(request: Request) -> Reply:
        drawn = int(content_id(request.stage, request.messages[-1].content, request.index), 16)
        words = sum(len(m.content.split()) for m in request.messages)
        assert words
        return Reply(answers[drawn % len(answers)], reason if drawn % 5 == 0 else "stop")

    with tempfile.TemporaryDirectory() as folder:
        recipe = small(Path(folder), preset)
        out = Path(folder) / "run"
        report = execute(recipe, out, ScriptedBackend(answer, namespace="test"))
        assert balanced(report)
        dropped = [row for name in DROPPED for row in rows(out / name)]
        for stage, count in stages(report).items():
            assert sum(d["stage"] == stage for d in dropped) == sum(count["dropped"].values())
        shutil.rmtree(out / "parts")
        before = artefacts(out)
        execute(recipe, out, ScriptedBackend(answer, namespace="test"))
        assert artefacts(out) == before


DROPPED = ("01-instructions.dropped.jsonl", "02-verifiers.dropped.jsonl",
           "03-samples.dropped.jsonl")  # fmt: skip


# ---- one model that works ----------------------------------------------------------------------


def sensible(request: Request) -> str:
    """A model that writes functions for SEEDS, answers well enough, and finds all of it good."""
    said = "\n".join(m.content for m in request.messages)
    which = next((i for i, seed in enumerate(SEEDS) if seed.rstrip(".") in said), 0)
    index = request.index
    match request.stage:
        case "instructions":
            return "- Put a colon in the first line.\n- Use no comma at all!"
        case "functions":
            return CODE[which][index % 3]
        case "programs":
            return COMPLY[which]
        case "cases" if "{" in said:
            return json.dumps({"follow": [GOOD[which]], "break": [BAD[which]]})
        case "cases" if marker("plain") in said:
            return f"The reply, as it comes, to {content_id(said)}."
        case "backtranslate":
            return "yes" if "def evaluate" not in request.messages[-1].content else "Do as told."
        case "responses" | "cases":  # first responses are evidence too
            return f"{BAD[which] if index == 1 else GOOD[which]} {content_id(said)}".replace(
                "AMEN ", ""
            ) + (" AMEN" if which == 0 and index != 1 else "")
        case "judge" | "controls":
            return "9"
    return ""


CODE = [
    ["```python\ndef evaluate(response):\n    return response.endswith('AMEN')\n```",
     "```python\ndef evaluate(response):\n    return response[-4:] == 'AMEN'\n```",
     "```python\ndef evaluate(response):\n    return response.split()[-1:] == ['AMEN']\n```"],
    ["```python\ndef evaluate(response):\n    return ',' not in response\n```",
     "```python\ndef evaluate(response):\n    return response.count(',') == 0\n```",
     "```python\ndef evaluate(response):\n    return not set(',') & set(response)\n```"],
    ["```python\ndef evaluate(response):\n    return len(response.splitlines()) >= 3\n```",
     "```python\ndef evaluate(response):\n    return response.count('\\n') >= 2\n```",
     "```python\ndef evaluate(response):\n    return len(response.split('\\n')) > 2\n```"],
]  # fmt: skip
COMPLY = [
    "```python\ndef comply(text):\n    return text + ' AMEN'\n```",
    "```python\ndef comply(text):\n    return text.replace(',', '')\n```",
    "```python\ndef comply(text):\n    return text.replace(',', '\\n').replace(' ', '\\n')\n```",
]
GOOD = ["So be it. AMEN", "No mark of that kind", "One\ntwo\nthree"]
BAD = ["So be it.", "Well, one, two", "One line"]


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_answers_is_no_matter(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)

    def mixed(request: Request) -> str:
        """Some of each stage falls."""
        said = content_id(seed, request.stage, request.messages[-1].content, request.index)
        return "No." if int(said, 16) % 5 == 0 else sensible(request)

    async def answer(request: Request) -> str:
        await asyncio.sleep(rng.choice((0, 0.001, 0.1)) * rng.random())
        return mixed(request)

    recipe = small(tmp_path)
    at_once = execute(recipe, tmp_path / "a", ScriptedBackend(mixed, namespace="test"))
    execute(recipe, tmp_path / "b", ScriptedBackend(answer, namespace="test"))
    assert artefacts(tmp_path / "a") == artefacts(tmp_path / "b")
    assert stages(at_once)["functions"]["dropped"]["unparseable"] > 0


@pytest.mark.parametrize("target", [1, 3, 1000])
def test_a_target_is_met_to_the_sample_and_always_with_the_same(
    target: int, tmp_path: Path
) -> None:
    rng = random.Random(target)

    async def answer(request: Request) -> str:
        await asyncio.sleep(0.02 * rng.random())
        return sensible(request)

    whole = execute(small(tmp_path), tmp_path / "all", ScriptedBackend(sensible, namespace="test"))
    there_are = stages(whole)["samples"]["kept"]
    assert there_are > 3
    recipe = small(tmp_path, target=target, engine={"in_flight": 2, "shard_size": 2})
    made = []
    for name in ("a", "b"):
        backend = ScriptedBackend(answer, namespace="test")
        report = execute(recipe, tmp_path / name, backend)
        assert balanced(report)
        assert report["state"] == "done"
        assert len(rows(tmp_path / name / "data/sft.jsonl")) == min(target, there_are)
        again = execute(recipe, tmp_path / name, backend)
        assert again["calls"]["asked"] == 0
        made.append(artefacts(tmp_path / name))
    assert made[0] == made[1]
    sft = rows(tmp_path / "all/data/sft.jsonl")
    assert rows(tmp_path / "a/data/sft.jsonl") == sft[:target]


def test_what_depends_on_the_day_is_the_same_tomorrow(tmp_path: Path) -> None:
    """A program that reads the clock is read back, not run again; an address is no difference."""
    clock = (
        "```python\nimport time\ndef comply(text):\n    return f'{text} {time.time_ns()} AMEN'\n```"
    )
    address = "```python\ndef evaluate(response):\n    raise ValueError(object())\n```"

    def answer(request: Request) -> str:
        if request.stage == "programs" and SEEDS[0] in request.messages[-1].content:
            return clock
        if request.stage == "functions" and request.index == 2:
            return address
        return sensible(request)

    recipe = small(tmp_path)
    backend = ScriptedBackend(answer, namespace="test")
    execute(recipe, tmp_path / "a", backend)
    before = artefacts(tmp_path / "a")
    assert b"object at 0x0" in before["02-verifiers.dropped.jsonl"]
    shutil.rmtree(tmp_path / "a" / "parts")
    assert execute(recipe, tmp_path / "a", backend)["calls"]["asked"] == 0
    assert artefacts(tmp_path / "a") == before


# ---- what a start finds --------------------------------------------------------------------------

DAMAGE: dict[str, Callable[[Path], object]] = {
    "a byte less": lambda part: _rewrite(largest(part), lambda b: b[:-1]),
    "a byte more": lambda part: _rewrite(largest(part), lambda b: b + b"\n"),
    "emptied": lambda part: _rewrite(largest(part), lambda b: b""),
    "missing": lambda part: largest(part).unlink(),
    "no books": lambda part: (part / "funnel.json").unlink(),
    "half the books": lambda part: _rewrite(part / "funnel.json", lambda b: b[: len(b) // 2]),
    "other books": lambda part: (part / "funnel.json").write_bytes(b"{}"),
    "a list": lambda part: (part / "funnel.json").write_bytes(b"[]"),
}


def largest(part: Path) -> Path:
    return max(part.rglob("*.jsonl"), key=lambda p: p.stat().st_size)


def _rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_shard_is_not_believed(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "parts" / "00000-name"
    shard = ShardFiles(path)
    with shard.begun():
        shard.write("03-samples", [{"id": "a"}, {"id": "b"}])
    assert not ShardFiles(path).finished()
    shard.finish()
    assert ShardFiles(path).finished()
    DAMAGE[damage](path)
    assert not ShardFiles(path).finished()
    assert not path.exists()


def test_the_card_says_how_the_judge_fared(tmp_path: Path) -> None:
    recipe = by_shards(tmp_path, **{"judge.controls": "report"})
    report = execute(recipe, tmp_path / "run", ScriptedBackend(sensible, namespace="test"))
    row = stages(report)["controls"]
    assert row["dropped"] == {"accepted": row["in"]}
    assert row["in"]
    out = RunDir(tmp_path / "run")
    assert (
        sum(d["stage"] == "controls" for d in rows(out.artefact("03-samples.dropped"))) == row["in"]
    )
    card = (out.path / "data/README.md").read_text()
    assert f"It refused 0 of {row['in']} texts that answer nothing" in card


def by_shards(folder: Path, **more: Any) -> Recipe:
    """A shard for each instruction; functions are not diagnosed, which takes the most time."""
    return small(folder, engine={"shard_size": 1}, diagnose={"drop": ()}, **more)


def test_damaged_shards_are_made_again_from_what_was_answered(tmp_path: Path) -> None:
    recipe, out = by_shards(tmp_path), tmp_path / "run"
    backend = ScriptedBackend(sensible, namespace="test")
    execute(recipe, out, backend)
    before = artefacts(out)
    parts = sorted((out / "parts").iterdir())
    assert len(parts) >= len(SEEDS)
    for part, damage in zip(parts, ("a byte less", "missing", "half the books"), strict=False):
        DAMAGE[damage](part)
    assert execute(recipe, out, backend)["calls"]["asked"] == 0
    assert artefacts(out) == before


@pytest.mark.parametrize("shared", [False, True])
def test_a_shard_with_an_unanswered_call_is_not_finished(shared: bool, tmp_path: Path) -> None:
    """Its neighbours are, unless all share the call: a plain reply. The next start asks for what is
    missing alone."""
    recipe, out = by_shards(tmp_path), tmp_path / "run"
    asked: list[Request] = []

    def failing(request: Request) -> str:
        plain = marker("plain") in request.messages[0].content
        own = request.stage == "responses" and SEEDS[1] in request.messages[-1].content
        if (plain and QUERIES[0] in request.messages[-1].content) if shared else own:
            raise CallFailed("server", "no answer")
        return sensible(request)

    def healthy(request: Request) -> str:
        asked.append(request)
        return sensible(request)

    execute(recipe, out, ScriptedBackend(failing, namespace="test"))
    lines = rows(out / "01-instructions.jsonl")
    lost = [n for n, row in enumerate(lines) if shared or row["text"] == SEEDS[1]]
    begun = [path.name for path in sorted((out / "parts").iterdir()) if path.suffix == ".open"]
    assert [name[:5] for name in begun] == [f"{n:05d}" for n in lost]
    execute(recipe, out, ScriptedBackend(healthy, namespace="test"))
    assert asked
    assert shared or {request.record for request in asked} == {lines[n]["id"] for n in lost}
    execute(recipe, tmp_path / "whole", ScriptedBackend(sensible, namespace="test"))
    assert artefacts(out) == artefacts(tmp_path / "whole")


# ---- the budget ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "spent", "answered"), [(300, 0, 3), (299, 0, 2), (300, 200, 1), (300, 201, 0)]
)
async def test_calls_in_flight_count_at_the_most_they_can_cost(
    limit: int, spent: float, answered: int
) -> None:
    """A hundred tokens each, of which four are used."""

    async def answer(request: Request) -> str:
        await asyncio.sleep(0.01)
        return "yes it is"

    guard = BudgetGuard({}, Budget(limit, "tok"), spent)
    ask = guard.before("scripted:test", ScriptedBackend(answer))
    request = Request((Message("user", "hi"),), max_tokens=84)
    replies = await asyncio.gather(*(ask(request) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(reply, Reply) for reply in replies) == answered
    assert {str(r) for r in replies if isinstance(r, CallFailed)} == {"budget"}
    assert (guard.reason, guard.refused) == ("budget", 5 - answered)
    assert guard.spent == spent + 4 * answered
    with pytest.raises(CallFailed, match="budget"):
        await ask(request)


def test_a_budget_is_paid_once_however_often_it_is_started(tmp_path: Path) -> None:
    recipe, out, asked = by_shards(tmp_path), RunDir(tmp_path / "run"), list[Request]()

    def tokens(report: Row) -> int:
        return int(report["tokens"]["prompt"] + report["tokens"]["completion"])

    def answer(request: Request) -> str:
        asked.append(request)
        return sensible(request)

    def start(budget: float) -> int:
        """How many calls it pays for."""
        before = len(asked)
        backend = ScriptedBackend(answer, namespace="test")
        budgeted = Budget(budget, "tok")
        asyncio.run(
            Run(recipe, out, backends={"scripted:test": backend}, budget=budgeted).execute()
        )
        return len(asked) - before

    def cut_short(budget: float) -> int:
        before = len(asked)
        with pytest.raises(Stopped, match="budget"):
            start(budget)
        assert tokens(out.report()) <= budget
        return len(asked) - before

    backend = ScriptedBackend(sensible, namespace="test")
    half = tokens(execute(recipe, tmp_path / "whole", backend)) / 2
    out.claim(recipe)
    assert cut_short(half) > 0
    while cut_short(half):  # each pays for less, up to what a call may cost
        pass
    assert start(1e6) > 0
    assert len({(r.messages, r.index, r.stage) for r in asked}) == len(asked)
    assert artefacts(out.path) == artefacts(tmp_path / "whole")
