"""`--dry-run`: calls, tokens and cost of a recipe, before anything is paid.

The flow itself is run, on a few instructions of our own and with a stand-in for each model, and its
calls are counted: what a recipe asks for is decided where it is decided in a run. Two figures for
each stage: `most`, which no run can exceed (all that can be asked is asked, every answer is as long
as allowed), and `likely`, with the survival rates and lengths below. Those are rough, and depend on
the model: a run of 50 instructions tells more.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoif.base import jsonl
from autoif.base.errors import RunFailed
from autoif.base.files import write_whole
from autoif.base.loop import run_blocking
from autoif.base.records import Reply, Request, Usage, dump_line, seed_from
from autoif.engine.late_files import late_files
from autoif.engine.local import Run
from autoif.engine.resources import ROLES
from autoif.models import Backend
from autoif.models.budget import price
from autoif.run.directory import RunDir
from autoif.run.recipe import Recipe
from autoif.synthesis.instructions import propose, user_files
from autoif.synthesis.responses import queries

# In the trial: instructions (for `most` fewer will do, and one of them has no verifier), queries of
# an instruction, compositions of a level.
TRIED, TRIED_MOST, QUERIES, DRAWN = 10, 6, 4, 2
# In runs with models of 1.5 to 72 billion parameters: the share of proposals that are new, of
# instructions with a verifier, of responses that pass, and of those that are judged good.
YIELD = {"proposals": 0.6, "verifiers": 0.5, "passes": 0.4, "good": 0.8}
# Tokens of a typical answer, where the recipe allows as many.
LENGTH = {"instructions": 500, "functions": 140, "programs": 110, "cases": 150}
LENGTH |= {"backtranslate": 20, "responses": 250, "judge": 120, "controls": 120, "compositions": 2}
# Of the embedded model, which writes one-liners (241 calls of `demo`).
EMBEDDED = LENGTH | {"functions": 30, "programs": 30, "backtranslate": 8}
WORD = "marker"  # instruction n of the trial demands the word `marker` and n
WORD_TOKENS = 1.4  # of English
KEYS = ("calls", "prompt_tokens", "completion_tokens", "uncached_tokens")
BLOCK = 128  # characters, about the 32 tokens that prompts share in a cache, or compute apart
_WORDS = re.compile(rf"{WORD}\d+")
_RESULT = re.compile(r"\bx\d+\b")
_STAMP = re.compile(r"\bof (\d+) tokens")
_SAMPLE = re.compile(r"sample (\d+)")
_DENSE = re.compile(r"[\u3000-\u9fff]")

Row = tuple[str, str]  # stage, role
Counted = tuple[Row, bool]  # whether there is such a call for each query


@dataclass
class Tally:
    """Calls of a trial, by row and record: what `KEYS` names."""

    most: bool
    lengths: Mapping[str, int]  # tokens of a likely answer, by stage
    max_words: int = 0  # what responses are asked to keep to
    blocks: set[int] = field(default_factory=set)  # of the prompts so far; each with what precedes
    calls: defaultdict[Counted, defaultdict[str, list[float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(lambda: [0.0] * len(KEYS)))
    )

    def length(self, request: Request) -> int:
        """Tokens of the answer."""
        longest = request.max_tokens
        if self.most:
            return longest
        likely = self.lengths[request.stage]
        if self.max_words and request.temperature and request.stage in ("responses", "cases"):
            likely = min(likely, round(WORD_TOKENS * self.max_words))
        return min(longest, likely)

    def stamp(self, request: Request) -> str:
        """Stands in an answer for all of its text; where the answer is shown, it counts."""
        return f"of {self.length(request)} tokens"

    def add(self, row: Row, request: Request) -> Usage:
        length = self.length(request)
        text = "".join(m.content for m in request.messages)
        prompt = _tokens(text) + sum(map(int, _STAMP.findall(text)))
        of_query = row[0] == "responses" or (row[0] == "judge" and bool(_SAMPLE.search(text)))
        counted = self.calls[row, of_query][request.record]
        uncached = prompt - self._cached(text)
        for n, value in enumerate((1.0, prompt, float(length), uncached)):
            counted[n] += value
        return Usage(round(prompt), 0, length)

    def _cached(self, text: str) -> float:
        """Tokens at the beginning that an earlier prompt had too."""
        chain, cached, missed = 0, 0.0, False
        for start in range(0, len(text) - BLOCK, BLOCK):
            block = text[start : start + BLOCK]
            chain = hash((chain, block))
            missed = missed or chain not in self.blocks
            self.blocks.add(chain)
            cached += 0.0 if missed else _tokens(block)
        return cached


def _tokens(text: str) -> float:
    dense = len(_DENSE.findall(text))
    return (len(text) - dense) / 4.0 + dense / 1.6


class StandIn:
    """A model that answers so that the flow goes on, or ends, as the trial wants."""

    def __init__(self, role: str, recipe: Recipe, tally: Tally) -> None:
        self.namespace = f"stand-in:{role}"
        self._role, self._recipe, self._tally = role, recipe, tally

    def body(self, request: Request) -> dict[str, Any]:
        return {"messages": [m.content for m in request.messages], "stage": request.stage}

    async def close(self) -> None:
        pass

    async def __call__(self, request: Request) -> Reply:
        usage = self._tally.add((request.stage, self._role), request)
        return Reply(self._text(request), "stop", usage)

    def _text(self, request: Request) -> str:
        prompt = "\n".join(m.content for m in request.messages)
        words = sorted(set(_WORDS.findall(prompt))) or [WORD]
        if self._role == "propose":
            return f"- {demand(0, 'en')}"
        if self._role == "code":
            return self._code(request, words[0])
        if self._role == "respond":
            return self._response(request, words)
        if request.stage == "compositions":  # both orders are asked about for `most`
            return "no" if self._tally.most and self._first(request) else "yes"
        judges = request.stage in ("judge", "controls")
        return self._judgement(request, prompt) if judges else "entailment"

    def _code(self, request: Request, word: str) -> str:
        if request.stage == "backtranslate":
            (function, *_) = _RESULT.findall(request.messages[-1].content) or ["x"]
            return f"The response contains {word}: {function}."
        if request.stage == "programs":
            return f"```python\ndef comply(text):\n    return text + ' {word} {request.index}'\n```"
        n = int(word.removeprefix(WORD) or 0)
        fails = n == 0 if self._tally.most else n % round(1 / YIELD["verifiers"]) == 0
        result = f"x{request.index}"  # so that no function is a copy of another one
        # Each raises on another half of the texts.
        odd = f" + 0 * (1 // (sum(map(ord, response)) >> {request.index} & 1))" if fails else ""
        function = f"def evaluate(response):\n    {result} = bool(('{word}' in response){odd})\n"
        function += f"    return {result}\n# {self._tally.stamp(request)}"
        texts = [[f"{request.index} {sign} {k}" for k in range(4)] for sign in (word, "other")]
        if request.schema and "func" in request.schema["properties"]:
            cases = [{"input": t, "output": sign == 0} for sign in (0, 1) for t in texts[sign]]
            return json.dumps({"func": function, "cases": cases})
        if (
            request.stage == "cases"
        ):  # a verifier without a pair of them makes pairs that are judged
            return json.dumps({"follow": texts[0], "break": texts[1] if fails else []})
        return f"```python\n{function}\n```"

    def _response(self, request: Request, words: Iterable[str]) -> str:
        plain = request.stage == "cases"
        text = f"Answer to {request.record}, {'number' if plain else 'sample'} {request.index}"
        follows = self._tally.most or plain
        if follows or _chance(request) < YIELD["passes"]:
            text += f": {' '.join(words)}"
        return f"{text} {self._tally.stamp(request)}"

    def _judgement(self, request: Request, prompt: str) -> str:
        """For `most` nothing is understood until the last wave, and then at the second try; or,
        where a yes is asked for but once, nothing is good until then."""
        if not self._tally.most:
            good = _chance(request) < YIELD["good"]
            good = good and request.stage != "controls"
            return ("yes" if good else "no") if request.first_token else f"Score: {10 * good}"
        if request.stage == "controls":
            return "no" if request.first_token else "I cannot say."
        waves = self._recipe.responses.waves
        sample = int((_SAMPLE.findall(prompt) or ["0"])[-1])
        last = sample >= sum(waves[:-1])
        if request.first_token:
            return "yes" if last else "no"
        return "Score: 10" if last and request.index % 2 else "I cannot say."

    def _first(self, request: Request) -> bool:
        row = request.stage, self._role
        return self._tally.calls[row, False][request.record][0] == 1


def _chance(request: Request) -> float:
    """From 0 to 1, drawn by content."""
    content = [m.content for m in request.messages]
    return seed_from(request.record, request.index, content) / float(1 << 63)


def demand(n: int, lang: str) -> str:
    """Instruction n of a trial."""
    return f'回答中要包含"{WORD}{n}"' if lang == "zh" else f'Use the word "{WORD}{n}" somewhere'


def plan(recipe: Recipe) -> dict[str, Any]:
    """`{"instructions", "stages": [{"name", "role", "model", "calls", ...}], "total"}`.

    Raises UsageError for a file of the recipe that the run could not read, SandboxUnavailable where
    no run could work.
    """
    settings = recipe.instructions
    late_files(recipe)
    own = bool(recipe.verifiers.own)
    first = len(user_files.verifiers(recipe).kept if own else propose.load(recipe).kept)
    asks = 0 if own or settings.own else settings.rounds * settings.asks * len(recipe.langs)
    proposed = asks * settings.per_ask
    likely = first + round(proposed * YIELD["proposals"])
    instructions = {"most": first + proposed, "likely": likely}
    shared = {query.id for query in queries.load(recipe).kept}
    by_kind: dict[str, dict[Row, list[float]]] = {
        kind: _scaled(recipe, _trial(recipe, kind == "most"), instructions[kind], shared)
        for kind in ("most", "likely")
    }
    for row, figures in by_kind["likely"].items():  # what is shown of fewer seeds is shorter
        most = by_kind["most"].get(row, _NONE)
        by_kind["most"][row] = [max(pair) for pair in zip(most, figures, strict=True)]
    rows = [row for row in _ORDER if row in by_kind["most"]]
    stages: list[dict[str, Any]] = [
        {
            "name": stage,
            "role": role,
            "model": recipe.models.role(role),
            **{
                key: {kind: round(by_kind[kind].get((stage, role), _NONE)[n]) for kind in by_kind}
                for n, key in enumerate(KEYS)
            },
        }
        for stage, role in rows
    ]
    for stage in stages:
        stage["cost"] = _cost(recipe, stage)
    total: dict[str, Any] = {
        key: {kind: sum(s[key][kind] for s in stages) for kind in by_kind} for key in KEYS
    }
    costs = [s["cost"] for s in stages]
    total["cost"] = (
        None if None in costs else {kind: round(sum(c[kind] for c in costs), 4) for kind in by_kind}
    )
    return {"instructions": instructions, "stages": stages, "total": total}


_NONE = [0.0] * len(KEYS)
_ORDER: list[Row] = [
    ("instructions", "propose"),
    ("functions", "code"),
    ("programs", "code"),
    ("cases", "code"),
    ("cases", "respond"),
    ("backtranslate", "code"),
    ("backtranslate", "judge"),
    ("compositions", "judge"),
    ("controls", "judge"),
    ("responses", "respond"),
    ("judge", "judge"),
]


@dataclass(frozen=True)
class DryRun:
    tally: Tally
    instructions: set[str]  # ids


def _trial(recipe: Recipe, most: bool) -> DryRun:
    """Runs the recipe on instructions of ours in a directory that is thrown away."""
    embedded = recipe.models.role("code").startswith("local:")
    lengths = EMBEDDED if embedded else LENGTH
    tally = Tally(most, lengths, recipe.responses.max_words)
    with tempfile.TemporaryDirectory() as folder:
        trial = _of_ours(recipe, Path(folder), TRIED_MOST if most else TRIED)
        out = RunDir(Path(folder) / "run")
        out.claim(trial)
        backends: dict[str, Backend] = {
            f"scripted:{role}": StandIn(role, trial, tally) for role in ROLES
        }
        run = Run(trial, out, backends=backends)
        with suppress(RunFailed):
            run_blocking(run.execute())
        rows = jsonl.read(out.artefact("01-instructions"))
        return DryRun(tally, {row["id"] for _, row in rows})


def _of_ours(recipe: Recipe, folder: Path, tried: int) -> Recipe:
    """The recipe with instructions, or verifiers, of ours and stand-ins for its models. What asks
    no model is left out."""
    texts = [(demand(n, lang), n, lang) for lang in recipe.langs for n in range(tried)]
    check = "def evaluate(response):\n    return '{}' in response"
    rows = [
        {
            "instruction": text,
            "text": text,
            "lang": lang,
            "checks": [check.format(f"{WORD}{n}")],
            "benchmark_type": "",
        }
        for text, n, lang in texts
    ]
    file = folder / "trial.jsonl"
    write_whole(file, b"".join(map(dump_line, rows)))
    values = recipe.model_dump(mode="json")
    key = "own" if recipe.instructions.own else "seeds"
    values["instructions"] |= {key: str(file), "limit": 0, "numbers": 0, "benchmarks": "keep"}
    if recipe.verifiers.own:
        values["verifiers"]["own"] = str(file)
    values["models"] |= {role: f"scripted:{role}" for role in ROLES}
    values["diagnose"]["drop"] = []
    values["hygiene"] |= {"against": [], "fidelity": ""}
    values["engine"]["sandbox_workers"] = 1  # to be ready sooner
    values["queries"]["per_instruction"] = min(QUERIES, recipe.queries.per_instruction)
    values["compose"]["per_level"] = min(DRAWN, recipe.compose.per_level)
    return Recipe.of(values | {"target": 0})


def _scaled(
    recipe: Recipe, trial: DryRun, instructions: int, shared: set[str]
) -> dict[Row, list[float]]:
    """Calls and tokens of each row, for so many instructions and all compositions."""
    rules = recipe.compose
    kinds = rules.levels - 1 + (rules.turns > 1) + bool(rules.soft)
    planned = len(recipe.langs) * rules.per_level * kinds
    times = recipe.queries.per_instruction / min(QUERIES, recipe.queries.per_instruction)
    count = max if trial.tally.most else lambda values: sum(values) / len(trial.instructions)
    rows: defaultdict[Row, list[float]] = defaultdict(lambda: [0.0] * len(KEYS))
    for (row, of_query), records in trial.tally.calls.items():
        once = [c for r, c in records.items() if r in shared or r.startswith("round-")]
        each = [records[name] for name in trial.instructions if name in records]
        composed = [
            c
            for r, c in records.items()
            if r not in shared and r not in trial.instructions and not r.startswith("round-")
        ]
        units = instructions * (times if of_query else 1)
        for n in range(len(KEYS)):
            rows[row][n] += sum(c[n] for c in once)
            if each:
                rows[row][n] += units * count([c[n] for c in each])
            if composed:
                rows[row][n] += planned * sum(c[n] for c in composed) / len(composed)
    return rows


def _cost(recipe: Recipe, row: dict[str, Any]) -> dict[str, float] | None:
    """USD; None where the model has no price."""
    costs = {}
    for kind in ("most", "likely"):
        usage = Usage(row["prompt_tokens"][kind], 0, row["completion_tokens"][kind])
        cost = price(recipe.models.prices, row["model"], usage)
        if cost is None:
            return None
        costs[kind] = cost
    return costs


def render(plan: dict[str, Any]) -> str:
    """The plan as a table for a terminal."""
    models = {row["role"]: row["model"] for row in plan["stages"]}
    if len(set(models.values())) == 1:
        models = dict.fromkeys(["every role"], *set(models.values()))
    lines = [f"{role}: {model}" for role, model in models.items()]
    lines.append(f"{'stage':<23}{'calls':>17}{'tokens in':>25}{'tokens out':>25}")
    lines.append(f"{'':<23}" + "".join(f"{'likely / most':>{width}}" for width in (17, 25, 25)))
    for row in [*plan["stages"], {"name": "total", "role": "", **plan["total"]}]:
        name = f"{row['name']} ({row['role']})" if row["role"] else row["name"]
        cells = [f"{row[k]['likely']:,} / {row[k]['most']:,}" for k in KEYS[:3]]
        lines.append(f"{name:<23}{cells[0]:>17}{cells[1]:>25}{cells[2]:>25}")
    cost = plan["total"]["cost"]
    if cost is None:
        lines.append("cost: unknown; give prices in the recipe: [models.prices]")
    else:
        lines.append(f"cost: likely {cost['likely']:.2f} USD, at most {cost['most']:.2f} USD")
    return "\n".join(lines)
