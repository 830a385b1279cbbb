"""Chat with a memory: what was answered once is never asked again."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field, replace

from autoif.base.errors import CallFailed
from autoif.base.language import clean_text
from autoif.base.records import Reply, Request, Usage
from autoif.models import Backend
from autoif.models.finish import ENDS, FILTER, LENGTH, finish_reason
from autoif.store.base import ReplyStore, call_key, canonical

CHARACTERS = 16  # of a token, at most, over a whole answer
SLACK = 256  # tokens beyond max_tokens that nobody minds: servers count in their own ways


@dataclass(slots=True)
class CallCounts:
    """Calls of one stage in this process: asked (paid for), replayed (read back), failed (either
    way, without a usable answer), and the tokens of the paid and of the replayed ones."""

    asked: int = 0
    replayed: int = 0
    failed: int = 0
    usage: Usage = field(default_factory=Usage)
    replayed_usage: Usage = field(default_factory=Usage)

    def add(self, other: CallCounts) -> None:
        self.asked += other.asked
        self.replayed += other.replayed
        self.failed += other.failed
        self.usage += other.usage
        self.replayed_usage += other.replayed_usage


class CachedChat:
    """A `Chat`: looks in the store, else asks the backend and makes the answer durable.

    Identical requests in flight at once are asked once. An answer that cannot be used (empty,
    withheld by a filter, without a clean end, far beyond `max_tokens`) is stored like any other,
    since it was paid for, and then raised as `CallFailed`. `counts` holds one `CallCounts` per
    stage.
    """

    def __init__(self, backend: Backend, store: ReplyStore) -> None:
        self.backend = backend
        self.store = store
        self.counts: defaultdict[str, CallCounts] = defaultdict(CallCounts)
        self._asking: dict[bytes, asyncio.Future[None]] = {}

    async def __call__(self, request: Request) -> Reply:
        namespace, body = self.backend.namespace, canonical(self.backend.body(request))
        key = call_key(namespace, body, request.index)
        counts = self.counts[request.stage]
        while (ahead := self._asking.get(key)) is not None:
            await asyncio.wait((ahead,))
        # Set before the look-up, which may wait: nobody else looks meanwhile, and then asks too.
        self._asking[key] = asyncio.get_running_loop().create_future()
        try:
            reply = await self.store.get(key, request.record)
            if reply is not None:
                counts.replayed += 1
                counts.replayed_usage += reply.usage
            else:
                paid = _storable(await self.backend(request), request)
                reply = await self.store.put(key, request, body, namespace, paid)
                counts.asked += 1
                counts.usage += paid.usage
        except BaseException as error:
            self.store.leave(key)
            counts.failed += isinstance(error, CallFailed)
            raise
        finally:
            self._asking.pop(key).set_result(None)
        return self._usable(reply, request, counts)

    @staticmethod
    def _usable(reply: Reply, request: Request, counts: CallCounts) -> Reply:
        ended = finish_reason(reply.finish_reason)
        if ended not in ENDS:
            counts.failed += 1
            raise CallFailed("no_answer", f"the answer ended with finish_reason {ended!r}")
        if ended == FILTER:
            counts.failed += 1
            raise CallFailed("refused", "the server's content filter withheld the answer")
        if not reply.text.strip() and ended != LENGTH:
            counts.failed += 1
            raise CallFailed("no_answer", "the answer is empty")
        if len(reply.text) > _most_characters(request) or (
            reply.usage.completion - reply.usage.reasoning > 2 * request.max_tokens + SLACK
        ):
            counts.failed += 1
            many = f"{request.max_tokens} tokens were asked for at most"
            raise CallFailed("no_answer", f"the answer is too long: {many}")
        return reply if reply.finish_reason == ended else replace(reply, finish_reason=ended)

    async def close(self) -> None:
        await self.backend.close()


def _most_characters(request: Request) -> int:
    return CHARACTERS * (request.max_tokens + SLACK)


def _storable(reply: Reply, request: Request) -> Reply:
    """Lone surrogates replaced here, once, so that a replay gives the same text. Of one that is too
    long, as much as shows it."""
    most = _most_characters(request) + 1
    if len(reply.text) > most:
        reply = replace(reply, text=reply.text[:most])
    try:
        f"{reply.text}{reply.finish_reason}".encode()
    except UnicodeEncodeError:
        words = clean_text(reply.text), clean_text(reply.finish_reason)
        return Reply(*words, usage=reply.usage)
    return reply
