"""Run the attacks on this machine as it is: one JSON line with the sandbox's layers (or why there
is none), one per trial, leftovers last.

    python -m attacks FOLDER [FAMILY...]

Run from `tests/`, mostly by test_matrix.py, on a machine that confine.py made poorer.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from autoif.base.errors import SandboxUnavailable
from autoif.sandbox import Sandbox

from .corpus import ATTACKS
from .scene import Scene


def main(folder: Path, families: list[str]) -> int:
    try:
        with Sandbox(workers=1) as sandbox:
            print(json.dumps({"layers": dict(sandbox.layers)}), flush=True)
    except SandboxUnavailable as missing:
        print(json.dumps({"unavailable": str(missing)}), flush=True)
        return 1
    attacks = [a for a in ATTACKS if not families or a.family in families]
    if attacks:
        with Scene(folder) as scene:
            for attack in attacks:
                print(json.dumps(asdict(scene.trial(attack))), flush=True)
            print(json.dumps({"leftovers": scene.leftovers()}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
