"""Seeds, and the proposals of a model: in rounds, each shown examples sampled from what there is.

Duplicates fall out by their normalised words, near-duplicates by the similarity of their sorted
tokens. What the constraint is worth is not asked here: execution decides that later.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rapidfuzz import fuzz, process

from autoif.base.errors import CallFailed, UsageError
from autoif.base.inputs import builtin, language, read_texts, why_none, without_text
from autoif.base.language import CJK
from autoif.base.records import Drop, Filtered, Instruction, seed_from
from autoif.constraints.types import constraint_type, marked
from autoif.run.recipe import Instructions, Recipe
from autoif.synthesis import slots
from autoif.synthesis.context import Context, together
from autoif.synthesis.prompts.parsing import parse_lines

STAGE = "instructions"
TEMPERATURE = 0.9  # of the proposals


def load(recipe: Recipe) -> Filtered[Instruction]:
    """The run's first instructions: one's own, or seeds of the recipe's languages."""
    settings = recipe.instructions
    rows = []
    if settings.own or not settings.seeds.startswith("builtin"):
        source = settings.own or settings.seeds
        rows = read_texts(source, ("text", "instruction", "constraint", "prompt"))
    else:
        for lang in recipe.langs:
            rows += read_texts(builtin(settings.seeds, f"seeds.{lang}.jsonl"), ("text",))
    admitted = AdmittedInstructions(settings)
    dropped = [without_text(STAGE, row) for row in rows if not row["text"]]
    for instruction in (i for row in rows if row["text"] for i in _seeds(recipe, row)):
        if instruction.lang not in recipe.langs:
            reason = "other_language"
        elif instruction.template and not instruction.n:
            reason = "open_slot"
        elif settings.limit and len(admitted.all) >= settings.limit:
            reason = "over_limit"
        else:
            reason = admitted.admit(instruction)
        if reason:
            dropped.append(Drop.of(STAGE, instruction.id, reason, instruction.text))
    if not admitted.all:
        source, langs = settings.own or settings.seeds, " or ".join(recipe.langs)
        raise UsageError(f"{source}: no instruction in {langs}; {why_none(dropped)}")
    return Filtered(STAGE, admitted.all, dropped)


def _seeds(recipe: Recipe, row: Mapping[str, Any]) -> list[Instruction]:
    """The instruction of a row; of a seed with a slot, one for each number drawn, or, where none
    is wanted, itself with the slot open."""
    text = row["text"].strip()
    seed = Instruction(
        text,
        lang=language(row, text),
        origin="user" if recipe.instructions.own else "seed",
        family=str(row.get("family") or ""),
        **marked(row, text),
    )
    if not row.get("params"):
        return [seed]
    seed = replace(seed, template=text, bound=str(row.get("bound")))
    return [replace(seed, text=t, n=n) for t, n in slots.fill(recipe, text, row)] or [seed]


async def augment(context: Context, seeds: list[Instruction]) -> Filtered[Instruction]:
    """What the model proposed beside the seeds, without duplicates."""
    settings = context.recipe.instructions
    proposals: Filtered[Instruction] = Filtered(STAGE, [])
    if settings.own:
        return proposals
    admitted = AdmittedInstructions(settings)
    for seed in seeds:
        admitted.admit(seed)
    for round_ in range(settings.rounds):
        for lang in sorted({s.lang for s in seeds}):
            pool = [i for i in admitted.all if i.lang == lang]
            asks = [_propose(context, pool, lang, round_, ask) for ask in range(settings.asks)]
            # Judged in the order of the asks, never in that of their completion.
            for answer in await together(*asks):
                proposals += _admit(answer, admitted, lang)
    return proposals


