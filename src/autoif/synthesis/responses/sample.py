"""Responses in waves: sample a few for every prompt, run the checks, judge what passed, go on
only where it is worth it.

Between waves everybody waits, and what is decided there is decided in the order of the prompts and
the indices: the same answers give the same samples whatever order they came in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from autoif.base.errors import CallFailed
from autoif.base.records import (
    Case,
    Drop,
    Filtered,
    Instruction,
    Message,
    Query,
    Sample,
    Soft,
    Verdict,
    Verifier,
)
from autoif.run.recipe import Threshold
from autoif.synthesis.context import Context, together
from autoif.synthesis.prompts.templates import sentence
from autoif.synthesis.responses import judge
from autoif.synthesis.responses.substance import nothing_said
from autoif.verifier.verify import accepts

CASES, PROMPTS, RESPONSES = "cases", "prompts", "responses"


@dataclass(frozen=True)
class Task:
    """What holds for every prompt that is sampled together.

    verifiers: in force; a response has to pass each. stated: all that the prompt names, where a
    later turn put one in place of another. accuracy: the share of a verifier's checks with which a
    response passes it. composition: its id, or "" for a single instruction. soft: constraints that
    no program decides.
    """

    verifiers: tuple[Verifier, ...]
    stated: tuple[Verifier, ...]
    accuracy: Threshold
    composition: str = ""
    soft: tuple[str, ...] = ()

    @classmethod
    def single(cls, verifier: Verifier, accuracy: Threshold) -> Task:
        return cls((verifier,), (verifier,), accuracy)

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

    @property
    def min_fractions(self) -> tuple[float, ...]:
        """For each verifier the smallest share of its checks with which a response passes."""
        return tuple(self.accuracy.share(len(v.checks)) for v in self.verifiers)

    def accepts(self, verdicts: Sequence[Verdict]) -> bool:
        """One verdict for each verifier."""
        return accepts(verdicts, self.min_fractions)

    def accepts_each(self, verdicts: Sequence[Verdict]) -> list[bool]:
        """The same, for each verifier."""
        pairs = zip(verdicts, self.min_fractions, strict=True)
        return [accepts([verdict], [least]) for verdict, least in pairs]


@dataclass
class Prompt:
    """What is asked, and what became of it so far. `messages` as in the data rows; `opening`: the
    instructions of the first turn as the model is shown them; `fallback`: a reply that is tried
    where none that is sampled is kept."""

    query: Query
    messages: tuple[Message, ...]
    opening: str
    fallback: str = ""
    samples: list[Sample] = field(default_factory=list)  # every concluded response
    asked: int = 0

    @property
    def kept(self) -> int:
        return sum(s.kept for s in self.samples)


def user_message(query: str, verifiers: Sequence[Verifier], soft: Sequence[str] = ()) -> Message:
    """The query, then each instruction as a sentence: the prompt of every data row."""
    zh = verifiers[0].instruction.lang == "zh"
    texts = [v.instruction.text for v in verifiers] + list(soft)
    sentences = [sentence(text, "。" if zh else ".") for text in texts]
    gap = "\n" if any("\n" in text for text in sentences) else "" if zh else " "
    return Message("user", gap.join([query, *sentences]).strip())


@dataclass(frozen=True)
class Sampled:
    """The prompts, each with its concluded responses, and what each stage kept and dropped."""

    prompts: list[Prompt]
    stages: tuple[Filtered[Any], ...]


async def sample(context: Context, task: Task, prompts: list[Prompt]) -> Sampled:
    """Responses to each prompt, wave by wave."""
    rules = context.recipe.responses
    responses: Filtered[Sample] = Filtered(RESPONSES, [])
    judged: Filtered[Sample] = Filtered(judge.STAGE, [])
    hopeless = False
    for size in rules.waves:
        unfinished = [p for p in prompts if not rules.enough or p.kept < rules.enough]
        if not unfinished:
            break
        asks = [(p, p.asked + n) for p in unfinished for n in range(size)]
        for prompt in unfinished:
            prompt.asked += size
        answers = await together(
            *(_respond(context, task.lang, task.owner, p, index) for p, index in asks)
        )
        verified, scored = await _conclude(context, task, asks, answers)
        responses, judged = responses + verified, judged + scored
        if rules.hopeless and sum(p.asked for p in prompts) >= rules.hopeless:
            hopeless = not responses.kept
            if hopeless:
                break
    if lost := [p for p in prompts if p.fallback and not p.kept]:
        verified, scored = await _conclude(
            context, task, [(p, p.asked) for p in lost], [p.fallback for p in lost]
        )
        responses, judged = responses + verified, judged + scored
    judged = judged >> _sensible(context, task, prompts, judged.kept)
    return Sampled(prompts, (_answered(task, prompts, hopeless), responses, judged))


def _sensible(
    context: Context, task: Task, prompts: Sequence[Prompt], kept: list[Sample]
) -> Filtered[Sample]:
    """None of them, where the replies under these instructions answer no query: one that happens
    to does not make the instruction a good one."""
    judged = ([s.quality for s in p.samples if s.quality is not None] for p in prompts)
    scores = [sum(each) / len(each) for each in judged if each]  # a query counts once
    if judge.makes_sense(context, scores) is not False:
        return Filtered(judge.STAGE, kept)
    reason, mean = "senseless_instruction", f"mean {sum(scores) / len(scores):.1f} of 10"
    for prompt in prompts:
        prompt.samples = [
            replace(s, kept=False, reason=reason) if s.kept else s for s in prompt.samples
        ]
    drops = [Drop.of(judge.STAGE, made.id, reason, mean, task.owner) for made in kept]
    return Filtered(judge.STAGE, [], drops)


def _answered(task: Task, prompts: list[Prompt], hopeless: bool) -> Filtered[Prompt]:
    """The prompts of which a response was kept."""
    filtered: Filtered[Prompt] = Filtered(PROMPTS, [])
    for prompt in prompts:
        if prompt.kept:
            filtered.kept.append(prompt)
            continue
        if hopeless:
            reason = "hopeless"
        elif any(task.accepts(s.verdicts) for s in prompt.samples):
            reason = "none_judged_good"
        else:
            reason = "none_passed"
        name = ("prompt", task.owner, [m.content for m in prompt.messages])
        filtered.dropped.append(Drop.of(PROMPTS, name, reason, prompt.query.text, task.owner))
    return filtered


async def _conclude(
    context: Context,
    task: Task,
    asks: Sequence[tuple[Prompt, int]],
    answers: Sequence[str | CallFailed],
) -> tuple[Filtered[Sample], Filtered[Sample]]:
    """What becomes of these answers: those that pass the checks, and of them those that are judged
    good. Each prompt gets its concluded samples."""
    fresh = _distinct(task, asks, answers)
    texts = [made.response for _, made in fresh.kept]
    columns = await together(*(context.verdicts(v.checks, texts) for v in task.verifiers))
    passed: Filtered[tuple[Prompt, Sample]] = Filtered(RESPONSES, [])
    for n, (prompt, made) in enumerate(fresh.kept):
        made = replace(made, verdicts=tuple(column[n] for column in columns))
        if task.accepts(made.verdicts):
            passed.kept.append((prompt, made))
            continue
        reason = _failure(task, made.verdicts)
        detail = _outcomes(made.verdicts)
        passed.dropped.append(Drop.of(RESPONSES, made.id, reason, detail, task.owner))
        prompt.samples.append(replace(made, reason=reason))
    dropped = (fresh >> passed).dropped
    scored = await _judge(context, task, passed.kept)
    return Filtered(RESPONSES, [made for _, made in passed.kept], dropped), scored


def _distinct(
    task: Task, asks: Sequence[tuple[Prompt, int]], answers: Sequence[str | CallFailed]
) -> Filtered[tuple[Prompt, Sample]]:
    """A sample for each answer, the first of those that are alike."""
    names = tuple(v.id for v in task.verifiers)
    filtered: Filtered[tuple[Prompt, Sample]] = Filtered(RESPONSES, [])
    for (prompt, index), answer in zip(asks, answers, strict=True):
        name = ("response", task.owner, [m.content for m in prompt.messages], index)
        if isinstance(answer, CallFailed):
            drop = Drop.of(RESPONSES, name, answer.reason, answer.detail, task.owner)
            filtered.dropped.append(drop)
            continue
        earlier = [*prompt.samples, *(s for p, s in filtered.kept if p is prompt)]
        if any(s.response == answer for s in earlier):
            filtered.dropped.append(Drop.of(RESPONSES, name, "duplicate", answer, task.owner))
            continue
        made = Sample(
            names,
            prompt.query.text,
            prompt.messages,
            answer,
            (),
            index=index,
            source=prompt.query.source,
            composition=task.composition,
        )
        filtered.kept.append((prompt, made))
    return filtered


async def instructed(
    context: Context, instruction: Instruction, queries: Sequence[Query]
) -> Filtered[Case]:
    """First responses, before there is a verifier: evidence, and noisy. Where one comes to be, the
    same calls are its first wave, and are not paid again."""
    asked = queries[: context.recipe.verifiers.instructed]
    prompts = [Prompt(query, (), instruction.text) for query in asked]
    answers = await together(
        *(_respond(context, instruction.lang, instruction.id, p, 0, CASES) for p in prompts)
    )
    filtered: Filtered[Case] = Filtered(CASES, [])
    for query, answer in zip(asked, answers, strict=True):
        if isinstance(answer, CallFailed):
            name = (instruction.id, "instructed", query.text)
            drop = Drop.of(CASES, name, answer.reason, answer.detail, instruction.id)
            filtered.dropped.append(drop)
        else:
            filtered.kept.append(Case(answer, True, "instructed", query.text))
    return filtered


async def _respond(
    context: Context, lang: str, owner: str, prompt: Prompt, index: int, stage: str = RESPONSES
) -> str | CallFailed:
    rules = context.recipe.responses
    brief = rules.max_words
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
            temperature=rules.temperature,
            top_p=rules.top_p,
            max_tokens=rules.max_tokens,
            index=index,
        )
    except CallFailed as failed:
        return failed
    return reply.text.strip()


async def _judge(
    context: Context, task: Task, passed: Sequence[tuple[Prompt, Sample]]
) -> Filtered[Sample]:
    """Scores what passed; adds it to its prompt, kept or with the reason why not."""
    rules = context.recipe.judge
    filtered: Filtered[Sample] = Filtered(judge.STAGE, [])

    def drop(prompt: Prompt, made: Sample, reason: str, detail: str) -> None:
        filtered.dropped.append(Drop.of(judge.STAGE, made.id, reason, detail, task.owner))
        prompt.samples.append(replace(made, reason=reason))

    chosen: list[tuple[Prompt, Sample]] = []
    demanded = task.demanded
    for prompt, made in passed:
        if rules.floor and (empty := nothing_said(prompt.query.text, demanded, made.response)):
            drop(prompt, made, empty, made.response)
            continue
        taken = sum(p is prompt for p, _ in chosen)
        if rules.per_prompt and taken >= rules.per_prompt:
            drop(prompt, made, "surplus", made.response)
        else:
            chosen.append((prompt, made))
    scores = await together(*(_score(context, task, p, made) for p, made in chosen))
    for (prompt, made), (value, soft) in zip(chosen, scores, strict=True):
        if isinstance(value, CallFailed):
            drop(prompt, made, value.reason, value.detail)
            continue
        made = replace(made, quality=value, soft=soft)
        poor = [s for s in soft if s.score is None or not judge.good(context, s.score)]
        if value is not None and not judge.good(context, value):
            drop(prompt, made, "low_score", f"{value:g} of 10")
        elif poor:
            detail = "; ".join(f"{s.score} of 10: {s.instruction}" for s in poor)
            drop(prompt, made, "low_soft_score", detail)
        else:
            filtered.kept.append(replace(made, kept=True))
            prompt.samples.append(filtered.kept[-1])
    return filtered


async def _score(
    context: Context, task: Task, prompt: Prompt, made: Sample
) -> tuple[float | CallFailed | None, tuple[Soft, ...]]:
    """How well the response answers its query (None: nobody judges), then, where it does, how well
    it keeps to each soft constraint (None: no score was understood)."""
    query, text = prompt.query.text, made.response
    value: float | CallFailed | None = None
    if context.recipe.judge.style != "off":
        value = await judge.score(context, task.lang, query, task.demanded, text, task.owner)
        if isinstance(value, CallFailed) or not judge.good(context, value):
            return value, ()
    scores = await together(
        *(judge.soft_score(context, task.lang, query, s, text, task.owner) for s in task.soft)
    )
    return value, tuple(
        Soft(s, None if isinstance(score, CallFailed) else score)
        for s, score in zip(task.soft, scores, strict=True)
    )


def _failure(task: Task, verdicts: Sequence[Verdict]) -> str:
    """What was concluded counts; only where nothing that failed was, is it unscored."""
    accepted = task.accepts_each(verdicts)
    failed = [v for v, passed in zip(verdicts, accepted, strict=True) if not passed]
    return "unconcluded" if all(v.fraction is None for v in failed) else "failed_check"


def _outcomes(verdicts: Sequence[Verdict]) -> str:
    """What each function said; a bar between constraints."""
    return " | ".join(
        ", ".join(
            f"{o.status.value}: {o.detail}" if o.detail else o.status.value for o in v.outcomes
        )
        for v in verdicts
    )
