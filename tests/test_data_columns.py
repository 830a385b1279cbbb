"""The columns of the data files: what other programs make of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from runs import rows, write_rows

FILES = ("sft", "dpo", "rlvr")
# Columns that trainers take for the prompt or for the answer by their names alone, beside those in
# which ours stand: ms-swift's AutoPreprocessor, LLaMA-Factory's and Axolotl's alpaca format.
CLAIMED = {
    "query", "instruction", "input", "question", "problem", "system", "system_prompt", "response",
    "answer", "output", "targets", "target", "answer_key", "answers", "solution", "text",
    "completion", "content", "history", "images", "conversations", "dataset",
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_no_trainer_takes_another_column_for_the_prompt(smoke: Path, name: str) -> None:
    assert not {column for row in rows(smoke / f"data/{name}.jsonl") for column in row} & CLAIMED


@pytest.mark.parametrize("name", FILES)
def test_columns_that_fill_late_are_loaded_with_the_card(
    smoke: Path, tmp_path: Path, name: str
) -> None:
    """`datasets` guesses from the first block alone, here 4 kB, that an empty list stays empty."""
    datasets: Any = pytest.importorskip("datasets", reason='needs `pip install "autoif[hub]"`')
    made = rows(smoke / f"data/{name}.jsonl")
    empty: dict[str, Any] = {"soft": []}
    filled: dict[str, Any] = {"soft": [{"instruction": "Be calm.", "score": 7.5}]}
    if name == "sft":
        empty["quality"], filled["quality"] = None, 8.0
    content = [row | empty for row in made] + [made[0] | filled]
    data = shutil.copytree(smoke / "data", tmp_path / "data")
    file = write_rows(data / f"{name}.jsonl", content)
    settings = {"split": "train", "cache_dir": str(tmp_path / "cache"), "chunksize": 4096}
    with pytest.raises(datasets.exceptions.DatasetGenerationError):
        datasets.load_dataset("json", data_files=str(file), **settings)
    loaded = datasets.load_dataset(str(data), name, **settings)
    assert json.loads(json.dumps(loaded.to_list())) == content
    assert list(loaded.features) == list(made[0])