async def _propose(
    context: Context, pool: list[Instruction], lang: str, round_: int, ask: int
) -> tuple[list[Instruction], list[str] | CallFailed]:
    """The examples shown, and the lines proposed (or why there are none)."""
    settings = context.recipe.instructions
    rng = random.Random(seed_from(context.recipe.seed, "augment", lang, round_, ask))
    # From ids, not from places: the choice does not depend on the order of the pool.
    shown = rng.sample(sorted(pool, key=lambda i: i.id), min(settings.shown, len(pool)))
    messages = context.prompts.messages(
        "augment", lang, n=settings.per_ask, examples="\n".join(f"- {i.text}" for i in shown)
    )
    try:
        reply = await context.ask(
            "propose",
            messages,
            stage=STAGE,
            record=f"round-{round_}",
            temperature=TEMPERATURE,
            max_tokens=settings.max_tokens,
            index=ask,
            partial=True,
        )
    except CallFailed as failed:
        return shown, failed
    lines = parse_lines(reply.text)
    if reply.finish_reason == "length":
        lines = lines[:-1]  # the last one is cut off; the others are whole
    return shown, lines or CallFailed("unparseable", reply.text)


def _admit(
    answer: tuple[list[Instruction], list[str] | CallFailed],
    admitted: AdmittedInstructions,
    lang: str,
) -> Filtered[Instruction]:
    shown, lines = answer
    filtered: Filtered[Instruction] = Filtered(STAGE, [])
    if isinstance(lines, CallFailed):
        name = ("proposals", [i.id for i in shown])
        filtered.dropped.append(Drop.of(STAGE, name, lines.reason, lines.detail))
        return filtered
    for line in lines:
        proposal = Instruction(
            line,
            lang="zh" if lang == "zh" else "en",
            origin="augmented",
            benchmark_type=constraint_type(line) if admitted.fits(line) else "",
            parents=tuple(sorted(i.id for i in shown)),
        )
        if reason := admitted.admit(proposal):
            filtered.dropped.append(Drop.of(STAGE, proposal.id, reason, proposal.text))
        else:
            filtered.kept.append(proposal)
    return filtered


class AdmittedInstructions:
    """The instructions taken so far, in their order."""

    def __init__(self, settings: Instructions) -> None:
        self.all: list[Instruction] = []
        self._settings = settings
        self._texts: dict[str, dict[str, None]] = {}  # by language, normalised, in their order

    def admit(self, new: Instruction) -> str:
        """Takes it, or says why not. Lengths, languages and likeness bind proposals alone."""
        texts = self._texts.setdefault(new.lang, {})
        text = normalise(new.text)
        reason = "duplicate" if text in texts else ""
        if new.origin == "augmented":
            reason = reason or self._flaw(new) or self._likeness(text, texts)
        if new.benchmark_type and self._settings.benchmarks == "drop":
            reason = reason or "benchmark_type"
        if not reason:
            texts[text] = None
            self.all.append(new)
        return reason

    def fits(self, text: str) -> bool:
        return len(text) <= self._settings.max_chars

    def _flaw(self, new: Instruction) -> str:
        if len(new.text) < (4 if new.lang == "zh" else 10):
            return "too_short"
        if not self.fits(new.text):
            return "too_long"
        if new.text.endswith(("?", "？", ":", "：")):
            return "not_an_instruction"
        if (new.lang == "zh") != bool(CJK.search(new.text)):
            return "wrong_language"
        return ""

    def _likeness(self, text: str, texts: dict[str, None]) -> str:
        if self._settings.near_duplicate == 1:
            return ""
        near = process.extractOne(
            text,
            texts.keys(),
            scorer=fuzz.token_sort_ratio,
            score_cutoff=100 * self._settings.near_duplicate,
        )
        return "near_duplicate" if near else ""


def normalise(text: str) -> str:
    """Lower case, without quotation marks and final stops. Other marks stay: a line that starts
    with a hyphen is not one that starts with a star."""
    return " ".join(re.sub(r"[\"'“”‘’「」]", " ", text.lower()).split()).rstrip(" .。!！")
