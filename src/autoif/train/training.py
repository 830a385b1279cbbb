"""What all trainings share: arguments, checkpoints and resume, metrics, guards, and what is saved.

OUT/config.toml   the whole configuration; another one is refused here
OUT/checkpoints/  what a killed run goes on from
OUT/metrics.jsonl a row per step
OUT/*.png         the same as pictures
OUT/adapter/      LoRA: the adapters alone
OUT/model/        the trained model, plain; written last
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.util
import json
import math
import os
import time
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from autoif.base import jsonl
from autoif.base.errors import RunFailed, SetupError, UsageError
from autoif.base.files import (
    alone,
    appending,
    make_folder,
    read_small,
    refuse_links,
    remove,
    write_whole,
)
from autoif.base.records import dump_line
from autoif.models.transformers.backend import base_of
from autoif.train import dataset as dataset
from autoif.train import model_card as model_card
from autoif.train import model_files, plots
from autoif.train.config import TrainConfig
from autoif.train.dataset import Row, Rows
from autoif.train.guards import Diverged, Guard

Notice = Callable[[str], None]
# What is written here, by us or by the libraries, which follow links. `model` may be one, of ours.
OURS = (
    "calls.sqlite*",
    "checkpoints",
    "adapter",
    "trained",
    "round-*",
    "*.json*",
    "config.toml",
    "run.lock",
)


class TrainingRun:
    """One training in its directory. `origin`: the GGUF its model came from, or ""."""

    def __init__(self, config: TrainConfig, notice: Notice) -> None:
        model_files.need_extra()
        if config.train.threads:
            import torch

            torch.set_num_threads(config.train.threads)
        self.config = config
        self.out = Path(config.out)
        self.notice = notice
        self.model = self.out / "model"
        self.where, self.origin = model_files.find(config.model)
        self._claim()
        if base := base_of(self.where):
            notice(f"{config.model} holds adapters alone; the model below them is {base}")

    def done(self) -> bool:
        """Whether the model is there. Raises UsageError where it was made of another model or of
        other rows, so that nobody takes an old one for a new one."""
        if not self.model.is_dir():
            return False
        self.rows()
        return True

    def _claim(self) -> None:
        """The directory is of this configuration, or new. Raises UsageError; SetupError where a
        name in it is a link."""
        refuse_links(self.out, OURS, "choose another `out`")
        file = self.out / "config.toml"
        if file.exists():
            differing = self.config.differs(TrainConfig.load(self.config.method, file))
            if differing:
                raise UsageError(
                    f"{self.out} is of another configuration ({'; '.join(differing[:4])}): choose "
                    "another `out`, or change them back"
                )
        make_folder(self.out)
        write_whole(file, self.config.toml().encode())

    def rows(self) -> Rows:
        """The rows of `data`. Raises UsageError where the directory is of others, or of another
        model."""
        rows = dataset.load(self.config.method, self.config.data, band=self.config.calibrated)
        file = self.out / "inputs.json"
        mine = {
            "rows": len(rows.rows),
            "sha256": rows.fingerprint,
            "model": model_files.fingerprint(self.where),
        }
        if not file.exists():
            write_whole(file, f"{json.dumps(mine)}\n".encode())
            return rows
        known = _inputs(file)
        if known["model"] != mine["model"]:
            raise UsageError(
                f"{self.out} was begun with other weights than {self.config.model} has now: put "
                "them back, or choose another `out`"
            )
        if known != mine:
            raise UsageError(
                f"{self.out} was begun with other rows ({known['rows']:,}; now {len(rows.rows):,}, "
                f"or others, from {', '.join(rows.sources)}): put them back, or choose another "
                "`out`"
            )
        return rows

    def alone(self) -> AbstractContextManager[None]:
        """Held while the directory is written. Raises SetupError where another training has it.
        Of the processes of one training, the first one holds it."""
        if os.environ.get("RANK", "0") != "0":
            return contextlib.nullcontext()
        return alone(self.out, "choose another `out`")

    def arguments(self) -> dict[str, Any]:
        """For any of TRL's configurations."""
        import torch

        part = self.config.train
        _need_tracker(part.report_to)
        on_gpu = torch.cuda.is_available()
        share = part.micro_batch * int(os.environ.get("WORLD_SIZE", "1"))
        if part.batch % share:
            raise UsageError(
                f"train.batch ({part.batch}) is no multiple of train.micro_batch x devices "
                f"({share})"
            )
        return {
            "output_dir": str(self.out / "checkpoints"),
            "learning_rate": part.lr,
            "lr_scheduler_type": part.schedule,
            "warmup_steps": part.warmup,
            "weight_decay": part.weight_decay,
            "max_grad_norm": part.grad_norm,
            "num_train_epochs": part.epochs,
            "max_steps": part.max_steps or -1,
            "per_device_train_batch_size": part.micro_batch,
            "gradient_accumulation_steps": part.batch // share,
            "bf16": has_bf16() if part.bf16 == "auto" else part.bf16 == "on",
            "use_cpu": not on_gpu,
            "dataloader_pin_memory": on_gpu,
            "activation_checkpointing": part.gradient_checkpointing,
            "activation_checkpointing_kwargs": {"use_reentrant": False},
            "save_strategy": "steps",
            "save_steps": part.save_steps,
            "save_total_limit": part.keep,
            "logging_steps": 1,
            "logging_nan_inf_filter": False,  # the guard is to see them
            "report_to": part.report_to,
            "disable_tqdm": True,
            "seed": self.config.seed,
        }

    def fit(
        self, kind: Any, arguments: Any, length: Callable[[Any, Row], int], **more: Any
    ) -> Path:
        """The trained model, of the rows that are short enough. `kind`, `arguments`, `more`: a
        trainer of TRL's, its configuration, what else it takes. `length(tokenizer, row)`: tokens.
        """
        with self.alone():
            self._fit(kind, arguments, length, more)
        give_memory_back()
        return self.model

    def _fit(
        self, kind: Any, arguments: Any, length: Callable[[Any, Row], int], more: dict[str, Any]
    ) -> None:
        from datasets import Dataset

        rows = self.rows()
        tokenizer, model, adapters = self._load()
        dataset.keep_short(rows, partial(length, tokenizer), self.config.train.max_length)
        self.notice(rows.account())
        trainer = kind(
            model,
            args=arguments,
            train_dataset=Dataset.from_list(rows.rows),
            processing_class=tokenizer,
            peft_config=adapters,
            **more,
        )
        self._train(trainer, rows)

    def _load(self) -> tuple[Any, Any, Any]:
        """Tokenizer, model, and LoRA's configuration or None."""
        tokenizer = model_files.load_tokenizer(self.where, self.config.chat_template)
        model = model_files.load_model(self.where, packed=self.config.train.packing)
        context = model_files.context_of(model)
        if context is not None and self.config.train.max_length > context:
            raise UsageError(
                f"train.max_length ({self.config.train.max_length}) is over the {context} tokens "
                f"that {self.config.model} can read"
            )
        return tokenizer, model, lora(self.config)

    def _train(self, trainer: Any, rows: Rows) -> None:
        """Trains from the last checkpoint, if there is one, and saves. Raises RunFailed where a
        guard ends it, SetupError where memory does not suffice."""
        import torch
        from transformers import PrinterCallback

        trainer.remove_callback(PrinterCallback)  # stdout is the command's
        trainer.add_callback(_recorder(self.out / "metrics.jsonl", Guard(self.config.guards)))
        last = last_checkpoint(self.out / "checkpoints")
        if last is not None:
            self.notice(f"going on from {last}")
        try:
            trainer.train(resume_from_checkpoint=str(last) if last else None)
        except Diverged as stopped:
            kept = last_checkpoint(self.out / "checkpoints")
            good = f"the last good checkpoint is {kept}" if kept else "no checkpoint before that"
            raise RunFailed(f"{stopped}; {good}") from None
        except torch.OutOfMemoryError:
            raise SetupError(out_of_memory(self.config)) from None
        self._save(trainer, rows)

    def _save(self, trainer: Any, rows: Rows) -> None:
        tokenizer = trainer.processing_class
        about = {"origin": self.origin, "base": self.config.model, "method": self.config.method}
        adapted = self.config.lora.rank > 0
        raw = self.out / ("adapter" if adapted else "trained")
        trainer.save_model(str(raw))  # gathers what is spread over devices
        if not trainer.is_world_process_zero():
            return
        for empty in (raw, self.out / "checkpoints", *self.out.glob("checkpoints/*")):
            remove(empty / "README.md")  # a card that nobody filled in
        if adapted:
            model_files.save_plain(model_files.load_model(str(raw)), tokenizer, self.model, about)
        else:
            write_whole(raw / model_files.LINEAGE, f"{json.dumps(about, indent=2)}\n".encode())
            remove(raw / "training_args.bin")
            raw.replace(self.model)
        history = plots.read(self.out / "metrics.jsonl", "step")
        plots.steps(history, self.out)
        card = model_card.card(self.config, rows, history)
        write_whole(self.model / "README.md", card.encode())


