"""How fast is the sandbox, beside the ways without one? All methods side by side, in one run.

    python benchmarks/sandbox.py            the whole table, to benchmarks/results/sandbox.json
    python benchmarks/sandbox.py --check    the floors only, within 50 s; exit 1 where one is missed

A shape 3x12 is three functions on twelve texts each, in milliseconds for all of it, one worker.
Rounds are interleaved, so that other work on the machine meets all methods alike; figures are
medians, and a ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from results_file import record

from autoif.sandbox import Limits, Sandbox, worker

Method = Callable[[Sequence[str], Sequence[str]], list[list[bool]]]

# What verifiers do: count words, look for patterns, check lines.
FUNCTIONS = [
    """
import re

def evaluate(response):
    words = re.findall(r"[A-Za-z']+", response)
    return len(words) >= 20 and all(len(word) <= 14 for word in words)
""",
    """
def evaluate(response):
    sentences = [s.strip() for s in response.replace("!", ".").replace("?", ".").split(".")]
    sentences = [s for s in sentences if s]
    return len(sentences) >= 2 and all(s[0].isupper() for s in sentences)
""",
    """
import string

def evaluate(response):
    lines = [line for line in response.splitlines() if line.strip()]
    starts = {line.strip()[0].lower() for line in lines}
    return len(lines) <= 8 and starts <= set(string.ascii_lowercase)
""",
    """
import json

def evaluate(response):
    try:
        return isinstance(json.loads(response), dict)
    except json.JSONDecodeError:
        return False
""",
    """
from collections import Counter

def evaluate(response):
    letters = Counter(c for c in response.lower() if c.isalpha())
    return bool(letters) and letters.most_common(1)[0][0] == "e"
""",
]
CHEAP = """
def evaluate(response):
    words = response.lower().split()
    return len(words) > 10 and "however" not in words and response.count(",") < 4
"""
SENTENCES = [
    "The river rises early in spring, and the meadow floods within a week.",
    "Nobody asked the baker why his window was dark.",
    "Three letters arrived on Tuesday; only one of them was signed!",
    "Is there a simpler way to say what you mean?",
    "However long the road may be, she walks it without a map.",
]
LOOP = "def evaluate(response):\n    while True:\n        pass\n"


def texts(n: int, sentences: int) -> list[str]:
    return [
        " ".join(SENTENCES[(i + j) % len(SENTENCES)] for j in range(sentences)) + f" {i}"
        for i in range(n)
    ]


# Sized so that the bare limit is about 0.5, 3.3 and 20 ms, as where the floors were measured.
SHAPES: dict[str, tuple[list[str], list[str]]] = {
    "3x12": (FUNCTIONS[:3], texts(12, 4)),
    "5x64": (FUNCTIONS, texts(64, 8)),
    "1x10000": ([CHEAP], texts(10_000, 6)),
}


# ---- the methods ---------------------------------------------------------------------------------


def bare(sources: Sequence[str], texts: Sequence[str]) -> list[list[bool]]:
    """No isolation at all: the limit."""
    said = []
    for source in sources:
        namespace: dict[str, Any] = {}
        exec(compile(source, "<verifier>", "exec"), namespace)
        evaluate = namespace["evaluate"]
        said.append([evaluate(text) for text in texts])
    return said


def alarm(sources: Sequence[str], texts: Sequence[str]) -> list[list[bool]]:
    """In this process, with a signal handler and an alarm around every call."""

    def expired(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    said = []
    for source in sources:
        namespace: dict[str, Any] = {}
        exec(compile(source, "<verifier>", "exec"), namespace)
        evaluate = namespace["evaluate"]
        row = []
        for text in texts:
            try:
                signal.signal(signal.SIGALRM, expired)
                signal.alarm(5)
                row.append(evaluate(text))
            except Exception:
                row.append(False)
            finally:
                signal.alarm(0)
        said.append(row)
    return said


_FRESH = """
import json, sys
source, texts = json.load(sys.stdin)
namespace = {}
exec(compile(source, "<verifier>", "exec"), namespace)
json.dump([namespace["evaluate"](text) for text in texts], sys.stdout)
"""


def fresh(sources: Sequence[str], texts: Sequence[str]) -> list[list[bool]]:
    """A new `python -I` per function."""
    return [
        json.loads(
            subprocess.run(
                [sys.executable, "-I", "-c", _FRESH],
                input=json.dumps([source, texts]),
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for source in sources
    ]


@contextmanager
def monty() -> Iterator[Method | None]:
    """pydantic-monty, a Rust interpreter of a subset of Python, where installed: a warm pool of its
    workers, a fresh session per function."""
    try:
        from pydantic_monty import Monty
    except ImportError:
        yield None
        return

    def one(source: str, texts: Sequence[str]) -> list[bool]:
        with pool.checkout() as session:
            call = source + "\n[evaluate(t) for t in texts]\n"
            said: list[bool] = session.feed_run(call, inputs={"texts": list(texts)})
            return said

    with Monty() as pool:
        yield lambda sources, texts: [one(source, texts) for source in sources]


def runs(method: Method, shape: tuple[list[str], list[str]]) -> bool:
    """It can run these functions at all (monty lacks much of the standard library)."""
    try:
        return method(*shape) == bare(*shape)
    except Exception:
        return False


def sandboxed(sandbox: Sandbox) -> Method:
    def method(sources: Sequence[str], texts: Sequence[str]) -> list[list[bool]]:
        return [[o.status.value == "TRUE" for o in sandbox.evaluate(s, texts)] for s in sources]

    return method


_UNLOCKED = """
from autoif.sandbox import jail, zygote
jail._lockdown = lambda program, limits: lambda parent: None
zygote.Zygote.canary = lambda self: None
for layer in ("namespaces", "landlock_holds"):
    setattr(jail, layer, lambda *a: [])
