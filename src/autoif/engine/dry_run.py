"""`--dry-run`: calls, tokens and cost of a recipe, before anything is paid.

Two figures for each stage: `most`, which no run can exceed (every instruction survives, every
answer is as long as allowed), and `likely`, with the survival rates of YIELD. Those are rough, and
depend on the model: a run of 50 instructions tells more.
"""

from __future__ import annotations

from typing import Any

from autoif.engine.late_files import late_files
from autoif.run.recipe import Recipe
from autoif.synthesis.compositions import compose
from autoif.synthesis.instructions import propose, user_files
from autoif.synthesis.prompts import examples
from autoif.synthesis.prompts.templates import PromptTemplates
from autoif.synthesis.responses import queries

CHARS_PER_TOKEN = {"en": 4.0, "zh": 1.6}
# Of what goes into a step, the share that comes out, in runs with models of 1.5 to 72 billion.
YIELD = {"proposals": 0.6, "verifiers": 0.5, "waves": 0.7, "passes": 0.4, "checks": 0.6}
YIELD |= {"compositions": 0.7}
# Tokens of a typical answer, where the recipe allows as many.
LENGTH = {"instructions": 500, "functions": 140, "programs": 110, "cases": 150}
LENGTH |= {"backtranslate": 20, "responses": 250, "judge": 120, "compositions": 2}


def plan(recipe: Recipe) -> dict[str, Any]:
    """`{"instructions", "stages": [{"name", "role", "model", "calls", ...}], "total"}`.

    Raises UsageError for a file of the recipe that the run could not read.
    """
    settings = recipe.instructions
    late_files(recipe)
    own = bool(recipe.verifiers.own)
    if own:
        first = len(user_files.verifiers(recipe).kept)
        asks = 0
    else:
        first = len(propose.load(recipe).kept)
        asks = 0 if settings.own else settings.rounds * settings.asks * len(recipe.langs)
    most = first + asks * settings.per_ask
    likely = first + round(asks * settings.per_ask * YIELD["proposals"])
    pool = queries.load(recipe)
    query = sum(len(q.text) for p in pool.values() for q in p) / sum(map(len, pool.values()))
    stages = [
        _stage(recipe, *row)
        for row in _rows(recipe, asks, (most, likely), own, query / CHARS_PER_TOKEN["en"])
        if row[2][0]
    ]
    total: dict[str, Any] = {
        key: {kind: sum(s[key][kind] for s in stages) for kind in ("most", "likely")}
        for key in ("calls", "prompt_tokens", "completion_tokens")
    }
    costs = [s["cost"] for s in stages]
    total["cost"] = (
        None
        if None in costs
        else {kind: round(sum(c[kind] for c in costs), 4) for kind in ("most", "likely")}
    )
    return {"instructions": {"most": most, "likely": likely}, "stages": stages, "total": total}