def _inputs(file: Path) -> dict[str, Any]:
    """What a training wrote of its inputs. Raises UsageError for anything else."""
    try:
        known = jsonl.loads(read_small(file))
        if isinstance(known["model"], str) and isinstance(known["rows"], int):
            return dict(known)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise UsageError(f"{file}: not what a training wrote; choose another `out`")


def _need_tracker(name: str) -> None:
    """Raises SetupError where the tracker's package is not installed."""
    spec = None if name == "none" else importlib.util.find_spec(name)
    if name != "none" and (spec is None or spec.origin is None):  # no origin: wandb's own folder
        raise SetupError(f'train.report_to = "{name}" needs `pip install {name}`')


def give_memory_back() -> None:
    """To the system, before something else begins."""
    gc.collect()
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def has_bf16() -> bool:
    """Whether the device that trains computes in bfloat16 by itself."""
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def lora(config: TrainConfig) -> Any:
    if config.lora.rank == 0:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=config.lora.rank,
        lora_alpha=config.lora.alpha,
        lora_dropout=config.lora.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def out_of_memory(config: TrainConfig) -> str:
    """One line: which key to turn first."""
    part = config.train
    then = "the same command goes on from there"
    if part.micro_batch > 1:
        knob = f"lower train.micro_batch (now {part.micro_batch})"
    elif not part.gradient_checkpointing:
        knob = "set train.gradient_checkpointing = true"
    else:
        then = "in another `out`"
        knob = f"lower train.max_length (now {part.max_length})"
        if config.lora.rank == 0:
            knob = "train adapters (lora.rank = 32) or spread the model (docs/train.md, ZeRO-3)"
    return f"the GPU's memory does not suffice: {knob}; {then}"


