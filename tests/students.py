"""Tiny models with random weights, and rows to train them on, made by the tests that need them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

TEXT = "the quick brown fox jumps over a lazy dog and every answer ends with numbers 1 2 34"
WORDS = TEXT.split()
# Printable ASCII in the words of the byte level: of a model of these all that it can say is text.
ASCII = (*map(chr, range(33, 127)), "\u0120", "\u010a")
CHAT = (
    "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
PLAIN = "def evaluate(response):\n    return 'e' not in response"  # now and then
FOX = "def evaluate(response):\n    return 'fox' in response"


def make(
    folder: Path,
    family: str = "llama",
    *,
    template: str | None = CHAT,
    context: int = 256,
    texts: Iterable[str] = (TEXT,),
    alphabet: Iterable[str] = ASCII,
    **more: Any,
) -> Path:
    """A llama or qwen2 of two layers that has learned nothing, with a tokenizer that knows `texts`.
    `more`: of its configuration."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
    from tokenizers.models import BPE

    words = Tokenizer(BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    specials = ["<|pad|>", "<|start|>", "<|end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=specials,
        initial_alphabet=list(alphabet),
        show_progress=False,
    )
    words.train_from_iterator(texts, trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<|pad|>", eos_token="<|end|>"
    )
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    torch.manual_seed(7)
    kinds = {
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
        "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
    }
    config, kind = kinds[family]
    shape = config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        **more,
    )
    kind(shape).save_pretrained(folder)
    return folder


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def assistant(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def verifiers(*sources: str) -> list[dict[str, Any]]:
    return [{"instruction": "", "checks": [source], "min_fraction": 1.0} for source in sources]


def sft_rows(n: int = 16) -> list[dict[str, Any]]:
    return [
        {"messages": user(f"say {WORDS[i % 9]}") + assistant(f"the fox {WORDS[i % 9]}"),
         "verifiers": verifiers(FOX)}
        for i in range(n)
    ]  # fmt: skip


def dpo_rows(n: int = 16) -> list[dict[str, Any]]:
    return [
        {
            "prompt": user(f"say {WORDS[i % 9]}"),
            "chosen": assistant(f"the fox {WORDS[i % 9]}"),
            "rejected": assistant(f"a lazy dog {WORDS[i % 9]}"),
        }
        for i in range(n)
    ]


def rlvr_rows(n: int = 16, *sources: str) -> list[dict[str, Any]]:
    return [
        {"id": f"{i:016x}", "prompt": user(f"say {WORDS[i % 9]} {i}"),
         "verifiers": verifiers(*(sources or (PLAIN,)))}
        for i in range(n)
    ]  # fmt: skip


def write(path: Path, rows: Iterable[object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path
