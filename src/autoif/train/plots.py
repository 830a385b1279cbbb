"""metrics.jsonl and rounds.jsonl as pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from autoif.base import jsonl
from autoif.base.errors import UsageError
from autoif.base.files import in_place_of

History = list[dict[str, Any]]
# File name -> the metrics it shows, those that there are.
STEPS = {
    "loss": ("loss",),
    "reward": ("reward", "rewards/margins", "rewards/accuracies", "verifier/hack_rate",
               "frac_reward_zero_std"),
    "kl": ("kl",),
    "length": ("completions/mean_length",),
}  # fmt: skip
GUARDS = ("words_median", "repetition", "hack_rate", "drift", "refusals", "empty", "kl")


def read(path: Path, x: str) -> History:
    """Its rows with a number in `x`; none where there is no file. A last line that a kill cut short
    is left out."""
    if not path.is_file():
        return []
    rows = []
    with suppress(UsageError):
        for _, row in jsonl.read(path):
            if isinstance(row.get(x), (int, float)):
                rows.append(row)
    return rows


def steps(history: History, out: Path) -> None:
    """loss.png and, where there are such metrics, reward.png, kl.png, length.png."""
    for name, keys in STEPS.items():
        draw(history, "step", keys, out / f"{name}.png")


def rounds(history: History, out: Path) -> None:
    """rounds.png (pass rate and benchmarks) and guards.png."""
    others = {"round", "kept", "pairs", *GUARDS, "words"}
    scores = [k for k in (history[-1] if history else {}) if k not in others]
    draw(history, "round", scores, out / "rounds.png")
    draw(history, "round", GUARDS, out / "guards.png")


def lines(rows: Sequence[Mapping[str, Any]], key: str) -> dict[int | None, list[float]]:
    """The figures of a key by the number that they rest on, NaN in the place of the others: what
    rests on another number breaks the line."""
    numbers = [row["n"].get(key) if isinstance(row.get("n"), Mapping) else None for row in rows]
    return {
        n: [row[key] if of == n else math.nan for row, of in zip(rows, numbers, strict=True)]
        for n in dict.fromkeys(numbers)
    }


def draw(history: Sequence[Mapping[str, Any]], x: str, keys: Sequence[str], path: Path) -> None:
    """A panel for each of the keys that occur; no file where none does. A row may say in "n", by
    key, what its figures rest on: points that rest on different numbers are not joined."""
    series = {
        key: [row for row in history if isinstance(row.get(key), (int, float))] for key in keys
    }
    series = {key: rows for key, rows in series.items() if rows}
    if not series:
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        len(series), 1, sharex=True, squeeze=False, figsize=(7, 1 + 2 * len(series))
    )
    for axis, (key, rows) in zip(axes[:, 0], series.items(), strict=True):
        marker = "." if len(rows) < 40 else ""
        xs = [row[x] for row in rows]
        for n, ys in lines(rows, key).items():
            axis.plot(xs, ys, marker=marker, label=f"n = {n}" if n else None)
        if any(lines(rows, key)):
            axis.legend(fontsize=7)
        axis.set_ylabel(key, fontsize=8)
        axis.grid(alpha=0.3)
    axes[-1, 0].set_xlabel(x)
    figure.tight_layout()
    with in_place_of(path) as temporary:
        figure.savefig(temporary, dpi=110, format=path.suffix[1:])
    pyplot.close(figure)
