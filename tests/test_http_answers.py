"""What servers answer that no protocol says: each is a failed call with a reason, a retry or a
smaller request, never a traceback, and one bad request never ends the run of the others."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from autoif.base.errors import CallFailed, ModelUnavailable, UsageError
from autoif.base.records import Message, Reply, Request
from autoif.evals.evaluation import generate
from autoif.evals.task import Item
from autoif.models.batch import BatchServer
from autoif.models.cached import CachedChat
from autoif.models.finish import finish_reason
from autoif.models.openai.backend import ATTEMPTS, HttpBackend
from autoif.models.openai.protocol import checked_url, retry_after, seconds_asked_for
from autoif.store import open_store

Body = dict[str, Any]
Answer = Callable[[Body], bytes | None]  # None: the connection is torn down


def http(status: int, body: object, *headers: str) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(data)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + data


def says(text: str, finish: object = "stop") -> bytes:
    message = {"role": "assistant", "content": text}
    return http(200, {"choices": [{"message": message, "finish_reason": finish}]})


def error(status: int, message: str, *headers: str) -> bytes:
    return http(status, {"error": {"message": message}}, *headers)


def last(body: Body) -> str:
    return str(body["messages"][-1]["content"])


@asynccontextmanager
async def serving(answer: Answer, **options: Any) -> AsyncIterator[HttpBackend]:
    """A backend of a server on loopback that answers so; its `models` are not asked for."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = 0
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        length = int(line.partition(b":")[2])
                data = await reader.readexactly(length)
                if head.startswith(b"GET"):
                    reply: bytes | None = http(200, {"data": [{"id": "any"}]})
                else:
                    reply = answer(json.loads(data) if data[:1] == b"{" else {})
                if reply is None:
                    writer.transport.abort()
                    return
                writer.write(reply)
                await writer.drain()
                if b"Connection: close" in reply:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    options = {"timeout": 5.0, "patience": 3.0} | options
    backend = HttpBackend("any", [f"http://127.0.0.1:{port}/v1"], **options)
    try:
        yield backend
    finally:
        await backend.close()
        server.close()


def ask(text: str, **more: Any) -> Request:
    return Request((Message("user", text),), **more)


# ---- one request that always fails -------------------------------------------------------------

POISON: dict[str, bytes | None] = {
    "a 500": error(500, "CUDA error: device-side assert"),
    "no choices": http(200, {"choices": []}),
    "a reset": None,
    "half a body": b"HTTP/1.1 200 X\r\nContent-Length: 99\r\nConnection: close\r\n\r\n{",
    "half a document": http(200, b'{"choices": [{"mess'),
    "a code that is a word": http(200, {"error": {"message": "too long", "code": "too_long"}}),
    "an error in words": http(200, {"error": "the model is unwell"}),
    "not found": error(404, "No endpoints found that support this request"),
    "a conflict": error(409, "conflict"),
    "a deep document": http(200, b"[" * 100_000),
    "a deep error": http(400, b'{"error":' * 100_000),
    "a web page": http(200, b"<html>"),
    "a redirect": http(302, b"", "Location: /login"),
    "a wrong key": error(401, "content policy: unauthorised topic"),
    "a wrong key in a good answer": http(200, {"error": {"code": 401, "message": "policy"}}),
    "no money": error(402, "this prompt needs a paid plan"),
    "a firewall": error(403, "blocked"),
    "a wrong method": error(405, "blocked"),
    "too many": error(429, "Rate limit reached for this prompt"),
    "news of credit": error(429, "Daily news about credit is a topic that we do not answer"),
    "credit in a good answer": http(200, {"error": {"code": 429, "message": "credit"}}),
    "come back tomorrow": error(429, "slow down", "Retry-After: 86400"),
}