def last_checkpoint(folder: Path) -> Path | None:
    """The newest that was written to its end: `trainer_state.json` comes last, and no file of
    torch's was cut short by a full disk or a power cut (they are archives, with an index at the
    end)."""
    whole = [
        p
        for p in folder.glob("checkpoint-*")
        if p.name.rpartition("-")[2].isdecimal()
        and (p / "trainer_state.json").is_file()
        and all(map(zipfile.is_zipfile, [*p.glob("*.pt"), *p.glob("*.pth")]))
    ]
    return max(whole, key=lambda p: int(p.name.rpartition("-")[2]), default=None)


def _recorder(path: Path, guard: Guard) -> Any:
    """A callback: a row of metrics.jsonl per step, heard by the guard before it is written."""
    from transformers import TrainerCallback

    class Recorder(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            """What was logged after the checkpoint will be logged again."""
            kept = [r for r in plots.read(path, "step") if r["step"] <= state.global_step]
            self.before = kept[-1] if kept else {}  # seconds and tokens go on from there
            self.start = time.perf_counter() - self.before.get("seconds", 0.0)
            if state.is_world_process_zero:
                write_whole(path, b"".join(map(dump_line, kept)))

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            figures = {k: float(v) for k, v in logs.items() if isinstance(v, (int, float))}
            if "train_runtime" in figures:  # the summary at the end
                return
            if (waited := figures.get("verifier/seconds")) and figures.get("step_time"):
                figures["verifier/share"] = waited / figures["step_time"]
            if "num_tokens" in figures:
                figures["num_tokens"] += self.before.get("num_tokens", 0.0)
            if state.is_world_process_zero:
                seconds = round(time.perf_counter() - self.start, 3)
                row = {"step": state.global_step, **figures, "seconds": seconds}
                row = {k: v if math.isfinite(v) else None for k, v in row.items()}
                with appending(path) as file:
                    file.write(dump_line(row))
            guard.hear(state.global_step, figures)

    return Recorder()
