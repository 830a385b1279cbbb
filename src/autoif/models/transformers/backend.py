"""A model run by transformers in this process: a directory that training wrote, a GGUF file, or an
id of the Hugging Face hub.

Requests that wait at the same time are answered together. Left padding keeps each prompt next to
its answer, and a sampled row draws from numbers of its own, so an answer does not depend on what it
was batched with, but for the last bits of the arithmetic: on a CPU (float32) that is next to never
seen, on a GPU (bfloat16) now and then.

What decides an answer stands in the request: the sampling habits of `generation_config.json`
(top_k, repetition penalty) are not used. A request's schema is ignored; its answer is free text.

The first call loads the weights, so a run that is replayed from the store loads none.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from autoif.base import jsonl
from autoif.base.errors import AutoIFError, CallFailed, ModelUnavailable, one_line
from autoif.base.files import read_small
from autoif.base.records import Reply, Request, seed_from
from autoif.models.openai.protocol import request_body
from autoif.models.transformers.batcher import Generation, Model

BATCH_WINDOW = 0.01  # seconds that a batch waits for requests that come together
_DECIDES = {".json", ".jinja", ".txt", ".model", ".safetensors", ".bin", ".gguf"}
_BLOCK = 4096
_ID = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")


class HFBackend:
    """A `Backend` over `name`: a directory of weights and tokenizer, a GGUF file (or a directory
    with one), or a hub id, `ORG/NAME` or `ORG/NAME@REVISION`. Raises ModelUnavailable.

    `namespace` ends in a hash of the files' contents, or the commit of the hub.

    batch_size: answers generated together; halved where the device's memory does not hold so many.
    device: as torch names it; None for the GPU, where there is one.
    on_notice: is called with a line when something takes long or fails over.
    """

    def __init__(
        self,
        name: str,
        *,
        batch_size: int = 16,
        device: str | None = None,
        on_notice: Callable[[str], None] = lambda line: None,
    ) -> None:
        for module in ("torch", "transformers"):
            if importlib.util.find_spec(module) is None:
                raise ModelUnavailable(f'hf:{name} needs `pip install "autoif[hf]"`')
        self._source = _find(name)
        self.namespace = f"hf:{self._source.label}@{self._source.revision}"
        self._batch_size = batch_size
        self._device = device
        self._notice = on_notice
        self._model: Model | None = None
        self._jobs: dict[int, Generation] = {}
        self._count = 0
        self._runner: asyncio.Task[None] | None = None
        self._failure: ModelUnavailable | None = None

    def body(self, request: Request) -> dict[str, Any]:
        """Without a schema, which is ignored here."""
        return request_body(self._source.label, replace(request, schema=None))

    async def __call__(self, request: Request) -> Reply:
        """The answer; as long as the context has room, where that is less than was asked for.
        Raises CallFailed (`length`: the prompt alone is too long), ModelUnavailable."""
        if self._failure is not None:
            raise self._failure
        seed = seed_from(self.body(request), request.index)
        job = Generation(request, seed, asyncio.get_running_loop().create_future())
        key, self._count = self._count, self._count + 1
        self._jobs[key] = job
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run())
        try:
            return await job.answer
        finally:
            job.answer.cancel()  # not waited for any more: its row ends
            del self._jobs[key]

    async def close(self) -> None:
        """End at the next token; calls still under way raise ModelUnavailable."""
        self._fail("it was closed")
        if self._runner is not None:
            await self._runner
        self._model = None

    async def _run(self) -> None:
        """Answer until nobody waits. An error here fails every call that waits."""
        try:
            if self._model is None:
                base = self._source.base
                self._notice(
                    f"loading {self._source.label}"
                    + (f", adapters alone; the model below them is {base}" if base else "")
                )
                self._model = await asyncio.to_thread(self._load)
            while True:
                await asyncio.sleep(BATCH_WINDOW)
                fresh = [job for job in self._waiting() if not job.ids]
                for job, problem in await asyncio.to_thread(self._model.tokenise, fresh):
                    _settle(job, problem)
                ready = [job for job in self._waiting() if job.ids]
                if ready:
                    await self._answer(self._model, _batch(ready, self._batch_size))
                elif not self._waiting():
                    return
        except Exception as error:
            self._fail(one_line(error))

    def _load(self) -> Model:
        source = self._source
        return Model(source.where, source.options, self._device)

    async def _answer(self, model: Model, batch: list[Generation]) -> None:
        replies = await asyncio.to_thread(model.generate, batch)
        if replies is not None:
            for job, reply in zip(batch, replies, strict=True):
                _settle(job, reply)
        elif len(batch) == 1:
            _settle(batch[0], CallFailed("length", "the device's memory does not hold it"))
        else:
            self._batch_size = len(batch) // 2
            self._notice(f"out of memory: from now on {self._batch_size} answers at a time")

    def _waiting(self) -> list[Generation]:
        return [job for job in self._jobs.values() if not job.answer.done()]

    def _fail(self, reason: str) -> None:
        if self._failure is None:
            self._failure = ModelUnavailable(f"hf:{self._source.label}: {reason}")
        for job in self._waiting():
            _settle(job, self._failure)


def _batch(ready: list[Generation], size: int) -> list[Generation]:
    """The one that waited longest, and those most like it: the same room, so that no row runs on
    past its context, and prompts of about its length, so that little is padding."""
    oldest = ready[0]
    alike = sorted((j for j in ready if j.room == oldest.room), key=lambda j: len(j.ids))
    first = max(0, min(alike.index(oldest), len(alike) - size))
    return alike[first : first + size]


def _settle(job: Generation, outcome: Reply | AutoIFError) -> None:
    if job.answer.done():
        return
    if isinstance(outcome, Reply):
        job.answer.set_result(outcome)
    else:
        job.answer.set_exception(outcome)


# ---- where the weights are -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Source:
    where: str  # for from_pretrained
    label: str
    revision: str
    options: dict[str, str] = field(default_factory=dict)
    base: str = ""  # of adapters: the model below them


def base_of(where: str) -> str:
    """The model below a directory of adapters, as the directory names it; "" for others. Raises
    ModelUnavailable where it names none."""
    file = Path(where) / "adapter_config.json"
    if not file.is_file():
        return ""
    try:
        return str(jsonl.loads(read_small(file))["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ModelUnavailable(f"{file}: names no base_model_name_or_path") from None


def _find(name: str) -> _Source:
    path = Path(name).expanduser()
    if path.is_file() and path.suffix == ".gguf":
        return _Source(str(path.parent), path.name, _fingerprint([path]), {"gguf_file": path.name})
    if not path.is_dir():
        return _on_hub(name)
    if any((path / f"{kind}.json").is_file() for kind in ("config", "adapter_config")):
        files = [file for file in path.iterdir() if file.is_file() and file.suffix in _DECIDES]
        base = base_of(str(path))
        return _Source(str(path), path.resolve().name, _fingerprint(files), base=base)
    ggufs = sorted(path.glob("*.gguf"))
    if len(ggufs) == 1:
        return _find(str(ggufs[0]))
    if ggufs:
        raise ModelUnavailable(f"hf:{name}: name one of its files, such as {ggufs[0]}")
    raise ModelUnavailable(f"hf:{name}: no model in it (neither a config.json nor a .gguf file)")


def _on_hub(name: str) -> _Source:
    """The commit is looked up now and pinned, so that a run does not change model half way."""
    repo, _, revision = name.partition("@")
    if not _ID.fullmatch(repo):
        raise ModelUnavailable(f"hf:{name}: no such directory")
    from huggingface_hub import hf_hub_download

    try:
        config = Path(hf_hub_download(repo, "config.json", revision=revision or None))
    except Exception as error:  # of many libraries' kinds: hub, HTTP, validation, disk
        raise ModelUnavailable(
            f"hf:{name}: no such directory, and the hub does not serve it: {one_line(error)}"
        ) from None
    commit = config.parent.name
    return _Source(repo, repo, commit, {"revision": commit})


def _fingerprint(files: Sequence[Path]) -> str:
    """16 hex digits of names, sizes and contents; of a large file 16 MB, evenly spread, so that
    weights of any size take no time to speak of and retrained ones still differ."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(files):
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            for offset in range(0, size, max(_BLOCK, size // 4096)):
                file.seek(offset)
                digest.update(file.read(_BLOCK))
    return digest.hexdigest()
