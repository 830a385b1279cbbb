"""Weights in and out: from a Hugging Face directory, a GGUF file or a name; to a plain directory.

A directory that training wrote holds `autoif.json`: what the model came from. A GGUF file is
unpacked once (beside nothing of the user's, in the cache) and trained from that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autoif.base import jsonl
from autoif.base.errors import SetupError, UsageError, one_line
from autoif.base.files import (
    in_place_of,
    make_folder,
    read_small,
    remove_temporaries,
    write_whole,
)
from autoif.models import weights
from autoif.models.transformers.backend import base_of

LINEAGE = "autoif.json"
BLOCKS = 64  # of a file, that its fingerprint reads


def need_extra() -> None:
    """Raises SetupError where the extra is not installed."""
    import importlib.util

    if missing := [m for m in ("torch", "trl", "peft") if importlib.util.find_spec(m) is None]:
        raise SetupError(f'training needs {missing[0]}: pip install "autoif[train]"')


def find(model: str) -> tuple[str, str]:
    """What `model` names: (a directory or hub id for `from_pretrained`, the GGUF it came from or
    ""). Raises UsageError, ModelUnavailable."""
    name = model.removeprefix("hf:").removeprefix("local:")
    if name in weights.WEIGHTS:
        return str(_unpacked(weights.fetch(name))), name
    path = Path(name).expanduser()
    if path.is_file() and path.suffix == ".gguf":
        return str(_unpacked(path)), str(path.resolve())
    if path.is_dir():
        if not any((path / f"{kind}.json").is_file() for kind in ("config", "adapter_config")):
            raise UsageError(f"{model}: not a model directory (no config.json in it)")
        return str(path), str(lineage(path).get("origin", ""))
    if path.suffix == ".gguf" or name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise UsageError(f"{model}: no such model directory or GGUF file")
    if "/" not in name:
        raise UsageError(
            f"{model}: no such model directory; a GGUF file, an id of the hub (ORG/NAME) or one of "
            f"these will do, too: {', '.join(sorted(weights.WEIGHTS))}"
        )
    return name, ""


def fingerprint(where: str) -> str:
    """Of a directory's weights, without reading all of them: names, sizes and 64 blocks of each
    file. "" for an id of the hub."""
    digest = hashlib.sha256()
    files = sorted(Path(where).glob("*.safetensors")) or sorted(Path(where).glob("*.bin"))
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name} {size} ".encode())
        with file.open("rb") as opened:
            for n in range(BLOCKS):
                opened.seek(size * n // BLOCKS)
                digest.update(opened.read(4096))
    return digest.hexdigest()[:16] if files else ""


def lineage(folder: Path) -> dict[str, Any]:
    try:
        origin = jsonl.loads(read_small(folder / LINEAGE))
    except (OSError, ValueError):
        return {}
    return origin if isinstance(origin, dict) else {}


def origin_file(origin: str) -> Path:
    """The GGUF file that `find` or `lineage` named."""
    return weights.fetch(origin) if origin in weights.WEIGHTS else Path(origin)


def load_tokenizer(where: str, chat_template: str = "") -> Any:
    """Raises UsageError where the model has no chat template and none is given."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False)
    except Exception as error:  # of many libraries' kinds
        raise UsageError(f"{where}: its tokenizer cannot be loaded: {one_line(error)}") from None
    if chat_template:
        try:
            tokenizer.chat_template = Path(chat_template).read_text("utf-8")
        except OSError as error:
            raise UsageError(f"chat_template {chat_template}: {error.strerror}") from None
        try:
            tokenizer.apply_chat_template([{"role": "user", "content": "?"}], tokenize=False)
        except Exception as error:  # Jinja's, and what a template raises itself
            raise UsageError(
                f"chat_template {chat_template}: not a template for messages: {one_line(error)}"
            ) from None
    if not tokenizer.chat_template:
        raise UsageError(f"{where}: it has no chat template; name a Jinja file: chat_template = F")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def tokens(tokenizer: Any, messages: Sequence[Mapping[str, str]], *, ask: bool = False) -> int:
    """Of the messages in the model's chat template; `ask`: with the head of an answer."""
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask)
    return len(tokenizer(text, add_special_tokens=False).input_ids)


def load_model(where: str, *, packed: bool = False) -> Any:
    """The model on the CPU, adapters merged. Raises UsageError where it is none. `packed`: with an
    attention that keeps the rows of one sequence apart."""
    import torch
    from transformers import AutoModelForCausalLM

    base = base_of(where)
    more = {"attn_implementation": "flash_attention_2"} if packed else {}
    try:
        model = AutoModelForCausalLM.from_pretrained(
            base or where, dtype=torch.float32, trust_remote_code=False, **more
        )
        if base:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, where).merge_and_unload()
    except Exception as error:  # of many libraries' kinds: files, formats, what is missing
        raise UsageError(f"{where}: cannot be loaded as a model: {one_line(error)}") from None
    return model


def context_of(model: Any) -> int | None:
    """Tokens that prompt and answer may have together."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def save_plain(model: Any, tokenizer: Any, folder: Path, about: dict[str, Any]) -> None:
    """A directory that loads anywhere; it appears whole or not at all. No other process may be
    making it."""
    remove_temporaries(folder)
    with in_place_of(folder) as scratch:
        model.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        write_whole(scratch / LINEAGE, f"{json.dumps(about, indent=2)}\n".encode())


def _unpacked(gguf: Path) -> Path:
    """The weights of a GGUF file as a plain directory in the cache, made once."""
    stat = gguf.stat()
    mark = hashlib.sha256(f"{gguf.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode())
    folder = weights.cache_dir() / f"{gguf.stem}-hf-{mark.hexdigest()[:8]}"
    make_folder(folder.parent)
    with weights.locked(folder, lambda: None):
        if not folder.is_dir():
            _unpack(gguf, folder)
    return folder


def _unpack(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = str(gguf.parent)
    options = {"gguf_file": gguf.name, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, **options)
        model = AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32, **options)
    except Exception as error:  # of many libraries' kinds
        raise UsageError(f"{gguf}: cannot be read as a model: {one_line(error)}") from None
    # It counts as quantised, which TRL will not train and transformers will not save.
    model.hf_quantizer = None
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    save_plain(model, tokenizer, folder, {})
