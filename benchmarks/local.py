"""Throughput of the embedded model.

    python benchmarks/local.py [--model NAME ...] [--json FILE]
    python benchmarks/local.py --check    the floors, with a busy program beside it on each core, in
                                          benchmarks/results/local.json; exit 1 where one is missed

Each figure is given by the wall clock and, since a busy machine falsifies that, per CPU second of
the worker times the number of cores ("idle machine"). The median of `--repeat` runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from results_file import record

from autoif.base.records import Message, Request
from autoif.models.openvino.backend import LocalBackend

CORES = len(os.sched_getaffinity(0))
WORDS = ("river", "stone", "apple", "cloud", "engine", "paper", "forest", "glass", "winter", "sea")
SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "lines": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["title", "lines"],
    "additionalProperties": False,
}
# Tokens/s by the wall clock; `crowded`: the least share of them that is left beside busy programs.
# Of a CPU with AVX2 alone: what the best of `engines.py` does there, less a fifth.
FLOORS = {
    "avx2": {"prompt": 30, "batch 32": 25, "crowded": 1 / 3},
    "avx512": {"prompt": 200, "batch 32": 95, "crowded": 1 / 3},
}
_serial = iter(range(1, 1_000_000))


def unique(words: int) -> str:
    """A prompt of about this many tokens that shares no block with any other."""
    n = next(_serial)
    return f"{n} " + " ".join(WORDS[(n * 5 + i * (1 + n % 11)) % len(WORDS)] for i in range(words))


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Bench:
    def __init__(self, backend: LocalBackend, repeat: int) -> None:
        self.backend = backend
        self.repeat = repeat
        self.rows: list[dict[str, Any]] = []

    async def timed(self, requests: list[Request]) -> tuple[int, int, float, float]:
        """Prompt tokens computed, tokens answered, wall seconds, CPU seconds."""
        assert self.backend._worker is not None
        pid = self.backend._worker.pid
        wall, cpu = time.perf_counter(), cpu_seconds(pid)
        replies = await asyncio.gather(*map(self.backend, requests))
        usage = [reply.usage for reply in replies]
        return (
            sum(u.prompt - u.cached for u in usage),
            sum(u.completion for u in usage),
            time.perf_counter() - wall,
            cpu_seconds(pid) - cpu,
        )

    async def measure(self, name: str, make: Any, what: str) -> None:
        wall, idle = [], []
        for _ in range(self.repeat):
            prefilled, answered, seconds, cpu = await self.timed(make())
            tokens = {"prompt tokens/s": prefilled, "tokens/s": answered, "s": 1}[what]
            wall.append(seconds if what == "s" else tokens / seconds)
            idle.append(cpu / CORES if what == "s" else tokens * CORES / cpu)
        row = {
            "model": self.backend.weights.name,
            "what": name,
            "unit": what,
            "wall": round(statistics.median(wall), 1),
            "idle_machine": round(statistics.median(idle), 1),
        }
        self.rows.append(row)
        print(f"| {name} | {row['wall']} | {row['idle_machine']} {what} |", flush=True)


def batch(n: int, tokens: int, **options: Any) -> list[Request]:
    text = unique(60)
    return [
        Request((Message("user", text),), temperature=0.8, max_tokens=tokens, index=i, **options)
        for i in range(n)
    ]


def shared(n: int) -> list[Request]:
    """n prompts that share about 300 tokens and differ in the last words."""
    text = unique(240)
    return [Request((Message("user", f"{text} {unique(8)}"),), max_tokens=1) for _ in range(n)]


async def run(name: str, repeat: int, batches: list[int]) -> list[dict[str, Any]]:
    started = time.perf_counter()
    backend = LocalBackend(name, on_notice=print, in_flight=max(batches))
    await backend.load()
    seconds, busy = time.perf_counter() - started, os.getloadavg()[0]
    print(f"\n{name}: loaded in {seconds:.1f} s, {CORES} cores, load average {busy:.1f}\n")
    print("| | wall clock | idle machine |\n|---|---|---|")
    bench = Bench(backend, repeat)
    await bench.timed(batch(2, 4))  # the engine compiles its kernels
    try:
        await bench.measure(
            "prefill of 800 tokens",
            lambda: prompt_of(700),
            "prompt tokens/s",
        )
        for n in batches:
            await bench.measure(f"batch {n}", lambda n=n: batch(n, 32), "tokens/s")
        largest = max(b for b in batches if b <= 32)
        for label, schema in (("free text", None), ("JSON schema", SCHEMA)):
            await bench.measure(
                f"{label}, batch {largest}",
                lambda schema=schema: batch(largest, 48, schema=schema),
                "tokens/s",
            )
        await bench.measure("32 prompts sharing 300 tokens", lambda: shared(32), "s")
        await bench.measure(
            "32 prompts sharing none",
            lambda: [request for _ in range(32) for request in prompt_of(248)],
            "s",
        )
    finally:
        await backend.close()
    return bench.rows


@contextmanager
def hogs(n: int) -> Iterator[None]:
    """So many programs that compute without end."""
    programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def cpu() -> dict[str, Any]:
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    flags = next((v.split() for k, v in fields.items() if k.strip() in ("flags", "Features")), [])
    name = next((v.strip() for k, v in fields.items() if k.strip() == "model name"), "")
    kind = "avx512" if "avx512f" in flags else "avx2"
    return {"cpu": name or platform.processor(), "cores": CORES, "kind": kind}


async def check(name: str, repeat: int) -> bool:
    """Measures quiet and beside busy programs, in the same process; writes what was seen."""
    machine = cpu()
    backend = LocalBackend(name, on_notice=print, in_flight=32)
    await backend.load()
    bench = Bench(backend, repeat)

    async def both() -> dict[str, float]:
        await bench.measure("prompt", lambda: prompt_of(360), "prompt tokens/s")
        await bench.measure("batch 32", lambda: batch(32, 48), "tokens/s")
        return {row["what"]: row["wall"] for row in bench.rows[-2:]}

    try:
        await bench.timed(prompt_of(360) + batch(32, 4))  # the engine compiles its kernels
        quiet = await both()
        with hogs(CORES):
            crowded = await both()
    finally:
        await backend.close()
    floors = FLOORS[machine["kind"]]
    share = min(crowded[what] / quiet[what] for what in quiet)
    held = {what: quiet[what] >= floors[what] for what in quiet}
    held["crowded"] = share >= floors["crowded"]
    row = {"model": name, "quiet": quiet, "crowded": crowded, "load": os.getloadavg()[0]}
    record("local", {machine["kind"]: machine | row})
    for what, ok in held.items():
        seen = f"{share:.2f} of quiet" if what == "crowded" else f"{quiet[what]} tokens/s"
        print(f"{what}: {seen}, floor {floors[what]:.2f}: {'holds' if ok else 'MISSED'}")
    return all(held.values())


def prompt_of(words: int) -> list[Request]:
    return [Request((Message("user", unique(words)),), max_tokens=1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", nargs="+", default=["smollm2-135m-instruct"])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 16, 32, 48, 64])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.check:
        sys.exit(not asyncio.run(check("qwen2.5-coder-1.5b-instruct", options.repeat)))
    rows: list[dict[str, Any]] = []
    for name in options.model:
        rows += asyncio.run(run(name, options.repeat, options.batches))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
