"""What a user sees of a run at work: from the first second, and before any call has ended."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import re
import shutil
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from autoif.base.errors import ModelUnavailable
from autoif.base.records import Message, Request, Usage
from autoif.models.activity import Activity, activity_of, together
from autoif.models.budget import Budget, BudgetGuard
from autoif.models.cached import CallCounts
from autoif.models.openai.backend import HttpBackend
from autoif.models.openvino.backend import LocalBackend
from autoif.models.openvino.token_meter import TokenMeter
from autoif.models.scripted import ScriptedBackend
from autoif.report import terminal
from autoif.report.pace import Pace, Rate, TimeLeft, in_words
from autoif.run.progress import Progress
from autoif.run.recipe import Recipe
from runs import command

ENGINE = Path(__file__).with_name("slow_engine.py")


def ask(text: str, tokens: int = 5) -> Request:
    return Request((Message("user", text),), max_tokens=tokens)


class BusyBackend(ScriptedBackend):
    """Says what it is told to be doing."""

    activity: Activity | None = None


def at_work(instructions: int = 10, **settings: object) -> tuple[Progress, BusyBackend]:
    settings.setdefault("compose", {"levels": 1, "turns": 1})
    progress, model = Progress(Recipe.load("smoke", None, settings)), BusyBackend(lambda r: "")
    progress.instructions, progress.phase = instructions, "synthesis"
    progress.models["m"] = model
    progress.counts["m"] = {"stage": CallCounts()}
    return progress, model


def test_progress_tells_what_each_model_is_at() -> None:
    progress, model = at_work()
    assert progress.by_model() == {"m": {"tokens": 0, "running": None, "waiting": None}}
    progress.counts["m"] = {"stage": CallCounts(usage=Usage(completion=30))}
    model.activity = Activity(generated=42, running=3, waiting=2)
    assert progress.by_model() == {"m": {"tokens": 42, "running": 3, "waiting": 2}}
    guard = BudgetGuard({}, Budget.parse("2ktok"), spent=500.0)
    assert (guard.left(), BudgetGuard({}).left()) == ("1,500.00 tok", None)


@contextlib.contextmanager
def watched(progress: Progress) -> Iterator[Callable[[float], str]]:
    """What the watch says at a second of the run."""
    watch = terminal.Watch(Console(file=StringIO()), progress, quiet=False)
    clock = pytest.MonkeyPatch()

    def line(second: float) -> str:
        clock.setattr(time, "monotonic", lambda: progress.started + second)
        return str(watch._line())

    try:
        yield line
    finally:
        clock.undo()


# ---- the line ----------------------------------------------------------------------------------


def test_each_phase_of_a_start_is_named() -> None:
    progress, model = at_work(0)
    progress.phase = "instructions"
    with watched(progress) as line:
        assert line(1) == "instructions | 1 s"
        model.activity = Activity("downloading", 0.42)
        assert line(2) == "instructions | downloading the model: 42% | 2 s"
        model.activity = Activity("preparing")
        assert line(3) == (
            "instructions | preparing the model for this machine, once: about half a minute | 3 s"
        )
        model.activity = Activity("loading")
        assert line(4) == "instructions | loading the model | 4 s"


def test_tokens_are_seen_before_any_call_has_ended() -> None:
    progress, model = at_work()
    with watched(progress) as line:
        model.activity = Activity(running=3, reading=3, waiting=9)
        assert line(0) == (
            "synthesis: 0/10 instructions, 0 verified, 0 samples | "
            "3 under way, 9 waiting, reading prompts | 0 s"
        )
        model.activity = Activity(prefilled=256, running=3, reading=3, waiting=9)
        assert "| 3 under way, 9 waiting, reading prompts at 43 tokens/s | 6 s" in line(6)
        model.activity = Activity(generated=96, prefilled=300, running=3, waiting=9)
        assert "| 3 under way, 9 waiting, 12 tokens/s | 8 s" in line(8)
        model.activity = Activity(generated=100, prefilled=350, running=3, reading=1, waiting=9)
        assert "12 tokens/s, reading prompts at 41 tokens/s |" in line(8.5)
        assert "calls" not in line(9)


def test_the_rate_is_that_of_the_last_seconds() -> None:
    rate = Rate()
    seen = [
        rate.at(second, min(second, 60) * 40 + max(0, second - 60) * 10) for second in range(80)
    ]
    assert seen[0] == 0
    assert {round(x) for x in seen[1:61]} == {40}
    assert 10 < seen[65] < 40
    assert seen[75] == pytest.approx(10)
    assert rate.at(105, 2590) == pytest.approx(10)
    assert rate.at(200, 2590) == 0
    # It does not sink within a step, though a step may take longer than a rate is measured over.
    steps = Rate()
    assert {round(steps.at(s, s // 20 * 256), 1) for s in range(200)} == {0, 12.8}


def test_answered_tokens_count_where_a_model_counts_none_itself() -> None:
    progress, model = at_work()
    progress.counts["m"] = {"stage": CallCounts(asked=2, usage=Usage(10, 0, 70))}
    assert progress.generated() == 70
    model.activity = Activity(generated=200, running=1)
    assert progress.generated() == 200


def test_several_models_are_one_activity() -> None:
    working = Activity(generated=5, running=2, waiting=1)
    assert together([None, None]) is None
    assert together([working, Activity("loading"), None]) == Activity(
        "loading", generated=5, running=2, waiting=1
    )


async def test_a_servers_calls_are_counted_too() -> None:
    backend = HttpBackend("m", ["http://127.0.0.1:1/v1"])
    assert activity_of(backend) == Activity()
    assert activity_of(ScriptedBackend(lambda r: "")) is None
    await backend.close()


@pytest.mark.parametrize("tty", [False, True], ids=["plain", "terminal"])
async def test_the_first_sight_comes_at_once(tty: bool) -> None:
    progress, model = at_work()
    model.activity = Activity("loading")
    out = StringIO()
    console = Console(file=out, width=150, force_terminal=tty)
    async with terminal.Watch(console, progress, quiet=False):
        await asyncio.sleep(1.5)
        assert "loading the model" in out.getvalue()
    quiet = StringIO()
    async with terminal.Watch(Console(file=quiet), progress, quiet=True):
        await asyncio.sleep(1.5)
    assert not quiet.getvalue()


# ---- the time left -----------------------------------------------------------------------------


def test_what_is_left_follows_the_pace_of_the_later_half() -> None:
    pace = Pace()
    assert pace.left(0, 0, 100) is None
    assert pace.left(10, 0, 100) is None
    assert pace.left(20, 10, 100) == pytest.approx(180)
    slow = [pace.left(s, 10 + (s - 20) / 10, 100) for s in range(21, 300)]
    assert slow[-1] == pytest.approx((90 - 27.9) * 10, rel=0.02)
    assert pace.left(400, 100, 100) is None


def test_time_left_is_never_absent_once_it_was_there() -> None:
    """Also where no unit ends for long; and never 0."""
    progress, _ = at_work()
    progress.counts["m"] = {"stage": CallCounts(asked=1)}
    left = TimeLeft()
    for second in range(1000):
        if second in (100, 400):
            progress.done += 1
        seconds = left.at(second, progress)
        assert (seconds is None) == (second < 100)
        assert seconds is None or seconds > 60
    progress.done = 10
    assert left.at(1001, progress) is None


def test_before_the_first_unit_it_is_told_from_tokens() -> None:
    progress, model = at_work()
    progress.expected_tokens = 6000
    with watched(progress) as line:
        model.activity = Activity("downloading", 0.5)
        assert all("left" not in line(second) for second in range(500))
        for second in range(500, 520):
            model.activity = Activity(generated=(second - 500) * 10, running=4)
            last = line(second)
        assert last.endswith("| 519 s, about 10 min left")
        model.activity = Activity(generated=5900, running=4)
        assert "less than a minute left" in line(600)
        model.activity = Activity(generated=7000, running=4)
        assert "left" not in line(601)  # it was too low a guess


def test_a_sized_run_says_its_plan_until_it_has_a_pace() -> None:
    """It begins with prompts to be read, when a token a minute would promise hours."""
    progress, model = at_work()
    progress.expected_tokens, progress.expected_seconds = 10_000, 1200.0
    left = TimeLeft()
    model.activity = Activity(generated=0, running=4)
    assert left.at(0, progress) == pytest.approx(1200)
    model.activity = Activity(generated=100, running=4)
    assert left.at(90, progress) == pytest.approx(1110)
    model.activity = Activity(generated=5000, running=4)
    assert left.at(400, progress) == pytest.approx(316, abs=1)  # 4,900 tokens in 310 s


def test_what_was_there_from_the_start_makes_no_pace() -> None:
    """A run that goes on after a stop: half is through in a second, then none for long."""
    progress, _ = at_work()
    left = TimeLeft()
    left.at(0, progress)
    progress.done = 5
    assert left.at(1, progress) is None
    progress.counts["m"] = {"stage": CallCounts(asked=1)}
    assert left.at(30, progress) is None
    progress.done = 6
    assert left.at(130, progress) == pytest.approx(516)


def test_compositions_are_work_too_before_they_are_drawn() -> None:
    progress, _ = at_work(compose={"levels": 3, "turns": 2, "per_level": 10})
    assert progress.units() == (0, 50)
    progress.done, progress.phase, progress.compositions = 10, "composition", 12
    assert progress.units() == (20, 32)


def test_a_target_ends_the_run() -> None:
    progress, _ = at_work(1000, target=10)
    progress.counts["m"] = {"stage": CallCounts(asked=1)}
    left = TimeLeft()
    left.at(0, progress)
    progress.funnel.counts["samples"].entered = progress.funnel.counts["samples"].kept = 5
    progress.done = 2
    assert left.at(100, progress) == pytest.approx(100)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "less than a minute left"),
        (59.9, "less than a minute left"),
        (60, "about 1 min left"),
        (725, "about 12 min left"),
        (9000, "about 2.5 hours left"),
    ],
)
def test_time_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


# ---- the worker --------------------------------------------------------------------------------


def test_the_meter_is_right_at_each_end() -> None:
    meter = TokenMeter(batch=100)
    meter.begin(1, 150)
    meter.begin(2, 30)
    meter.stepped()
    assert (meter.prefilled, meter.generated, meter.reading) == (100, 0, 2)
    meter.stepped()
    meter.first(1)
    meter.first(2)
    assert (meter.prefilled, meter.generated) == (180, 2)
    meter.stepped()
    meter.first(1)
    assert meter.generated == 4
    meter.end(1, 5)  # it was ahead of what was reckoned
    assert meter.generated == 7
    meter.end(2)
    meter.end(2)
    meter.stepped()
    assert (meter.prefilled, meter.generated) == (180, 7)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in engine, for this process and the worker's; and a file of weights."""
    (tmp_path / "engine").mkdir()
    shutil.copy(ENGINE, tmp_path / "engine/openvino_genai.py")
    monkeypatch.syspath_prepend(tmp_path / "engine")
    paths = [tmp_path / "engine", Path(terminal.__file__).parents[2]]
    monkeypatch.setenv("PYTHONPATH", ":".join(map(str, paths)))
    monkeypatch.setenv("AUTOIF_CACHE", str(tmp_path / "cache"))
    weights = tmp_path / "tiny.gguf"
    weights.write_bytes(b"GGUF" + bytes(100))
    return weights


