r"""A JSON schema as a grammar (EBNF) whose only whitespace is that of `json.dumps`.

Engines that take a schema as it is leave a small model free to put blank lines between tokens:
slow, and now and then endless. A grammar made here leaves it no choice. Schemas are made of
objects, arrays, strings and booleans; anything else raises ValueError, since a grammar that the
engine refuses would stop it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_TERMINALS = r"""
string ::= "\"" plain* (escape plain*)* "\""
plain ::= [^"\\\x00-\x1f]
escape ::= "\\" (["\\/bfnrt] | "u" hex hex hex hex)
hex ::= [0-9a-fA-F]
"""


def grammar(schema: Mapping[str, Any]) -> str:
    """EBNF whose start symbol is `root`. Raises ValueError for a schema that is no array without
    bounds, no object with every property required (they come in the order of the schema) and no
    others, no string and no boolean."""
    return f"root ::= {_expression(schema)}{_TERMINALS}"


def _expression(schema: Mapping[str, Any]) -> str:
    match dict(schema):
        case {"type": "string", **more} if not more:
            return "string"
        case {"type": "boolean", **more} if not more:
            return '("true" | "false")'
        case {"type": "array", "items": items, **more} if not more:
            item = _expression(items)
            return f'("[]" | ("[" {item} (", " {item})* "]"))'
        case {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
            **more,
        } if properties and set(required) == set(properties) and not more:
            members = ' ", " '.join(
                f"{_literal(json.dumps(name) + ': ')} {_expression(value)}"
                for name, value in properties.items()
            )
            return f'("{{" {members} "}}")'
    raise ValueError(f"no grammar for {schema}")


def _literal(text: str) -> str:
    """A quoted terminal."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
