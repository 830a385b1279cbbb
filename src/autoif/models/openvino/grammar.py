r"""A JSON schema as a grammar (EBNF) whose only whitespace is that of `json.dumps`.

Engines that take a schema as it is leave a small model free to put blank lines between tokens:
slow, and now and then endless. A grammar made here leaves it no choice. Only the strict subset is
known; anything else raises ValueError, since a grammar that the engine refuses would stop it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

_SCALARS = {
    "string": "string",
    "integer": "integer",
    "number": "number",
    "boolean": '("true" | "false")',
    "null": '"null"',
}
_TERMINALS = r"""
string ::= "\"" plain* (escape plain*)* "\""
plain ::= [^"\\\x00-\x1f]
escape ::= "\\" (["\\/bfnrt] | "u" hex hex hex hex)
hex ::= [0-9a-fA-F]
integer ::= "-"? ("0" | [1-9] [0-9]*)
number ::= integer ("." [0-9]+)? ([eE] [-+]? [0-9]+)?
"""
_KNOWN = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "minItems", "maxItems"},
}
_REMARKS = {"type", "title", "description", "$schema"}


def grammar(schema: Mapping[str, Any]) -> str:
    """EBNF whose start symbol is `root`. Raises ValueError for what the strict subset lacks.

    Known: `enum`, `const`, `anyOf`; a `type` or list of them; objects with every property required
    (they come in the order of the schema) and no others; arrays with `minItems` and `maxItems`. A
    string has no bounds: to count its characters costs the engine fifty times the model itself.
    """
    return f"root ::= {_expression(schema)}{_TERMINALS}"


def _expression(schema: Mapping[str, Any]) -> str:
    if "enum" in schema or "const" in schema:
        _only(schema, {"enum", "const"})
        values = schema["enum"] if "enum" in schema else [schema["const"]]
        return _choice([_literal(json.dumps(value, ensure_ascii=False)) for value in values])
    if "anyOf" in schema:
        _only(schema, {"anyOf"})
        return _choice([_expression(option) for option in schema["anyOf"]])
    kinds = schema.get("type")
    if isinstance(kinds, list):
        return _choice([_expression({**schema, "type": kind}) for kind in kinds])
    _only(schema, _KNOWN.get(str(kinds), set()))
    if kinds == "object":
        return _object(schema)
    if kinds == "array":
        return _array(schema)
    if kinds in _SCALARS:
        return _SCALARS[kinds]
    raise ValueError(f"no grammar for type {kinds!r}")


def _object(schema: Mapping[str, Any]) -> str:
    properties = schema.get("properties", {})
    if set(schema.get("required", ())) != set(properties):
        raise ValueError("every property has to be required")
    if schema.get("additionalProperties", True) is not False:
        raise ValueError("additionalProperties has to be false")
    members = [
        f"{_literal(json.dumps(name, ensure_ascii=False) + ': ')} {_expression(value)}"
        for name, value in properties.items()
    ]
    return f'("{{" {_joined(members)} "}}")' if members else '"{}"'


def _array(schema: Mapping[str, Any]) -> str:
    if "items" not in schema:
        raise ValueError("an array has to name its items")
    item = _expression(schema["items"])
    low, high = schema.get("minItems", 0), schema.get("maxItems")
    if high is not None and (high < low or high < 0):
        raise ValueError(f"no array has {low} to {high} items")
    if high == 0:
        return '"[]"'
    more = f'(", " {item}){{{max(low - 1, 0)},{"" if high is None else high - 1}}}'
    filled = f'("[" {item} {more} "]")'
    return filled if low > 0 else f'("[]" | {filled})'


def _only(schema: Mapping[str, Any], known: set[str]) -> None:
    unknown = set(schema) - known - _REMARKS
    if unknown:
        raise ValueError(f"no grammar for {', '.join(sorted(unknown))}")


def _joined(parts: Sequence[str]) -> str:
    return ' ", " '.join(parts)


def _choice(options: Sequence[str]) -> str:
    if not options:
        raise ValueError("nothing to choose from")
    return f"({' | '.join(options)})"


def _literal(text: str) -> str:
    """A quoted terminal; all but printable ASCII as code points."""
    out = []
    for character in text:
        if character in '"\\':
            out.append("\\" + character)
        elif character.isascii() and character.isprintable():
            out.append(character)
        else:
            out.append(f"\\U{ord(character):08x}")
    return f'"{"".join(out)}"'
