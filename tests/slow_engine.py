"""Stands in for `openvino_genai` where it is not installed: as much of it as the worker uses, with
a prompt token for each word and an answer token for each step. `slowly` puts it in place.

Steps take SECONDS; a prompt is read BATCH tokens a step; an answer has as many tokens as it may.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

__version__ = "1.0-slow"

BATCH = 8
SECONDS = float(os.environ.get("SLOW_STEP", "0.05"))


class SchedulerConfig:
    max_num_batched_tokens = BATCH


class GenerationConfig(SimpleNamespace):
    def validate(self) -> None:
        pass


class Tokenizer:
    def __init__(self, path: str, **options: Any) -> None:
        pass

    def apply_chat_template(self, messages: list[dict[str, str]], **options: Any) -> str:
        return " ".join(m["content"] for m in messages)

    def encode(self, text: str, **options: Any) -> Any:
        ids = [hash(word) for word in text.split()]
        row = SimpleNamespace(tolist=lambda: ids)
        return SimpleNamespace(input_ids=SimpleNamespace(data=[row]))

    def decode(self, ids: list[int]) -> str:
        return "word " * len(ids)


class Handle:
    def __init__(self, prompt: int, most: int) -> None:
        self.unread, self.most, self.made, self.gone = prompt, most, 0, False

    def get_status(self) -> Any:
        return SimpleNamespace(name="FINISHED" if self.made >= self.most else "RUNNING")

    def can_read(self) -> bool:
        return self.made > 0

    def cancel(self) -> None:
        self.gone = True

    def read_all(self) -> list[Any]:
        reason = SimpleNamespace(name="LENGTH")
        return [SimpleNamespace(generated_ids=list(range(self.made)), finish_reason=reason)]


class ContinuousBatchingPipeline:
    def __init__(self, path: str, *options: Any) -> None:
        time.sleep(float(os.environ.get("SLOW_LOAD", "0")))
        self.handles: list[Handle] = []
        if isinstance(options[-1], dict) and "enable_save_ov_model" in options[-1]:
            Path(path).with_name("openvino_model.json").write_text(json.dumps(path))

    def get_tokenizer(self) -> Tokenizer:
        return Tokenizer("")

    def get_config(self) -> GenerationConfig:
        return GenerationConfig(logprobs=0)

    def add_request(self, key: int, tokens: Any, config: GenerationConfig) -> Handle:
        self.handles.append(Handle(len(tokens.data[0].tolist()), config.max_new_tokens))
        return self.handles[-1]

    def has_non_finished_requests(self) -> bool:
        self.handles = [h for h in self.handles if not h.gone and h.made < h.most]
        return bool(self.handles)

    def step(self) -> None:
        time.sleep(SECONDS)
        room = BATCH
        for handle in [h for h in self.handles if not h.unread]:
            handle.made += 1
            room -= 1
        for handle in self.handles:
            if handle.unread:
                read = max(0, min(room, handle.unread))
                handle.unread, room = handle.unread - read, room - read
                handle.made = 0 if handle.unread else 1
