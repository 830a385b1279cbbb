"""Throughput of the embedded model: python benchmarks/local.py [--model NAME ...] [--json FILE]

Each figure is given by the wall clock and, since a busy machine falsifies that, per CPU second of
the worker times the number of cores ("idle machine"). The median of `--repeat` runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

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
            lambda: [Request((Message("user", unique(700)),), max_tokens=1)],
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
            lambda: [Request((Message("user", unique(248)),), max_tokens=1) for _ in range(32)],
            "s",
        )
    finally:
        await backend.close()
    return bench.rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", nargs="+", default=["smollm2-135m-instruct"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 16, 32, 48, 64])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in options.model:
        rows += asyncio.run(run(name, options.repeat, options.batches))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
