"""The embedded model as a run meets it. What needs real weights is marked `model`."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from autoif.base.errors import CallFailed, ModelUnavailable
from autoif.base.records import Message, Reply, Request
from autoif.models import weights as models
from autoif.models.openvino.backend import LocalBackend, default_cache_tokens

pytestmark = pytest.mark.timeout(300)  # a model on a busy machine
pytest.importorskip("openvino_genai", reason='needs `pip install "autoif[local]"`')

SMALL = "smollm2-135m-instruct"
PLANET = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "moons": {"type": "integer"}},
    "required": ["name", "moons"],
    "additionalProperties": False,
}


def ask(text: str, **options: Any) -> Request:
    return Request((Message("user", text),), **options)


# ---- without weights -----------------------------------------------------------------------------


@pytest.fixture
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOIF_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))


@pytest.mark.parametrize("name", ["nonsense", "qwen2.5-coder-0.5b-instruct"])
def test_a_name_it_cannot_run_is_refused_at_once(name: str) -> None:
    with pytest.raises(ModelUnavailable, match=name):
        LocalBackend(name)


def test_the_body_is_all_that_decides_the_answer() -> None:
    backend = LocalBackend(SMALL)
    one = ask("hi", temperature=0.5, max_tokens=9, stop=("x",), schema=PLANET)
    assert json.loads(json.dumps(backend.body(one))) == {
        "model": SMALL,
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.5,
        "top_p": 1.0,
        "max_tokens": 9,
        "stop": ["x"],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": PLANET},
        },
    }
    assert backend.body(ask("hi", index=3, stage="s", record="r")) == backend.body(ask("hi"))
    assert SMALL in backend.namespace
    assert models.WEIGHTS[SMALL].sha256[:16] in backend.namespace


async def test_every_caller_hears_that_the_weights_cannot_be_had(no_weights: None) -> None:
    backend = LocalBackend(SMALL)
    answers = await asyncio.gather(*(backend(ask(t)) for t in "abc"), return_exceptions=True)
    assert [type(a) for a in answers] == [ModelUnavailable] * 3
    assert "cannot download" in str(answers[0])
    await backend.close()


class EndlessHub(http.server.BaseHTTPRequestHandler):
    """Sends what is asked for slowly; nobody here waits for the end."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            while True:
                self.wfile.write(bytes(1 << 20))
                time.sleep(0.01)

    def log_message(self, format: str, *args: object) -> None:
        pass


async def test_a_download_is_heard_of_and_can_be_broken_off(
    no_weights: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), EndlessHub) as hub:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.server_address[1]}")
        serving = asyncio.create_task(asyncio.to_thread(hub.serve_forever, 0.02))
        notices: asyncio.Queue[str] = asyncio.Queue()
        backend = LocalBackend(SMALL, on_notice=notices.put_nowait)
        loading = asyncio.create_task(backend.load())
        heard = [await notices.get(), await notices.get()]
        await backend.close()
        with pytest.raises(ModelUnavailable, match="closed"):
            await loading
        hub.shutdown()
        await serving
    assert heard == [f"downloading {SMALL}: {n}0% of 0.10 GB" for n in (1, 2)]


async def test_closing_what_never_started_is_quiet() -> None:
    backend = LocalBackend(SMALL)
    await backend.close()
    await backend.close()
    with pytest.raises(ModelUnavailable, match="closed"):
        await backend(ask("hi"))


