"""The lines of `autoif calls export` and `import`, by which calls move from store to store.

A call is {"key", "namespace", "index", "stage", "record", "body", "text", "finish_reason",
"usage"}, outcomes of the sandbox are {"outcomes", "value"}.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

import orjson

from autoif.base.records import Reply, Request, Usage
from autoif.store.base import Notice, Store, StoredCall, call_key, canonical


async def export_lines(store: Store, on_notice: Notice = lambda line: None) -> AsyncIterator[bytes]:
    """The whole store, but for rows that are damaged."""
    async for row in store.contents(on_notice):
        if isinstance(row, StoredCall):
            line = asdict(row)
            line |= line.pop("reply")
        else:
            line = {"outcomes": row.key, "value": base64.b64encode(row.value).decode()}
        yield orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


async def import_row(store: Store, row: dict[str, Any]) -> bool:
    """Put one exported row into a store; False where it was there. Raises KeyError, TypeError or
    ValueError where it is no exported row, or not what its key names."""
    if "outcomes" in row:
        value = base64.b64decode(row["value"], validate=True)
        return await store.put_outcomes(bytes.fromhex(row["outcomes"]), value) is value
    words = (row[name] for name in ("namespace", "stage", "record", "text", "finish_reason"))
    numbers = (row["index"], *row["usage"].values())
    if not (all(type(w) is str for w in words) and all(type(n) is int for n in numbers)):
        raise TypeError("a value is of the wrong type")
    if not all(0 <= n < 1 << 53 for n in numbers):
        raise ValueError("a number is out of range")
    key, body = bytes.fromhex(row["key"]), canonical(row["body"])
    if call_key(row["namespace"], body, row["index"]) != key:
        raise ValueError("the key does not name this body")
    request = Request((), index=row["index"], stage=row["stage"], record=row["record"])
    reply = Reply(row["text"], row["finish_reason"], Usage(**row["usage"]))
    return await store.put(key, request, body, row["namespace"], reply) is reply
