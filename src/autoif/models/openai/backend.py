"""Any OpenAI-compatible server: vLLM, SGLang, llama-server, Ollama, hosted APIs.

One POST per answer over kept-alive connections, behind one adaptive `Admission`. What can be
retried is (429, 5xx, resets, timeouts, garbage), with jitter. A set-up that will never work raises
`ModelUnavailable`; a request that will never be answered raises `CallFailed`, also where it takes
the server down or is answered as a wrong key would be: whether the request or the server is to
blame, a small request of our own finds out. The key goes into one header and nowhere else; server
messages are scrubbed of it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiohttp

from autoif.base.errors import CallFailed, ModelUnavailable, one_line
from autoif.base.records import Reply, Request
from autoif.models.activity import Activity
from autoif.models.finish import ENDS
from autoif.models.openai.connection import Connection, Response
from autoif.models.openai.limiter import Admission, CallResult, Limiter, Retry
from autoif.models.openai.prefix_leaders import LONG, Lead, Leaders
from autoif.models.openai.protocol import (
    checked_url,
    complaint,
    parse_json,
    parse_reply,
    request_body,
    retry_after,
)
from autoif.models.openai.refusals import (
    OPTIONAL,
    SETUP,
    FieldTrial,
    RefusedFields,
    refusal,
    unusable,
)
from autoif.models.openai.stream import StreamedReply

ATTEMPTS = 16  # of one call, apart from 429s and from what an outage took
TIMEOUTS = 4  # of one call: each may have been paid for
UNFINISHED = 3  # answers to one call that came to no clean end: each has been paid for
TRIALS = 3  # failed attempts after which one more field that no complaint names is left out
BUSY = 4  # 429s in a row to one call, after which it is compared with a request of our own...
BLAMED = 4  # ...and how often in a row that one has to be answered until the call is given up
LONGEST_BACKOFF = 20.0
PROBE = {"messages": [{"role": "user", "content": "Hello"}]}


class Unfinished(Retry):
    """An answer is there, and came to no clean end."""


class HttpBackend:
    """A `Backend` over POST {base_url}/chat/completions.

    base_urls: one, or several endpoints that serve the same model.
    timeout: seconds for one attempt, from its start to its last byte.
    patience: seconds without any success after which an outage ends the run.
    silence: seconds without any reply after which an endpoint is asked whether it is there.
    """

    def __init__(
        self,
        model: str,
        base_urls: Sequence[str],
        api_key: str | None = None,
        *,
        api_key_env: str = "OPENAI_API_KEY",
        extra_body: Mapping[str, Any] | None = None,
        timeout: float = 600.0,
        patience: float = 600.0,
        silence: float = 60.0,
        on_notice: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.model = model
        self.namespace = f"openai:{model}"
        self.urls = list(dict.fromkeys(checked_url(url) for url in base_urls))
        self.timeout = timeout
        self.silence = silence
        self._key = (api_key or "").strip()
        self._key_env = api_key_env
        self._extra = dict(extra_body or {})
        self.admission = Admission(
            [Limiter(url, deadline=timeout) for url in self.urls], patience, on_notice, self._probe
        )
        self._notice = on_notice
        self._connection = Connection(self.urls, self._key, timeout)
        self._watch: asyncio.Task[None] | None = None
        self._worked: set[str] = set()  # endpoints that have answered
        self._fields = RefusedFields(on_notice)
        self._strange_ends: set[str] = set()  # finish reasons that the user was told of
        self._leaders = Leaders()
        self._streams: bool | None = None  # whether the server does; None: not asked yet

    @property
    def activity(self) -> Activity:
        running = sum(limiter.in_flight for limiter in self.admission.limiters)
        return Activity(running=running, waiting=self.admission.waiting)

    def body(self, request: Request) -> dict[str, Any]:
        return request_body(self.model, request) | self._extra

    async def unreachable(self) -> str:
        """Why there is no way to any endpoint from here, or ""."""
        for url in self.urls:
            if await self._is_there(url):
                return ""
        return f"no way to {' or '.join(self.urls)}"

    async def __call__(self, request: Request) -> Reply:
        if sum(len(m.content) for m in request.messages) < LONG:
            return await self._ask(request)
        lead = await self._leaders.enter(request.messages)
        if lead is None:
            return await self._ask(request, warm=True)
        try:
            reply = await self._ask(request, lead)
            lead.computed()
            return reply
        finally:
            lead.end()

    async def _ask(
        self, request: Request, lead: Lead | None = None, *, warm: bool = False
    ) -> Reply:
        if self._watch is None:
            self._watch = asyncio.create_task(self._watching(), name="silence-watch")
        group = hash(request.messages[:-1])  # calls that share all but their last message
        trial = FieldTrial(self._fields, self.body(request))
        counted = timeouts = unfinished = busy = blamed = 0
        while True:
            permit = await self.admission.enter(group, warm=warm)
            url = permit.limiter.name
            outcome, failure = CallResult.ABANDONED, None
            stream = None
            if lead is not None and lead.sent() and self._streams is not False:
                stream = StreamedReply(on_token=lead.computed)
            try:
                reply = await self._attempt(url, trial.body(), request.index, stream)
                outcome = CallResult.ANSWERED
                trial.answered(url)
                return reply
            except CallFailed as e:
                outcome, failure = (
                    CallResult.ANSWERED,
                    Retry(CallResult.ANSWERED, e.detail, after=0),
                )
                if trial.without_named(e):
                    pass
                elif stream is not None:  # perhaps it refuses to stream
                    self._streams = self._streams or False
                elif not trial.without_another(*OPTIONAL):
                    raise trial.first or e from None
            except ModelUnavailable as e:
                self.admission.give_up(e)
                raise
            except Retry as e:
                outcome, failure = e.outcome, e
                if stream is not None and e.garbage:
                    self._streams = self._streams or False
            finally:
                self.admission.leave(permit, outcome, failure)
            if self.admission.fatal is not None:
                raise self.admission.fatal
            unfinished += isinstance(failure, Unfinished)
            if failure.outcome is CallResult.FAILED and not permit.limiter.is_open:
                counted += 1
                timeouts += failure.paid and failure.overload
                if not trial.without_named(failure) and counted % TRIALS == 0:
                    trial.without_another(*OPTIONAL)
            if failure.outcome is CallResult.BUSY:
                busy += 1
                if not trial.without_named(failure) and busy % BUSY == 0:
                    served, _ = await self._hello(url, request.max_tokens)
                    blamed = blamed + 1 if served == 200 else 0
                    if blamed and not permit.limiter.is_open:
                        permit.limiter.answered()  # it has time for others
                    if blamed >= BLAMED:
                        raise _given_up(busy, failure)
                    if blamed >= BLAMED // 2:
                        trial.without_another("response_format")
            else:
                busy = blamed = 0
            if counted >= ATTEMPTS or timeouts >= TIMEOUTS or unfinished >= UNFINISHED:
                if unfinished or not await self._probe(url):
                    raise _given_up(counted + unfinished, failure)
                self.admission.down(permit.limiter, str(failure))  # nobody is answered
                counted = timeouts = 0
            if failure.after is None:
                await asyncio.sleep(self._backoff(permit.limiter, counted, busy))

    async def _attempt(
        self, url: str, body: dict[str, Any], index: int, stream: StreamedReply | None
    ) -> Reply:
        """One POST, its answer streamed where a `stream` is there to take it. Returns a reply or
        raises Retry, CallFailed or ModelUnavailable; nothing else, whatever a server answers."""
        try:
            status, headers, document, data = await self._post(url, index, body, stream)
            if status != 200:
                message = one_line(complaint(document, data), self._key)
                asked = int(body.get("max_completion_tokens") or body.get("max_tokens") or 1)
                raise await self._error(url, status, message, retry_after(headers), asked)
            reply = self._reply(url, document, data)
            if stream is not None:
                self._streams = stream.counted
        except (Retry, CallFailed, ModelUnavailable):
            raise
        except Exception as e:
            why = f"a reply that cannot be read: {type(e).__name__}: {one_line(e, self._key)}"
            raise Retry(CallResult.FAILED, why, paid=True) from e
        if reply.finish_reason in ENDS:
            return reply
        ended = f"finish_reason {one_line(reply.finish_reason)!r}"
        if reply.finish_reason not in self._strange_ends and len(self._strange_ends) < 8:
            self._strange_ends.add(reply.finish_reason)
            self._notice(
                f"{url} ends answers with {ended}, which is no clean end: they are asked for "
                f"again, {UNFINISHED} times at most"
            )
        raise Unfinished(CallResult.ANSWERED, f"an answer that ended with {ended}", paid=True)

    def _reply(self, url: str, document: Any, data: bytes) -> Reply:
        """Raises Retry where the document is no chat completion."""
        try:
            reply = parse_reply(document)
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as e:
            said = one_line(data[:200].decode(errors="replace"), self._key) or "nothing"
            why = f"a reply that is no chat completion: {said}"
            raise Retry(CallResult.FAILED, why, paid=True, garbage=True) from e
        self._worked.add(url)
        return reply

    async def _probe(self, url: str) -> str:
        """Why the endpoint does not answer a small request of our own, or "" where it does: then
        what failed was to blame for it."""
        status, why = await self._hello(url)
        if status == 200 or (400 <= status < 500 and status not in (404, 408, 409, 425)):
            return ""  # also where it refuses: it is there
        return why

    async def _hello(self, url: str, max_tokens: int = 1) -> tuple[int, str]:
        """The status, and the words, of the answer to a small request of our own; 0 where there is
        none. max_tokens: credit and quotas are often reckoned by it."""
        body = {"model": self.model, **PROBE, "max_tokens": max_tokens, **self._extra}
        try:
            status, _, document, data = await self._post(url, 0, self._fields.without(body), None)
            if status == 200:
                self._reply(url, document, data)
            return status, f"{status} {one_line(complaint(document, data), self._key)}"
        except ModelUnavailable as e:
            self.admission.give_up(e)
            return 0, str(e)
        except Retry as e:
            if e.garbage and url not in self._worked:
                self.admission.give_up(
                    ModelUnavailable(
                        f"{url} answers, but with no chat completions: correct --base-url "
                        "(it usually ends in /v1)"
                    )
                )
            return 0, str(e)
        except Exception as e:
            return 0, f"{type(e).__name__}: {one_line(e, self._key)}"

    async def _post(
        self, url: str, index: int, body: dict[str, Any], stream: StreamedReply | None
    ) -> Response:
        """Raises Retry or ModelUnavailable where there is no response."""
        try:
            return await self._connection.post(url, index, body, stream)
        except Retry as e:
            others = [x for x in self.admission.limiters if x.name != url]
            refused = e.outcome is CallResult.REFUSED
            if refused and not self._worked and all(x.is_open for x in others):
                raise ModelUnavailable(
                    f"no server at {url} ({e}): start it or correct --base-url"
                ) from e
            raise

    def _backoff(self, limiter: Limiter, counted: int, busy: int) -> float:
        """Up to as long again as the endpoint has been in trouble, and longer with each failure
        of the call's own: short where the others get their answers."""
        now = asyncio.get_running_loop().time()
        lasted = 0.0 if limiter.trouble_since is None else now - limiter.trouble_since
        longest = min(LONGEST_BACKOFF, self.admission.patience / 10)
        own = 0.1 * max(1.2**counted, min(1.5**busy, 10 * longest))  # a quota fills by the minute
        return random.uniform(0, min(LONGEST_BACKOFF, max(own, lasted)))

    async def _error(
        self, url: str, status: int, message: str, after: float | None, max_tokens: int
    ) -> Exception:
        """What a status other than 200 means on this server. One that speaks of the set-up is
        believed where a request of our own gets such an answer as well."""
        said = f"{status} {message}"
        if status == 403 and url in self._worked:
            return CallFailed("refused", said)
        error = refusal(status, message, after, self.admission.patience)
        if error is not None:
            return error
        ours = 0
        if self.admission.fatal is None:
            ours, _ = await self._hello(url, max_tokens)
        if self.admission.fatal is not None:
            return self.admission.fatal
        if ours in SETUP and (ours != 429 or status == 429):
            return await self._unusable(url, status, message, after)
        if status == 429:
            return Retry(CallResult.BUSY, said, overload=True)
        if ours == 0 or ours == 429 or ours >= 500:  # that tells nothing
            return Retry(CallResult.FAILED, said, overload=True)
        return CallFailed("refused" if status in (401, 403) else "bad_request", said)

    async def _unusable(
        self, url: str, status: int, message: str, after: float | None
    ) -> ModelUnavailable:
        if status == 404:
            return await self._missing(url)
        if status in (401, 403):
            how = "check" if self._key else "set"
            return ModelUnavailable(
                f"{url} refuses the API key ({status}): {how} the environment variable "
                f"{self._key_env}"
            )
        return unusable(url, status, message, after)

    async def _missing(self, url: str) -> ModelUnavailable:
        """404: says which models there are, where the server tells."""
        try:
            document = parse_json(await self._connection.get(f"{url}/models", 10))
            names = sorted(str(model["id"]) for model in document["data"])
        except (aiohttp.ClientError, OSError, KeyError, TypeError):
            names = []
        if self.model in names or not names:
            hint = "correct --base-url (it usually ends in /v1) or --model"
        else:
            more = ", ..." if len(names) > 8 else ""
            hint = f"it has {', '.join(names[:8])}{more}"
        return ModelUnavailable(f"{url} does not know the model {self.model!r} (404): {hint}")

    # ---- an endpoint that falls silent ---------------------------------------------------------

    async def _watching(self) -> None:
        """Notice an endpoint that has gone silent long before its calls time out; and once the run
        has given up, let no call wait for its own deadline."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(self.silence, self.admission.patience) / 4)
            for limiter in self.admission.limiters:
                silent = loop.time() - limiter.last_heard
                if not limiter.in_flight or limiter.is_open or silent < self.silence:
                    continue
                if not await self._is_there(limiter.name):
                    self.admission.down(limiter, f"silent for {silent:.0f} s")
            self.admission.look()
            if self.admission.fatal is not None and self.admission.outlived:
                self._connection.expire()

    async def _is_there(self, url: str) -> bool:
        try:
            await self._connection.get(f"{url}/models", min(10, self.silence))
        except (aiohttp.ClientError, OSError):
            return False
        return True

    async def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        await self.admission.close()
        await self._connection.close()
        self._watch = None


def _given_up(attempts: int, last: Retry) -> CallFailed:
    return CallFailed("no_answer", f"{attempts} attempts failed, the last: {last}")
