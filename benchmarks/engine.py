"""A million instructions through the engine: is the driver's memory flat, and how fast is it?

    python benchmarks/engine.py [--n 1000000] [--check]

One scripted call an instruction, no function to run, so that the engine, the books and the call
store are all there is. Memory is the driver's resident set from the first committed instruction on
(what the global step before it leaves behind, included), read from /proc at every tenth. Then the
same command again: finished shards have to be skipped, nothing asked and nothing replayed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from results_file import record

from autoif.base.errors import RunFailed
from autoif.base.loop import asyncio_run
from autoif.engine.local import Run
from autoif.models.scripted import ScriptedBackend
from autoif.run.directory import RunDir
from autoif.run.recipe import Recipe

FLAT_MB = 300.0  # floor: resident memory at the end
CHECK_N = 20_000


def resident_mb() -> float:
    fields = Path("/proc/self/status").read_text().split("VmRSS:")[1].split()
    return int(fields[0]) / 1024


async def measure(folder: Path, n: int) -> dict[str, Any]:
    instructions = folder / "instructions.jsonl"
    with instructions.open("w") as file:
        for i in range(n):
            file.write(json.dumps({"text": f"Write exactly {i} words."}) + "\n")
    recipe = Recipe.load(
        "paper",
        None,
        {
            "models.default": "scripted:engine",
            "instructions.own": str(instructions),
            "verifiers.ask": "apart",
            "verifiers.k": 1,
            "verifiers.case_asks": 0,
            "backtranslate.judge": "off",
        },
    )
    source = "```python\ndef evaluate(response):\n    return True\n```"

    async def start() -> tuple[Run, float, list[tuple[int, float]]]:
        out = RunDir(folder / "run")
        out.claim(recipe)
        run = Run(
            recipe, out, backends={"scripted:engine": ScriptedBackend(lambda request: source)}
        )
        seen: list[tuple[int, float]] = []

        async def watch() -> None:
            while True:
                done = run.progress.done
                if done and (not seen or done - seen[-1][0] >= n // 10):
                    seen.append((done, resident_mb()))
                await asyncio.sleep(0.05)

        watching = asyncio.create_task(watch())
        began = time.monotonic()
        try:
            await run.execute()
        except RunFailed:
            pass  # no function is kept without a case: nothing comes out, and nothing should
        finally:
            watching.cancel()
        seen.append((run.progress.done, resident_mb()))
        return run, time.monotonic() - began, seen

    run, seconds, seen = await start()
    assert run.progress.calls()["asked"] == n, run.progress.calls()
    again, seconds_again, _ = await start()
    assert again.progress.calls() == {"asked": 0, "replayed": 0}, again.progress.calls()
    return {
        "instructions": n,
        "rows_per_s": round(n / seconds),
        "resident_mb": [(done, round(mb, 1)) for done, mb in seen],
        "rss_mb_at_end": round(seen[-1][1], 1),
        "growth_bytes_per_row": round((seen[-1][1] - seen[0][1]) * 2**20 / n, 1),
        "seconds": round(seconds, 1),
        "seconds_again": round(seconds_again, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--check", action="store_true", help=f"{CHECK_N:,} instructions")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio_run(measure(Path(folder), CHECK_N if args.check else args.n))
    print(json.dumps(found, indent=2))
    if args.n == 1_000_000 and not args.check:
        record("calls", {"rss_mb_at_1m": found["rss_mb_at_end"], "engine": found})
    return 0 if found["rss_mb_at_end"] <= FLAT_MB else 1


if __name__ == "__main__":
    raise SystemExit(main())
