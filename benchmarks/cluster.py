"""A run on several machines against the run of one: speed, CPU, and what kills cost.

    python benchmarks/cluster.py --check

Raylets on a network of their own, PostgreSQL on this machine, so all share its cores: ratios say
something, rates do not. Speed and CPU: one scripted call of a second an instruction, 64 in flight a
worker. Kills: a smoke run each, in which a worker, a raylet, the driver or PostgreSQL is killed;
`repaid` counts calls that were paid though their answer was stored, `identical` says whether all
made the data that one process makes. `benchmarks/store_postgres.py` measures the store.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from results_file import RESULTS

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "cluster"))

from autoif.base.errors import RunFailed
from autoif.base.loop import asyncio_run
from autoif.engine.local import Run
from autoif.engine.ray_run import RayRun
from autoif.engine.shards import WorkPlan
from autoif.run.directory import RunDir
from autoif.run.recipe import Recipe
from autoif.synthesis.context import Context

N = 384
SOURCE = "```python\ndef evaluate(response):\n    return True\n```"
FLOORS = {"ray1_vs_local": 0.85, "ray2_vs_ray1": 1.6}
MOST_CPU = 1.35  # of the driver and its workers, against one process


def recipe(folder: Path, cluster: str) -> Recipe:
    instructions, script = folder / "instructions.jsonl", folder / "script.jsonl"
    if not script.exists():
        lines = (json.dumps({"text": f"Write exactly {i} words."}) for i in range(N))
        instructions.write_text("\n".join(lines))
        row = {"contains": [], "replies": [SOURCE], "latency_ms": 1000}
        script.write_text(json.dumps(row) + "\n")
    return Recipe.load(
        "paper",
        None,
        {
            "models.default": f"scripted:{script}",
            "instructions.own": str(instructions),
            "verifiers.ask": "apart",
            "verifiers.k": 1,
            "verifiers.case_asks": 0,
            "backtranslate.judge": "off",
            "engine.shard_size": 16,
            "engine.cluster": cluster,
            "engine.sandbox_workers": 1,
        },
    )


class Timed:
    """How long the shards take, once all workers are there; and CPU seconds of that time."""

    wanted = 0
    seconds = cpu = 0.0

    async def time(self, run: Run, work: Callable[[], Any]) -> Any:
        if isinstance(run, RayRun):
            while len(run._crew.hired) < self.wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        cpu, began = _cpu(), time.monotonic()
        parts = await work()
        self.seconds, self.cpu = time.monotonic() - began, _cpu() - cpu
        return parts


TIMED = Timed()


class TimedRun(Run):
    async def _work(self, context: Context, plan: WorkPlan) -> list[Path]:
        work = super()._work
        parts: list[Path] = await TIMED.time(self, lambda: work(context, plan))
        return parts


class TimedRayRun(RayRun):
    async def _work(self, context: Context, plan: WorkPlan) -> list[Path]:
        work = super()._work
        parts: list[Path] = await TIMED.time(self, lambda: work(context, plan))
        return parts


def _cpu() -> float:
    """Seconds of this process and of all workers of the machine so far."""
    mine = resource.getrusage(resource.RUSAGE_SELF)
    ticks = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (folder / "cmdline").read_bytes().startswith(b"ray::ShardWorker"):
                ticks += sum(
                    map(int, (folder / "stat").read_text().rpartition(")")[2].split()[11:13])
                )
    return mine.ru_utime + mine.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


def child(folder: Path, cluster: str, calls: str, workers: int) -> None:
    """One measured run, inside the network of the raylets; prints what it took."""
    its = recipe(folder, cluster)
    out = RunDir(Path(tempfile.mkdtemp(dir=folder)))
    out.claim(its)
    TIMED.wanted = workers
    run = TimedRayRun(its, out, calls) if cluster else TimedRun(its, out)
    with suppress(RunFailed):  # no function is kept without a case
        asyncio_run(run.execute())
    assert run.progress.calls()["asked"] == N, run.progress.calls()
    print(json.dumps({"seconds": TIMED.seconds, "cpu": TIMED.cpu}))


def measure() -> dict[str, Any]:
    from raylets import Raylets, family, raylet, until
    from test_ray import Driver, paid

    from postgres import Postgres, binaries
    from runs import SMOKE, artefacts, autoif

    found: dict[str, Any] = {}
    bin = binaries()
    assert bin, "PostgreSQL is not installed"
    with (
        tempfile.TemporaryDirectory() as name,
        closing(Postgres(bin)) as server,
        closing(Raylets()) as cluster,
    ):
        folder = Path(name)

        def timed(address: str, workers: int) -> dict[str, float]:
            run = cluster.inside(
                *(sys.executable, __file__, "--child", folder, address or "-"),
                *(server.new_url(), workers),
            )
            out, err = run.communicate(timeout=180)
            assert run.returncode == 0, err
            row: dict[str, float] = json.loads(out.splitlines()[-1])
            return row

        alone, one = timed("", 0), timed(cluster.address, 1)
        cluster.join()
        two = timed(cluster.address, 2)
        found["ray1_vs_local"] = round(alone["seconds"] / one["seconds"], 2)
        found["ray2_vs_ray1"] = round(one["seconds"] / two["seconds"], 2)
        found["cpu_vs_local"] = round(one["cpu"] / alone["cpu"], 2)

        script = folder / "smoke.jsonl"
        script.write_text('{"latency_ms": 250}\n' + SMOKE.read_text("utf-8"), "utf-8")
        model = f"scripted:{script}"
        local = folder / "local"
        done = autoif("synth", "--preset", "smoke", "--model", model, "--out", local, "--quiet")
        assert done.code == 0, done.err
        found["repaid"], found["identical"] = {}, True
        for fault in ("worker", "raylet", "driver", "postgres"):
            url = server.new_url()
            driver = Driver(cluster, url, folder / fault, model)
            until(lambda d=driver: d.asked() > 60, "some calls")
            if fault == "worker":
                os.kill(cluster.workers()[0], signal.SIGKILL)
            elif fault == "raylet":
                joined = cluster.join()
                until(
                    lambda j=joined: set(family(j.pid)) & set(cluster.workers()),
                    "a worker on the machine that joined",
                )
                os.kill(raylet(joined) or 0, signal.SIGKILL)
            elif fault == "driver":
                driver.process.kill()
                driver.process.communicate()
                driver = driver.again()
            else:
                server.kill()
                server.start()
            driver.end()
            booked, stored = paid(server, url)
            found["repaid"][fault] = booked - stored
            found["identical"] &= artefacts(driver.out) == artefacts(local)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit with 1 below a floor")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        folder, cluster, calls, workers = args.child
        child(Path(folder), cluster.strip("-"), calls, int(workers))
        return 0
    found = measure()
    print(json.dumps(found, indent=1))
    file = RESULTS / "cluster.json"
    before = json.loads(file.read_text()) if file.exists() else {}
    command = "python benchmarks/cluster.py --check"
    file.write_text(json.dumps(before | {"command": command} | found, indent=1) + "\n")
    low = [key for key, floor in FLOORS.items() if found[key] < floor]
    low += ["cpu_vs_local"] * (found["cpu_vs_local"] > MOST_CPU)
    low += ["repaid"] * any(found["repaid"].values()) + ["identical"] * (not found["identical"])
    if low:
        print("below the floor:", ", ".join(low), file=sys.stderr)
    return 1 if args.check and low else 0


if __name__ == "__main__":
    raise SystemExit(main())
