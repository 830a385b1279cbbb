"""`results/NAME.json`: what a benchmark measured; benchmarks that fill one file keep its others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def record(name: str, rows: Mapping[str, Any]) -> None:
    """Lays `rows` over what the file has."""
    file = RESULTS / f"{name}.json"
    before = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(before | dict(rows), indent=1) + "\n")
