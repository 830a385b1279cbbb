"""`autoif train`: data to weights. `autoif calibrate`: which data a student can learn from."""

from __future__ import annotations

import argparse
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autoif.base.errors import RunFailed
from autoif.base.toml import parse_settings
from autoif.cli.common import (
    command,
    note,
    output_options,
    own_process,
    say,
    say_json,
    server_options,
    urls,
)


def add(commands: Any) -> None:
    train = command(
        commands, "train", _train, "train a model on data; run again to resume",
        "autoif train sft sft.toml",
        "autoif train dpo dpo.toml --set dpo.beta=0.2 --out runs/dpo-0.2",
        "autoif train sft sft.toml --set train.report_to=wandb",
    )  # fmt: skip
    group = train.add_argument_group("training")
    group.add_argument("method", choices=("sft", "dpo", "selfplay", "grpo"))
    _config_options(group, "the model that is trained")
    group = output_options(
        train,
        json="print the model's directory and the last step's metrics as JSON",
        quiet="print errors only",
    )
    group.add_argument("--out", metavar="DIR", help="the key `out`: directory of the training")

    calibrate = command(
        commands, "calibrate", _calibrate,
        "have a student answer the prompts of data, and write how often it passes",
        "autoif calibrate calibrate.toml",
        "autoif calibrate calibrate.toml --model openai:NAME --base-url URL --set sampling.k=4",
    )  # fmt: skip
    group = calibrate.add_argument_group("calibration")
    _config_options(group, "the student; also openai:NAME")
    server_options(calibrate.add_argument_group("server"), "OPENAI_API_KEY")
    group = output_options(
        calibrate, json="print what became of the rows as JSON", quiet="print errors only"
    )
    group.add_argument("--out", metavar="DIR", help="the key `out`: directory of the rows")


def _config_options(group: Any, model: str) -> None:
    group.add_argument("config", metavar="CONFIG.toml", help="model, data, out, and any other key")
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="K=V",
        help="set a key of CONFIG, as in train.lr=1e-4; may be repeated",
    )
    group.add_argument("--model", help=f"the key `model`: {model}")


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    flags = {"model": args.model, "out": args.out}
    return parse_settings(args.set) | {k: v for k, v in flags.items() if v is not None}


def _calibrate(args: argparse.Namespace) -> int:
    from autoif.engine.calibration import calibrate
    from autoif.train.config import TrainConfig

    config = TrainConfig.load("grpo", Path(args.config), _settings(args))
    own_process()
    counts = calibrate(
        config,
        (lambda line: None) if args.quiet else note,
        base_url=urls(args.base_url),
        api_key_env=args.api_key_env,
    )
    if args.json:
        say_json(asdict(counts))
    elif not args.quiet:
        say(counts.line())
    return 0


def _train(args: argparse.Namespace) -> int:
    from autoif.engine.train_and_evaluate import train
    from autoif.train.config import TrainConfig
    from autoif.train.model_files import need_extra
    from autoif.train.plots import read
    from autoif.train.process import own_training_process

    config = TrainConfig.load(args.method, Path(args.config), _settings(args))
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
    name, x = ("rounds", "round") if args.method == "selfplay" else ("metrics", "step")
    history = read(out / f"{name}.jsonl", x)
    if args.json:
        say_json({"model": str(model), "last": history[-1] if history else {}})
    elif not args.quiet:
        say(str(model))
    return 0
