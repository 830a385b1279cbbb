"""What a run, or a worker of one, needs while it works: sandbox, models, prompts, queries."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager

from autoif.base.inputs import builtin
from autoif.base.records import Filtered, Query
from autoif.models import Backend
from autoif.models.cached import CachedChat, CallCounts
from autoif.models.open import open_backend
from autoif.run.recipe import Recipe
from autoif.sandbox import CHECK_LIMITS, Sandbox
from autoif.store.base import Store
from autoif.synthesis.context import Context, Relate
from autoif.synthesis.prompts.templates import PromptTemplates
from autoif.synthesis.responses import queries

ROLES = ("propose", "code", "respond", "judge")


@asynccontextmanager
async def open_context(
    recipe: Recipe,
    store: Store,
    *,
    backends: Mapping[str, Backend] | None = None,
    wrap: Callable[[str, Backend], Backend] = lambda model, backend: backend,
    counts: MutableMapping[str, Mapping[str, CallCounts]] | None = None,
    opened: MutableMapping[str, Backend] | None = None,
    on_notice: Callable[[str], None] = lambda line: None,
    prompts: PromptTemplates | None = None,
    loaded: Filtered[Query] | None = None,
) -> AsyncGenerator[Context, None]:
    """Models and sandbox are closed again whatever happens; the store stays open.

    backends: models by the name that the recipe calls them; opened where not given. wrap: what
    stands between the store and a model. counts: gets the counts of each model's calls, by stage.
    opened: gets each model's backend itself. prompts, loaded: of another machine, which has read
    them from its files; read here where not given.
    """
    given = backends or {}
    chats: dict[str, CachedChat] = {}
    try:
        with Sandbox(recipe.engine.sandbox_workers or None, CHECK_LIMITS) as sandbox:
            for model in sorted({recipe.models.role(role) for role in ROLES}):
                backend = given.get(model) or open_model(recipe, model, on_notice)
                if opened is not None:
                    opened[model] = backend
                chats[model] = CachedChat(wrap(model, backend), store)
                if counts is not None:
                    counts[model] = chats[model].counts
            loaded = loaded or queries.load(recipe)
            yield Context(
                recipe,
                prompts or PromptTemplates(recipe.prompts),
                {role: chats[recipe.models.role(role)] for role in ROLES},
                sandbox,
                store,
                _nli(recipe),
                queries.by_language(recipe, loaded),
                loaded,
            )
    finally:
        for chat in chats.values():
            await chat.close()


def open_model(recipe: Recipe, model: str, on_notice: Callable[[str], None]) -> Backend:
    settings = recipe.models
    if model.startswith("scripted:builtin"):
        model = f"scripted:{builtin(model.partition(':')[2], 'script.jsonl')}"
    return open_backend(
        model,
        base_url=settings.base_url,
        api_key_env=settings.api_key_env,
        named_in=recipe.server_named_in,
        extra_body=settings.extra_body,
        timeout=settings.timeout,
        patience=settings.patience,
        on_notice=on_notice,
    )


def _nli(recipe: Recipe) -> Relate | None:
    if recipe.backtranslate.judge != "nli":
        return None
    from autoif.synthesis.verifiers.nli import CrossEncoder

    return CrossEncoder()
