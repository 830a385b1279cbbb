"""What `autoif view` and `autoif report` take of time and memory, on a run of any size.

    python benchmarks/report.py [--samples 1000000] [--check]

Makes a run of so many samples from the rows of a smoke run, each with words of its own; serves it
with `autoif view` in a process of its own, and asks over HTTP as the page does: a filter, a sort, a
text search (another word each time), a page far down. Beside it, in this process, a plain
`polars.read_ndjson` of the same file. Then the report of 1,000 samples: its size, and the time from
opening to the first list in Chromium, where Playwright and Chromium are there.

--check: exit 1 where a median is above 0.5 s, the server above 500 MB, the file above 3 MB, or the
page above 1 s.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import orjson
import polars as pl
from results_file import record

WORDS = 20_000  # different ones in the made responses
ROUNDS = 9
LIMITS = {"seconds": 0.5, "megabytes": 500, "page_megabytes": 3, "page_seconds": 1.0}


def make(folder: Path, samples: int) -> Path:
    """A finished run with so many samples; the seed is fixed."""
    small, big = folder / "small", folder / "big"
    autoif = [sys.executable, "-m", "autoif"]
    subprocess.run([*autoif, "synth", "--preset", "smoke", "--out", small, "--quiet"], check=True)
    shutil.copytree(small, big, ignore=shutil.ignore_patterns("parts", "03-samples.jsonl"))
    rows = [orjson.loads(line) for line in (small / "03-samples.jsonl").open("rb")]
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghijklmnoprstuvw", k=7)) for _ in range(WORDS)]
    with (big / "03-samples.jsonl").open("wb") as out:
        for n in range(samples):
            row = rows[n % len(rows)]
            text = " ".join(draw.choices(words, k=60))
            made = row | {"id": f"{draw.getrandbits(64):016x}", "response": text}
            out.write(orjson.dumps(made, option=orjson.OPT_APPEND_NEWLINE))
    return big


class Served:
    """`autoif view` of a run, asked as the page asks."""

    def __init__(self, run: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "autoif", "view", run], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        self.address, self.token = self.process.stdout.readline().strip().split("#token=")

    def ask(self, path: str) -> Any:
        request = urllib.request.Request(
            f"{self.address}api/{path}", headers={"Authorization": f"Bearer {self.token}"}
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def wait(self, samples: int) -> float:
        """Seconds until all samples are read."""
        started = time.perf_counter()
        while True:
            runs = self.ask("runs")["runs"]
            if runs and runs[0]["totals"]["samples"] >= samples:
                return time.perf_counter() - started
            time.sleep(0.2)

    def median(self, paths: list[str]) -> float:
        took = []
        for path in paths:
            started = time.perf_counter()
            self.ask(path)
            took.append(time.perf_counter() - started)
        return statistics.median(took)

    def megabytes(self) -> float:
        """The most that the process had in memory, files that it maps included."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024


def measure(run: Path, samples: int) -> dict[str, Any]:
    started = time.perf_counter()
    pl.read_ndjson(run / "03-samples.jsonl")
    plain = time.perf_counter() - started
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghijklmnoprstuvw", k=7)) for _ in range(WORDS)]
    served = Served(run)
    try:
        ready = served.wait(samples)
        pages = "0/samples?limit=50"
        asked = {
            "filter": [f"{pages}&eq.fate=kept&min.quality={q}" for q in range(ROUNDS)],
            "sort": [f"{pages}&sort={c}&desc=1" for c in ("words", "quality", "family") * 3],
            "search": [f"{pages}&q={word}" for word in words[:ROUNDS]],
            "page": [f"{pages}&offset={samples * n // (ROUNDS + 1)}" for n in range(ROUNDS)],
        }
        medians = {name: round(served.median(paths), 4) for name, paths in asked.items()}
        return {
            "samples": samples,
            "file_megabytes": round((run / "03-samples.jsonl").stat().st_size / 1e6),
            "read_ndjson_seconds": round(plain, 2),
            "view_ready_seconds": round(ready, 2),
            "view_median_seconds": medians,
            "view_megabytes": round(served.megabytes()),
        }
    finally:
        served.process.terminate()
        served.process.wait()


def page(folder: Path) -> dict[str, Any]:
    """Of a report of 1,000 samples: its size, and when it can be used."""
    run = make(folder, 1000)
    out = folder / "report.html"
    subprocess.run([sys.executable, "-m", "autoif", "report", run, "--out", out], check=True)
    found: dict[str, Any] = {"page_megabytes": round(out.stat().st_size / 1e6, 2)}
    chromium = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return found
    if chromium:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            took = []
            for _ in range(5):
                tab = browser.new_page()
                started = time.perf_counter()
                tab.goto(f"{out.as_uri()}#/0/samples")
                tab.wait_for_selector(".items li")
                took.append(time.perf_counter() - started)
                tab.close()
            browser.close()
        found["page_seconds"] = round(statistics.median(took), 3)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(make(Path(folder) / "view", args.samples), args.samples)
        found |= page(Path(folder) / "page")
    print(json.dumps(found, indent=1))
    command = f"python benchmarks/report.py --samples {args.samples}"
    record("report", {str(args.samples): {"command": command, **found}})
    slow = {k: v for k, v in found["view_median_seconds"].items() if v > LIMITS["seconds"]}
    over = {
        name: found[name]
        for name, limit in (
            ("view_megabytes", LIMITS["megabytes"]),
            ("page_megabytes", LIMITS["page_megabytes"]),
            ("page_seconds", LIMITS["page_seconds"]),
        )
        if found.get(name, 0) > limit
    }
    if args.check and (slow or over):
        print(f"above the limits: {slow | over}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
