"""`autoif train`: data to weights."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

from autoif.base.errors import RunFailed
from autoif.cli.common import command, note, own_process, say, say_json


def add(commands: Any) -> None:
    train = command(commands, "train", _train, "train a model; run again to resume")
    train.add_argument("method", choices=("sft", "dpo", "selfplay", "grpo"))
    train.add_argument("config", metavar="CONFIG.toml")


def _train(args: argparse.Namespace) -> int:
    from autoif.engine.train_and_evaluate import train
    from autoif.train.config import TrainConfig
    from autoif.train.model_files import need_extra
    from autoif.train.plots import read
    from autoif.train.process import own_training_process

    config = TrainConfig.load(args.method, Path(args.config))
    need_extra()
    own_process()
    with warnings.catch_warnings():  # of the libraries, about one another
        warnings.simplefilter("ignore")
        own_training_process()
        try:
            model = train(config, (lambda line: None) if args.quiet else note)
        except KeyboardInterrupt:
            raise RunFailed(
                "stopped at once; the same command goes on from the last checkpoint (every "
                f"{config.train.save_steps} steps) and the answers that are stored"
            ) from None
    out = Path(config.out)
    history = read(out / ("rounds.jsonl" if args.method == "selfplay" else "metrics.jsonl"))
    if args.json:
        say_json({"model": str(model), "last": history[-1] if history else {}})
    elif not args.quiet:
        say(str(model))
    return 0
