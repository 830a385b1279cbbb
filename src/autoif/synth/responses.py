"""Responses in waves: sample a few for every prompt, run the checks, judge what passed, go on
only where it is worth it.

Between waves everybody waits, and what is decided there is decided in the order of the prompts and
the indices: the same answers give the same samples whatever order they came in.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from autoif.errors import CallFailed
from autoif.ledger import Ledger
from autoif.recipe import Responses
from autoif.records import Message, Query, Sample, Verdict, Verifier, content_id
from autoif.synth import judge
from autoif.synth.tools import Tools

PROMPTS, RESPONSES = "prompts", "responses"


@dataclass
class Prompt:
    """One query with the instruction, and what became of it so far."""

    query: Query
    messages: tuple[Message, ...]
    samples: list[Sample] = field(default_factory=list)  # every concluded response
    asked: int = 0

    @property
    def kept(self) -> int:
        return sum(s.kept for s in self.samples)


def user_message(query: str, verifier: Verifier) -> Message:
    """The query, then the instruction and a full stop: the prompt of every data row."""
    text = verifier.instruction.text.rstrip(" .。")
    if verifier.instruction.lang == "zh":
        return Message("user", f"{query}{text}。")
    return Message("user", f"{query} {text}.".strip())


def passes(fraction: float | None, part: Responses) -> bool:
    if fraction is None:
        return False
    return fraction >= part.accuracy if part.inclusive else fraction > part.accuracy


async def sample(
    tools: Tools, verifier: Verifier, queries: list[Query], ledger: Ledger
) -> list[Prompt]:
    """Every prompt of the verifier with its concluded responses, kept or not."""
    part = tools.recipe.responses
    prompts = [Prompt(q, (user_message(q.text, verifier),)) for q in queries]
    ledger.enter(PROMPTS, len(prompts))
    hopeless = False
    for size in part.waves:
        open_ = [p for p in prompts if not part.enough or p.kept < part.enough]
        await _wave(tools, verifier, open_, size, ledger)
        passed = sum(passes(s.verdicts[0].fraction, part) for p in prompts for s in p.samples)
        if part.hopeless and sum(p.asked for p in prompts) >= part.hopeless and not passed:
            hopeless = True
            break
    for prompt in prompts:
        if prompt.kept:
            ledger.keep(PROMPTS)
            continue
        if hopeless:
            reason = "hopeless"
        elif any(passes(s.verdicts[0].fraction, part) for s in prompt.samples):
            reason = "none_judged_good"
        else:
            reason = "none_passed"
        name = content_id("prompt", verifier.id, prompt.query.text)
        ledger.drop(PROMPTS, name, reason, prompt.query.text, verifier.instruction.id)
    return prompts


async def _wave(
    tools: Tools, verifier: Verifier, prompts: list[Prompt], size: int, ledger: Ledger
) -> None:
    asks = [(p, p.asked + n) for p in prompts for n in range(size)]
    for prompt in prompts:
        prompt.asked += size
    answers = await asyncio.gather(*(_respond(tools, verifier, p, index) for p, index in asks))
    ledger.enter(RESPONSES, len(asks))
    concluded: list[tuple[Prompt, Sample]] = []
    for (prompt, index), answer in zip(asks, answers, strict=True):
        name = content_id("response", verifier.id, prompt.query.text, index)
        parent = verifier.instruction.id
        if isinstance(answer, CallFailed):
            ledger.drop(RESPONSES, name, answer.reason, answer.detail, parent)
            continue
        known = [*prompt.samples, *(s for p, s in concluded if p is prompt)]
        if any(s.response == answer for s in known):
            ledger.drop(RESPONSES, name, "duplicate", answer, parent)
            continue
        made = Sample((verifier.id,), prompt.query.text, prompt.messages, answer, (), index=index)
        concluded.append((prompt, replace(made, source=prompt.query.source)))
    verdicts = await tools.verdicts(verifier.checks, [s.response for _, s in concluded])
    passed: list[tuple[Prompt, Sample]] = []
    for (prompt, made), verdict in zip(concluded, verdicts, strict=True):
        made = replace(made, verdicts=(verdict,))
        if passes(verdict.fraction, tools.recipe.responses):
            ledger.keep(RESPONSES)
            passed.append((prompt, made))
            continue
        reason = "unconcluded" if verdict.fraction is None else "failed_check"
        ledger.drop(RESPONSES, made.id, reason, _said(verdict), verifier.instruction.id)
        prompt.samples.append(replace(made, reason=reason))
    await _judge(tools, verifier, passed, ledger)


async def _respond(
    tools: Tools, verifier: Verifier, prompt: Prompt, index: int
) -> str | CallFailed:
    part, instruction = tools.recipe.responses, verifier.instruction
    brief = part.max_words
    try:
        reply = await tools.ask(
            "respond",
            tools.wording.messages(
                "respond",
                instruction.lang,
                brief=tools.wording.text("brief", instruction.lang, words=brief) if brief else "",
                query=prompt.query.text,
                instruction=instruction.text,
            ),
            stage=RESPONSES,
            record=instruction.id,
            temperature=part.temperature,
            top_p=part.top_p,
            max_tokens=part.max_tokens,
            index=index,
        )
    except CallFailed as failed:
        return failed
    return reply.text.strip()


async def _judge(
    tools: Tools, verifier: Verifier, passed: list[tuple[Prompt, Sample]], ledger: Ledger
) -> None:
    """Scores what passed; adds it to its prompt, kept or with the reason why not."""
    part, parent = tools.recipe.judge, verifier.instruction.id
    chosen: list[tuple[Prompt, Sample]] = []
    for prompt, made in passed:
        ledger.enter(judge.STAGE)
        taken = sum(p is prompt for p, _ in chosen)
        if part.per_prompt and taken >= part.per_prompt:
            ledger.drop(judge.STAGE, made.id, "surplus", made.response, parent)
            prompt.samples.append(replace(made, reason="surplus"))
        else:
            chosen.append((prompt, made))
    if part.style == "off":
        scores: list[float | CallFailed | None] = [None] * len(chosen)
    else:
        scores = list(
            await asyncio.gather(
                *(
                    judge.score(tools, verifier.instruction, p.query.text, s.response)
                    for p, s in chosen
                )
            )
        )
    for (prompt, made), value in zip(chosen, scores, strict=True):
        if isinstance(value, CallFailed):
            ledger.drop(judge.STAGE, made.id, value.reason, value.detail, parent)
            prompt.samples.append(replace(made, reason=value.reason))
        elif value is None or judge.good(tools, value):
            ledger.keep(judge.STAGE)
            prompt.samples.append(replace(made, quality=value, kept=True))
        else:
            ledger.drop(judge.STAGE, made.id, "low_score", f"{value:g} of 10", parent)
            prompt.samples.append(replace(made, quality=value, reason="low_score"))


def _said(verdict: Verdict) -> str:
    return ", ".join(
        f"{o.status.value}: {o.detail}" if o.detail else o.status.value for o in verdict.outcomes
    )
