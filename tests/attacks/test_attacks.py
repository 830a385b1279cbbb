"""Each hostile function between two good neighbours: the neighbours' verdicts stay bit-identical,
the pool goes on serving, nothing is left behind, and it ends in time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from autoif.base.errors import SandboxUnavailable
from autoif.base.records import Outcome, Status
from autoif.sandbox import Limits, Sandbox

from .corpus import ATTACKS, Attack
from .corpus.loops import THROUGH_PROFILES
from .scene import BESIDE, LIMITS, Scene, descendants


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    try:
        with Scene(tmp_path_factory.mktemp("scene")) as scene:
            yield scene
            assert scene.leftovers() == []
    except SandboxUnavailable as missing:
        pytest.skip(f"no sandbox here: {missing}")


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_held(scene: Scene, attack: Attack) -> None:
    trial = scene.trial(attack)
    assert trial.breaches == [], (trial.verdicts, trial.details)


def test_corpus_covers_every_family() -> None:
    names = [attack.name for attack in ATTACKS]
    assert len(names) == len(set(names)) >= 120
    assert {attack.family for attack in ATTACKS} >= {
        "loop", "compile", "recursion", "memory", "bomb", "spawn", "kill", "signal", "file", "net",
        "syscall", "native", "stdio", "exit", "evil", "forge", "patch", "trick", "graph", "import",
        "residue", "theft", "transform",
    }  # fmt: skip


def test_no_profile_begins_a_new_total_limit() -> None:
    source, texts = THROUGH_PROFILES.source, ["x", "y"]
    with Sandbox(workers=1, limits=Limits(wall_seconds=9, total_seconds=1)) as sandbox:
        for beside in BESIDE.values():  # the start of a worker is not the function's time
            sandbox.evaluate(beside + "def evaluate(r): return True", ["x"])
        begun = time.monotonic()
        outcomes = sandbox.evaluate(source, texts, check_order=True)
        assert time.monotonic() - begun < 2
    assert outcomes == [Outcome(Status.TIMEOUT, "total limit")] * 2


def test_a_killed_host_leaves_nothing(scene: Scene) -> None:
    """SIGKILL to the process that owns a sandbox, in the middle of an attack."""
    attack = "def evaluate(response):\n    while True:\n        pass\n"
    host = (
        "from autoif.sandbox import Limits, Sandbox\n"
        "sandbox = Sandbox(workers=2, limits=Limits(cpu_seconds=60.0, total_seconds=90.0))\n"
        f"good = sandbox.evaluate({scene.neighbour!r}, ['x'])\n"
        "print('ready', flush=True)\n"
        f"sandbox.evaluate({attack!r}, ['x'])\n"
    )
    before = set(descendants(os.getpid()))
    process = subprocess.Popen([sys.executable, "-c", host], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    time.sleep(0.3)
    assert len(descendants(process.pid)) >= 2
    process.kill()
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 5
    while (left := alive() - before) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left


def alive() -> set[int]:
    """Our descendants, orphans included, without the dead (which are waited for elsewhere)."""
    return {pid for pid, (_, dead) in descendants(os.getpid()).items() if not dead}


def test_attackers_and_neighbours_at_once(scene: Scene) -> None:
    """Two workers: good work goes on unharmed while the other worker is under attack."""
    hostile = [attack for attack in ATTACKS if attack.function == "evaluate"][::9]
    source, texts = scene.neighbour, scene.texts
    with Sandbox(workers=2, limits=LIMITS) as sandbox, ThreadPoolExecutor(3) as threads:
        attacks = [
            threads.submit(sandbox.evaluate, a.armed(str(scene.victim), 0), list(a.texts))
            for a in hostile
        ]
        good = [sandbox.evaluate(source, texts) for _ in range(60)]
        done = [attack.result(timeout=60) for attack in attacks]
    assert good == [scene.expected] * 60
    assert [len(outcomes) for outcomes in done] == [len(a.texts) for a in hostile]
