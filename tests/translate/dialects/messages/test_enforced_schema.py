"""The schema transform, beside the Anthropic SDK's own."""

from typing import Any

import pytest
from anthropic import transform_schema

from extproc.translate.dialects.messages.enforced_schema import can_be, transformed
from tests.translate.chat_asking import ask, body, sent, target

NESTED = {
    "type": "object",
    "description": "d",
    "title": "t",
    "minProperties": 1,
    "properties": {
        "a": {"type": "array", "items": {"type": "object", "properties": {}}, "maxItems": 3, "minItems": 0},
        "b": {"anyOf": [{"type": "string", "format": "uuid", "pattern": "^a"}, {"type": "null"}], "default": None},
        "c": {"allOf": [{"$ref": "#/$defs/K"}]},
        "d": {"type": "string", "description": "x", "minLength": 2, "format": "odd"},
        "e": {"$ref": "#/$defs/K", "description": "gone"},
    },
    "required": ["a"],
    "$defs": {"K": {"oneOf": [{"type": "integer", "multipleOf": 2}]}},
}


def test_as_the_sdk_does_it() -> None:
    ours = transformed(NESTED, "x")
    assert ours["properties"]["b"]["description"] == "{default: null}"
    ours["properties"]["b"]["description"] = "{default: None}"  # as the SDK words it
    assert ours == transform_schema(NESTED)


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string", "enum": ["a"]}, {"type": "string", "enum": ["a"]}),
        ({"type": ["string", "null"], "maxLength": 3}, {"type": ["string", "null"], "description": "{maxLength: 3}"}),
        ({"description": "no type"}, {"description": "no type"}),
        ({"const": 1, "examples": [{"a": 1}]}, {"const": 1, "description": '{examples: [{"a":1}]}'}),
        (
            {"type": "object", "additionalProperties": {"type": "string"}},
            {"type": "object", "properties": {}, "additionalProperties": False},
        ),
        (
            {"type": "string", "format": "zip", "pattern": "a"},
            {"type": "string", "description": "{format: zip, pattern: a}"},
        ),
    ],
)
def test_some_of_each(schema: Any, expected: Any) -> None:
    assert transformed(schema, "x") == expected


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "number", "format": "date", "description": "D"},
        {"anyOf": [{"type": "string", "format": "date"}, {"type": "array", "minItems": 1}], "minItems": 1},
        {"oneOf": [{"type": "integer", "format": "int64"}, {"type": "object", "required": []}]},
        {"enum": ["a", None], "format": "date"},
        {"$defs": {"a": {"type": "object"}}, "$ref": "#/$defs/a", "description": "D"},
    ],
)
def test_equals_the_sdks(schema: dict[str, Any]) -> None:
    assert transformed(schema, "x") == transform_schema(schema)


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (NESTED, True),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/b"}}, "b": {"type": "string"}}}, True),
        ({"$defs": {"a/b": {"type": "string"}}, "$ref": "#/$defs/a~1b"}, True),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}, False),
        ({"properties": {"a": {"$ref": "#"}}}, False),
        ({"properties": {"a": {"$ref": "https://e.com/schema"}}}, False),
    ],
)
def test_can_be(schema: Any, expected: bool) -> None:
    assert can_be(schema, "x") is expected


def wanted(schema: Any) -> dict[str, Any]:
    return body(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})


def test_what_cannot_be_enforced_is_asked_for() -> None:
    circle = {"type": "object", "properties": {"a": {"$ref": "#"}}}
    for request, to in (
        (wanted(circle), target()),
        (wanted({"type": "object"}), target("claude-extended-unstructured")),
    ):
        assert sent(request, to)["system"].startswith("Respond with JSON that fulfils this JSON schema")
        assert ask(request, to).warnings == ("emulated:response_format",) and "output_config" not in sent(request, to)
    assert "single valid JSON object" in sent(wanted(None))["system"]
    assert "system" not in sent(body(response_format={"type": "text"}))
