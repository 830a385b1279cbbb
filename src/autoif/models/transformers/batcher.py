"""Generation with transformers for `backend.py`: a batch of jobs in, a reply for each out.

Everything that differs between the rows of a batch (where it ends, how it is sampled) is decided
here row by row; the library only computes logits. torch and transformers are imported when used.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autoif.base.errors import CallFailed, ModelUnavailable, one_line
from autoif.base.language import clean_text
from autoif.base.records import Message, Reply, Request, Usage
from autoif.models.reasoning import opened_by, without_thinking

TAG = 16  # tokens at the end of a prompt in which a template may open the reasoning


@dataclass(slots=True, eq=False)
class Generation:
    """A request under way."""

    request: Request
    seed: int
    answer: asyncio.Future[Reply]
    ids: list[int] = field(default_factory=list)  # of the prompt; empty: not yet tokenised
    room: int = 0  # tokens that the answer may have


class Model:
    """Weights and tokenizer, loaded: all that `from_pretrained(where, **options)` takes. Blocking,
    and used by one thread at a time. Raises ModelUnavailable."""

    def __init__(self, where: str, options: Mapping[str, str], device: str | None) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

        self._device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        on_gpu = self._device.startswith("cuda")
        dtype = torch.bfloat16 if on_gpu and torch.cuda.is_bf16_supported() else torch.float32
        try:
            # Code of a model's own is never run, and nobody is asked whether it may be.
            chosen = {**options, "trust_remote_code": False}
            tokenizer = AutoTokenizer.from_pretrained(where, **chosen)
            model = AutoModelForCausalLM.from_pretrained(where, dtype=dtype, **chosen)
        except Exception as error:  # of many libraries' kinds: files, formats, what is missing
            raise ModelUnavailable(f"cannot be loaded: {one_line(error)}") from None
        ends = model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        # A tuned model may end its turn with a token that the base model's files do not name.
        self._eos = {end for end in (*ends, tokenizer.eos_token_id) if end is not None}
        self._pad = tokenizer.pad_token_id or 0
        model.generation_config = GenerationConfig(pad_token_id=self._pad)
        self._tokenizer: Any = tokenizer
        self._model: Any = model.eval().to(self._device)
        config = model.config.get_text_config()
        self._context: int | None = getattr(config, "max_position_embeddings", None)

    def tokenise(self, jobs: Sequence[Generation]) -> list[tuple[Generation, CallFailed]]:
        """Gives each job its ids and room; returns those that cannot be asked, and why."""
        problems = []
        for job in jobs:
            try:
                ids = self._ids(job.request.messages)
            except Exception as error:  # a template may refuse a role with any exception
                problems.append((job, CallFailed("bad_request", one_line(error))))
                continue
            room = job.request.max_tokens
            if self._context is not None:
                room = min(room, self._context - len(ids))
            if not ids:
                problems.append((job, CallFailed("bad_request", "the prompt is empty")))
            elif room < 1:
                whole = f"{len(ids)} tokens, where {self._context} is all there is"
                problems.append((job, CallFailed("length", whole)))
            else:
                job.ids, job.room = ids, room
        return problems

    def _ids(self, messages: Sequence[Message]) -> list[int]:
        """By the chat template, or for a model without one the contents as they are."""
        # Lone surrogates, which the tokenizer cannot take, are replaced.
        clean = [(m.role, clean_text(m.content)) for m in messages]
        if not self._tokenizer.chat_template:
            return list(self._tokenizer("\n\n".join(text for _, text in clean)).input_ids)
        turns = [{"role": role, "content": text} for role, text in clean]
        prompt = self._tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, tokenize=False
        )
        return list(self._tokenizer(prompt, add_special_tokens=False).input_ids)

    def generate(self, jobs: Sequence[Generation]) -> list[Reply] | None:
        """An answer for each job, all of the same room. None where memory does not suffice."""
        import torch

        width = max(len(job.ids) for job in jobs)
        gaps = [width - len(job.ids) for job in jobs]
        rows = [[self._pad] * gap + job.ids for job, gap in zip(jobs, gaps, strict=True)]
        mask = [[0] * gap + [1] * (width - gap) for gap in gaps]
        ending = _Ending(jobs, width, self._eos, self._text)
        drawing = _Drawing(jobs)
        try:
            with torch.inference_mode():
                out = self._model.generate(
                    input_ids=torch.tensor(rows, device=self._device),
                    attention_mask=torch.tensor(mask, device=self._device),
                    max_new_tokens=jobs[0].room,
                    do_sample=False,
                    logits_processor=[drawing] if drawing.rows else [],
                    stopping_criteria=[ending],
                )
        except torch.OutOfMemoryError:
            return None
        answers = [row[:end] for row, end in zip(out[:, width:].tolist(), ending.at, strict=True)]
        return [
            self._reply(job, answer, "length" if end is None else "stop")
            for job, answer, end in zip(jobs, answers, ending.at, strict=True)
        ]

    def _reply(self, job: Generation, answer: list[int], finish_reason: str) -> Reply:
        whole = self._text(answer)
        cut = min((at for stop in job.request.stop if (at := whole.find(stop)) >= 0), default=None)
        usage = Usage(prompt=len(job.ids), completion=len(answer))
        opening = opened_by(self._tokenizer.decode(job.ids[-TAG:]))
        return without_thinking(Reply(opening + whole[:cut], finish_reason, usage))

    def _text(self, ids: list[int]) -> str:
        text = self._tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return str(text)


class _Ending:
    """A stopping criterion that ends each row by itself: after an end token or a stop string, or
    when nobody waits for it any more. `at`: the length of each ended answer, in tokens."""

    def __init__(
        self,
        jobs: Sequence[Generation],
        width: int,
        eos: Collection[int],
        decode: Callable[[list[int]], str],
    ) -> None:
        self.at: list[int | None] = [None] * len(jobs)
        self._jobs, self._width, self._eos, self._decode = jobs, width, eos, decode

    def __call__(self, ids: Any, scores: Any, **_: Any) -> Any:
        import torch

        last = ids[:, -1].tolist()
        for row, job in enumerate(self._jobs):
            if self.at[row] is None and (
                last[row] in self._eos
                or job.answer.done()
                or (job.request.stop and self._stopped(ids[row], job.request.stop))
            ):
                self.at[row] = ids.shape[1] - self._width
        return torch.tensor([at is not None for at in self.at], device=ids.device)

    def _stopped(self, row: Any, stops: Sequence[str]) -> bool:
        # A token is a byte at least, so the string that was just finished is within these.
        tail = max(len(stop.encode()) for stop in stops) + 4
        text = self._decode(row[self._width :][-tail:].tolist())
        return any(stop in text for stop in stops)


class _Drawing:
    """A logits processor that leaves each sampled row one token, drawn with a seed of its own:
    neither its place in a batch nor its neighbours matter."""

    def __init__(self, jobs: Sequence[Generation]) -> None:
        self.rows = {
            row: (job.request, random.Random(job.seed))
            for row, job in enumerate(jobs)
            if job.request.temperature > 0
        }

    def __call__(self, ids: Any, scores: Any) -> Any:
        scores = scores.clone()
        for row, (request, numbers) in self.rows.items():
            token = draw(scores[row], request.temperature, request.top_p, numbers.random())
            scores[row] = float("-inf")
            scores[row, token] = 0.0
        return scores


def draw(logits: Any, temperature: float, top_p: float, number: float) -> Any:
    """The token (an int64 tensor of shape [1]) that `number`, from [0, 1), picks from `logits`
    ([vocabulary]) at that temperature (> 0), among the likeliest that make up `top_p`."""
    chances = (logits.float() / temperature).softmax(-1)
    if top_p < 1:
        ranked, order = chances.sort(descending=True, stable=True)
        beyond = ranked.cumsum(-1) - ranked >= top_p
        beyond[0] = False  # the likeliest is always there
        chances[order[beyond]] = 0.0
    sums = chances.cumsum(-1)
    # Below 1 in float32, too: a token whose chance is 0 is never picked.
    at = sums[-1:] * min(number, 1 - 2**-20)
    return (sums <= at).sum(-1, keepdim=True)
