from typing import Any

import pytest

from extproc.translate.checked import Refused
from extproc.translate.schema import MAX_JOINED, fits_strict, repair

CLOSED = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


def test_a_good_schema_stays_the_same_object() -> None:
    deep = {**CLOSED, "properties": {"a": {"anyOf": [{"type": "array", "items": CLOSED}]}}, "$defs": {"d": CLOSED}}
    assert repair(deep, "p").schema is deep
    assert not repair(deep, "p").changed_meaning


@pytest.mark.parametrize(
    ("schema", "repaired"),
    [
        ({}, {"type": "object", "properties": {}, "required": []}),
        ({"type": "object", "properties": None}, {"type": "object", "properties": {}, "required": []}),
        ({"type": "string"}, {"type": "object", "properties": {}, "required": []}),
        (
            {"type": ["object", "null"], "properties": {"a": {}}, "required": ["a"]},
            {"type": "object", "properties": {"a": {}}, "required": ["a"]},
        ),
        (
            {"$id": "x", "type": "object", "properties": {"$id": {"$schema": "y"}, "xs": {"type": ["array", "null"]}}},
            {
                "type": "object",
                "properties": {"$id": {}, "xs": {"type": ["array", "null"], "items": {}}},
                "required": [],
            },
        ),
        (
            {**CLOSED, "$defs": {"d": {"items": [{"type": "array"}]}}},
            {**CLOSED, "$defs": {"d": {"items": [{"type": "array", "items": {}}]}}},
        ),
        (
            {**CLOSED, "properties": {"a": {"default": {"$schema": 1}, "examples": [{"type": "array"}]}}},
            {**CLOSED, "properties": {"a": {"default": {"$schema": 1}, "examples": [{"type": "array"}]}}},
        ),
    ],
)
def test_repairs(schema: dict[str, Any], repaired: dict[str, Any]) -> None:
    before = repr(schema)
    assert repair(schema, "p").schema == repaired
    assert repr(schema) == before


def test_without_required_for_answers() -> None:
    assert repair({"type": "object"}, "p", add_required=False).schema == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("schema", "properties", "required"),
    [
        ({"anyOf": [{"properties": {"a": {}}, "required": ["a", "c"]}, {"required": ["c"]}]}, ["a"], ["c"]),
        ({"oneOf": [{"properties": {"a": {}}, "required": ["a"]}, {}], "required": ["z"]}, ["a"], ["z"]),
        ({"allOf": [{"properties": {"a": {}}, "required": ["a"]}, {"properties": {"b": {}}, "required": ["b"]}]},
         ["a", "b"], ["a", "b"]),
        ({"not": {}, "enum": [1], "properties": {"a": {}}}, ["a"], []),
        ({"anyOf": [{"$ref": "#/$defs/d"}], "$defs": {"d": CLOSED}}, ["a"], ["a"]),
        ({"anyOf": [{"$ref": "#/$defs/x"}, 7]}, [], []),
        ({"anyOf": "x"}, [], []),
    ],
)  # fmt: skip
def test_alternatives_at_the_top_are_united(schema: dict[str, Any], properties: list[str], required: list[str]) -> None:
    found = repair(schema, "p")
    assert found.changed_meaning
    assert list(found.schema["properties"]) == properties
    assert found.schema["required"] == required
    assert not {"anyOf", "oneOf", "allOf", "not", "enum"} & found.schema.keys()


@pytest.mark.parametrize(
    ("schema", "fits"),
    [
        (CLOSED, True),
        ({**CLOSED, "required": []}, False),
        ({**CLOSED, "additionalProperties": True}, False),
        ({**CLOSED, "anyOf": []}, False),
        ({**CLOSED, "type": "array"}, False),
        ({**CLOSED, "$defs": {"d": {"type": "object"}}}, False),
        ({**CLOSED, "properties": {"a": {"type": "array", "items": {"type": "object"}}}}, False),
        ({**CLOSED, "properties": {"a": {"anyOf": [CLOSED, {"type": "null"}]}}}, True),
        ({**CLOSED, "properties": {"a": {"anyOf": [{"if": {}}]}}}, False),
        ({**CLOSED, "patternProperties": {}}, False),
    ],
)
def test_strict(schema: dict[str, Any], fits: bool) -> None:
    assert fits_strict(schema) is fits


def test_depth_is_bounded() -> None:
    schema: dict[str, Any] = {}
    for _ in range(101):
        schema = {"not": schema}
    with pytest.raises(Refused, match="nested deeper"):
        repair(schema, "p")


def _referring(references: int, names: int) -> dict[str, Any]:
    listed = [f"p{n}" for n in range(names)]
    definition = {"properties": {name: {} for name in listed}, "required": listed}
    return {"allOf": [{"$ref": "#/$defs/d"}] * references, "$defs": {"d": definition}}


def test_references_to_one_definition_are_one_alternative() -> None:
    repaired = repair(_referring(3000, 3000), "p").schema
    assert repaired["required"] == [*repaired["properties"]] == [f"p{n}" for n in range(3000)]


def test_alternatives_join_so_much_and_no_more() -> None:
    assert repair(_referring(2, MAX_JOINED // 2), "p").changed_meaning
    with pytest.raises(Refused, match=r"^tools\.3\.input_schema: alternatives have more than"):
        repair(_referring(2, MAX_JOINED // 2 + 1), "tools.3.input_schema")
