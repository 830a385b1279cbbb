"""The server's own description, at /openapi.json: OpenAPI 3.1."""

from __future__ import annotations

from typing import Any

from autoif.base.version import __version__
from autoif.serve.protocols import PROTOCOLS, RewardsRequest, RewardsResponse
from autoif.verifier.reward_client import LINES

PARAMETERS = [
    {
        "name": "reward",
        "in": "query",
        "description": "partial: the share of the constraints that hold; strict: 1 or 0",
        "schema": {"enum": ["partial", "strict"], "default": "partial"},
    },
    {
        "name": "keep_reasoning",
        "in": "query",
        "description": "judge what a model thought before its answer as part of it",
        "schema": {"type": "boolean", "default": False},
    },
    {
        "name": "deadline",
        "in": "query",
        "description": "seconds; what is not judged by then has no reward",
        "schema": {"type": "number", "exclusiveMinimum": 0},
    },
]
_REFUSALS = {
    "400": "not JSON",
    "401": "the token is missing or wrong",
    "403": "the Host header is another machine's",
    "411": "no Content-Length",
    "413": "larger than the server takes at once",
    "415": "the Content-Type is not application/json",
    "422": "JSON of another shape, an id that is not loaded",
    "429": "full; Retry-After says when to ask again",
    "503": "the server is ending",
}


_LINES: dict[str, Any] = {
    LINES: {
        "schema": {
            "type": "string",
            "description": "A line of JSON for each completion when it is judged: its number in "
            '"n", from 0, its "reward" and what it "holds"',
        }
    }
}


def document() -> dict[str, Any]:
    """A JSON value."""
    error = _of({"$ref": "#/components/schemas/Error"})
    refusals = {s: {"description": text, "content": error} for s, text in _REFUSALS.items()}
    paths: dict[str, Any] = {}
    for protocol in PROTOCOLS:
        own = protocol.lines
        asked = {"$ref": "#/components/schemas/RewardsRequest"} if own else {"type": "object"}
        said = _of({"$ref": "#/components/schemas/RewardsResponse"}) | _LINES if own else _of({})
        paths[protocol.path] = {
            "post": {
                "summary": protocol.summary,
                "parameters": PARAMETERS,
                "requestBody": {"required": True, "content": _of(asked)},
                "responses": {
                    "200": {
                        "description": "judged",
                        "content": _of(said) | (_LINES if own else {}),
                    },
                    **refusals,
                },
            }
        }
    for path, summary in (
        ("/health", "200 while it takes requests, 503 while it ends"),
        ("/metrics", "Prometheus"),
        ("/openapi.json", "This document"),
    ):
        paths[path] = {"get": {"summary": summary, "responses": {"200": {"description": "it"}}}}
    template = "#/components/schemas/{model}"
    return {
        "openapi": "3.1.0",
        "info": {"title": "AutoIF reward server", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": {
                "RewardsRequest": RewardsRequest.model_json_schema(ref_template=template),
                "RewardsResponse": RewardsResponse.model_json_schema(ref_template=template),
                "Error": {"type": "object", "properties": {"error": {"type": "string"}}},
            },
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _of(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
