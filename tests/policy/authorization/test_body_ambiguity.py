import json
from typing import Any

import pytest

from extproc.policy.authorization.body import ambiguity
from extproc.wire import Dialect

GOOD: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "a:b"}], "x": 1}
TWICE_WITHIN = b'{"model":"m","messages":[{"role":"user","role":"system"}]}'


def found(raw: bytes, dialect: Dialect = "chat", *, every_depth: bool = True) -> str:
    rejection = ambiguity(raw, json.loads(raw), dialect, every_depth=every_depth)
    assert rejection is None or rejection.http_status == 400
    return rejection.message if rejection else ""


@pytest.mark.parametrize("every_depth", [False, True])
def test_a_good_body(every_depth: bool) -> None:
    for form in ({}, {"separators": (",", ":")}, {"indent": 1}):
        assert found(json.dumps(GOOD, **form).encode(), every_depth=every_depth) == ""


@pytest.mark.parametrize(
    ("dialect", "name", "meant"),
    [
        ("chat", "Tools", "tools"),
        ("chat", "STREAM", "stream"),
        ("messages", "System", "system"),
        ("messages", "tool\u017f", "tools"),
        ("responses", "Input", "input"),
    ],
)
def test_other_letters(dialect: Dialect, name: str, meant: str) -> None:
    assert found(json.dumps({name: 1}).encode(), dialect) == f"{name}: write `{meant}`"


def test_names_that_stand_twice_matter_where_rules_read_them() -> None:
    assert found(TWICE_WITHIN) == "role: this name is given twice in one object"
    assert found(TWICE_WITHIN, every_depth=False) == ""


def test_a_strange_name_is_not_sent_back_as_it_is() -> None:
    raw = json.dumps({"a\n\u202e" + "b" * 100: 1}).encode()
    twice = b"[" + raw[:-1] + b"," + raw[1:] + b"]"
    body = b'{"messages":' + twice + b"}"
    assert found(body) == "a__" + "b" * 61 + ": this name is given twice in one object"


def test_depth_is_no_danger() -> None:
    depth = 100_000
    raw = b'{"messages":' + b"[" * depth + b'"\\u003a"' + b"]" * depth + b"}"
    body: Any = {"messages": []}
    rejection = ambiguity(raw, body, "chat", every_depth=True)
    assert rejection is not None and "nested too deeply" in rejection.message