@pytest.fixture
async def local(engine: Path) -> AsyncIterator[LocalBackend]:
    backend = LocalBackend(str(engine), cache_tokens=4096, in_flight=4)
    yield backend
    await backend.close()
    assert backend.activity is None


async def until(backend: LocalBackend, true: Callable[[Activity], bool]) -> Activity:
    for _ in range(2000):
        if backend.activity is not None and true(backend.activity):
            return backend.activity
        await asyncio.sleep(0.01)
    pytest.fail(f"it stays {backend.activity}")


def in_phase(name: str) -> Callable[[Activity], bool]:
    return lambda activity: activity.phase == name


async def test_the_worker_says_what_it_is_generating(
    local: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLOW_LOAD", "0.5")
    monkeypatch.setenv("SLOW_STEP", "0.1")
    assert local.activity is None
    calls = [asyncio.create_task(local(ask(f"{n} " * 16, 30))) for n in range(6)]
    for phase in ("loading", "preparing", "loading", "ready"):
        await until(local, in_phase(phase))
    reading = await until(local, lambda a: a.running > 0)
    assert (reading.generated, reading.reading) == (0, reading.running)
    busy = await until(local, lambda a: a.generated > 0)
    assert (busy.running, busy.waiting) == (4, 2)
    assert busy.prefilled > 0
    assert not any(call.done() for call in calls)  # nothing has ended yet
    replies = await asyncio.gather(*calls)
    idle = await until(local, lambda a: a.running == 0)
    assert idle.generated == sum(r.usage.completion for r in replies) == 180
    assert idle.prefilled == 6 * 16


async def test_cancelled_calls_are_not_shown(local: LocalBackend) -> None:
    call = asyncio.create_task(local(ask("hi", 100_000 // 16)))
    await until(local, lambda a: a.running == 1)
    call.cancel()
    await until(local, lambda a: a.running == 0 and a.waiting == 0)


# ---- Ctrl-C ------------------------------------------------------------------------------------


async def test_a_step_and_a_load_are_not_waited_for(
    local: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLOW_LOAD", "100")
    call = asyncio.create_task(local(ask("hi")))
    await until(local, in_phase("preparing"))
    before = time.monotonic()
    await local.close()
    with pytest.raises(ModelUnavailable, match="closed"):
        await call
    assert time.monotonic() - before < 3


class SilentHub(http.server.BaseHTTPRequestHandler):
    """Takes a request and comes to no answer, but sends enough not to time out."""

    over = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.flush_headers()
        with contextlib.suppress(ConnectionError):
            while not self.over.wait(2):
                self.wfile.write(b"X-More: to come\r\n")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def silent_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    SilentHub.over.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), SilentHub) as hub:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.server_address[1]}")
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        serving = threading.Thread(target=hub.serve_forever, args=(0.02,))
        serving.start()
        yield
        SilentHub.over.set()
        hub.shutdown()
        serving.join()


def test_ctrl_c_does_not_wait_for_a_hub_that_is_silent(
    engine: Path, silent_hub: None, tmp_path: Path
) -> None:
    """The whole command: 5 seconds for calls in flight, and little more."""
    process = command("synth", "--preset", "smoke", "--model", "local:smollm2-135m-instruct",
                      "--out", tmp_path / "run", env={"PIP_NO_INDEX": "1"})  # fmt: skip
    assert process.stderr is not None
    with process, contextlib.ExitStack() as stack:
        stack.callback(process.kill)  # where it does not end by itself
        started = time.monotonic()
        first = process.stderr.readline()
        assert time.monotonic() - started < 10  # two seconds on a machine that is not busy
        assert re.match(r"(starting|instructions)( \| downloading the model: 0%)? \| \d s$", first)
        while "downloading the model: 0%" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        before = time.monotonic()
        _, err = process.communicate(timeout=30)
    assert time.monotonic() - before < 8, err
    assert err.splitlines()[-1].startswith("autoif: stopped; 0 samples so far"), err
    assert "Traceback" not in err


def test_status_says_how_many_verified_responses_say_nothing() -> None:
    dropped = {"empty": 1, "low_score": 46, "repetition": 3}
    judged = {"name": "judge", "in": 200, "kept": 150, "dropped": dropped}
    said = "hack rate: 2.0% of the verified responses say nothing (empty 1, repetition 3)"
    assert terminal.hack_rate({"stages": [judged]}) == said
    assert terminal.hack_rate({"stages": [{**judged, "dropped": {"low_score": 46}}]}) == ""
