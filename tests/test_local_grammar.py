"""The grammar of a schema accepts what `json.dumps` writes of its values, and no other spacing."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoif.models.openvino.grammar import grammar
from autoif.synthesis.verifiers.write import APART, TOGETHER

TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|\w+|::=|[()|*]')


def as_pattern(text: str) -> re.Pattern[str]:
    """Without recursion an EBNF is a regular expression; this one knows what `grammar` writes."""
    rules: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, _, *tokens = TOKEN.findall(line)
        rules[name] = tokens

    def pattern(name: str) -> str:
        return "(?:" + "".join(part(token) for token in rules[name]) + ")"

    def part(token: str) -> str:
        if token[0] == '"':
            quoted = re.sub(r"\\U(\w{8})", lambda m: chr(int(m[1], 16)), token[1:-1])
            return "(?:" + re.escape(re.sub(r"\\(.)", r"\1", quoted)) + ")"
        return pattern(token) if token[0].isalpha() else "(?:" if token == "(" else token

    return re.compile(pattern("root"))


def accepts(schema: dict[str, Any], text: str) -> bool:
    return as_pattern(grammar(schema)).fullmatch(text) is not None


def dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
leaves: st.SearchStrategy[tuple[dict[str, Any], st.SearchStrategy[Any]]] = st.one_of(
    st.just(({"type": "string"}, texts)),
    st.just(({"type": "boolean"}, st.booleans())),
)


def compound(inner: Any) -> Any:
    def array(items: Any) -> Any:
        schema, values = items
        return {"type": "array", "items": schema}, st.lists(values, max_size=3)

    def record(members: Any) -> Any:
        return (
            {
                "type": "object",
                "properties": {name: schema for name, (schema, _) in members.items()},
                "required": list(members),
                "additionalProperties": False,
            },
            st.tuples(*(values for _, values in members.values())).map(
                lambda drawn: dict(zip(members, drawn, strict=True))  # in the schema's order
            ),
        )

    names = st.sampled_from(["a", "b c", 'd"', "e\\"])
    return inner.map(array) | st.dictionaries(names, inner, min_size=1, max_size=3).map(record)


@given(st.recursive(leaves, compound, max_leaves=4), st.data())
def test_every_value_of_a_schema_is_accepted_as_json_dumps_writes_it(
    pair: tuple[dict[str, Any], st.SearchStrategy[Any]], data: st.DataObject
) -> None:
    schema, values = pair
    assert accepts(schema, dumped(data.draw(values)))


@pytest.mark.parametrize(
    "value",
    [
        {"func": "def f():\n  return 1", "cases": [{"input": "é \t\\", "output": True}]},
        {"func": "", "cases": [{"input": "", "output": False}] * 3},
        {"follow": ["Yes.", 'a "b"'], "break": []},
    ],
)
def test_the_answers_we_want(value: Any) -> None:
    schema = TOGETHER if "func" in value else APART
    assert accepts(schema, dumped(value))
    assert accepts(schema, json.dumps(value))  # escapes are as good
    assert not accepts(schema, json.dumps(value, indent=1))
    assert not accepts(schema, dumped(value) + "\n")


@pytest.mark.parametrize(
    "text",
    [
        '{"func": "", "cases": [] }',
        '{"cases": [{"input": "", "output": true}], "func": ""}',
        '{"func": "", "cases": [{"input": "", "output": "true"}]}',
        '{"func": "\n", "cases": [{"input": "", "output": true}]}',
        '{"func": 1, "cases": [{"input": "", "output": true}]}',
    ],
)
def test_the_answers_we_do_not_want(text: str) -> None:
    assert not accepts(TOGETHER, text)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {},
        {"type": "string", "pattern": "a"},
        {"$ref": "#/x"},
        {"type": "array"},
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
        {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False},
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        {"type": ["string", "null"]},
        {"enum": ["a"]},
    ],
)
def test_other_schemas_are_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        grammar(schema)
