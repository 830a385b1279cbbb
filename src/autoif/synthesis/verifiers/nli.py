"""An NLI cross-encoder as the judge of back-translations: loaded once, asked in batches.

Needs `pip install "autoif[hf]"`. The model is the one of the paper.
"""

from __future__ import annotations

import asyncio
import importlib.util
from typing import Any

from autoif.base.errors import ModelUnavailable

MODEL = "MoritzLaurer/mDeBERTa-v3-base-xnli-multilingual-nli-2mil7"
BATCH = 32


class CrossEncoder:
    """`await encoder(premise, hypothesis)` -> entailment, neutral or contradiction.

    What is asked while a batch runs goes into the next one.
    """

    def __init__(self, model: str = MODEL) -> None:
        if not all(importlib.util.find_spec(m) for m in ("torch", "transformers")):
            raise ModelUnavailable('backtranslate.judge = "nli" needs `pip install "autoif[hf]"`')
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
            self._model: Any = AutoModelForSequenceClassification.from_pretrained(
                model, trust_remote_code=False
            ).eval()
        except Exception as error:  # of many libraries' kinds: files, formats, what is missing
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise ModelUnavailable(f"NLI model {model}: cannot be loaded: {reason}") from None
        names = self._model.config.id2label
        self._labels = [str(names[i]).lower() for i in range(len(names))]
        wanted = {"entailment", "neutral", "contradiction"}
        if not set(self._labels) <= wanted:
            raise ModelUnavailable(
                f"NLI model {model}: its labels are {self._labels}, not {wanted}"
            )
        self._waiting: list[tuple[str, str, asyncio.Future[str]]] = []
        self._runner: asyncio.Task[None] | None = None

    async def __call__(self, premise: str, hypothesis: str) -> str:
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.append((premise, hypothesis, answer))
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            try:
                labels = await asyncio.to_thread(self._classify, [(p, h) for p, h, _ in batch])
            except Exception as error:  # whoever waits has to hear of it
                for _, _, answer in batch:
                    if not answer.done():
                        answer.set_exception(ModelUnavailable(f"NLI model failed: {error}"))
                continue
            for (_, _, answer), label in zip(batch, labels, strict=True):
                if not answer.done():
                    answer.set_result(label)

    def _classify(self, pairs: list[tuple[str, str]]) -> list[str]:
        import torch

        with torch.inference_mode():
            inputs = self._tokenizer(
                [p for p, _ in pairs],
                [h for _, h in pairs],
                padding=True,
                truncation=True,
                max_length=512,
                return_tensors="pt",
            )
            best = self._model(**inputs).logits.argmax(-1).tolist()
        return [self._labels[i] for i in best]
