"""What fits is kept."""

from typing import Any

import msgspec
import pytest

from extproc.wire.chat import Completion
from extproc.wire.lenient import Undecodable, count, decode, loads, salvage

DECODER = msgspec.json.Decoder(Completion)


def test_a_member_of_another_type_costs_only_itself() -> None:
    raw: dict[str, Any] = {
        "id": 7,
        "usage": [],
        "choices": [
            5,
            {"index": "0", "delta": {"content": "a", "tool_calls": {"index": 1.0, "id": "c", "function": 3}}},
        ],
    }
    found = salvage(raw, Completion)
    assert found.id == "7" and found.usage is None and found.choices is not None
    (choice,) = found.choices
    assert choice.index == 0 and choice.delta is not None and choice.delta.content == "a"
    assert choice.delta.tool_calls is not None and choice.delta.tool_calls[0].index == 1


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b'"\\ud83d"', "\N{REPLACEMENT CHARACTER}"),
        (b'"a\xff"', "a\N{REPLACEMENT CHARACTER}"),
        (b'"\\ud83d\\ude00"', "😀"),
    ],
)
def test_half_characters(raw: bytes, text: str) -> None:
    assert loads(raw) == text


def test_not_a_number() -> None:
    assert loads(b'{"a":NaN,"b":-Infinity}') == {"a": None, "b": None}
    assert decode(b'{"id":"x","choices":[{"logprobs":NaN,"finish_reason":"stop"}]}', DECODER).choices


@pytest.mark.parametrize("raw", [b"", b"{", b"[1]", b'"a"', b"null", b"[" * 100_000, b"<html>"])
def test_what_is_no_object(raw: bytes) -> None:
    with pytest.raises(Undecodable):
        decode(raw, DECODER)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((3, 3), (3.0, 3), ("3", 3), (0, 0), (1_000_000_000, 1_000_000_000)),
        *((True, None), (None, None), ("x", None), ("1" * 5000, None)),
        *((-1, None), (1_000_000_001, None), (1e30, None), (1e999, None)),
    ],
)
def test_counts(value: Any, expected: int | None) -> None:
    assert count(value) == expected
