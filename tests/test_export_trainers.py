"""Exports in the trainers themselves: programs of the reference data drive TRL and LLaMA-Factory,
each installed anew, over exports of the smoke run, to the last training step on a tiny model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from autoif.export.exporter import export

ROOT = Path(__file__).parents[1]
TORCH = "torch==2.13.0"  # first, so that no CUDA build comes with the trainer
TRAINERS = {
    "trl": ("accept_trl.py", ["trl==1.16.0", "peft"], []),
    # PyPI's builds of these two want CUDA's torch
    "llama-factory": (
        *("accept_llamafactory.py", ["llamafactory==0.9.5"]),
        ["torchvision", "torchaudio"],
    ),
}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", TRAINERS)
def test_a_trainer_trains_on_an_export(
    name: str, smoke: Path, data_dir: Path, tmp_path: Path
) -> None:
    program, wanted, unwanted = TRAINERS[name]
    path = data_dir.parent / "accept" / program
    if not path.is_file():
        pytest.skip(f"{program} is not beside the reference data")
    out = export(smoke, name, out=tmp_path / "export").path
    python = tmp_path / "venv/bin/python"
    call(sys.executable, "-m", "venv", tmp_path / "venv")
    call(python, "-m", "pip", "install", "--quiet", TORCH)
    call(python, "-m", "pip", "install", "--quiet", *wanted, "-e", ROOT)
    if unwanted:
        call(python, "-m", "pip", "uninstall", "--quiet", "--yes", *unwanted)
    said = call(python, path, out)
    assert " 0 failed, 0 skipped" in said


def call(*command: object) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout
