"""How much a model call costs us, beside what it costs others.

    python benchmarks/calls.py                 everything; writes benchmarks/results/calls.json
    python benchmarks/calls.py --peers DIR     with the other clients, each from its environment
                                               DIR/NAME (made where absent: takes minutes)
    python benchmarks/calls.py --check         a subset within 50 s; exit 1 where a floor is missed

The server is `mock_server.c` in its own process (a C compiler is needed), each client runs in its
own process too, and what is compared is run in turns. The file's other rows come from `engine.py`
(rss_mb_at_1m) and `waves.py` (tokens_per_kept_vs_fixed_k).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from results_file import record

HERE = Path(__file__).parent
FLOORS = {"store_on_vs_bare": 0.75, "replay_vs_bare": 4, "slots_busy": 0.95}
PEERS = {  # environment: what is installed, and the clients it holds
    "openai": (["openai[aiohttp]"], ["openai", "openai-aiohttp"]),
    "litellm": (["litellm"], ["litellm"]),
    "curator": (["bespokelabs-curator"], ["curator"]),
    "designer": (["data-designer"], ["data-designer"]),
    "distilabel": (["distilabel[openai]", "requests"], ["distilabel"]),
}


@contextmanager
def mock_server(binary: Path, latency_ms: int, spread: float, slots: int) -> Iterator[str]:
    command = [str(binary), str(latency_ms), str(spread), str(slots)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def client(
    binary: Path,
    name: str,
    calls: int,
    concurrency: int,
    *,
    python: str = sys.executable,
    latency_ms: int = 20,
) -> dict[str, float]:
    """Run one client against a fresh server; what it measured."""
    with mock_server(binary, latency_ms, 0, 0) as url:
        command = [python, str(HERE / "call_clients.py"), name, url, str(calls), str(concurrency)]
        run = subprocess.run(command, capture_output=True, text=True, timeout=900)
    if run.returncode:
        last = (run.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"{name} failed: {last}")
    lines = [line for line in run.stdout.splitlines() if line.startswith('{"calls"')]
    return json.loads(lines[-1])  # type: ignore[no-any-return]


def store_on_vs_bare(binary: Path, concurrency: int, calls: int, rounds: int) -> float:
    """Calls/s with limiter, retries and durable store, over calls/s of bare aiohttp: the median of
    pairs run one after the other."""
    ratios = []
    for round_ in range(rounds):
        order = ["aiohttp", "autoif"] if round_ % 2 else ["autoif", "aiohttp"]
        seconds = {name: client(binary, name, calls, concurrency)["seconds"] for name in order}
        ratios.append(seconds["aiohttp"] / seconds["autoif"])
    return statistics.median(ratios)


def replay_vs_bare(binary: Path, calls: int) -> tuple[float, float]:
    """Calls/s that the store answers, and that over calls/s of bare aiohttp: medians of three."""
    replays, ratios = [], []
    for _ in range(3):
        bare, replay = (
            each["calls"] / each["seconds"]
            for each in (
                client(binary, "aiohttp", calls, 256),
                client(binary, "autoif-replay", 2 * calls, 256),
            )
        )
        replays.append(replay)
        ratios.append(replay / bare)
    return statistics.median(replays), statistics.median(ratios)


def slots_busy(binary: Path, calls: int) -> float:
    """Mean share of 64 slots that are busy from 5% to 95% of a run, 200 ms +- 50% a call."""
    with mock_server(binary, 200, 0.5, 64) as url:
        command = [sys.executable, str(HERE / "call_clients.py"), "autoif", url, str(calls), "256"]
        subprocess.run(command, check=True, capture_output=True)
        with urllib.request.urlopen(url.removesuffix("/v1") + "/stats", timeout=10) as answer:
            busy = json.load(answer)["busy"]
    while busy and not busy[-1]:
        busy.pop()
    return statistics.fmean(busy[len(busy) // 20 : len(busy) * 19 // 20]) / 64


def peers(binary: Path, folder: Path) -> Iterator[tuple[str, float | str]]:
    """CPU ms per call of each other client, or why it does not run here."""
    for name, (packages, clients) in PEERS.items():
        python = folder / name / "bin" / "python"
        try:
            if not python.exists():
                venv.create(folder / name, with_pip=True)
                pip = [str(python), "-m", "pip", "install", "-q", *packages]
                subprocess.run(pip, check=True, capture_output=True)
            for each in clients:
                measured = client(binary, each, 2000, 256, python=str(python))
                yield each, measured["cpu_ms_per_call"]
        except (RuntimeError, subprocess.SubprocessError) as e:
            yield name, f"does not run here: {e}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--peers", type=Path)
    args = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    os.environ["PYTHONWARNINGS"] = "ignore"
    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder) / "mock_server"
        source = str(HERE / "mock_server.c")
        subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", "-o", str(binary), source], check=True)
        found: dict[str, Any] = {"command": "python benchmarks/calls.py"}
        calls, rounds = (4000, 5) if args.check else (10_000, 5)
        found["store_on_vs_bare"] = {
            str(n): store_on_vs_bare(binary, n, calls, rounds) for n in (256, 1024)
        }
        found["replay_calls_per_s"], found["replay_vs_bare"] = replay_vs_bare(binary, calls)
        found["slots_busy"] = slots_busy(binary, 2500 if args.check else 10_000)
        if not args.check:
            cpu: dict[str, float | str] = {
                name: client(binary, name, 2000, 256)["cpu_ms_per_call"]
                for name in ("aiohttp", "autoif")
            }
            if args.peers:
                found["command"] += " --peers DIR"
                cpu |= peers(binary, args.peers)
            found["cpu_ms_per_call"] = cpu
    print(json.dumps(found, indent=2))
    if not args.check:
        record("calls", found)
    missed = [
        f"{name} {key}: {value:.3g} < {floor}"
        for name, floor in FLOORS.items()
        for key, value in (
            found[name].items() if isinstance(found[name], dict) else [("", found[name])]
        )
        if value < floor
    ]
    for line in missed:
        print(f"missed: {line}", file=sys.stderr)
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
