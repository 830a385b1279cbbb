"""The model calls behind a record, found in the call store: what was asked, what was answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from autoif.base import jsonl
from autoif.base.code import code_defining
from autoif.base.errors import AutoIFError
from autoif.base.loop import run_blocking
from autoif.base.records import content_id
from autoif.store import open_store
from autoif.store.base import StoredCall

Row = dict[str, Any]


def calls_of(store: Path, record: str) -> list[StoredCall]:
    """Those made on behalf of a record, the oldest first; none where no store can be read."""

    async def read() -> list[StoredCall]:
        async with open_store(store, read_only=True) as opened:
            return await opened.calls_for(record)

    try:
        return run_blocking(read()) if record and store.is_file() else []
    except AutoIFError:
        return []


def tokens(store: Path) -> list[Row]:
    """Calls and tokens of each model and stage; nothing where there is no store. Raises AutoIFError
    for one that cannot be read."""

    async def read() -> list[Row]:
        async with open_store(store, read_only=True) as opened:
            return list((await opened.inspect())["stages"])

    return run_blocking(read()) if store.is_file() else []


def shown(call: StoredCall, of: str = "") -> Row:
    """A call for a page. `of`: what its answer is to the record, where it is one text of it."""
    messages = call.body.get("messages")
    settings = {k: v for k, v in call.body.items() if k != "messages"}
    return {
        "key": call.key,
        "of": of,
        "stage": call.stage,
        "model": call.namespace,
        "index": call.index,
        "messages": messages if isinstance(messages, list) else [],
        "settings": settings,
        "text": call.reply.text,
        "finish": call.reply.finish_reason,
        "prompt": call.reply.usage.prompt,
        "completion": call.reply.usage.completion,
    }


def of_sample(calls: Iterable[StoredCall], row: Mapping[str, Any]) -> list[Row]:
    """The call that gave a sample's response, and those that judged it."""
    response, query = row["response"], row["query"]
    scored = row["quality"] is not None or row["reason"] == "no_score"
    answers: list[StoredCall] = []
    judged: list[Row] = []
    for call in calls:
        asked = _asked(call)
        if call.stage == "judge":
            if scored and response and response in asked and query in asked:
                judged.append(shown(call, "judge"))
        elif call.reply.text.strip() == response and query in asked:
            answers.append(call)
    answers.sort(key=lambda call: call.index != row["index"])
    return [*(shown(call, "response") for call in answers[:1]), *judged]


def _asked(call: StoredCall) -> str:
    messages = call.body.get("messages")
    return "\n".join(str(m.get("content")) for m in messages) if isinstance(messages, list) else ""


def sources(calls: Sequence[StoredCall]) -> dict[str, str]:
    """The functions that these calls wrote, by their ids, also those that were dropped."""
    found = {}
    for call in calls:
        if call.stage != "functions":
            continue
        for source in (code_defining(call.reply.text, "evaluate"), _in_json(call.reply.text)):
            if source:
                found[content_id("check", source)] = source
    return found


def _in_json(text: str) -> str | None:
    try:
        value = jsonl.loads(text.encode())
    except ValueError:
        return None
    source = value.get("func") if isinstance(value, dict) else None
    return source if isinstance(source, str) else None
