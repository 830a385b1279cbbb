"""Killed at any moment and started again, a run makes what an undisturbed one makes, and pays for
nothing twice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from autoif.store import open_store
from autoif.store.base import StoredCall
from runs import SMOKE, artefacts, autoif, command, report, rows, write_rows
from server import Server

IN_FLIGHT = 24  # calls, at most


def synth(out: Path, *more: object) -> tuple[object, ...]:
    return ("synth", "--preset", "smoke", "--out", out, "--quiet", *more)


def committed(out: Path) -> set[str]:
    """The answered calls in the store, as the server's log names them."""
    path = out / "calls.sqlite"

    async def names() -> set[str]:
        async with open_store(path, read_only=True) as store:
            calls = [row async for row in store.contents(print) if isinstance(row, StoredCall)]
        return {f"{call.body['messages'][-1]['content']}#{call.index}" for call in calls}

    return asyncio.run(names()) if path.exists() else set()


def kill(process: subprocess.Popen[str]) -> None:
    """kill -9, and what it had started has to end by itself."""
    process.kill()
    process.communicate()
    until = time.monotonic() + 10
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < until:
            os.killpg(process.pid, 0)
            time.sleep(0.02)
        pytest.fail("something that the run had started outlived it")


EVERY_FAULT: dict[str, Any] = {
    "busy": 0.1, "error": 0.1, "reset": 0.1, "hang": 0.01, "drip": 0.1, "truncate": 0.1,
    "cut": 0.1, "html": 0.1, "content_type": 0.1, "duplicate": 0.1,
}  # fmt: skip


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("kills", "faults"),
    [
        (3, {}),
        pytest.param(24, {}, marks=pytest.mark.slow),
        pytest.param(50, EVERY_FAULT, marks=pytest.mark.slow),
    ],
)
def test_kill_9_loses_nothing_and_pays_nothing_twice(
    kills: int, faults: dict[str, Any], smoke: Path, tmp_path: Path
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    rng = random.Random(seed)
    out = tmp_path / "run"
    with Server(SMOKE, latency=0.02, spread=1.0, slots=IN_FLIGHT, full_is_busy=False) as server:
        args = synth(
            out, "--model", "openai:scripted", "--base-url", server.url,
            "--set", "engine.shard_size=1",
        )  # fmt: skip
        if faults:
            args += ("--set", "models.timeout=2")
        server.chaos(latency=0.02, spread=1.0, slots=IN_FLIGHT, full_is_busy=False, **faults)
        paid: dict[str, int] = {}
        done = 0
        for _ in range(kills):
            more = rng.randint(1, 2 * 110 // kills)
            process = command(*args)
            before = server.stats()["answered"]
            while process.poll() is None and server.stats()["answered"] < before + more:
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.05))
            done += process.poll() is not None
            kill(process)
            for name in committed(out):
                paid.setdefault(name, server.stats()["asked"][name])
        last = autoif(*args)
        assert last.code == 0, last.err
        asked = server.stats()["asked"]
    assert artefacts(out, card=False) == artefacts(smoke, card=False)
    assert {name: asked[name] for name in paid} == paid  # what was committed was not asked again
    if not faults:  # else what came broken was asked for again, as it should be
        # at each kill: what the server is at, and what it has answered that is not yet on disk
        assert sum(n - 1 for n in asked.values()) <= kills * 2 * IN_FLIGHT
    assert done < kills, "the kills came too late to mean anything"
    assert len(asked) == len(committed(out)) == report(smoke)["calls"]["asked"]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kills", [2, pytest.param(12, marks=pytest.mark.slow)])
def test_kill_9_while_files_are_written(
    kills: int, smoke: Path, smoke_copy: Path, tmp_path: Path
) -> None:
    """All answers are there: every kill strikes the sandbox, the shards or the merge."""
    out = tmp_path / "run"
    store = ("--calls", smoke_copy / "calls.sqlite", "--set", "engine.shard_size=1")
    rng = random.Random(kills)
    for _ in range(kills):
        process = command(*synth(out, *store))
        parts, had = out / "parts", len(list((out / "parts").glob("*")))
        wanted = had + rng.randint(0, 3)
        while process.poll() is None and len(list(parts.glob("*"))) < wanted:
            time.sleep(0.001)
        kill(process)
    last = autoif(*synth(out, *store), "--json")
    assert last.code == 0, last.err
    assert report(out)["calls"]["asked"] == 0
    assert artefacts(out) == artefacts(smoke)
    assert not list(out.glob("*.tmp"))


# ---- Ctrl-C ------------------------------------------------------------------------------------


def slowly(path: Path, milliseconds: int) -> Path:
    return write_rows(path, [{"latency_ms": milliseconds}, *rows(SMOKE)])


def interrupted(process: subprocess.Popen[str], out: Path, instructions: int = 1) -> None:
    """Ctrl-C once something has been committed."""
    while process.poll() is None:
        parts = list((out / "parts").glob("*-*"))
        if sum(not p.name.endswith(".open") for p in parts) >= instructions:
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)


def test_ctrl_c_once_writes_what_there_is_and_says_how_to_go_on(
    smoke: Path, tmp_path: Path
) -> None:
    script = slowly(tmp_path / "script.jsonl", 20)
    out = tmp_path / "run"
    more = ("--model", f"scripted:{script}", "--set", "engine.shard_size=1",
            "--set", "engine.in_flight=2")  # fmt: skip
    process = command(*synth(out, *more))
    interrupted(process, out)
    said, err = process.communicate(timeout=30)
    assert process.returncode == 1, (said, err)
    last = err.splitlines()[-1]
    assert last.startswith("autoif: stopped;")
    assert f"Run again: autoif synth --preset smoke --out {out}" in last
    assert "Traceback" not in err
    found = report(out)
    assert found["state"] == "stopped"
    assert found["instructions"]["done"] >= 1
    assert rows(out / "02-verifiers.jsonl") or rows(out / "02-verifiers.dropped.jsonl")
    assert (out / "data/sft.jsonl").exists()
    asked = found["calls"]["asked"]

    assert autoif(*synth(out, *more)).code == 0
    assert artefacts(out, card=False) == artefacts(smoke, card=False)
    assert report(out)["state"] == "done"
    assert report(out)["calls"]["asked"] + asked == report(smoke)["calls"]["asked"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ctrl_c_twice_stops_at_once(tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "run"
    with Server(SMOKE, dead_after=20) as server:
        process = command(*synth(out, "--model", "openai:scripted", "--base-url", server.url))
        while len(committed(out)) < 20:
            time.sleep(0.05)
        process.send_signal(number)
        with pytest.raises(subprocess.TimeoutExpired):  # what is in flight is waited for
            process.wait(0.7)
        process.send_signal(number)
        before = time.monotonic()
        _, err = process.communicate(timeout=10)
        assert time.monotonic() - before < 5
    assert process.returncode == 1
    assert "stopped at once" in err.splitlines()[-1]
    assert "Traceback" not in err
    assert len(committed(out)) == 20


def test_a_run_whose_server_hangs_stops_within_seconds_with_what_there_is(
    tmp_path: Path,
) -> None:
    out = tmp_path / "run"
    with Server(SMOKE, dead_after=20) as server:
        process = command(*synth(out, "--model", "openai:scripted", "--base-url", server.url))
        while len(committed(out)) < 20:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=10)
    assert process.returncode == 1
    assert err.splitlines()[-1].startswith("autoif: stopped; 0 samples so far")
    assert "Traceback" not in err
    assert report(out)["state"] == "stopped"
    assert len(committed(out)) == 20
