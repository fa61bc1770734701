"""Arguments become an object, whole or as they arrive."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.translate.arguments import JsonPrefix, tool_input

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=4)


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        (None, {}),
        ("", {}),
        (" \n", {}),
        ("null", {}),
        ({"a": 1}, {"a": 1}),
        ('{"a":1}', {"a": 1}),
        ('{"a":1,"a":2}', {"a": 2}),
        ('"{\\"a\\":1}"', {"a": 1}),
        ('"text"', {"value": "text"}),
        ("[1]", {"value": [1]}),
        ([1], {"value": [1]}),
        ("7", {"value": 7}),
        ('```json\n{"a":1}\n```', {"a": 1}),
        ('```\n{"a":1}```', {"a": 1}),
    ],
)
def test_meant(given_: Any, expected: Any) -> None:
    assert tool_input(given_) == (expected, True, False)


@pytest.mark.parametrize("text", ['{"city": Paris', "{'a':1}", "hello", '{"a":1}}', '{"a":"\n"}'])
def test_not_json(text: str) -> None:
    assert tool_input(text) == ({"_raw_arguments": text}, False, False)


@pytest.mark.parametrize(
    "text",
    ['{"a":"b', '{"a":1,"b', '{"a":1,"b":', '{"a":[1,{"b":"c\\', '{"a":12', '{"a":-', '{"a":tr', '{"a":1.5e', "{", "[",
     '"{', '"{\\"a', '"{\\"a\\":1"', '```json\n{"a":"b', "```\n[1,", '{"a":1}'[:-1], '{"a":"\\u12'],
)  # fmt: skip
def test_a_beginning_of_json_is_cut(text: str) -> None:
    assert tool_input(text).cut and tool_input(text, at_limit=True).cut


@pytest.mark.parametrize("text", ["", " ", None, '{"a": Paris, "b', "hel", "``"])
def test_what_is_not_json_is_cut_only_at_the_limit(text: str | None) -> None:
    assert tool_input(text, at_limit=True).cut and not tool_input(text).cut


@pytest.mark.parametrize("text", ["{}", '{"a":1}', "null", '"text"', '"{text}"', "7", "[1]", '```json\n{"a":1}'])
def test_what_is_whole_is_never_cut(text: str) -> None:
    assert not tool_input(text, at_limit=True).cut


@given(OBJECTS, st.data())
def test_every_beginning_of_an_object_is_cut(value: Any, data: Any) -> None:
    text = json.dumps(value)
    assert tool_input(text[: data.draw(st.integers(1, len(text) - 1))]).cut


def fed(prefix: JsonPrefix, text: str, size: int) -> str:
    return "".join(prefix.feed(text[n : n + size]) for n in range(0, len(text), size))


@given(OBJECTS, st.integers(1, 5), st.booleans(), st.booleans())
def test_a_whole_object_passes_as_it_is(value: Any, size: int, ascii_: bool, spaced: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_, indent=1 if spaced else None)
    prefix = JsonPrefix()
    out = fed(prefix, text, size)
    assert prefix.complete and out.rstrip() + prefix.close() == text[:-1].rstrip() + "}"


@given(OBJECTS, st.data())
def test_any_beginning_can_be_completed(value: Any, data: Any) -> None:
    text = json.dumps(value)
    at = data.draw(st.integers(1, len(text)))
    prefix = JsonPrefix()
    with_raw = json.loads(fed(prefix, text[:at], 2) + prefix.close_with(text[:at]))
    assert with_raw["_raw_arguments"] == text[:at]


@given(st.text(alphabet='{}[]",:\\u12e+-. \n\ttrufalsn', max_size=30), st.integers(1, 4))
def test_any_text_can_be_completed(text: str, size: int) -> None:
    prefix = JsonPrefix()
    out = fed(prefix, "{" + text, size)
    tail = prefix.close() if prefix.complete else prefix.close_with(text)
    assert isinstance(json.loads(out + tail), dict)
    assert prefix.complete == _is_object("{" + text)


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text, parse_constant=_refuse), dict)
    except ValueError:
        return False


def _refuse(constant: str) -> None:
    raise ValueError(constant)
