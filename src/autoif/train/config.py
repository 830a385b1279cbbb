"""A training's configuration: frozen, from a preset and TOML.

`TrainConfig.load` lays a file over the preset it names (`preset = "tiny"` by default), which has
values of its own for each method. `paper` is arXiv 2406.13542 (full fine-tuning of 7B and 8B
models); `tiny` fits a model of 135 million parameters on two cores.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import Field, ValidationError, field_validator

from autoif.base.errors import UsageError, did_you_mean
from autoif.base.toml import Section, differences, merge, problem, read_toml, with_settings
from autoif.verifier.grading import RewardKind
from autoif.verifier.intent import SHARE_OF_MEDIAN

Method = Literal["sft", "dpo", "selfplay", "grpo"]


class Optimiser(Section):
    """`[train]`: how the weights are moved. Lengths in tokens."""

    lr: float = Field(7e-6, gt=0, description="peak learning rate")
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = Field(
        "linear", description="of the learning rate"
    )
    warmup: float = Field(20, ge=0, description="steps; below 1 a share of all steps")
    weight_decay: float = Field(0.1, ge=0, description="of AdamW")
    grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    epochs: float = Field(3, gt=0, description="passes over the data (of a round, in self-play)")
    max_steps: int = Field(0, ge=0, description="stop after so many steps; 0 = all epochs")
    batch: int = Field(128, ge=1, description="rows (GRPO: completions) per step, all devices")
    micro_batch: int = Field(1, ge=1, description="rows on a device at a time")
    max_length: int = Field(8192, ge=8, description="longer rows are left out, and counted")
    packing: bool = Field(False, description="SFT: several rows in one sequence; wants a GPU with "
                          "flash attention to keep rows apart")  # fmt: skip
    bf16: Literal["auto", "on", "off"] = Field("auto", description="auto: where the device has it")
    gradient_checkpointing: bool = Field(True, description="less memory, about a fifth slower")
    save_steps: int = Field(50, ge=1, description="steps between checkpoints")
    keep: int = Field(2, ge=1, description="checkpoints kept")
    threads: int = Field(0, ge=0, description="of the CPU; 0 = torch's choice")
    report_to: Literal["none", "wandb", "trackio", "tensorboard"] = Field(
        "none", description="experiment tracker that gets every step's metrics (TRL's `report_to`)"
    )


class Lora(Section):
    """`[lora]`: low-rank adapters on every linear layer instead of all weights."""

    rank: int = Field(0, ge=0, description="0 = train all weights")
    alpha: float = Field(32, gt=0, description="scale; the update is multiplied by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="on the adapters' input")


class DPO(Section):
    """`[dpo]`: of `dpo` and of each round of `selfplay`."""

    beta: float = Field(0.3, gt=0, description="how much leaving the reference costs")
    sft_weight: float = Field(
        0.0, ge=0, description="of the chosen's own loss, added to the pair's"
    )


class Sampling(Section):
    """`[sampling]`: how self-play and `autoif calibrate` ask the policy."""

    k: int = Field(8, ge=2, description="responses per prompt")
    temperature: float = Field(0.8, gt=0, description="of the responses")
    top_p: float = Field(1.0, gt=0, le=1, description="of the responses")
    max_tokens: int = Field(512, ge=1, description="longest response")
    engine: Literal["auto", "hf", "local"] = Field(
        "auto",
        description="hf: transformers; local: the embedded engine, for students that came from a "
        "GGUF file; auto: local where there is no GPU and it can be",
    )
    batch: int = Field(32, ge=1, description="answers at once in transformers; a GPU holds more")
    serve: tuple[str, ...] = Field(
        (),
        description="a command that serves {model} on {port} with an OpenAI-compatible API, such "
        'as ["vllm", "serve", "{model}", "--port", "{port}"]; started and ended every round',
    )


class Selfplay(Section):
    """`[selfplay]`"""

    rounds: int = Field(3, ge=1, description="of sampling and DPO")
    prompts: int = Field(0, ge=0, description="drawn for a round; 0 = all")
    per_prompt: int = Field(2, ge=1, description="at most so many chosen and rejected of a prompt")
    heldout: float = Field(0.1, gt=0, lt=1, description="share of the prompts that choose the best "
                           "round and are never trained on")  # fmt: skip


class GRPO(Section):
    """`[grpo]`"""

    generations: int = Field(8, ge=2, description="completions of a prompt that are compared")
    beta: float = Field(0.04, ge=0, description="weight of the KL to the start")
    temperature: float = Field(1.0, gt=0, description="of the completions")
    max_tokens: int = Field(512, ge=1, description="longest completion")
    reward: RewardKind = Field(
        "partial", description="partial: the share of constraints that hold; all: 1 or 0; graded: "
        "partial, and what does not hold counts by how far its measure is off"
    )  # fmt: skip
    deadline: float = Field(
        20.0, gt=0, description="seconds for a check that is slow; then it gives no reward"
    )
    vllm: Literal["", "colocate", "server"] = Field(
        "", description="sample with vLLM, in these processes or on a `trl vllm-serve` server"
    )


class Floor(Section):
    """`[floor]`: of self-play and GRPO, for replies that follow their constraints by filler."""

    on: bool = Field(True, description="a reply that says nothing earns 0 and is never preferred")
    min_length: float = Field(
        SHARE_OF_MEDIAN, ge=0, le=1, description="so is a reply of fewer words than this share of "
        "the policy's median for its prompt, where the rows are calibrated"
    )  # fmt: skip


class Calibrated(Section):
    """`[calibrated]`"""

    pass_rate: tuple[float, float] = Field(
        (0.0, 0.6), description="rows of `autoif calibrate` that are trained on: with a pass rate "
        "above the first and up to the second; [-1, 1]: all"
    )  # fmt: skip


class Guards(Section):
    """`[guards]`: what ends a training before it does harm."""

    loss_factor: float = Field(4.0, gt=1, description="times the first steps' mean loss (SFT, DPO)")
    max_kl: float = Field(1.0, gt=0, description="nats per token from the start (GRPO, rounds)")
    min_length: float = Field(0.3, ge=0, le=1, description="mean length against the first steps' "
                              "(GRPO) or the start's (rounds)")  # fmt: skip


class Evaluation(Section):
    """`[[eval]]`: a benchmark that every round of self-play is measured on."""

    benchmark: str = Field(description="as `autoif eval` names it")
    data: str = Field("", description="a local copy; default: from the hub")
    limit: int = Field(0, ge=0, description="the first N prompts; 0 = all")
    max_tokens: int = Field(0, ge=0, description="of an answer; 0 = the benchmark's own")


class TrainConfig(Section):
    """See the module."""

    preset: str = Field("tiny", description="what the other keys are laid over")
    method: Method = Field("sft", description="set by the command")
    model: str = Field("", description="a Hugging Face directory, a GGUF file, a name such as "
                       "smollm2-135m-instruct, or an id of the hub")  # fmt: skip
    data: tuple[str, ...] = Field((), description="files of rows, or run directories of `synth`")
    out: str = Field("", description="directory for the model, metrics and plots")
    seed: int = Field(1, ge=0, description="random seed")
    chat_template: str = Field("", description="a Jinja file, for models that bring none")
    train: Optimiser = Optimiser()
    lora: Lora = Lora()
    dpo: DPO = DPO()
    sampling: Sampling = Sampling()
    selfplay: Selfplay = Selfplay()
    grpo: GRPO = GRPO()
    floor: Floor = Floor()
    calibrated: Calibrated = Calibrated()
    guards: Guards = Guards()
    eval: tuple[Evaluation, ...] = ()

    @field_validator("data", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @classmethod
    def load(
        cls, method: Method, file: Path, settings: Mapping[str, Any] | None = None
    ) -> TrainConfig:
        """The file, with `settings` (dotted keys) laid over it. Raises UsageError with the key's
        whole name."""
        return cls.of(method, with_settings(read_toml(file), settings or {}), str(file))

    @classmethod
    def of(cls, method: Method, values: Mapping[str, Any], where: str = "config") -> TrainConfig:
        """A preset's values for this method, with `values` laid over them."""
        name = values.get("preset", "tiny")
        if not isinstance(name, str) or name not in PRESETS:
            near = did_you_mean(str(name), PRESETS)
            raise UsageError(f"{where}: no preset {name!r}; there are: {', '.join(PRESETS)}{near}")
        whole = merge(merge(PRESETS[name], PER_METHOD.get((name, method), {})), values)
        try:
            config = cls.model_validate(whole | {"method": method})
        except ValidationError as error:
            raise UsageError(
                f"{where}: {problem(error, cls, 'docs/train.md lists every key')}"
            ) from None
        for key in ("model", "data", "out"):
            if not getattr(config, key):
                raise UsageError(f"{where}: the key {key!r} is missing")
        return config

    def differs(self, other: TrainConfig) -> list[str]:
        """The dotted keys in which two trainings differ, each with both values: all but those that
        only say how much is done at a time, and by what."""
        mine, theirs = (c.model_dump(mode="json", exclude=FREE) for c in (self, other))
        return differences(mine, theirs)

    def toml(self) -> str:
        return tomli_w.dumps(self.model_dump(mode="json"))


