"""A run on several machines is the run of one: the same bytes whatever is killed, nothing that was
answered lost or paid again, nothing left behind. The machines are raylets on a network of their
own."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from raylets import Raylets, family, raylet, until

from conftest import absent, postgres_binaries
from postgres import Postgres
from runs import SMOKE, artefacts, autoif, report

SETTINGS = ("--set", "engine.shard_size=1", "--set", "engine.in_flight=4")


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """Of this module alone, which kills it."""
    with closing(Postgres(postgres_binaries())) as server:
        yield server


@pytest.fixture(scope="module")
def cluster() -> Iterator[Raylets]:
    """Two nodes."""
    if importlib.util.find_spec("ray") is None:
        absent("Ray is not installed (pip install 'autoif[cluster]')")
    lonely = ["unshare", "--net", "ip", "link", "set", "lo", "up"]
    if not shutil.which("nsenter") or subprocess.run(lonely, capture_output=True).returncode:
        pytest.skip("no network namespace can be made here")
    with closing(Raylets()) as cluster:
        cluster.join()
        yield cluster


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The smoke model, with some time to think."""
    script = tmp_path_factory.mktemp("slow") / "script.jsonl"
    script.write_text('{"latency_ms": 250}\n' + SMOKE.read_text("utf-8"), "utf-8")
    return f"scripted:{script}"


@pytest.fixture(scope="module")
def local(slow: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process makes."""
    out = tmp_path_factory.mktemp("local") / "run"
    done = autoif("synth", "--preset", "smoke", "--model", slow, "--out", out, "--quiet")
    assert done.code == 0, done.err
    return artefacts(out)


class Driver:
    """`autoif synth` on the cluster, once begun."""

    def __init__(self, cluster: Raylets, url: str, out: Path, model: str, *more: object) -> None:
        self.out = out
        self.again = partial(Driver, cluster, url, out, model, *more)
        self.process = cluster.inside(
            *(sys.executable, "-m", "autoif", "synth", "--preset", "smoke", "--model", model),
            *("--out", out, "--cluster", cluster.address, "--calls", url, *SETTINGS, *more),
        )

    def asked(self) -> int:
        """Calls paid so far by this start."""
        try:
            made = json.loads((self.out / "progress.json").read_text())
        except (OSError, ValueError):
            return 0
        return int(made["calls"]["asked"]) if made["state"] == "running" else 0

    def end(self, code: int = 0) -> str:
        """What it says to the user."""
        out, err = self.process.communicate(timeout=120)
        assert self.process.returncode == code, out + err
        assert "Traceback" not in err, err
        return out + err


def paid(server: Postgres, url: str) -> tuple[int, int]:
    """Calls that were paid and stored, and those that are stored."""
    statement = "SELECT (SELECT sum(calls) FROM autoif.spend), (SELECT count(*) FROM autoif.calls)"
    booked, stored = server.psql(url, statement).split("|")
    return int(booked), int(stored)


def paid_once(server: Postgres, url: str) -> int:
    """Calls that are stored, for each of which one was paid."""
    booked, stored = paid(server, url)
    assert booked == stored
    return stored


def test_two_machines_make_what_one_makes(
    cluster: Raylets, server: Postgres, local: dict[str, bytes], slow: str, tmp_path: Path
) -> None:
    url = server.new_url()
    driver = Driver(cluster, url, tmp_path / "run", slow)
    until(lambda: len(cluster.workers()) == 2, "a worker on each machine")
    driver.end()
    assert artefacts(driver.out) == local
    assert paid_once(server, url) == report(driver.out)["calls"]["asked"]
    workers = server.psql(url, "SELECT count(*) FROM (SELECT DISTINCT worker FROM autoif.spend) w")
    assert int(workers) == 3  # the driver, who asks for proposals, too
    until(lambda: not cluster.workers(), "the workers have ended")


def test_a_killed_worker_and_a_lost_machine_cost_what_was_in_flight(
    cluster: Raylets, server: Postgres, local: dict[str, bytes], slow: str, tmp_path: Path
) -> None:
    """A worker of one machine, and all of another."""
    url = server.new_url()
    joined = cluster.join()
    driver = Driver(cluster, url, tmp_path / "run", slow)
    until(lambda: len(cluster.workers()) == 3, "a worker on each machine")
    until(lambda: driver.asked() > 10, "some calls")
    theirs = [pid for pid in family(joined.pid) if pid in cluster.workers()]
    others = [pid for pid in cluster.workers() if pid not in theirs]
    os.kill(others[0], signal.SIGKILL)
    lost = raylet(joined)
    assert lost
    os.kill(lost, signal.SIGKILL)
    said = driver.end()
    assert said.count("lost the worker on 127.0.0.1") >= 1
    assert artefacts(driver.out) == local
    paid_once(server, url)
    until(lambda: not cluster.workers(), "the workers have ended")


def test_a_killed_driver_goes_on_where_it_was(
    cluster: Raylets, server: Postgres, local: dict[str, bytes], slow: str, tmp_path: Path
) -> None:
    url = server.new_url()
    driver = Driver(cluster, url, tmp_path / "run", slow)
    until(lambda: driver.asked() > 60, "some calls")
    driver.process.kill()
    driver.process.communicate()
    until(lambda: not cluster.workers(), "the workers end with their driver")
    answered, _ = paid(server, url)
    driver = driver.again()
    driver.end()
    assert artefacts(driver.out) == local
    assert report(driver.out)["calls"]["asked"] <= paid_once(server, url) - answered


def test_a_killed_store_is_waited_for(
    cluster: Raylets, server: Postgres, local: dict[str, bytes], slow: str, tmp_path: Path
) -> None:
    url = server.new_url()
    driver = Driver(cluster, url, tmp_path / "run", slow)
    until(lambda: driver.asked() > 60, "some calls")
    server.kill()
    server.start()
    driver.end()
    assert artefacts(driver.out) == local
    paid_once(server, url)


def test_ctrl_c_stops_all_machines(
    cluster: Raylets, server: Postgres, local: dict[str, bytes], slow: str, tmp_path: Path
) -> None:
    """Once: what is in flight is stored and written. Twice: at once. The same command goes on."""
    url = server.new_url()
    driver = Driver(cluster, url, tmp_path / "run", slow)
    until(lambda: driver.asked() > 40, "some calls")
    driver.process.send_signal(signal.SIGINT)
    assert "stopped" in driver.end(1)
    assert report(driver.out)["state"] == "stopped"
    paid_once(server, url)
    driver = driver.again()
    until(lambda: driver.asked() > 10, "some calls more")
    driver.process.send_signal(signal.SIGINT)
    driver.process.send_signal(signal.SIGINT)
    driver.end(1)
    until(lambda: not cluster.workers(), "the workers end with their driver")
    driver = driver.again()
    driver.end()
    assert artefacts(driver.out) == local
    paid_once(server, url)
    assert not [line for line in cluster.rest() if "autoif" in line]