@pytest.mark.parametrize("others", [24, 0])
async def test_a_request_that_always_fails_is_given_up_and_the_others_are_answered(
    others: int,
) -> None:
    """Also where nothing else is left to ask, as in a second start of the same command."""

    async def fails(fault: str) -> None:
        asked: Counter[str] = Counter()
        notices: list[str] = []

        def answer(body: Body) -> bytes | None:
            asked[last(body)] += 1
            return POISON[fault] if "poison" in last(body) else says("fine")

        async with serving(answer, on_notice=notices.append) as backend:
            names = [f"poison {i}" for i in range(3)] + [f"prompt {i}" for i in range(others)]
            calls = (backend(ask(name)) for name in names)
            replies = await asyncio.gather(*calls, return_exceptions=True)
        for reply in replies[:3]:
            assert isinstance(reply, CallFailed), fault
            assert reply.reason in ("no_answer", "bad_request", "refused")
            assert reply.detail
        assert [r.text for r in replies[3:] if isinstance(r, Reply)] == ["fine"] * others
        assert max(asked[f"poison {i}"] for i in range(3)) <= 2 * ATTEMPTS
        assert notices == []  # the server was never away

    async with asyncio.timeout(60), asyncio.TaskGroup() as faults:
        for fault in POISON:
            faults.create_task(fails(fault))


@pytest.mark.parametrize("status", [302, 401, 402, 405, 429])
async def test_a_set_up_that_stops_to_work_in_mid_run_ends_it(status: int) -> None:
    """As a key that is revoked: then a request of our own is refused alike."""
    answered = 0

    def answer(body: Body) -> bytes:
        nonlocal answered
        answered += 1
        # what is left may be enough for a request that asks for a token, and for no other
        enough = status == 402 and body["max_tokens"] == 1
        return says("fine") if answered <= 3 or enough else error(status, "no credit")

    async with asyncio.timeout(30), serving(answer) as backend:
        for number in range(3):
            assert (await backend(ask(str(number)))).text == "fine"
        with pytest.raises(ModelUnavailable, match=str(status)):
            await backend(ask("one more"))


async def test_a_busy_server_is_waited_for_while_it_is_busy_for_a_small_request_too() -> None:
    asked: Counter[str] = Counter()

    def answer(body: Body) -> bytes:
        asked[last(body)] += 1
        busy = last(body) in ("patient", "Hello") and asked["patient"] <= ATTEMPTS + 2
        return error(429, "too many requests") if busy else says("fine")

    async with asyncio.timeout(60), serving(answer) as backend:
        patient = asyncio.create_task(backend(ask("patient")))
        while not patient.done():
            await backend(ask("another"))
            await asyncio.sleep(0.02)
        assert (await patient).text == "fine"


async def test_a_request_that_is_never_answered_is_sent_a_few_times_only() -> None:
    asked: Counter[str] = Counter()

    def answer(body: Body) -> bytes | None:
        asked[last(body)] += 1
        return b"" if last(body) == "poison" else says("fine")

    async with asyncio.timeout(60), serving(answer, timeout=0.3, patience=1) as backend:
        with pytest.raises(CallFailed, match=r"no answer within 0\.3 s"):
            await backend(ask("poison"))
        assert (await backend(ask("another"))).text == "fine"
    assert asked["poison"] <= 5


async def test_a_server_that_answers_nothing_ends_the_run_with_its_own_words() -> None:
    def answer(body: Body) -> bytes:
        return error(503, "out of memory")

    async with asyncio.timeout(60), serving(answer, patience=1) as backend:
        calls = (backend(ask(str(i))) for i in range(20))
        for failed in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(failed, ModelUnavailable)
            assert "out of memory" in str(failed)


async def test_a_server_that_hangs_is_down_also_for_a_single_call() -> None:
    async with asyncio.timeout(60), serving(lambda body: b"", timeout=0.2, patience=1) as backend:
        with pytest.raises(ModelUnavailable, match="has not answered for 1 s"):
            await backend(ask("the only one"))


