import pytest

from extproc.demo.shape import example, usable


@pytest.mark.parametrize(
    ("schema", "shown"),
    [
        ({"type": "array", "items": {"type": "number"}, "minItems": 2}, [1, 1]),
        ({"const": 5}, 5),
        ({"enum": ["C", "F"]}, "C"),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, None),
        ({"type": ["string", "null"]}, "demo"),
        ({"properties": {"a": {"type": "boolean"}, "b": {}}, "required": ["a"]}, {"a": True}),
        (True, None),
        ({}, {}),
    ],
)
def test_example(schema: object, shown: object) -> None:
    assert usable(schema)
    assert example(schema) == shown


@pytest.mark.parametrize(
    "schema", [{"required": 1}, {"required": [None]}, {"enum": 5}, {"properties": [1], "required": ["a"]}]
)
def test_what_is_no_schema(schema: object) -> None:
    assert not usable(schema)