def test_a_worker_that_cannot_load_says_why_in_one_line(tmp_path: Path) -> None:
    gguf = tmp_path / "broken.gguf"
    gguf.write_bytes(b"GGUF" + bytes(100))
    settings = {"gguf": str(gguf), "threads": 1, "cache_tokens": 64, "in_flight": 1, "context": 64}
    command = [sys.executable, "-m", "autoif.models.openvino.generator", json.dumps(settings)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as worker:
        assert worker.stdout is not None
        messages = [json.loads(line) for line in worker.stdout]
    assert worker.returncode == 1
    assert messages[-1]["fatal"].startswith("the embedded model failed: ")


def test_the_cache_is_bounded() -> None:
    assert 16_384 <= default_cache_tokens() <= 131_072


# ---- with weights --------------------------------------------------------------------------------


@pytest.fixture
async def backend() -> AsyncIterator[LocalBackend]:
    local = LocalBackend(SMALL, cache_tokens=16_384)
    await local.load()
    yield local
    await local.close()


@pytest.mark.model
async def test_it_answers(backend: LocalBackend) -> None:
    reply = await backend(ask("What is the capital of France?", max_tokens=40))
    assert "Paris" in reply.text
    assert reply.finish_reason == "stop"
    assert reply.usage.prompt > 20
    assert 0 < reply.usage.completion <= 40


@pytest.mark.model
async def test_a_schema_is_kept_to(backend: LocalBackend) -> None:
    requests = [
        ask("Name a planet and its moons.", max_tokens=64, schema=PLANET, temperature=1.0, index=i)
        for i in range(8)
    ]
    for reply in await asyncio.gather(*map(backend, requests)):
        if reply.finish_reason == "stop":
            answer = json.loads(reply.text)
            assert list(answer) == ["name", "moons"]
            assert type(answer["moons"]) is int


@pytest.mark.model
async def test_stop_and_length(backend: LocalBackend) -> None:
    story = "Tell me a long story about a river."
    cut, stopped = await asyncio.gather(
        backend(ask(story, max_tokens=5)),
        backend(ask(story, max_tokens=200, stop=(".",))),
    )
    assert (cut.finish_reason, cut.usage.completion) == ("length", 5)
    assert stopped.finish_reason == "stop"
    assert "." not in stopped.text


@pytest.mark.model
async def test_samples_differ_and_the_second_is_primed(backend: LocalBackend) -> None:
    requests = [
        ask("Write one sentence. " + "Be brief. " * 20, temperature=1.0, max_tokens=30, index=i)
        for i in range(6)
    ]
    replies = await asyncio.gather(*map(backend, requests))
    assert len({r.text for r in replies}) > 1
    assert sum(r.usage.cached == 0 for r in replies) == 1


@pytest.mark.model
@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (ask("word " * 9000, max_tokens=5), "length"),
        (ask("hi", max_tokens=9000), "length"),
        (ask("hi", max_tokens=5, schema={"type": "nonsense"}), "bad_request"),
        (ask("hi", max_tokens=0), "bad_request"),
        (ask("hi", max_tokens=5, temperature=1.0, top_p=7.0), "bad_request"),
    ],
    ids=["prompt", "answer", "schema", "no-tokens", "top_p"],
)
async def test_a_bad_request_fails_alone(
    backend: LocalBackend, request_: Request, reason: str
) -> None:
    good, bad = await asyncio.gather(
        backend(ask("hi", max_tokens=5)), backend(request_), return_exceptions=True
    )
    assert isinstance(good, Reply)
    assert isinstance(bad, CallFailed)
    assert bad.reason == reason


@pytest.mark.model
@pytest.mark.parametrize("text", ["", "a\0b", "lone \ud800", "<|im_end|>", "你好" * 50, "🙂\r\n\t"])
async def test_any_text_is_taken(backend: LocalBackend, text: str) -> None:
    assert isinstance(await backend(ask(text, max_tokens=4)), Reply)


@pytest.mark.model
async def test_more_than_the_cache_holds_is_answered_all_the_same() -> None:
    local = LocalBackend(SMALL, cache_tokens=1024)
    requests = [
        ask(f"Tell story {i}.", max_tokens=200, temperature=1.0, index=i) for i in range(16)
    ]
    replies = await asyncio.gather(*map(local, requests))
    assert all(r.text for r in replies)
    with pytest.raises(CallFailed, match="length"):
        await local(ask("word " * 1500, max_tokens=5))
    await local.close()


