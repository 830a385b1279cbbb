"""`--model` to backend or chat: the one place that knows the kinds of models."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from autoif.base.errors import UsageError, did_you_mean
from autoif.models import Backend
from autoif.models.cached import CachedChat
from autoif.models.openai.backend import HttpBackend
from autoif.models.openai.connection import LOOPBACK
from autoif.models.openai.protocol import checked_url
from autoif.models.scripted import ScriptedBackend
from autoif.models.weights import WEIGHTS
from autoif.store import open_store

KINDS = {
    "local": "local:NAME or local:FILE.gguf, the embedded model",
    "openai": "openai:NAME, any OpenAI-compatible server (--base-url or OPENAI_BASE_URL, else "
    "api.openai.com)",
    "hf": "hf:DIR-or-ID, transformers",
    "scripted": "scripted:FILE, prepared answers",
}
OPENAI_URL = "https://api.openai.com/v1"
# Whose key it is, by the variable that commonly holds it.
OWN_HOSTS = {
    "OPENAI_API_KEY": "api.openai.com",
    "OPENROUTER_API_KEY": "openrouter.ai",
    "DEEPSEEK_API_KEY": "api.deepseek.com",
    "MISTRAL_API_KEY": "api.mistral.ai",
    "TOGETHER_API_KEY": "api.together.xyz",
    "FIREWORKS_API_KEY": "api.fireworks.ai",
    "GROQ_API_KEY": "api.groq.com",
    "DASHSCOPE_API_KEY": "dashscope.aliyuncs.com",
    "MOONSHOT_API_KEY": "api.moonshot.ai",
    "GEMINI_API_KEY": "generativelanguage.googleapis.com",
    "ANTHROPIC_API_KEY": "api.anthropic.com",
    "HF_TOKEN": "router.huggingface.co",
}


def open_backend(
    spec: str,
    *,
    base_url: str | Sequence[str] | None = None,
    api_key_env: str = "OPENAI_API_KEY",
    named_in: str = "",
    extra_body: Mapping[str, Any] | None = None,
    timeout: float = 600.0,
    patience: float = 600.0,
    on_notice: Callable[[str], None] = lambda line: None,
) -> Backend:
    """The backend that `spec` ("kind:name") names.

    base_url: one URL, or several of one model (a sequence, or separated by commas); without, the
    environment's OPENAI_BASE_URL, else api.openai.com.
    api_key_env: the environment variable with the key; "" for none. named_in: the file that named
    the URL or the variable, where no person did: then the key goes to its own host alone.
    timeout, patience: seconds, of one call and without any success (`HttpBackend`).
    on_notice: is called with each line that a user should see in mid-run.
    Raises UsageError for an unknown kind and where a key would go to a host that only a file named,
    ModelUnavailable where the model cannot be had.
    """
    kind, _, name = spec.partition(":")
    if kind not in KINDS or not name:
        kinds = "; ".join(KINDS.values())
        raise UsageError(f"--model {spec!r} is none of these: {kinds}{_nearest(spec)}")
    if kind == "scripted":
        return ScriptedBackend.from_file(Path(name))
    if kind == "openai":
        urls = base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL
        urls = [u.strip() for u in (urls.split(",") if isinstance(urls, str) else urls)]
        urls = [checked_url(url) for url in urls if url]
        return HttpBackend(
            name,
            urls,
            _key(api_key_env, urls, named_in),
            api_key_env=api_key_env,
            extra_body=extra_body or {},
            timeout=timeout,
            patience=patience,
            on_notice=on_notice,
        )
    if kind == "local":
        from autoif.models.openvino.backend import LocalBackend

        return LocalBackend(name, on_notice=on_notice)
    from autoif.models.transformers.backend import HFBackend

    return HFBackend(name, on_notice=on_notice)


def _key(variable: str, urls: Sequence[str], named_in: str) -> str | None:
    """The key for these URLs. A recipe is made to be shared: what it names gets no key that was not
    meant for it, and a server on this machine none that nobody asked for."""
    key = os.environ.get(variable) if variable else None
    if not key or not named_in:
        return key
    own = f"https://{OWN_HOSTS.get(variable)}"
    others = [u for u in urls if "/".join(u.lower().split("/")[:3]).removesuffix(":443") != own]
    remote = [host for u in others if (host := urlsplit(u).hostname or "") not in LOOPBACK]
    if remote:
        raise UsageError(
            f"{named_in} would send the key in {variable} to {remote[0]}: if you want that, say so "
            f"with --api-key-env {variable}"
        )
    return None if others else key


@asynccontextmanager
async def open_chats(
    specs: Iterable[str], calls: str | Path, **options: Any
) -> AsyncIterator[dict[str, CachedChat]]:
    """A chat for each spec, all through the call store `calls`, so that an answered call is never
    asked again. Everything is closed at the end. `options` and errors: see `open_backend`."""
    async with open_store(calls) as store:
        chats: dict[str, CachedChat] = {}
        try:
            for spec in specs:
                chats[spec] = CachedChat(open_backend(spec, **options), store)
            yield chats
        finally:
            for chat in chats.values():
                await chat.close()


def _nearest(spec: str) -> str:
    """What a spec of no known kind may have meant, for the end of the error."""
    kind, colon, name = spec.partition(":")
    if colon:
        near = did_you_mean(kind, KINDS)
        return near.replace("?", f":{name or 'NAME'}?")
    if spec in WEIGHTS or spec.endswith(".gguf"):
        return f"; did you mean local:{spec}?"
    if Path(spec).is_dir():
        return f"; did you mean hf:{spec}?"
    if spec.endswith(".jsonl"):
        return f"; did you mean scripted:{spec}?"
    return f"; did you mean openai:{spec}?"