# What may be changed when a training goes on: a smaller micro-batch after memory ran out, say.
FREE = {
    "train": {
        "micro_batch",
        "gradient_checkpointing",
        "save_steps",
        "keep",
        "threads",
        "report_to",
    },
    "sampling": {"batch", "serve"},
}

PRESETS: dict[str, dict[str, Any]] = {
    # Section 4 and appendix of the paper. Its self-play has no K and no number of rounds: ours.
    "paper": {},
    # Learning rates and adapters as tried in experiments/ifeval_smollm2.
    "tiny": {
        "train": {
            "warmup": 0.1,
            "weight_decay": 0.0,
            "epochs": 2,
            "batch": 16,
            "micro_batch": 4,
            "max_length": 512,
            "gradient_checkpointing": False,
        },
        "lora": {"rank": 8, "alpha": 32},
        "sampling": {"max_tokens": 200},
        "grpo": {"max_tokens": 160},
    },
}
PER_METHOD: dict[tuple[str, Method], dict[str, Any]] = {
    ("paper", "dpo"): {
        "train": {
            "lr": 5e-7,
            "schedule": "cosine",
            "warmup": 0.1,
            "epochs": 2,
            "batch": 64,
            "max_length": 4096,
        }
    },
    ("paper", "selfplay"): {
        "train": {
            "lr": 5e-7,
            "schedule": "cosine",
            "warmup": 0.1,
            "epochs": 1,
            "batch": 64,
            "max_length": 4096,
        }
    },
    # The paper has no GRPO.
    ("paper", "grpo"): {
        "train": {
            "lr": 5e-7,
            "schedule": "constant_with_warmup",
            "epochs": 1,
            "batch": 128,
            "micro_batch": 2,
            "max_length": 4096,
        }
    },
    ("tiny", "sft"): {"train": {"lr": 1e-3}},
    ("tiny", "dpo"): {
        "train": {"lr": 2e-4, "schedule": "cosine", "batch": 8, "micro_batch": 2},
        "dpo": {"beta": 0.1},
    },
    ("tiny", "selfplay"): {
        "train": {"lr": 2e-4, "schedule": "cosine", "batch": 8, "micro_batch": 2, "epochs": 1},
        "dpo": {"beta": 0.1},
        "selfplay": {"prompts": 60, "per_prompt": 4},
    },
    ("tiny", "grpo"): {
        "train": {
            "lr": 1e-4,
            "schedule": "constant_with_warmup",
            "batch": 16,
            "micro_batch": 8,
            "epochs": 1,
        },
    },
}