for layer in ("landlock", "drop_bounding_set", "drop_capabilities", "undumpable"):
    setattr(jail, layer, lambda *a: 0)
"""


def plain_fork() -> Sandbox:
    """The same zygote with every layer taken out, by this script: there is no option for it.
    It runs the functions above and no others."""
    whole = worker._BOOT
    worker._BOOT = whole.replace("from autoif", _UNLOCKED.strip() + "\nfrom autoif", 1)
    try:
        return Sandbox(workers=1)
    finally:
        worker._BOOT = whole


# ---- measuring -----------------------------------------------------------------------------------


def interleaved(
    methods: dict[str, Method], shape: tuple[list[str], list[str]], rounds: int
) -> dict[str, list[float]]:
    """Milliseconds of each method in each round; every method has had one round before."""
    sources, inputs = shape
    expected = bare(sources, inputs)
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    order = random.Random(1)
    for round_ in range(-1, rounds):
        # in another order every time: each finds the caches as another one left them
        for name, method in order.sample(sorted(methods.items()), len(methods)):
            start = time.perf_counter()
            said = method(sources, inputs)
            if round_ >= 0:
                seconds[name].append(1000 * (time.perf_counter() - start))
            elif said != expected:
                raise SystemExit(f"{name} does not say what plain Python says")
    return seconds


def ratio(rounds: dict[str, list[float]], one: str, other: str) -> float:
    pairs = zip(rounds[one], rounds[other], strict=True)
    return statistics.median(a / b for a, b in pairs)


def throughput(sandbox: Sandbox, sources: Sequence[str], inputs: Sequence[str]) -> float:
    """Functions per second, from as many threads as there are workers."""
    todo = list(sources)
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                if not todo:
                    return
                source = todo.pop()
            sandbox.evaluate(source, inputs)

    threads = [threading.Thread(target=work) for _ in range(sandbox.workers)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(sources) / (time.perf_counter() - start)


def two_zygotes(rounds: int, functions: int) -> float:
    """Throughput of two workers over that of one, median of interleaved rounds."""
    sources = [FUNCTIONS[i % 5] for i in range(functions)]
    inputs = texts(64, 4)
    with Sandbox(workers=1) as one, Sandbox(workers=2) as two:
        throughput(two, sources[:20], inputs)
        return statistics.median(
            throughput(two, sources, inputs) / throughput(one, sources, inputs)
            for _ in range(rounds)
        )


def hostile(functions: int) -> dict[str, float]:
    """One in ten loops for ever; a limit of 0.25 s of CPU, one strike, one worker.

    A serial zygote cannot pass 1 / (share x limit + clean cost).
    """
    limit, inputs = 0.25, texts(12, 4)
    clean = [FUNCTIONS[i % 3] for i in range(functions)]
    mixed = [LOOP if i % 10 == 0 else source for i, source in enumerate(clean)]
    with Sandbox(workers=1, limits=Limits(cpu_seconds=limit, strikes=1)) as sandbox:
        throughput(sandbox, clean[:10], inputs)
        cost = 1 / throughput(sandbox, clean, inputs)
        reached = throughput(sandbox, mixed, inputs)
    return {"functions_per_s": reached, "of_possible": reached * (0.1 * limit + cost)}


# ---- the table -----------------------------------------------------------------------------------

# what is held: (shape, method, beside, at most)
FLOORS = [
    ("3x12", "autoif", "bare", 13.5),
    ("5x64", "autoif", "bare", 5.0),
    ("1x10000", "autoif", "bare", 1.9),
    ("1x10000", "autoif", "alarm", 1.0),
    ("3x12", "autoif", "plain fork", 1.2),
    ("5x64", "autoif", "plain fork", 1.2),
    ("3x12", "autoif", "python -I", 1 / 7),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="the floors only, within 50 s")
    check = parser.parse_args().check
    table: dict[str, dict[str, float]] = {}
    found: list[tuple[str, float, float, bool]] = []
    with Sandbox(workers=1) as ours, plain_fork() as unlocked, monty() as rust:
        methods: dict[str, Method] = {"bare": bare, "alarm": alarm, "autoif": sandboxed(ours)}
        methods["plain fork"] = sandboxed(unlocked)
        for name, shape in SHAPES.items():
            here = dict(methods)
            if not check or name == "3x12":
                here["python -I"] = fresh
            if not check and rust is not None and runs(rust, shape):
                here["pydantic-monty"] = rust
            rounds = interleaved(here, shape, 15 if check else 41)
            table[name] = {m: round(statistics.median(t), 3) for m, t in rounds.items()}
            for where, one, other, most in FLOORS:
                if where == name:
                    value = ratio(rounds, one, other)
                    found.append((f"{name}: {one} / {other}", value, most, value <= most))
    scale = two_zygotes(5 if check else 11, 150 if check else 400)
    found.append(("two zygotes / one", scale, 1.8, scale >= 1.8))
    loops = hostile(80 if check else 300)
    found.append(
        ("10% loops, of what is possible", loops["of_possible"], 0.85, loops["of_possible"] >= 0.85)
    )
    columns = list(dict.fromkeys(m for row in table.values() for m in row))
    print(f"{'ms':10}" + "".join(f"{m:>16}" for m in columns))
    for name, row in table.items():
        print(
            f"{name:10}" + "".join(f"{row[m]:16.2f}" if m in row else f"{'':16}" for m in columns)
        )
    for what, value, floor, holds in found:
        print(f"{what:34} {value:7.2f}  floor {floor:5.2f}  {'ok' if holds else 'MISSED'}")
    if not check:
        report = {
            "command": "python benchmarks/sandbox.py",
            "shapes": table,
            "hostile_functions_per_s": round(loops["functions_per_s"], 1),
            "hostile_of_possible": round(loops["of_possible"], 3),
            "two_zygotes_ratio": round(scale, 3),
            "ratios": {what: round(value, 3) for what, value, _, _ in found},
        }
        record("sandbox", report)
    return 0 if all(holds for *_, holds in found) else 1


if __name__ == "__main__":
    sys.exit(main())
