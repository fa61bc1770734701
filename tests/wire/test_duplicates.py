import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.wire.duplicates import at_any_depth, at_top

TWICE = [
    (b'{"a":1,"a":1}', "a", "a"),
    (b'{"a" : 1, "b": [], "a"\n: 2}', "a", "a"),
    (b'{"a":1,"\\u0061":1}', "a", "a"),
    (b'{"a":{"b":1,"b":2}}', "b", None),
    (b'[{"a":1},{"a":1},[{"c":1,"c":{"d":":"}}]]', "c", None),
    (b'{"x":{"a":1,"a":1},"y":"\\u003a"}', "a", None),
    (b'{"x":{"a":1,"a":1},"y":"\\u003A"}', "a", None),
    (b'{"x":{"":1,"":1}}', "", None),
]
ONCE = [
    b"{}",
    b'{"a":1,"A":1}',
    b'{"a":{"a":{"a":":"}},"b":"\\":"}',
    b'{"a":"\\u003a","b":"\\u003A \\u0022:"}',
    b'[":"]',
]


@pytest.mark.parametrize(("raw", "anywhere", "outermost"), TWICE)
def test_a_name_that_stands_twice(raw: bytes, anywhere: str, outermost: str | None) -> None:
    assert at_any_depth(raw, msgspec.json.decode(raw)) == anywhere
    if raw[:1] == b"{":
        assert at_top(raw) == outermost


@pytest.mark.parametrize("raw", ONCE)
def test_names_that_stand_once(raw: bytes) -> None:
    assert at_any_depth(raw, msgspec.json.decode(raw)) is None and at_top(raw) is None


def test_long_numbers_are_no_danger() -> None:
    raw = b'{"a":' + b"1" * 5000 + b'.5e-9,"b":' + b"7" * 5000 + b',"\\u003a":1}'
    assert at_any_depth(raw, {}) is None and at_top(raw) is None


NAMES = st.text('ab:\\"é\u2028', max_size=2)
VALUES = st.recursive(
    st.none() | st.integers(0, 9) | st.text(':"\\a', max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(NAMES, inner), max_size=3).map(tuple),
    max_leaves=12,
)


def written(value: Any, ascii_only: bool) -> str:
    """Tuples are objects, whose names may stand twice."""
    if isinstance(value, tuple):
        members = (f"{json.dumps(name, ensure_ascii=ascii_only)}: {written(held, ascii_only)}" for name, held in value)
        return "{" + ", ".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(written(held, ascii_only) for held in value) + "]"
    return json.dumps(value, ensure_ascii=ascii_only)


def has_twice(value: Any) -> bool:
    if isinstance(value, tuple):
        names = [name for name, _ in value]
        return len(set(names)) < len(names) or any(has_twice(held) for _, held in value)
    return isinstance(value, list) and any(map(has_twice, value))


@given(VALUES, st.booleans(), st.booleans())
def test_none_is_overlooked(value: Any, ascii_only: bool, escaped: bool) -> None:
    raw = written(value, ascii_only).encode()
    if escaped:
        raw = raw.replace(b"a", b"\\u0061")
    assert (at_any_depth(raw, msgspec.json.decode(raw)) is not None) is has_twice(value)
