"""What a call store does, whatever keeps the calls."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import orjson

from autoif.base import jsonl
from autoif.base.records import Reply, Request, Usage

Notice = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class StoredCall:
    """An answered call. `key` is in hex; `record` is the first one that the call was made for."""

    key: str
    namespace: str
    index: int
    stage: str
    record: str
    body: Mapping[str, Any]
    reply: Reply


@dataclass(frozen=True, slots=True)
class StoredOutcomes:
    """Outcomes of the sandbox that depend on the machine. `key` is in hex."""

    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class PendingCall:
    """A call that waits for its batch. `body` is canonical; `request` is without messages."""

    key: bytes
    namespace: str
    request: Request
    body: bytes


@dataclass(frozen=True, slots=True)
class GarbageCollected:
    """Calls kept and dropped; freed: bytes."""

    kept: int
    dropped: int
    freed: int


def canonical(body: Mapping[str, Any]) -> bytes:
    """The body as JSON with sorted keys. Lone surrogates, which UTF-8 lacks, come out escaped."""
    try:
        return orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONEncodeError, TypeError):
        return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


def call_key(namespace: str, body: bytes, index: int) -> bytes:
    """16 bytes that name a call: blake2b-128 of namespace, sample index and canonical body."""
    head = f"{namespace}\0{index}\0".encode()
    return hashlib.blake2b(head + body, digest_size=16).digest()


def reply_crc(text: str, finish_reason: str, usage: tuple[int, int, int, int]) -> int:
    """Guards what the key does not: a flipped bit on a disk would go unnoticed."""
    return zlib.crc32(f"{text}\0{finish_reason}\0{usage}".encode())


def stored_call(row: Sequence[Any]) -> StoredCall | None:
    """The call in a row (key, namespace, index, stage, record, body, text, finish_reason, prompt,
    cached, completion, reasoning, crc), or None where it is not what was written."""
    key, namespace, index, stage, record, body, text, finish_reason, *tokens, crc = row
    # SQLite keeps a value of any type in any column.
    if not are(str, namespace, stage, record, body, text, finish_reason):
        return None
    if not are(int, index, *tokens) or call_key(namespace, body.encode(), index) != key:
        return None
    usage = Usage(*tokens)
    if reply_crc(text, finish_reason, (*tokens,)) != crc or not is_json(body):
        return None
    reply = Reply(text, finish_reason, usage)
    return StoredCall(key.hex(), namespace, index, stage, record, jsonl.loads(body.encode()), reply)


def are(kind: type, *values: object) -> bool:
    return all(isinstance(value, kind) for value in values)


def is_json(body: str) -> bool:
    """Whether it is an object of JSON, as the body of every request is."""
    try:
        return isinstance(jsonl.loads(body.encode()), dict)
    except ValueError:
        return False


class ReplyStore(Protocol):
    async def get(self, key: bytes, record: str = "") -> Reply | None:
        """The stored reply. A `record` that is new to this call is noted with it. None: the call is
        the caller's to make, and nobody else's in any process, until `put` or `leave`; where
        another makes it already, this waits for the answer."""

    async def put(
        self, key: bytes, request: Request, body: bytes, namespace: str, reply: Reply
    ) -> Reply:
        """Returns, once it is durable, the reply that stands: the first one to this key, which is
        `reply` itself where there was none."""

    def leave(self, key: bytes) -> None:
        """There will be no `put` after this `get`: others may make the call. Does nothing where no
        call is to be left, or where its answer is being written."""
        return  # as in a store of one process


class OutcomeStore(Protocol):
    """Outcomes of the sandbox that depend on the machine, kept so that a replay says the same."""

    async def get_outcomes(self, key: bytes) -> bytes | None: ...

    async def put_outcomes(self, key: bytes, value: bytes) -> bytes:
        """As `put`."""


class Store(ReplyStore, OutcomeStore, Protocol):
    """Opened by `open_store`, used as `async with`. Every verb raises StoreError where the store
    cannot be read, written or trusted. Bodies are canonical, keys those of `call_key`."""

    async def mark(self, run: str) -> None:
        """Note the calls that were got or put since the last mark as used by `run`. What no run has
        used is garbage; so mark before writing down that the work is done."""

    async def used(self, run: str) -> dict[str, Usage]:
        """The tokens of every call that was marked as used by `run`, by namespace: what the run
        cost in all its starts."""

    async def spent(self, run: str) -> dict[str, Usage]:
        """The tokens that `run` has paid for, as far as the store tells them from those that it
        read back."""
        return await self.used(run)

    async def hold(self, run: str) -> None:
        """Until the end nobody else works on this run; the lock of a file says so already. Raises
        StoreError where somebody does."""

    # ---- calls that wait for a batch -----------------------------------------------------------

    async def put_pending(self, key: bytes, request: Request, body: bytes, namespace: str) -> None:
        """Note a call for the next batch. It is pending until it is answered or forgotten."""

    async def get_pending(self, key: bytes) -> PendingCall | None: ...

    def pending(self, batch: str = "") -> AsyncIterator[PendingCall]:
        """The pending calls of a batch, or those that are in none, in the order of their keys."""

    async def batches(self) -> list[str]:
        """Batches that have pending calls."""

    async def assign(self, keys: Iterable[bytes], batch: str) -> None:
        """Note that pending calls are in a batch, or in none ("")."""

    async def forget_pending(self) -> None:
        """Drop the notes of calls that are in no batch."""

    # ---- the store as a whole ------------------------------------------------------------------

    async def calls_for(self, record: str) -> list[StoredCall]:
        """Every call made on behalf of one record id, oldest first."""

    def contents(self, on_notice: Notice) -> AsyncIterator[StoredCall | StoredOutcomes]:
        """All there is. Rows that are damaged are left out, which is a notice at the end."""

    async def inspect(self) -> dict[str, Any]:
        """{"calls", "outcomes", "pending", "bytes", "runs": [name], "stages": [{"namespace",
        "stage", "calls", "prompt", "cached", "completion", "reasoning"}]}."""

    async def collect_garbage(self, forget: Iterable[str] = ()) -> GarbageCollected:
        """Drop every call that no run has used. `forget`: runs whose calls may go too. Raises
        StoreError where no run is marked (nothing says what is garbage), UsageError for a run to
        forget that is not."""

    async def close(self) -> None:
        """Makes durable what is on its way. May be called twice."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
