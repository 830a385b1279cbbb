"""The shipped configurations for 8 GPUs, as accelerate reads them; nothing is launched."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("accelerate", reason='needs `pip install "autoif[train]"`')
CONFIGS = Path(str(files("autoif") / "train" / "configs"))


def test_accelerate_would_launch_eight_processes_with_zero_3() -> None:
    """A dry run of `accelerate launch`: its arguments and the environment of its processes."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_deepspeed_cmd_env

    file = str(CONFIGS / "zero3_8gpu.yaml")
    line = ["--config_file", file, "-m", "autoif", "train", "sft", "c.toml"]
    parsed = launch_command_parser().parse_args(line)
    args, defaults, _ = _validate_launch_command(parsed)
    args.deepspeed_fields_from_accelerate_config = ",".join(defaults.deepspeed_config)
    assert args.use_deepspeed
    assert args.num_processes == 8
    _, environment = prepare_deepspeed_cmd_env(args)
    assert environment["ACCELERATE_DEEPSPEED_ZERO_STAGE"] == "3"
    assert environment["ACCELERATE_MIXED_PRECISION"] == "bf16"
    assert environment["ACCELERATE_DEEPSPEED_ZERO3_INIT"] == "true"
    assert environment["ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL"] == "true"


def test_deepspeeds_own_configuration_is_read_and_filled_in() -> None:
    from accelerate.utils.deepspeed import HfDeepSpeedConfig

    config: Any = HfDeepSpeedConfig(str(CONFIGS / "zero3.json"))
    assert config.is_zero3()
    assert not config.is_offload()
    raw = json.loads((CONFIGS / "zero3.json").read_text("utf-8"))
    filled = {"train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"}
    assert all(raw[key] == "auto" for key in filled)


def test_eight_processes_share_a_step() -> None:
    """The paper's 128 rows are 16 on each of 8 devices."""
    from autoif.train.config import TrainConfig

    config = TrainConfig.of("sft", {"preset": "paper", "model": "m", "data": "d", "out": "o"})
    assert config.train.batch % (8 * config.train.micro_batch) == 0
