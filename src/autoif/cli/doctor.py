"""`autoif doctor`: what works here, found out by trying, and what to do where it does not."""

from __future__ import annotations

import importlib.util
import platform
from dataclasses import asdict, dataclass
from typing import Any

from autoif.models.weights import WEIGHTS, cache_dir
from autoif.sandbox import probe


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that holds or does not. Synthesis needs the `required` ones."""

    name: str
    holds: bool
    required: bool
    advice: str = ""

    def line(self) -> str:
        mark = "ok  " if self.holds else ("FAIL" if self.required else "no  ")
        return f"{mark} {self.name}" + (f": {self.advice}" if self.advice else "")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def examine() -> list[Finding]:
    found = [Finding(f"python {platform.python_version()}, {platform.platform()}", True, False)]
    found += [
        Finding(f"sandbox: {layer.name}", layer.holds, layer.required, layer.advice)
        for layer in probe()
    ]
    for extra, module, does in (
        ("local", "openvino_genai", "the embedded model (local:)"),
        ("hf", "transformers", "hf: models, and a cross-encoder as judge of back-translations"),
        ("hub", "datasets", "hf: seeds and queries"),
    ):
        there = importlib.util.find_spec(module) is not None
        advice = "" if there else f'for {does}: pip install "autoif[{extra}]"'
        found.append(Finding(f"extra [{extra}]", there, False, advice))
    for name, weights in WEIGHTS.items():
        there = (cache_dir() / weights.file).is_file()
        advice = "" if there else "fetched at first use"
        found.append(Finding(f"weights {name}", there, False, advice))
    return found
