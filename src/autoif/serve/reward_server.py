"""The server of one process: who may ask, how much at once, until when; then `judge`.

    request --Host, token, type, size--> questions --room in the queue?--> samples --judge--> answer

Requests that are taken wait in the queue of checks that the reward in process uses too, so texts of
many requests that wait for the same check are judged as one batch, with the same verdicts.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import urlsplit

import orjson
from aiohttp import web

from autoif.base import jsonl
from autoif.base.errors import AutoIFError, UsageError, one_line
from autoif.base.printable import log
from autoif.base.version import __version__
from autoif.serve.counters import CONTENT_TYPE, Counters
from autoif.serve.openapi import document
from autoif.serve.protocols import PROTOCOLS, Protocol
from autoif.serve.row_index import RowIndex
from autoif.verifier.grading import KINDS
from autoif.verifier.reward import Rewarded, RewardSettings, judge_each, rewarded_of, to_judge
from autoif.verifier.reward_client import LINES

LOOPBACK = ("localhost", "127.0.0.1", "::1")
BYTES = 4 * jsonl.LONGEST  # of bodies at once
MARGIN = 1.0  # seconds; or a tenth of a deadline, by which the answer is to be there
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """token: asked of every request but /health, "" for none. queue: completions that a process
    judges at once; more are refused. deadline: seconds that a request may take."""

    host: str = "127.0.0.1"
    port: int = 8000
    token: str = ""
    processes: int = 1
    queue: int = 16_384
    deadline: float = 60.0


class RewardServer:
    def __init__(self, settings: ServerSettings, rows: RowIndex, counters: Counters) -> None:
        self.settings = settings
        self.rows = rows
        self.counters = counters
        self.pending = self.bytes = 0
        self.ending = False

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard], client_max_size=jsonl.LONGEST)
        for protocol in PROTOCOLS:
            app.router.add_post(protocol.path, self._handler(protocol))
        app.router.add_post("/seed_session", self._seed_session)
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/openapi.json", self._openapi)
        return app

    # ---- who may ask ---------------------------------------------------------------------------

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        start = time.monotonic()
        try:
            self._admit(request)
            response = await handler(request)
        except web.HTTPException as refusal:
            headers = {k: v for k, v in refusal.headers.items() if k in ("Retry-After", "Allow")}
            response = _json({"error": refusal.text}, refusal.status, headers)
        except AutoIFError as error:
            status = 422 if isinstance(error, UsageError) else 503
            response = _json({"error": str(error)}, status)
        except Exception as error:
            log(f"{request.path}: {type(error).__name__}: {one_line(error)}")
            response = _json({"error": "an error of the server; its log has more"}, 500)
        self.counters.request(request.path, response.status, time.monotonic() - start)
        return response

    def _admit(self, request: web.Request) -> None:
        """Raises HTTPException. A page in a browser can make it send requests to this machine: it
        cannot choose the Host, and needs leave to send JSON, which nobody gives."""
        settings = self.settings
        host = urlsplit(f"//{request.host}").hostname
        if is_loopback(settings.host) and host not in (*LOOPBACK, settings.host):
            raise web.HTTPForbidden(text=f"Host {request.host!r} is not this machine's loopback")
        if settings.token and request.path != "/health" and not self._knows(request):
            raise web.HTTPUnauthorized(text="a token is wanted: Authorization: Bearer TOKEN")
        if request.method == "POST" and request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(text="Content-Type has to be application/json")

    def _knows(self, request: web.Request) -> bool:
        """A bearer's token, or that of a URL as in http://any:TOKEN@host, which clients that can
        set no header send as Basic."""
        scheme, _, sent = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                sent = base64.b64decode(sent, validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                return False
        return hmac.compare_digest(sent.encode(), self.settings.token.encode())

    # ---- one request ---------------------------------------------------------------------------

    def _handler(self, protocol: Protocol) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            settings, deadline = self._asked(request)
            start = time.monotonic()
            body = await self._body(request, deadline)
            questions = protocol.read(body)
            n = len(questions)
            if n > self.settings.queue:
                _refuse_size(f"{n:,} completions; at most {self.settings.queue:,} at once")
            if self.pending + n > self.settings.queue:
                raise _full()
            self._pending(n)
            lines = None
            try:
                samples, unread = [], 0
                for number, question in enumerate(questions, 1):
                    try:
                        where = f"completion {number}"
                        sample = question.read(self.rows, where, settings.keep_reasoning)
                    except UsageError as error:
                        if not protocol.forgiving:
                            raise
                        log(f"{protocol.path}: {error}")
                        sample, unread = (None, []), unread + 1
                    samples.append(sample)
                left = deadline - min(MARGIN, deadline / 10) - (time.monotonic() - start)
                prompts = [question.prompt for question in questions]
                if protocol.lines and LINES in request.headers.get("Accept", ""):
                    lines = _StreamedAnswer(request)
                by_number: dict[int, Rewarded] = {}
                judged = [to_judge(sample, settings) for sample in samples]
                async for some in judge_each(judged, settings, left):
                    given = {
                        n: rewarded_of(samples[n], held, settings, prompts[n])
                        for n, held in some.items()
                    }
                    by_number |= given
                    if lines is not None:
                        await lines.write(given)
            except AutoIFError:
                if request.transport is not None and lines is not None and lines.response.prepared:
                    request.transport.close()  # an answer that has begun cannot be taken back
                raise
            finally:
                self._pending(-n)
            every = [by_number[number] for number in range(n)]
            rewards = [one.reward for one in every]
            unscored = rewards.count(None)
            self.counters.add("autoif_completions_total", n)
            self.counters.add("autoif_unscored_total", unscored)
            self.counters.add("autoif_unread_total", unread)
            self.counters.add("autoif_hacks_total", sum(bool(one.hack) for one in every))
            if lines is not None:
                return lines.response
            answer = protocol.write(body, rewards, [one.held for one in every])
            return _json(answer, headers={"X-AutoIF-Unscored": str(unscored)} if unscored else {})

        return handle

    def _asked(self, request: web.Request) -> tuple[RewardSettings, float]:
        """What the query of a URL sets, on every route alike."""
        query = dict(request.query)
        kind = query.pop("reward", None)
        keep, floor = query.pop("keep_reasoning", "false"), query.pop("floor", "true")
        if kind not in (None, *KINDS) or not {keep, floor} <= {"true", "false"}:
            raise UsageError(
                f"reward is {', '.join(KINDS)}; keep_reasoning and floor are true or false"
            )
        most = self.settings.deadline
        try:
            seconds = float(query.pop("deadline", most))
        except ValueError:
            seconds = 0
        if not 0 < seconds < math.inf:
            raise UsageError("deadline is a number of seconds above 0")
        if query:
            raise UsageError(f"no parameter {next(iter(query))!r}")
        settings = RewardSettings(kind, keep_reasoning=keep == "true", floor=floor == "true")
        return settings, min(most, seconds)

    async def _body(self, request: web.Request, deadline: float) -> Any:
        length = request.content_length
        if length is None:
            raise web.HTTPLengthRequired(text="send Content-Length")
        if length > jsonl.LONGEST:
            _refuse_size(f"{length:,} bytes; at most {jsonl.LONGEST:,}")
        if self.ending:
            raise web.HTTPServiceUnavailable(text="the server is ending")
        if self.bytes + length > BYTES:
            raise _full()
        self.bytes += length
        try:
            async with asyncio.timeout(deadline):
                data = await request.read()
            return jsonl.loads(data)
        except TimeoutError:
            raise web.HTTPBadRequest(text="the body did not come in time") from None
        except ValueError as error:
            raise web.HTTPBadRequest(text=f"not JSON ({one_line(error)})") from None
        finally:
            self.bytes -= length

    def _pending(self, n: int) -> None:
        self.pending += n
        self.counters.add("autoif_pending_completions", n)

    # ---- beside --------------------------------------------------------------------------------

    async def _seed_session(self, request: web.Request) -> web.StreamResponse:
        """NeMo-Gym's agents begin with it; there is nothing to seed."""
        return _json({})

    async def _health(self, request: web.Request) -> web.StreamResponse:
        state = {
            "status": "ending" if self.ending else "ok",
            "version": __version__,
            "rows": len(self.rows),
            "pending": self.pending,
        }
        return _json(state, 503 if self.ending else 200)

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        text = self.counters.text()
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})

    async def _openapi(self, request: web.Request) -> web.StreamResponse:
        return _json(document())


class _StreamedAnswer:
    """An answer that is sent while completions are judged: a line for each, when it is."""

    def __init__(self, request: web.Request) -> None:
        self.request = request
        self.response = web.StreamResponse(headers={"Content-Type": LINES})

    async def write(self, given: Mapping[int, Rewarded]) -> None:
        if not self.response.prepared:
            await self.response.prepare(self.request)
        rows = ({"n": n, "reward": one.reward, "holds": one.held} for n, one in given.items())
        with suppress(ConnectionError):  # who asked has gone, and this handler is cancelled
            await self.response.write(b"".join(orjson.dumps(row) + b"\n" for row in rows))


def is_loopback(host: str) -> bool:
    return host in LOOPBACK or host.startswith("127.")


def _full() -> web.HTTPException:
    return web.HTTPTooManyRequests(text="full; ask again", headers={"Retry-After": "1"})


def _refuse_size(text: str) -> NoReturn:
    raise web.HTTPRequestEntityTooLarge(max_size=0, actual_size=0, text=f"too much: {text}")


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    try:
        body = orjson.dumps(value)
    except TypeError:  # lone surrogates in what a request is answered with
        body = json.dumps(value).encode()
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")