async def test_an_evaluation_counts_it_as_a_null_response() -> None:
    def answer(body: Body) -> bytes:
        return error(500, "CUDA error") if "3" in last(body) else says("Tea is warm.")

    items = [Item(key=str(n), prompt=f"number {n}", data={}) for n in range(5)]
    async with asyncio.timeout(60), serving(answer) as backend:
        collected = await generate(items, backend, 1, 0.0, 16)
    assert [collected.answers[i.key] for i in items].count([None]) == 1
    assert collected.notes == ["1 calls had no usable answer and count as null responses"]


# ---- how an answer ended -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        *(
            (w, "stop")
            for w in ("stop", "STOP", "eos", "eos_token", "end_turn", "FinishReason.STOP")
        ),
        *((w, "stop") for w in (None, "", {"type": "stop", "matched": 151645}, "COMPLETE")),
        *((w, "length") for w in ("length", "LENGTH", "max_tokens", "MAX_TOKENS", "model_length")),
        *((w, "length") for w in ({"type": "length", "length": 16}, "FINISH_REASON_MAX_TOKENS")),
        *((w, "content_filter") for w in ("content_filter", "SAFETY", "RECITATION", "sensitive")),
        *((w, w) for w in ("abort", "error", "cancelled", "insufficient_system_resource")),
        *((w, w) for w in ("tool_calls", "timeout", "rate_limit", "OTHER", "something new")),
    ],
)
def test_the_end_of_an_answer_in_the_words_of_any_server(word: object, reason: str) -> None:
    assert finish_reason(word) == reason


async def test_half_an_answer_is_asked_for_again_and_then_given_up() -> None:
    asked: Counter[str] = Counter()
    notices: list[str] = []

    def answer(body: Body) -> bytes:
        asked[last(body)] += 1
        return says("half of", "abort" if last(body) == "bad" or asked["once"] == 1 else "stop")

    async with serving(answer, on_notice=notices.append) as backend:
        assert (await backend(ask("once"))).text == "half of"
        with pytest.raises(CallFailed, match="finish_reason 'abort'"):
            await backend(ask("bad"))
    assert (asked["once"], asked["bad"]) == (2, 3)
    (notice,) = notices
    assert "'abort'" in notice


async def test_half_an_answer_of_an_old_store_is_none(tmp_path: Any) -> None:
    class Old:
        namespace = "old"

        def body(self, request: Request) -> Body:
            return {"messages": [m.content for m in request.messages]}

        async def __call__(self, request: Request) -> Reply:
            return Reply("half", request.messages[0].content)

        async def close(self) -> None: ...

    async with open_store(tmp_path / "calls.sqlite") as store:
        chat = CachedChat(Old(), store)
        with pytest.raises(CallFailed, match="no_answer"):
            await chat(ask("error"))
        assert (await chat(ask("MAX_TOKENS"))).finish_reason == "length"
        assert (await chat(ask("eos_token"))).finish_reason == "stop"


# ---- fields that a server refuses --------------------------------------------------------------

SCHEMA = {"type": "object", "properties": {}, "additionalProperties": False}


def has(*names: str) -> Callable[[Body], bool]:
    return lambda body: all(name in body for name in names)


