"""The IFEval experiment from end to end, with a student of two layers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import students

pytest.importorskip("trl", reason='needs `pip install "autoif[train]"`')
torch: Any = pytest.importorskip("torch")
load_file: Any = pytest.importorskip("safetensors.torch").load_file
SCRIPT = Path(__file__).parent.parent / "experiments" / "ifeval_smollm2" / "run.py"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif("AUTOIF_DATA" not in os.environ, reason="needs the benchmarks in AUTOIF_DATA")
def test_it_goes_through_all_stages_and_goes_on(tmp_path: Path) -> None:
    student = students.make(tmp_path / "student", context=600)
    for name, rows in (
        ("sft", students.sft_rows(8)),
        ("dpo", students.dpo_rows(8)),
        ("rlvr", students.rlvr_rows(8) + students.rlvr_rows(8, students.FOX)),
    ):
        students.write(tmp_path / "rows" / f"{name}.jsonl", rows)
    results = tmp_path / "results.json"
    line = [sys.executable, str(SCRIPT), "--work", str(tmp_path / "work"), "--rows",
            str(tmp_path / "rows"), "--student", str(student), "--minutes", "1",
            "--engine", "hf", "--threads", "1", "--results", str(results)]  # fmt: skip
    subprocess.run(line, check=True, timeout=1200)
    found = json.loads(results.read_text())
    stages = ("baseline", "sft", "dpo", "grpo", "final")
    keys = {"prompt_strict", "inst_strict", "prompt_loose", "inst_loose", "ifbench", "gsm8k",
            "n_train", "seeds"}  # fmt: skip
    assert all(keys <= found[name].keys() for name in stages)
    assert {"command", "hardware"} <= found.keys()
    assert (tmp_path / "stages.png").exists()
    subprocess.run(line, check=True, timeout=600)  # all is there: nothing is trained or asked again
    assert json.loads(results.read_text())["sft"] == found["sft"]

    # From the adapters that it kept, elsewhere: the same models without training them again.
    line[line.index("--work") + 1] = str(tmp_path / "again")
    kept = tmp_path / "work/ngram-1/adapters"
    subprocess.run([*line, "--adapters", str(kept)], check=True, timeout=1200)
    for stage in ("sft", "dpo"):
        assert not (tmp_path / "again/ngram-1" / stage / "checkpoints").exists()
        one, other = (
            load_file(tmp_path / work / "ngram-1" / stage / "model/model.safetensors")
            for work in ("work", "again")
        )
        assert all(torch.allclose(one[name], other[name], atol=1e-2) for name in one)
