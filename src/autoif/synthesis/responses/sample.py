"""Responses in waves: sample a few for every prompt, run the checks, judge what passed, go on
only where it is worth it.

Between waves everybody waits, and what is decided there is decided in the order of the prompts and
the indices: the same answers give the same samples whatever order they came in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from autoif.base.errors import CallFailed
from autoif.base.records import (
    Case,
    Instruction,
    Message,
    Query,
    Sample,
    Soft,
    Verdict,
    Verifier,
    content_id,
)
from autoif.run.funnel import Funnel
from autoif.run.recipe import Responses
from autoif.synthesis.context import Context
from autoif.synthesis.responses import judge

CASES, PROMPTS, RESPONSES = "cases", "prompts", "responses"


@dataclass(frozen=True)
class Task:
    """What holds for every prompt that is sampled together.

    verifiers: in force; a response has to pass each. stated: all that the prompt names, where a
    later turn put one in place of another. composition: its id, or "" for a single instruction.
    soft: constraints that no program decides.
    """

    verifiers: tuple[Verifier, ...]
    stated: tuple[Verifier, ...]
    composition: str = ""
    soft: tuple[str, ...] = ()

    @classmethod
    def single(cls, verifier: Verifier) -> Task:
        return cls((verifier,), (verifier,))

    @property
    def owner(self) -> str:
        """The record on whose behalf calls are made and drops are booked."""
        return self.composition or self.verifiers[0].instruction.id

    @property
    def lang(self) -> str:
        return self.verifiers[0].instruction.lang

    @property
    def demanded(self) -> str:
        """What is in force, a line for each constraint."""
        return "\n".join([*(v.instruction.text for v in self.verifiers), *self.soft])

    def passes(self, verdicts: Sequence[Verdict], part: Responses) -> bool:
        return all(passes(v.fraction, part) for v in verdicts)


@dataclass
class Prompt:
    """What is asked, and what became of it so far. `messages` as in the data rows; `opening`: the
    instructions of the first turn as the model is shown them; `known`: a reply to fall back on
    where none that is sampled is kept."""

    query: Query
    messages: tuple[Message, ...]
    opening: str
    known: str = ""
    samples: list[Sample] = field(default_factory=list)  # every concluded response
    asked: int = 0

    @property
    def kept(self) -> int:
        return sum(s.kept for s in self.samples)


def user_message(query: str, verifiers: Sequence[Verifier], soft: Sequence[str] = ()) -> Message:
    """The query, then each instruction and a full stop: the prompt of every data row."""
    texts = [t.rstrip(" .。") for t in (*(v.instruction.text for v in verifiers), *soft)]
    if verifiers[0].instruction.lang == "zh":
        return Message("user", query + "".join(f"{text}。" for text in texts))
    return Message("user", " ".join([query, *(f"{text}." for text in texts)]).strip())


def passes(fraction: float | None, part: Responses) -> bool:
    return fraction is not None and part.accuracy.met(fraction)


async def sample(
    context: Context, task: Task, prompts: list[Prompt], funnel: Funnel
) -> list[Prompt]:
    """The prompts, each with its concluded responses, kept or not."""
    part = context.recipe.responses
    funnel.enter(PROMPTS, len(prompts))
    hopeless = False
    for size in part.waves:
        open_ = [p for p in prompts if not part.enough or p.kept < part.enough]
        if not open_:
            break
        await _wave(context, task, open_, size, funnel)
        passed = sum(task.passes(s.verdicts, part) for p in prompts for s in p.samples)
        if part.hopeless and sum(p.asked for p in prompts) >= part.hopeless and not passed:
            hopeless = True
            break
    if lost := [p for p in prompts if p.known and not p.kept]:
        await _conclude(
            context, task, [(p, p.asked) for p in lost], [p.known for p in lost], funnel
        )
    for prompt in prompts:
        if prompt.kept:
            funnel.keep(PROMPTS)
            continue
        if hopeless:
            reason = "hopeless"
        elif any(task.passes(s.verdicts, part) for s in prompt.samples):
            reason = "none_judged_good"
        else:
            reason = "none_passed"
        name = content_id("prompt", task.owner, [m.content for m in prompt.messages])
        funnel.drop(PROMPTS, name, reason, prompt.query.text, task.owner)
    return prompts


async def _wave(
    context: Context, task: Task, prompts: list[Prompt], size: int, funnel: Funnel
) -> None:
    asks = [(p, p.asked + n) for p in prompts for n in range(size)]
    for prompt in prompts:
        prompt.asked += size
    answers = await asyncio.gather(
        *(_respond(context, task.lang, task.owner, p, index) for p, index in asks)
    )
    await _conclude(context, task, asks, answers, funnel)


async def _conclude(
    context: Context,
    task: Task,
    asks: Sequence[tuple[Prompt, int]],
    answers: Sequence[str | CallFailed],
    funnel: Funnel,
) -> None:
    """What becomes of these answers: the checks, then the judge."""
    funnel.enter(RESPONSES, len(asks))
    names = tuple(v.id for v in task.verifiers)
    concluded: list[tuple[Prompt, Sample]] = []
    for (prompt, index), answer in zip(asks, answers, strict=True):
        asked = [m.content for m in prompt.messages]
        name = content_id("response", task.owner, asked, index)
        if isinstance(answer, CallFailed):
            funnel.drop(RESPONSES, name, answer.reason, answer.detail, task.owner)
            continue
        known = [*prompt.samples, *(s for p, s in concluded if p is prompt)]
        if any(s.response == answer for s in known):
            funnel.drop(RESPONSES, name, "duplicate", answer, task.owner)
            continue
        made = Sample(names, prompt.query.text, prompt.messages, answer, (), index=index)
        made = replace(made, source=prompt.query.source, composition=task.composition)
        concluded.append((prompt, made))
    texts = [s.response for _, s in concluded]
    columns = await asyncio.gather(*(context.verdicts(v.checks, texts) for v in task.verifiers))
    passed: list[tuple[Prompt, Sample]] = []
    for n, (prompt, made) in enumerate(concluded):
        made = replace(made, verdicts=tuple(column[n] for column in columns))
        if task.passes(made.verdicts, context.recipe.responses):
            funnel.keep(RESPONSES)
            passed.append((prompt, made))
            continue
        reason = _failure(made.verdicts, context.recipe.responses)
        funnel.drop(RESPONSES, made.id, reason, _said(made.verdicts), task.owner)
        prompt.samples.append(replace(made, reason=reason))
    await _judge(context, task, passed, funnel)


async def instructed(
    context: Context, instruction: Instruction, queries: Sequence[Query], funnel: Funnel
) -> list[Case]:
    """First responses, before there is a verifier: evidence, and noisy. Where one comes to be, the
    same calls are its first wave, and are not paid again."""
    part = context.recipe.verifiers
    prompts = [Prompt(q, (), instruction.text) for q in queries[: part.instructed]]
    answers = await asyncio.gather(
        *(_respond(context, instruction.lang, instruction.id, p, 0, CASES) for p in prompts)
    )
    funnel.enter(CASES, len(answers))
    found = []
    for prompt, answer in zip(prompts, answers, strict=True):
        if isinstance(answer, CallFailed):
            name = content_id(instruction.id, "instructed", prompt.query.text)
            funnel.drop(CASES, name, answer.reason, answer.detail, instruction.id)
        else:
            found.append(Case(answer, True, "instructed", prompt.query.text))
    return found


async def _respond(
    context: Context, lang: str, owner: str, prompt: Prompt, index: int, stage: str = RESPONSES
) -> str | CallFailed:
    part = context.recipe.responses
    brief = part.max_words
    opening = context.prompts.messages(
        "respond",
        lang,
        brief=context.prompts.text("brief", lang, words=brief) if brief else "",
        query=prompt.query.text,
        instruction=prompt.opening,
    )
    try:
        reply = await context.ask(
            "respond",
            opening + prompt.messages[1:],
            stage=stage,
            record=owner,
            temperature=part.temperature,
            top_p=part.top_p,
            max_tokens=part.max_tokens,
            index=index,
        )
    except CallFailed as failed:
        return failed
    return reply.text.strip()


async def _judge(
    context: Context, task: Task, passed: list[tuple[Prompt, Sample]], funnel: Funnel
) -> None:
    """Scores what passed; adds it to its prompt, kept or with the reason why not."""
    part = context.recipe.judge
    chosen: list[tuple[Prompt, Sample]] = []
    for prompt, made in passed:
        funnel.enter(judge.STAGE)
        taken = sum(p is prompt for p, _ in chosen)
        if part.per_prompt and taken >= part.per_prompt:
            funnel.drop(judge.STAGE, made.id, "surplus", made.response, task.owner)
            prompt.samples.append(replace(made, reason="surplus"))
        else:
            chosen.append((prompt, made))
    if part.style == "off":
        scores: list[float | CallFailed | None] = [None] * len(chosen)
    else:
        scores = list(await asyncio.gather(*(_score(context, task, p, s) for p, s in chosen)))
    for (prompt, made), value in zip(chosen, scores, strict=True):
        if isinstance(value, CallFailed):
            funnel.drop(judge.STAGE, made.id, value.reason, value.detail, task.owner)
            prompt.samples.append(replace(made, reason=value.reason))
        elif value is None or judge.good(context, value):
            made = replace(made, quality=value, soft=await _soft(context, task, prompt, made))
            poor = [s for s in made.soft if s.score is None or not judge.good(context, s.score)]
            if poor:
                detail = "; ".join(f"{s.score} of 10: {s.instruction}" for s in poor)
                funnel.drop(judge.STAGE, made.id, "low_soft_score", detail, task.owner)
                prompt.samples.append(replace(made, reason="low_soft_score"))
            else:
                funnel.keep(judge.STAGE)
                prompt.samples.append(replace(made, kept=True))
        else:
            funnel.drop(judge.STAGE, made.id, "low_score", f"{value:g} of 10", task.owner)
            prompt.samples.append(replace(made, quality=value, reason="low_score"))


async def _score(context: Context, task: Task, prompt: Prompt, made: Sample) -> float | CallFailed:
    return await judge.score(
        context, task.lang, prompt.query.text, task.demanded, made.response, task.owner
    )


async def _soft(context: Context, task: Task, prompt: Prompt, made: Sample) -> tuple[Soft, ...]:
    """The response scored by every soft constraint of its prompt; None: no score was understood."""
    query, text, owner = prompt.query.text, made.response, task.owner
    scores = await asyncio.gather(
        *(judge.soft_score(context, task.lang, query, s, text, owner) for s in task.soft)
    )
    return tuple(
        Soft(s, None if isinstance(score, CallFailed) else score)
        for s, score in zip(task.soft, scores, strict=True)
    )


def _failure(verdicts: Sequence[Verdict], part: Responses) -> str:
    """What was concluded counts; only where nothing that failed was, is it unscored."""
    failed = [v for v in verdicts if not passes(v.fraction, part)]
    return "unconcluded" if all(v.fraction is None for v in failed) else "failed_check"


def _said(verdicts: Sequence[Verdict]) -> str:
    """What each function said; a bar between constraints."""
    return " | ".join(
        ", ".join(
            f"{o.status.value}: {o.detail}" if o.detail else o.status.value for o in v.outcomes
        )
        for v in verdicts
    )