REFUSALS: dict[str, tuple[Callable[[Body], bool], bytes]] = {
    "temperature with top_p": (
        has("temperature", "top_p"),
        error(400, "`temperature` and `top_p` cannot both be specified for this model."),
    ),
    "a temperature of 0": (
        lambda body: body.get("temperature", 1) == 0,
        error(400, "temperature must be strictly positive"),
    ),
    "top_p, named apart": (
        has("top_p"),
        http(422, {"error": {"message": "Extra inputs are not permitted", "param": "top_p"}}),
    ),
    "schemas by a 500": (has("response_format"), error(500, "Failed to parse grammar")),
    "schemas by a 501": (has("response_format"), error(501, "json_schema is not implemented")),
    "schemas by a 404": (has("response_format"), error(404, "No endpoints found for this")),
    "schemas by a 429": (has("response_format"), error(429, "structured outputs: slow down")),
    "schemas by a 402": (has("response_format"), error(402, "json_schema needs another plan")),
    "schemas by a 402 without why": (has("response_format"), error(402, "upgrade")),
    "top_p by a 500 without its name": (has("top_p"), error(500, "cannot both be specified")),
    "temperature by a 501": (has("temperature"), error(501, "sampling parameters")),
    "a system message": (
        lambda body: body["messages"][0]["role"] == "system",
        error(400, "System role not supported"),
    ),
    "a system message by a 500": (
        lambda body: body["messages"][0]["role"] == "system",
        error(500, "Conversation roles must alternate user/assistant/user/assistant"),
    ),
    "schemas by a 400 without why": (has("response_format"), error(400, "Bad request")),
    "schemas by a 500 without why": (has("response_format"), error(500, "Internal error")),
    "max_tokens": (has("max_tokens"), error(400, "use max_completion_tokens")),
}


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_field_that_is_refused_is_left_out(refusal: str) -> None:
    refused, complaint = REFUSALS[refusal]
    asked: list[Body] = []

    def answer(body: Body) -> bytes:
        if last(body) != "Hello":
            asked.append(body)
        return complaint if refused(body) else says("fine")

    notices: list[str] = []
    async with asyncio.timeout(60), serving(answer, on_notice=notices.append) as backend:
        for number in range(8):
            messages = (Message("system", "Be brief."), Message("user", str(number)))
            request = Request(messages, temperature=0.0, schema=SCHEMA)
            assert (await backend(request)).text == "fine"
            assert "Be brief." in str(asked[-1]["messages"])
    assert refused(asked[-1]) is False
    assert len([body for body in asked if refused(body)]) <= 30  # in three calls
    assert len(notices) <= 1


async def test_a_bad_request_takes_no_field_from_the_others() -> None:
    """A complaint may speak of a grammar or a schema and mean the prompt."""
    bodies: list[Body] = []

    def answer(body: Body) -> bytes:
        bodies.append(body)
        return error(400, "no guided tours of grammar") if last(body) == "tour" else says("fine")

    async with serving(answer) as backend:
        await backend(ask("first", schema=SCHEMA))
        with pytest.raises(CallFailed, match="guided tours"):
            await backend(ask("tour", schema=SCHEMA))
        await backend(ask("last", schema=SCHEMA))
    assert {"response_format", "temperature", "top_p", "max_tokens"} <= bodies[-1].keys()


@pytest.mark.parametrize("code", [0, 200, "ok"])
async def test_an_error_that_says_that_there_is_none_is_none(code: object) -> None:
    choice = {"message": {"content": "fine"}, "finish_reason": "stop"}
    said = {"choices": [choice], "error": {"code": code, "message": "ok"}}
    async with serving(lambda body: http(200, said)) as backend:
        assert (await backend(ask("hello"))).text == "fine"


@pytest.mark.parametrize("text", ["word " * 20_000, "much"])
async def test_an_answer_far_beyond_its_limit_is_none(text: str, tmp_path: Path) -> None:
    choice = {"message": {"content": text}, "finish_reason": "stop"}
    said = {"choices": [choice], "usage": {"completion_tokens": 20_000}}
    path = tmp_path / "calls.sqlite"
    async with serving(lambda body: http(200, said)) as backend, open_store(path) as store:
        chat = CachedChat(backend, store)
        for _ in range(2):  # it was paid for, so it is not asked again
            with pytest.raises(CallFailed, match="too long: 100 tokens"):
                await chat(ask("hello", max_tokens=100))
        assert chat.counts[""].asked == chat.counts[""].replayed == 1
    assert path.stat().st_size < 150_000  # a new store is 100 kB


# ---- quotas ------------------------------------------------------------------------------------


async def test_a_quota_by_the_minute_is_waited_for_and_one_by_the_day_is_not() -> None:
    asked: Counter[str] = Counter()

    def answer(body: Body) -> bytes:
        asked[last(body)] += 1
        if "daily" in asked:
            return error(429, "Quota exceeded: 50 requests per day")
        if asked[last(body)] == 1:
            wait = "You exceeded your current quota. Please retry in 50ms."
            return error(
                429, "Quota exceeded: requests per minute" if "soon" in last(body) else wait
            )
        return says("fine")

    async with asyncio.timeout(30), serving(answer) as backend:
        assert (await backend(ask("soon"))).text == "fine"
        assert (await backend(ask("50 ms"))).text == "fine"
        with pytest.raises(ModelUnavailable, match=r"no credit left \(429 .*per day"):
            await backend(ask("daily"))


