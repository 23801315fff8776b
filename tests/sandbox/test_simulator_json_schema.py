from __future__ import annotations

from typing import Any

from chatq_sandbox.json_schema import smallest_instance
from for_each import for_each

LINKED = {"$defs": {"node": {"type": "object", "required": ["next"], "properties": {"next": {"const": 1}}}}}


@for_each(
    ("schema", "expected"),
    [
        ({}, {}),
        ({"type": "string"}, "hi"),
        ({"type": "string", "maxLength": 1}, "h"),
        ({"type": "string", "minLength": 4}, "hixx"),
        ({"type": "string", "format": "date"}, "2026-01-02"),
        ({"type": "integer"}, 0),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "integer", "exclusiveMinimum": 3}, 4),
        ({"type": "number", "maximum": -2.5}, -2.5),
        ({"type": "boolean"}, True),
        ({"type": "null"}, None),
        ({"type": ["integer", "null"]}, 0),
        ({"enum": ["b", "a"]}, "b"),
        ({"const": {"k": 1}}, {"k": 1}),
        ({"type": "array", "items": {"type": "integer"}}, []),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [0, 0]),
        ({"anyOf": [{"type": "boolean"}, {"type": "string"}]}, True),
        (
            {
                "type": "object",
                "properties": {"title": {"type": "string"}, "score": {"type": "integer"}, "more": {}},
                "required": ["title", "score"],
            },
            {"title": "hi", "score": 0},
        ),
        (
            {
                "allOf": [
                    {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
                    {"properties": {"b": {"type": "boolean"}}, "required": ["b"]},
                ]
            },
            {"a": 0, "b": True},
        ),
        ({**LINKED, "$ref": "#/$defs/node"}, {"next": 1}),
    ],
)
def test_the_smallest_value_that_fits(schema: dict[str, Any], expected: Any) -> None:
    assert smallest_instance(schema, "hi") == expected


def test_a_schema_that_refers_to_itself_comes_to_an_end() -> None:
    schema = {"type": "object", "properties": {"child": {"$ref": "#"}}, "required": ["child"]}
    assert isinstance(smallest_instance(schema), dict)