@pytest.mark.model
async def test_the_event_loop_stays_free(backend: LocalBackend) -> None:
    """While it works, others get their turn; the watchdog of the sandbox is one of them."""
    work = asyncio.gather(
        *(backend(ask("Tell me a story.", max_tokens=100, index=i)) for i in range(32))
    )
    longest, last = 0.0, time.monotonic()
    while not work.done():
        await asyncio.sleep(0.005)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
    await work
    assert longest < 0.25


@pytest.mark.model
async def test_cancelled_calls_make_room(backend: LocalBackend) -> None:
    tasks = [
        asyncio.create_task(backend(ask("Tell me a story.", max_tokens=4000, index=i)))
        for i in range(100)
    ]
    await asyncio.sleep(1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    started = time.monotonic()
    await backend(ask("hi", max_tokens=3))
    assert time.monotonic() - started < 10


@pytest.mark.model
async def test_a_worker_that_is_killed_reaches_every_caller(backend: LocalBackend) -> None:
    calls = [
        asyncio.create_task(backend(ask("Tell me a story.", max_tokens=4000, index=i)))
        for i in range(60)
    ]
    await asyncio.sleep(0.5)
    assert backend._worker is not None
    os.kill(backend._worker.pid, signal.SIGKILL)
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert {str(e) for e in ends if isinstance(e, ModelUnavailable)} == {
        "the embedded model was killed; most often the machine ran out of memory"
    }
    assert len(ends) == 60
    with pytest.raises(ModelUnavailable, match="killed"):
        await backend(ask("hi"))


@pytest.mark.model
async def test_closing_ends_the_calls_under_way(backend: LocalBackend) -> None:
    call = asyncio.create_task(backend(ask("Tell me a story.", max_tokens=4000)))
    await asyncio.sleep(0.3)
    await backend.close()
    with pytest.raises(ModelUnavailable, match="closed"):
        await call


@pytest.mark.model
async def test_a_damaged_prepared_copy_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = models.fetch(SMALL)
    shutil.copy2(source, tmp_path)
    shutil.copy2(source.with_name(source.name + ".sha256"), tmp_path)
    monkeypatch.setenv("AUTOIF_CACHE", str(tmp_path))
    for expected in ("preparing", "as it is", "preparing"):
        notices: list[str] = []
        local = LocalBackend(SMALL, on_notice=notices.append, cache_tokens=1024)
        assert (await local(ask("hi", max_tokens=3))).text
        await local.close()
        assert any(expected in line for line in notices)
        for model in tmp_path.glob("*-openvino-*/openvino_model.bin"):
            model.write_bytes(model.read_bytes()[:1000])


@pytest.mark.model
@pytest.mark.parametrize("how", ["exit", "interrupt", "kill"])
def test_no_process_is_left_behind(how: str, tmp_path: Path) -> None:
    """A run that ends without closing, by Ctrl-C or by kill -9, takes its worker with it."""
    script = f"""
        import asyncio
        from autoif.models.openvino.backend import LocalBackend
        from autoif.base.records import Message, Request
        async def main():
            backend = LocalBackend({SMALL!r})
            await backend.load()
            print(backend._worker.pid, flush=True)
            if {how!r} != "exit":
                request = Request((Message("user", "Tell me a story."),), max_tokens=8000)
                await asyncio.gather(*(backend(request) for _ in range(8)))
        asyncio.run(main())
    """
    run = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert run.stdout is not None
    with run:
        worker = int(run.stdout.readline())
        if how == "interrupt":
            time.sleep(0.5)
            os.killpg(run.pid, signal.SIGINT)
        if how == "kill":
            run.kill()
        assert run.wait(10) is not None
    with contextlib.suppress(ProcessLookupError):
        for _ in range(100):
            os.kill(worker, 0)
            time.sleep(0.1)
        pytest.fail("the worker outlived the run")