def test_how_long_a_server_asks_to_wait() -> None:
    assert seconds_asked_for("Please retry in 34.07s.") == 34.07
    assert seconds_asked_for("Please try again in 1m12.5s") == 72.5
    assert seconds_asked_for("try again in 20ms") == 0.02
    assert seconds_asked_for("wait 2 minutes") == 120
    assert seconds_asked_for("try again later, you sent 300 messages") is None
    assert retry_after({"Retry-After": "1s"}) == 1
    assert retry_after({"Retry-After": "nan"}) is None
    assert retry_after({"retry-after-ms": "100"}) == 0.1
    far = {"Retry-After": "Thu, 01 Jan 2020 00:00:00 +99999999999999", "Date": "Thu, 01 Jan 2020"}
    assert retry_after(far) is None


# ---- bodies that are too much ------------------------------------------------------------------


async def test_a_bomb_is_a_failed_call_and_takes_little_memory() -> None:
    bomb = gzip.compress(bytes(100 << 20))

    def answer(body: Body) -> bytes:
        packed = gzip.compress(json.dumps({"choices": [{"message": {"content": "ok"}}]}).encode())
        poison = last(body) == "bomb"
        return http(200, bomb if poison else packed, "Content-Encoding: gzip")

    async with asyncio.timeout(120), serving(answer, timeout=30) as backend:
        assert (await backend(ask("good"))).text == "ok"
        tracemalloc.start()
        status = await backend._probe(backend.urls[0])
        assert status == ""
        with pytest.raises(Exception, match="more than 64 MB"):
            await backend._post(backend.urls[0], 0, backend.body(ask("bomb")), None)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert most < 100 << 20


async def test_a_stream_without_a_line_end_is_read_in_linear_time() -> None:
    line = b"data: " + b"x" * (12 << 20)
    begun = time.process_time()

    def answer(body: Body) -> bytes:
        if body.get("stream"):
            return http(200, line, "Content-Type: text/event-stream")
        return says("fine")

    prompt = "a long prompt, whose first call is streamed where others wait. " * 8
    async with serving(answer) as backend:
        calls = (backend(ask(prompt, index=i)) for i in range(2))
        assert [r.text for r in await asyncio.gather(*calls)] == ["fine", "fine"]
    assert time.process_time() - begun < 3


# ---- where a key and the prompts go ------------------------------------------------------------


def test_a_password_in_a_url_is_refused_and_not_printed() -> None:
    for url in ("http://bob:hunter2@host/v1", "bob:hunter2@host/v1", "https://bob@host"):
        with pytest.raises(UsageError, match="--api-key-env") as refused:
            checked_url(url)
        assert "hunter2" not in str(refused.value)
    assert checked_url("https://host/accounts/@cf/v1") == "https://host/accounts/@cf/v1"
    with pytest.raises(UsageError, match="base URL"):
        checked_url("http://host:port/v1")


@pytest.mark.parametrize(
    "answer",
    [
        http(307, b"", "Location: http://127.0.0.1:9/elsewhere"),
        http(200, b"[]"),
        http(200, {}),
        http(200, b"[" * 100_000),
    ],
)
async def test_a_batch_is_sent_nowhere_else_and_an_answer_without_an_id_is_said(
    answer: bytes,
) -> None:
    async with serving(lambda body: answer) as backend:
        port = backend.urls[0].rpartition(":")[2]
        async with BatchServer(f"http://127.0.0.1:{port}", "sk-no") as batches:
            with pytest.raises(ModelUnavailable, match=r"redirect|no id"):
                await batches.submit(b'{"custom_id": "a-0"}\n')
