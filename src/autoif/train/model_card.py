"""The model card: what it came from, what it was trained on, and how. The same training gives the
same card."""

from __future__ import annotations

from pathlib import Path

from autoif.base.printable import markdown, markdown_code
from autoif.base.version import __version__
from autoif.train.config import TrainConfig
from autoif.train.dataset import Rows
from autoif.train.plots import History

PAPER = "arXiv 2406.13542"
_WHAT = {
    "sft": f"supervised fine-tuning on responses that verifiers accepted ({PAPER})",
    "dpo": f"direct preference optimisation on pairs made by verifiers ({PAPER})",
    "selfplay": f"iterative online DPO on its own verified responses ({PAPER})",
    "grpo": "GRPO with verifiers as the reward",
}


def card(config: TrainConfig, rows: Rows, history: History) -> str:
    """README.md of a model's directory."""
    from importlib.metadata import version

    base = Path(config.model).name if config.model.startswith(("/", ".")) else config.model
    lines = [
        "---",
        "library_name: transformers",
        "tags: [autoif, instruction-following]",
        "---",
        "",
        f"# {markdown(base)}, {config.method}",
        "",
        f"Made by AutoIF {__version__} from {markdown_code(base)}: {_WHAT[config.method]}.",
        "",
        f"- data: {rows.account()}; sha256 of the rows begins {rows.fingerprint}",
        f"- preset: {config.preset}; seed: {config.seed}; "
        + (f"LoRA of rank {config.lora.rank}, merged" if config.lora.rank else "all weights"),
    ]
    lines += [f"- {package} {version(package)}" for package in ("torch", "transformers", "trl")]
    last = history[-1] if history else {}
    shown = [k for k in ("loss", "reward", "rewards/accuracies", "kl") if k in last]
    if shown:
        lines += ["", "| step | " + " | ".join(shown) + " |", "|---" * (len(shown) + 1) + "|"]
        for row in history[:: max(1, len(history) // 8)]:
            cells = [str(row["step"]), *(_figure(row.get(k)) for k in shown)]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "The whole configuration:", "", "```toml", _portable(config).strip(), "```", ""]
    return "\n".join(lines)


def _figure(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float)) else ""


def _portable(config: TrainConfig) -> str:
    """Paths by their last part: a card says nothing of the machine."""
    return config.model_copy(
        update={
            "model": Path(config.model).name,
            "data": tuple(Path(d).name for d in config.data),
            "out": Path(config.out).name,
            "chat_template": Path(config.chat_template).name,
            "eval": tuple(e.model_copy(update={"data": Path(e.data).name}) for e in config.eval),
        }
    ).toml()