def _rows(
    recipe: Recipe, asks: int, instructions: tuple[int, int], own: bool, query: float
) -> list[tuple[str, str, tuple[float, float], float, int]]:
    """(stage, role, (most calls, likely calls), prompt tokens, longest answer) of every request."""
    v, b, r, j = recipe.verifiers, recipe.backtranslate, recipe.responses, recipe.judge
    most, likely = (0, 0) if own else instructions
    prompts, lang = PromptTemplates(recipe.prompts), recipe.langs[0]

    def size(prompt: str) -> float:
        holes: dict[str, object] = dict.fromkeys(_HOLES, "")
        holes |= examples.shown(lang, "evaluate", 0)
        text = "".join(m.content for m in prompts.messages(prompt, lang, **holes))
        return len(text) / CHARS_PER_TOKEN[lang]

    line, code, answer = 20.0, 120.0, float(min(r.max_tokens, LENGTH["responses"]))
    together = v.ask == "together"
    verified = instructions[1] if own else likely * YIELD["verifiers"]
    checks = recipe.crossval.max_checks
    compare = 0 if recipe.backtranslate.judge == "nli" else 1
    back = 0 if b.judge == "off" else 1 + compare
    samples = sum(r.waves) * recipe.queries.per_instruction
    judged = 0 if j.style == "off" else j.votes
    repair_line = size("repair") + line + 2 * code
    per_wave = len(r.waves) * recipe.queries.per_instruction
    top = min(samples, per_wave * j.per_prompt) if j.per_prompt else samples
    waves = YIELD["waves"] if r.enough else 1.0
    sample = verified * samples * waves
    # Pairs of case texts: the chosen one is judged, one for each query that plain replies answer.
    tried = v.plain if recipe.pairs.instruction_level else 0
    wanted = min(tried, recipe.pairs.instruction_level)
    # Compositions: prompts, which have a query each, and what a model is asked about them.
    c = recipe.compose
    each = len(recipe.langs) * c.per_level
    soft = each * bool(c.soft)
    several = each * (c.levels - 1 + (c.turns > 1))
    posed = each * (c.levels - 1 + c.turns - 1) + soft
    most_composed = posed * sum(r.waves)
    composed = most_composed * waves * YIELD["compositions"]
    best = min(sum(r.waves), len(r.waves) * j.per_prompt) if j.per_prompt else sum(r.waves)
    scored = posed * best * judged + soft * best * j.votes
    share = scored / max(most_composed, 1) * YIELD["passes"]
    return [
        (
            "instructions",
            "propose",
            (asks, asks),
            size("augment") + 8 * line,
            recipe.instructions.max_tokens,
        ),
        (
            "functions",
            "code",
            (most * v.k, likely * v.k),
            size("together" if together else "function") + line,
            v.max_tokens,
        ),
        (
            "functions",
            "code",
            (most * v.k * v.repair, likely * v.k * v.repair * (1 - YIELD["verifiers"])),
            repair_line,
            v.max_tokens,
        ),
        (
            "programs",
            "code",
            (most * v.comply, likely * v.comply),
            size("comply") + line,
            v.max_tokens,
        ),
        (
            "cases",
            "code",
            (0, 0) if together else (most * v.case_asks, likely * v.case_asks),
            size("cases") + line,
            v.max_tokens,
        ),
        ("cases", "respond", (min(most, 1) * v.plain,) * 2, size("plain") + query, r.max_tokens),
        (
            "cases",
            "respond",
            (most * v.instructed, likely * v.instructed),
            size("respond") + query + line,
            r.max_tokens,
        ),
        (
            "backtranslate",
            "code",
            (most * checks * back, verified * checks * YIELD["checks"] * back),
            size("backtranslate") + code,
            b.max_tokens,
        ),
        (
            "compositions",
            "judge",
            (2 * several, several) if c.judge == "model" else (0, 0),
            size("compatible") + 3 * line,
            compose.ANSWER,
        ),
        (
            "responses",
            "respond",
            (instructions[0] * samples + most_composed, sample + composed),
            size("respond") + query + line,
            r.max_tokens,
        ),
        (
            "judge",
            "judge",
            (
                2 * (instructions[0] * (top + tried) * judged + scored),
                (min(top / samples, YIELD["passes"]) * sample + verified * wanted) * judged
                + share * composed,
            ),
            size("judge_number" if j.style == "number" else "judge") + query + line + answer,
            j.max_tokens,
        ),
    ]


_HOLES = ["n", "examples", "instruction", "function", "failure", "premise", "hypothesis"]
_HOLES += ["query", "response", "brief", "words", "demands"]


def _stage(
    recipe: Recipe, name: str, role: str, calls: tuple[float, float], prompt: float, longest: int
) -> dict[str, Any]:
    model = recipe.models.role(role)
    length = (longest, min(longest, LENGTH[name]))
    kinds = dict(zip(("most", "likely"), range(2), strict=True))
    row: dict[str, Any] = {
        "name": name,
        "role": role,
        "model": model,
        "calls": {k: round(calls[i]) for k, i in kinds.items()},
        "prompt_tokens": {k: round(calls[i] * prompt) for k, i in kinds.items()},
        "completion_tokens": {k: round(calls[i] * length[i]) for k, i in kinds.items()},
    }
    prices = recipe.models.prices.get(model)
    if prices is None and model.startswith(("local:", "scripted:", "hf:")):
        prices = (0.0, 0.0)
    row["cost"] = prices and {
        k: (row["prompt_tokens"][k] * prices[0] + row["completion_tokens"][k] * prices[1]) / 1e6
        for k in kinds
    }
    return row


def render(instructions: dict[str, Any]) -> str:
    """The plan as a table for a terminal."""
    lines = [
        f"{'stage':<14}{'model':<38}{'calls':>20}{'tokens in':>26}{'tokens out':>26}",
        f"{'':<14}{'':<38}{'likely / most':>20}{'likely / most':>26}{'likely / most':>26}",
    ]
    for s in [*instructions["stages"], {"name": "total", "model": "", **instructions["total"]}]:
        cells = [f"{s[k]['likely']:,} / {s[k]['most']:,}" for k in KEYS]
        lines.append(f"{s['name']:<14}{s['model']:<38}{cells[0]:>20}{cells[1]:>26}{cells[2]:>26}")
    cost = instructions["total"]["cost"]
    if cost is None:
        lines.append("cost: unknown; give prices in the recipe: [models.prices]")
    else:
        lines.append(f"cost: likely {cost['likely']:.2f} USD, at most {cost['most']:.2f} USD")
    return "\n".join(lines)


KEYS = ("calls", "prompt_tokens", "completion_tokens")
