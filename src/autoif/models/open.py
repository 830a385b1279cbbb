"""`--model` to backend: the one place that knows the kinds of models."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from autoif.base.errors import UsageError
from autoif.models import Backend
from autoif.models.openai.backend import HttpBackend
from autoif.models.scripted import ScriptedBackend

KINDS = {
    "local": "local:NAME or local:FILE.gguf, the embedded model",
    "openai": "openai:NAME, any OpenAI-compatible server (--base-url, key from the environment)",
    "hf": "hf:DIR-or-ID, transformers",
    "scripted": "scripted:FILE, prepared answers",
}
OPENAI_URL = "https://api.openai.com/v1"


def open_backend(
    spec: str,
    *,
    base_url: str | Sequence[str] | None = None,
    api_key_env: str = "OPENAI_API_KEY",
    extra_body: Mapping[str, Any] | None = None,
    timeout: float = 600.0,
    patience: float = 600.0,
    on_notice: Callable[[str], None] = lambda line: None,
) -> Backend:
    """The backend that `spec` ("kind:name") names.

    base_url: one URL, or several of one model (a sequence, or separated by commas).
    timeout, patience: seconds, of one call and without any success (`HttpBackend`).
    on_notice: is called with each line that a user should see in mid-run.
    Raises UsageError for an unknown kind, ModelUnavailable where the model cannot be had.
    """
    kind, _, name = spec.partition(":")
    if kind not in KINDS or not name:
        raise UsageError(f"--model {spec!r} is none of these: {'; '.join(KINDS.values())}")
    if kind == "scripted":
        return ScriptedBackend.from_file(Path(name))
    if kind == "openai":
        urls = base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL
        urls = urls.split(",") if isinstance(urls, str) else urls
        return HttpBackend(
            name,
            [u.strip() for u in urls if u.strip()],
            os.environ.get(api_key_env),
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
