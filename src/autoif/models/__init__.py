"""One verb for models, `Chat(request) -> Reply`: HTTP, embedded, transformers, scripted; weights.

A `Backend` really asks a model; `CachedChat` (cached.py) wraps one so that no answered call is ever
asked again. Everything above this package sees only `Chat`.
"""

from __future__ import annotations

from typing import Any, Protocol

from autoif.base.records import Reply, Request


class Chat(Protocol):
    """What stages call. Raises `CallFailed` for this one call, `SetupError` for all of them."""

    async def __call__(self, request: Request) -> Reply: ...


class Backend(Protocol):
    """A model that answers. `namespace` names model and revision; it is part of the store's key."""

    namespace: str

    def body(self, request: Request) -> dict[str, Any]:
        """The canonical wire body: all that decides the answer, and nothing of the transport."""

    async def __call__(self, request: Request) -> Reply: ...

    async def close(self) -> None: ...
