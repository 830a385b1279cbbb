"""The reward server beside the reward in process, on the same completions, in one run.

    python benchmarks/serve.py            all of it, to benchmarks/results/serve.json
    python benchmarks/serve.py --check    the floors; exit 1 where one is missed
    ... --requests N                      of the memory's row (default: 100,000)

2,048 completions of 256 prompts, each row with two constraints of two functions. Rounds are
interleaved, so that other work on the machine meets all alike; figures are medians, and a ratio is
the median of the rounds' ratios. `exec in threads` is what others do: no sandbox.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from results_file import record
from sandbox import CHEAP, FUNCTIONS, SENTENCES

from autoif.verifier.reward import ascore, parse_row, verifier_reward
from autoif.verifier.reward_client import RewardClient

PROMPTS, GROUP = 256, 8
BATCH, DEADLINE = 64, 5.0  # completions, seconds
HOSTILE = (
    "def evaluate(response):\n    while True:\n        pass",
    "import time\ndef evaluate(response):\n    time.sleep(99)\n    return True",
    "def evaluate(response):\n    return len([0] * 10**10) > 0",
    "import re\ndef evaluate(response):\n    return bool(re.match(r'(a+)+$', 'a' * 40 + 'b'))",
)
GROWTH = 8.0  # MB
CLIENTS = 100


def row(n: int) -> list[dict[str, Any]]:
    """Two constraints of two functions each, none of another row."""
    sources = [f"{source}\n# {n}" for source in (*FUNCTIONS, CHEAP)]
    first = n % len(sources)
    chosen = [sources[(first + k) % len(sources)] for k in range(4)]
    return [
        {"checks": chosen[:2], "min_fraction": 1.0},
        {"checks": chosen[2:], "min_fraction": 0.5},
    ]


def columns() -> dict[str, list[Any]]:
    rng = random.Random(0)
    texts = [" ".join(rng.choices(SENTENCES, k=rng.randint(2, 9))) for _ in range(PROMPTS * GROUP)]
    rows = [row(n // GROUP) for n in range(len(texts))]
    return {"prompts": [None] * len(texts), "completions": texts, "verifiers": rows}


@contextmanager
def server(*options: str) -> Iterator[tuple[str, int]]:
    """URL and process id."""
    process = subprocess.Popen(
        [sys.executable, "-m", "autoif", "serve", "--port", "0", "--quiet", *options],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), process.pid
    finally:
        process.terminate()
        process.wait()


@contextmanager
def at(url: str) -> Iterator[None]:
    """Rewards are asked of this server; "" for in process."""
    os.environ["AUTOIF_REWARD_URL"] = url
    yield
    del os.environ["AUTOIF_REWARD_URL"]


def in_one_call(data: dict[str, list[Any]], url: str) -> tuple[float, list[float | None]]:
    """Seconds, rewards; as TRL asks."""
    with at(url):
        start = time.perf_counter()
        rewards = asyncio.run(verifier_reward(**data))
        return time.perf_counter() - start, rewards


def one_by_one(data: dict[str, list[Any]], url: str) -> tuple[float, list[float | None]]:
    """As other trainers ask: each sample alone, all at once."""

    async def all_of_them() -> list[float | None]:
        pairs = zip(data["completions"], data["verifiers"], strict=True)
        return list(await asyncio.gather(*(ascore(text, verifiers) for text, verifiers in pairs)))

    with at(url):
        start = time.perf_counter()
        rewards = asyncio.run(all_of_them())
        return time.perf_counter() - start, rewards


WAYS = {"one call": in_one_call, "one by one": one_by_one}


def exec_in_threads(data: dict[str, list[Any]]) -> float:
    """Seconds. Every function is compiled and called in this process."""

    def judge(sample: tuple[str, list[dict[str, Any]]]) -> float:
        text, verifiers = sample
        held = 0
        for verifier in verifiers:
            said = []
            for source in verifier["checks"]:
                space: dict[str, Any] = {}
                exec(source, space)
                said.append(bool(space["evaluate"](text)))
            held += sum(said) / len(said) >= verifier["min_fraction"]
        return held / len(verifiers)

    samples = list(zip(data["completions"], data["verifiers"], strict=True))
    start = time.perf_counter()
    with ThreadPoolExecutor(32) as threads:
        list(threads.map(judge, samples))
    return time.perf_counter() - start


def speed(rounds: int) -> dict[str, Any]:
    data = columns()
    verdicts = 2 * len(data["completions"])
    seconds: dict[str, list[float]] = {}
    with server() as (url, _):
        for n in range(rounds + 1):
            for name, way in WAYS.items():
                here, expected = way(data, "")
                there, rewards = way(data, url)
                assert rewards == expected
                assert None not in rewards
                if n:  # the first warms up
                    seconds.setdefault(f"in process, {name}", []).append(here)
                    seconds.setdefault(f"server, {name}", []).append(there)
            if n:
                seconds.setdefault("exec in threads", []).append(exec_in_threads(data))
    rates = {name: round(verdicts / statistics.median(s)) for name, s in seconds.items()}

    def ratio(a: str, b: str) -> float:
        pairs = zip(seconds[a], seconds[b], strict=True)
        return round(statistics.median(y / x for x, y in pairs), 2)

    return {
        "verdicts/s": rates,
        "server / in process, one call": ratio("server, one call", "in process, one call"),
        "server / in process, one by one": ratio("server, one by one", "in process, one by one"),
        "server / exec in threads": ratio("server, one call", "exec in threads"),
    }


def under_attack(batches: int) -> dict[str, Any]:
    """Batches of which a tenth of the checks are hostile, four at once, to a deadline."""
    rng = random.Random(1)
    latencies: list[float] = []
    honest_unscored = 0

    def batch(n: int) -> tuple[list[str], list[Any], list[bool]]:
        hostile = [rng.random() < 0.1 for _ in range(BATCH)]
        texts = [" ".join(rng.choices(SENTENCES, k=4)) for _ in hostile]
        rows = [
            [{"checks": [f"{rng.choice(HOSTILE)}\n# {n} {k}"]}] if bad else row(rng.randrange(64))
            for k, bad in enumerate(hostile)
        ]
        return texts, rows, hostile

    work = [batch(n) for n in range(batches)]
    with server("--deadline", str(DEADLINE)) as (url, _), ThreadPoolExecutor(4) as threads:
        client = RewardClient(url, "")

        def ask(one: tuple[list[str], list[Any], list[bool]]) -> tuple[float, int]:
            texts, rows, hostile = one
            samples = [(t, parse_row(r, "row")) for t, r in zip(texts, rows, strict=True)]
            start = time.perf_counter()
            held = client.ask(samples).result()
            seconds = time.perf_counter() - start
            return seconds, sum(None in h for h, bad in zip(held, hostile, strict=True) if not bad)

        ask(batch(-1))
        for seconds, unscored in threads.map(ask, work):
            latencies.append(seconds)
            honest_unscored += unscored
    latencies.sort()
    return {
        "batches": batches,
        "deadline": DEADLINE,
        "p50": round(latencies[len(latencies) // 2], 2),
        "p99": round(latencies[min(len(latencies) - 1, int(0.99 * len(latencies)))], 2),
        "honest completions unscored": honest_unscored,
    }


def memory(requests: int) -> dict[str, Any]:
    """The server's resident memory after each tenth of so many requests of one completion."""
    bodies = [
        orjson.dumps({"completions": [f"text {n} {SENTENCES[0]}"], "verifiers": [row(n % 64)[:1]]})
        for n in range(2048)
    ]

    async def send(url: str, pid: int) -> list[float]:
        async with aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as session:

            async def one_after_another(n: int, count: int) -> None:
                for k in range(count):
                    data = bodies[(n + 61 * k) % len(bodies)]
                    async with session.post(f"{url}/v1/rewards", data=data) as response:
                        assert (await response.json())["rewards"] != [None]

            sizes = []
            for _ in range(10):
                each = max(1, requests // 10 // CLIENTS)
                await asyncio.gather(*(one_after_another(n, each) for n in range(CLIENTS)))
                sizes.append(resident(pid))
            return sizes

    start = time.perf_counter()
    with server() as (url, pid):
        sizes = asyncio.run(send(url, pid))
    seconds = round(time.perf_counter() - start)
    growth = round(sizes[-1] - sizes[0], 1)
    return {"requests": requests, "seconds": seconds, "MB": sizes, "growth": growth}


def resident(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return round(int(status.partition("VmRSS:")[2].split()[0]) / 1024, 1)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=100)
    args = parser.parse_args()
    found = {
        "speed": speed(args.rounds),
        "under attack": under_attack(args.batches),
        "memory": memory(args.requests),
    }
    for name, figures in found.items():
        print(name)
        for what, value in figures.items():
            print(f"  {what}: {value}")
    if not args.check:
        record("serve", found)
        return 0
    attack = found["under attack"]
    held = {
        **{
            f"server >= 0.8 of in process, {way}": found["speed"][f"server / in process, {way}"]
            >= 0.8
            for way in ("one call", "one by one")
        },
        "p99 under the deadline": attack["p99"] < attack["deadline"],
        "no honest completion unscored": attack["honest completions unscored"] == 0,
        f"memory grows by less than {GROWTH} MB": found["memory"]["growth"] < GROWTH,
    }
    for floor, holds in held.items():
        print(f"{'ok  ' if holds else 'FAIL'} {floor}")
    return 0 if all(held.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
