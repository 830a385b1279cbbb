"""What every stage is handed: the recipe, the words, the models in their roles, the sandbox."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeVar, overload

from autoif.base.errors import CallFailed
from autoif.base.language import clean_text
from autoif.base.records import (
    Check,
    Filtered,
    Message,
    Query,
    Reply,
    Request,
    Status,
    Verdict,
    content_id,
)
from autoif.models import Chat
from autoif.models.reasoning import control_token, unasked_tag
from autoif.run.recipe import Recipe
from autoif.sandbox import Sandbox, Transformed
from autoif.store.base import Store
from autoif.synthesis.prompts.templates import PromptTemplates
from autoif.verifier.verify import averify, momentary, steady

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
T = TypeVar("T")
Role = Literal["propose", "code", "respond", "judge"]
Relate = Callable[[str, str], Awaitable[str]]  # premise, hypothesis -> entailment | ...


@dataclass
class Context:
    """Shared by all instructions of a run."""

    recipe: Recipe
    prompts: PromptTemplates
    chats: Mapping[str, Chat]
    sandbox: Sandbox
    store: Store
    nli: Relate | None = None  # a cross-encoder; None: the judge model compares
    queries: Mapping[str, list[Query]] = field(default_factory=dict)  # by language, sorted by id
    loaded: Filtered[Query] = field(default_factory=lambda: Filtered("queries", []))  # booked
    shared: dict[str, asyncio.Future[Any]] = field(default_factory=dict)  # see `once`

    async def ask(
        self,
        role: Role,
        messages: tuple[Message, ...],
        *,
        stage: str,
        record: str,
        temperature: float = 0.0,
        top_p: float = 1.0,
        max_tokens: int,
        index: int = 0,
        schema: Mapping[str, Any] | None = None,
        first_token: bool = False,
        partial: bool = False,
    ) -> Reply:
        """One answer. Raises `CallFailed` where there is none, or (unless `partial`) half a one, or
        where a response has markup in it that is not the answer's.
        """
        reply = await self.chats[role](
            Request(
                messages,
                temperature=temperature,
                top_p=top_p,
                max_tokens=max_tokens,
                first_token=first_token,
                schema=schema,
                index=index,
                stage=stage,
                record=record,
            )
        )
        if reply.finish_reason == "length" and not partial:
            raise CallFailed("truncated", f"cut off after {max_tokens} tokens")
        if not reply.text.strip():
            raise CallFailed("no_answer", "the model answered nothing")
        if role == "respond":
            if token := control_token(reply.text):
                raise CallFailed("control_token", f"{token} in mid-answer")
            if tag := unasked_tag(reply.text, "\n".join(m.content for m in messages)):
                raise CallFailed("unasked_tag", f"{tag} opens the answer")
        return reply

    async def verdicts(
        self, checks: Sequence[Check], texts: list[str], *, check_order: bool = False
    ) -> list[Verdict]:
        """One verdict per text. `check_order` runs every function twice, to expose the fickle."""
        return await averify(checks, texts, self.sandbox, store=self.store, check_order=check_order)

    async def transformed(self, program: str, texts: list[str]) -> list[Transformed]:
        """What a `comply` program makes of each text; the same whenever it is asked again."""
        parts = "comply", program, texts, asdict(self.sandbox.limits)
        key = bytes.fromhex(content_id(*parts))
        stored = await self.store.get_outcomes(key)
        if stored is not None:
            return _transformed(stored)
        done = [
            Transformed(r.status, steady(clean_text(r.text)), steady(r.detail))
            for r in await self.sandbox.atransform(program, texts)
        ]
        if momentary(program) or any(r.status.machine_dependent for r in done):
            rows = [(r.status.value, r.text, r.detail) for r in done]
            return _transformed(await self.store.put_outcomes(key, json.dumps(rows).encode()))
        return done

    async def once(self, name: str, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What is made once and shared by all units."""
        if name not in self.shared:
            self.shared[name] = asyncio.ensure_future(make())
        result: T = await self.shared[name]
        return result


def _transformed(stored: bytes) -> list[Transformed]:
    return [Transformed(Status(s), text, detail) for s, text, detail in json.loads(stored)]


@overload
async def together(a: Awaitable[A], b: Awaitable[B], /) -> tuple[A, B]: ...


@overload
async def together(a: Awaitable[A], b: Awaitable[B], c: Awaitable[C], /) -> tuple[A, B, C]: ...


@overload
async def together(*awaitables: Awaitable[T]) -> Sequence[T]: ...


async def together(*awaitables: Awaitable[Any]) -> Sequence[Any]:
    """The results, in order. Where one fails the others end first, so that no task is left behind;
    then the first failure is raised."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    if not tasks:
        return ()
    try:
        await asyncio.wait(tasks)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        raise
    failures = [failure for task in tasks if (failure := task.exception())]
    if failures:
        raise failures[0]
    return tuple(task.result() for task in tasks)
