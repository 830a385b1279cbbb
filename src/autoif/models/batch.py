"""Batch files: the calls a run still needs as OpenAI Batch / `vllm run-batch` JSONL, and back.

    {"custom_id": "KEY-INDEX", "method": "POST", "url": "/v1/chat/completions", "body": {...}}

A run over `PendingBackend` asks nothing and notes what it would ask; each round goes as deep into
the flow as the answers so far allow. `write_batch` puts the notes into a file, `import_file` fills
the store from a file of results (or of `autoif calls export`), `run_batches` takes the way over
/v1/files and /v1/batches. What a server has taken is noted by its batch's id before anything else
happens, so that a killed poller polls on and submits nothing twice.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import astuple, dataclass
from itertools import islice
from operator import add
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import aiohttp
import orjson

from autoif.base import jsonl
from autoif.base.errors import CallPending, ModelUnavailable, UsageError, one_line
from autoif.base.records import Reply, Request
from autoif.models import Backend
from autoif.models.finish import ENDS
from autoif.models.openai import body as response_body
from autoif.models.openai.protocol import checked_url, complaint, parse_json, parse_reply
from autoif.store import open_store
from autoif.store.base import Store, call_key, canonical
from autoif.store.export_format import import_row

MOST_REQUESTS, MOST_BYTES = 50_000, 150_000_000  # of one batch file; OpenAI takes 200 MB
ROUTE = "/v1/chat/completions"
MOST_ANSWERS = 4 << 30  # bytes of one file of results
DONE = ("completed", "failed", "expired", "cancelled", "canceled")
ON_ITS_WAY = (
    "validating", "queued", "pending", "running", "in_progress", "finalizing", "cancelling",
)  # fmt: skip
STRANGE = 20  # polls of a batch whose status is none of these
ATTEMPTS = 8
AT_ONCE = 1000  # lines of an import: their rows are committed together


class PendingBackend:
    """A `Backend` that notes each request in the store and raises CallPending."""

    def __init__(self, backend: Backend, store: Store) -> None:
        self.namespace = backend.namespace
        self.body = backend.body
        self.noted = 0
        self._backend = backend
        self._store = store

    async def __call__(self, request: Request) -> Reply:
        body = canonical(self.body(request))
        key = call_key(self.namespace, body, request.index)
        await self._store.put_pending(key, request, body, self.namespace)
        self.noted += 1
        raise CallPending("waits for its batch")

    async def close(self) -> None:
        await self._backend.close()


async def write_batch(where: str | Path, file: IO[bytes]) -> None:
    """One line per pending call that no server has taken, in the order of their keys."""
    async with open_store(where, read_only=True) as store:
        async for line in batch_lines(store):
            file.write(line)


async def batch_lines(store: Store) -> AsyncGenerator[bytes, None]:
    async for call in store.pending():
        row = {
            "custom_id": f"{call.key.hex()}-{call.request.index}",
            "method": "POST",
            "url": ROUTE,
            "body": orjson.Fragment(call.body),
        }
        yield orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


# ---- results -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Imported:
    """added: new in the store. known: there already. failed: the server gave no answer (they stay
    pending). strange: rows that name no call this store waits for, or are not what they say."""

    added: int = 0
    known: int = 0
    failed: int = 0
    strange: int = 0

    def __add__(self, other: Imported) -> Imported:
        return Imported(*map(add, astuple(self), astuple(other)))


async def import_file(where: str | Path, source: Path) -> Imported:
    """Fill the store at `where` from batch results or an export. One that was stopped half-way may
    be run again. Raises UsageError where the file is neither."""
    with jsonl.open_bytes(source) as file:
        lines = (line for _, line in jsonl.lines_of(file, source))
        async with open_store(where) as store:
            done = await import_lines(store, lines)
    if done == Imported(strange=done.strange):
        raise UsageError(
            f"{source} holds nothing for {where}: it takes the results of the batch file that was "
            "made from this store, or a file made by `autoif calls export`"
        )
    return done


async def import_lines(store: Store, lines: Iterable[bytes]) -> Imported:
    counts: Counter[str] = Counter()
    rest = (line for line in lines if line.strip())
    while many := list(islice(rest, AT_ONCE)):
        counts.update(await asyncio.gather(*(_import_line(store, line) for line in many)))
    return Imported(**counts)


async def _import_line(store: Store, line: bytes) -> str:
    """The outcome, as `Imported` names it."""
    row = parse_json(line)
    try:
        if "custom_id" in row:
            return await _import_result(store, row)
        return "added" if await import_row(store, row) else "known"
    except (KeyError, TypeError, ValueError, AttributeError):
        return "strange"


async def _import_result(store: Store, result: dict[str, Any]) -> str:
    key = bytes.fromhex(result["custom_id"].partition("-")[0])
    call = await store.get_pending(key)
    if call is None:
        stored = await store.get(key)
        store.leave(key)
        return "known" if stored else "strange"
    response = result.get("response") or {}
    try:
        if result.get("error") or response["status_code"] != 200:
            return "failed"
        reply = parse_reply(response["body"])
        if reply.finish_reason not in ENDS:
            return "failed"
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        return "failed"
    stands = await store.put(key, call.request, call.body, call.namespace, reply)
    return "added" if stands is reply else "known"


# ---- the remote cycle --------------------------------------------------------------------------


async def run_batches(
    where: str | Path,
    base_url: str,
    api_key: str | None,
    *,
    poll: float = 30.0,
    on_notice: Callable[[str], None] = lambda line: None,
) -> Imported:
    """Submit what is pending, wait for every batch of this store, import the results. The store is
    open for writing only to note something, not while a server works.

    poll: seconds between looks. Run it again after a kill: batches on their way are found by their
    ids. Raises ModelUnavailable where the server does not do batches or stays away; and, when all
    else is done, where it failed a batch or has lost one, whose calls then are in no batch.
    """
    url, total = checked_url(base_url), Imported()
    async with BatchServer(url, (api_key or "").strip()) as server:
        while lines := await _first(where):
            batch = await server.submit(b"".join(lines))
            keys = [orjson.loads(line)["custom_id"].partition("-")[0] for line in lines]
            async with open_store(where) as store:
                await store.assign(map(bytes.fromhex, keys), batch)
            on_notice(f"batch {batch}: {len(lines)} calls submitted")
        async with open_store(where, read_only=True) as store:
            batches = await store.batches()
        failures: list[str] = []
        for batch in batches:
            answers: list[bytes] = []
            try:
                status = await _ended(server, batch, poll, on_notice)
                on_notice(f"batch {batch}: {status['status']}")
                if status["status"] == "failed":
                    failures.append(f"batch {batch} failed: {server.errors(status)}")
                files = [status.get("output_file_id"), status.get("error_file_id")]
                for file in filter(None, files):  # the first counts also where the second is lost
                    answers.append(await server.content(str(file)))  # noqa: PERF401
            except Gone:
                await server.listed()  # else it is the URL that is wrong
                failures.append(f"{url} no longer has batch {batch} or its results (404)")
            async with open_store(where) as store:
                for answer in answers:
                    total += await import_lines(store, answer.splitlines())
                unanswered = [call.key async for call in store.pending(batch)]
                await store.assign(unanswered, "")
    if failures:
        raise ModelUnavailable(
            f"{'; '.join(failures)}; the calls without an answer are pending again, and the same "
            "command submits them anew"
        )
    return total


async def _ended(
    server: BatchServer, batch: str, poll: float, on_notice: Callable[[str], None]
) -> dict[str, Any]:
    """The last status of a batch, when the server is through with it. One in unheard words has
    ended where it names a file of results. Raises ModelUnavailable where it never does."""
    strange = 0
    while True:
        status = await server.status(batch)
        word = status["status"]
        if word in DONE or (word not in ON_ITS_WAY and status.get("output_file_id")):
            return status
        counts = _object(status.get("request_counts"))
        on_notice(
            f"batch {batch}: {word}, {counts.get('completed', 0)} of "
            f"{counts.get('total', '?')} done"
        )
        strange += word not in ON_ITS_WAY
        if strange == STRANGE:
            raise ModelUnavailable(
                f"{server.url} has batch {batch} in status {word!r}, of which nothing is known: "
                "look there, and run the same command again when it has ended"
            )
        await asyncio.sleep(poll)


async def _first(where: str | Path) -> list[bytes]:
    """As many lines as one batch takes."""
    taken: list[bytes] = []
    size = 0
    async with (
        open_store(where, read_only=True) as store,
        aclosing(batch_lines(store)) as lines,
    ):
        async for line in lines:
            size += len(line)
            if taken and (size > MOST_BYTES or len(taken) == MOST_REQUESTS):
                break
            taken.append(line)
    return taken


class Gone(ModelUnavailable):
    """404: the server does not have it, or no longer."""


class BatchServer:
    """/v1/files and /v1/batches of one server. Raises ModelUnavailable."""

    def __init__(self, url: str, api_key: str) -> None:
        self.url = url
        self._key = api_key
        self._headers = dict(response_body.PLAIN)
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"

    async def __aenter__(self) -> BatchServer:
        timeout = aiohttp.ClientTimeout(total=600, sock_connect=10)
        self._session = aiohttp.ClientSession(
            headers=self._headers, timeout=timeout, auto_decompress=False
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def submit(self, data: bytes) -> str:
        """The id of a batch of these lines. One that an earlier try submitted, before it was killed
        or lost its connection, is found by its name and not submitted again."""
        name = hashlib.blake2b(data, digest_size=16).hexdigest()
        for batch in await self.listed():
            ours = _object(batch.get("metadata")).get("autoif") == name
            if ours and "id" in batch and await self._is_of_use(batch):
                return str(batch["id"])
        form = aiohttp.FormData()
        form.add_field("purpose", "batch")
        form.add_field("file", data, filename="calls.jsonl", content_type="application/jsonl")
        asked = {
            "input_file_id": self._id("file", await self._call("POST", "/files", data=form)),
            "endpoint": ROUTE,
            "completion_window": "24h",
            "metadata": {"autoif": name},
        }
        return self._id("batch", await self._call("POST", "/batches", json=asked))

    async def listed(self) -> list[dict[str, Any]]:
        """The last batches of the server, whoever submitted them."""
        return _rows(parse_json(await self._call("GET", "/batches?limit=100", retry=True)))

    async def _is_of_use(self, batch: dict[str, Any]) -> bool:
        """Whether it is on its way, or has answers that can still be had."""
        if str(batch.get("status")).lower() not in DONE:
            return True
        answered = _object(batch.get("request_counts")).get("completed") not in (0, None)
        file = batch.get("output_file_id")
        if not answered or not file:
            return False
        try:
            return bool(await self.content(str(file)))
        except Gone:
            return False

    def _id(self, what: str, answer: bytes) -> str:
        made = _object(parse_json(answer)).get("id")
        if not made:
            raise ModelUnavailable(
                f"{self.url} took a {what} and gave no id for it: is this a server of batches?"
            )
        return str(made)

    async def status(self, batch: str) -> dict[str, Any]:
        path = f"/batches/{quote(batch, safe='')}"
        status = _object(parse_json(await self._call("GET", path, retry=True)))
        if "status" not in status:
            raise ModelUnavailable(f"{self.url} gives no status of batch {batch}: try later")
        word = one_line(status["status"], self._key).lower().replace("-", "_")
        return status | {"status": word}

    def errors(self, status: dict[str, Any]) -> str:
        """What the server says of a batch that failed."""
        errors = status.get("errors") or status.get("error") or "the server does not say why"
        rows = _rows(errors)
        return one_line("; ".join(complaint(row, b"") for row in rows) or errors, self._key)

    async def content(self, file: str) -> bytes:
        return await self._call("GET", f"/files/{quote(file, safe='')}/content", retry=True)

    async def _call(self, method: str, path: str, *, retry: bool = False, **more: Any) -> bytes:
        """Looks are tried again; what submits is not: it might be done twice. No redirect is
        followed: nobody named that host.
        """
        why = ""
        for attempt in range(ATTEMPTS if retry else 1):
            await asyncio.sleep(min(30.0, 0.1 * 3**attempt) if attempt else 0)
            try:
                async with self._session.request(
                    method, self.url + path, allow_redirects=False, **more
                ) as response:
                    data = await response_body.read(response, MOST_ANSWERS)
            except (aiohttp.ClientError, OSError) as e:
                why = type(e).__name__
                continue
            if response.status == 200:
                return data
            if 300 <= response.status < 400:
                why = f"{response.status}, a redirect to another address"
                break
            why = f"{response.status} {complaint(parse_json(data), data)}"
            if response.status < 500 and response.status != 429:
                break
        why = one_line(why, self._key)
        error = Gone if why.startswith("404") else ModelUnavailable
        raise error(
            f"{self.url}{path.partition('?')[0]} failed ({why}): nothing is lost; run the same "
            "command again, or take the file by hand (`--batch FILE`, `autoif calls import`)"
        )


def _object(value: Any) -> dict[str, Any]:
    """What a server gave as an object, or an empty one."""
    return value if isinstance(value, dict) else {}


def _rows(listed: Any) -> list[dict[str, Any]]:
    rows = _object(listed).get("data")
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
