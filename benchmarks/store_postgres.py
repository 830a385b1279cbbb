"""The call store in PostgreSQL beside the one in a file, on this machine and its disk.

    python benchmarks/store_postgres.py            writes benchmarks/results/store_postgres.json
    python benchmarks/store_postgres.py --check    fewer calls; exit 1 where a floor is missed

A call is a look-up in vain and a write of 1.2 kB asked and 1.2 kB answered, 512 in flight; kinds of
store take turns. The server is started here, with fsync, and shares the cores: what it takes is
missing to the client.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

from results_file import record

from autoif.base.loop import asyncio_run
from autoif.base.records import Reply, Request, Usage
from autoif.cli.common import own_process
from autoif.store import open_store
from autoif.store.base import call_key, canonical

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from postgres import Postgres, binaries

IN_FLIGHT = 512
FLOORS = {"store_vs_sqlite": 0.45, "look_up_vs_sqlite": 0.8, "two_processes": 1.4}
CEILINGS = {"client_cpu_vs_sqlite": 1.3}


async def measure(store: str, first: int, calls: int) -> dict[str, float]:
    """Calls/s, CPU microseconds of this process a call, and look-ups/s of what is stored then."""
    names = range(first, first + calls)
    body = {n: canonical({"messages": [f"{n} " + "word " * 240]}) for n in names}
    key = {n: call_key("n", body[n], 0) for n in names}
    reply = Reply("word " * 240, "stop", Usage(300, 0, 240))

    async def call(n: int) -> None:
        assert await opened.get(key[n], "record") is None
        request = Request((), stage="responses", record="record")
        await opened.put(key[n], request, body[n], "n", reply)

    async def look(n: int) -> None:
        assert await opened.get(key[n], "record")

    async with open_store(store, run="run") as opened:
        cpu = time.process_time()
        seconds = await each(names, call)
        cpu = time.process_time() - cpu
        looked = await each(names, look)
    return {"calls": calls / seconds, "cpu_us": 1e6 * cpu / calls, "look_ups": calls / looked}


async def each(names: range, do: Callable[[int], Awaitable[None]]) -> float:
    """Seconds that it takes for all of them, IN_FLIGHT at a time."""
    waiting = iter(names)

    async def lane() -> None:
        for n in waiting:
            await do(n)

    began = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(IN_FLIGHT)))
    return time.perf_counter() - began


def together(store: str, processes: int, calls: int) -> float:
    """Calls/s of so many processes on one store."""
    at = time.time() + 3  # all have begun by then
    command = [sys.executable, __file__, "--process", store, str(calls), str(at)]
    running = [
        subprocess.Popen([*command, str(n)], stdout=subprocess.PIPE, text=True)
        for n in range(processes)
    ]
    return sum(float(process.communicate()[0]) for process in running)


def process(store: str, calls: str, at: str, number: str) -> int:
    own_process()
    time.sleep(max(0.0, float(at) - time.time()))
    first = 10_000_000 * (1 + int(number)) + int(float(at)) % 1000 * 10_000
    print(asyncio_run(measure(store, first, int(calls)))["calls"])
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--process", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.process:
        return process(*args.process)
    programs = binaries()
    if programs is None:
        sys.exit("PostgreSQL is not installed: apt-get install postgresql")
    own_process()
    calls, rounds = (2000, 3) if args.check else (10_000, 5)
    kinds: dict[str, list[dict[str, float]]] = {"sqlite": [], "postgres": []}
    more = {"shared_buffers": "'256MB'", "max_wal_size": "'4GB'", "max_locks_per_transaction": 1024}
    with tempfile.TemporaryDirectory() as folder, closing(Postgres(programs, **more)) as server:
        stores = {"sqlite": str(Path(folder) / "calls.sqlite"), "postgres": server.new_url()}
        asyncio_run(measure(stores["postgres"], -500, 500))  # plans, caches
        for number in range(rounds):
            for kind in sorted(stores, reverse=bool(number % 2)):
                kinds[kind].append(asyncio_run(measure(stores[kind], number * calls, calls)))
        one = together(server.new_url(), 1, calls)
        two = together(server.new_url(), 2, calls)

    def ratio(name: str) -> float:
        pairs = zip(kinds["postgres"], kinds["sqlite"], strict=True)
        return statistics.median(mine[name] / file[name] for mine, file in pairs)

    found = {
        "command": " ".join(["python", "benchmarks/store_postgres.py", *sys.argv[1:]]),
        "load": os.getloadavg()[0],
        "sqlite_calls_a_second": statistics.median(row["calls"] for row in kinds["sqlite"]),
        "store_vs_sqlite": ratio("calls"),
        "client_cpu_vs_sqlite": ratio("cpu_us"),
        "look_up_vs_sqlite": ratio("look_ups"),
        "two_processes": two / one,
    }
    print(json.dumps(found, indent=1))
    if not args.check:
        record("store_postgres", found)
        return 0
    missed = [name for name, least in FLOORS.items() if found[name] < least]
    missed += [name for name, most in CEILINGS.items() if found[name] > most]
    for name in missed:
        print(f"missed: {name} {found[name]:.2f}", file=sys.stderr)
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
