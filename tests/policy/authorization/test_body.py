"""What a body may hold, and which bodies another process reads."""

import gc
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from extproc.errors import Rejection
from extproc.gateway.preparation import prepare
from extproc.policy.authorization import body
from extproc.policy.authorization.body import LIGHT_BYTES, LIGHT_TEXT, LIGHT_VALUES, Bounds, is_heavy, model_of, read
from extproc.wire import untrusted
from tests.body_shapes import Shape, shapes
from tests.gateway.test_preparation import task

HELLO = {"role": "user", "content": "hello"}
PART = {"type": "text", "text": "t"}


def problem(sent: dict[str, Any] | bytes, bounds: Bounds, dialect: str = "messages") -> str:
    raw = sent if isinstance(sent, bytes) else msgspec.json.encode(sent)
    found = read(raw, dialect, bounds)
    if isinstance(found, Rejection):
        assert found.http_status == 400
        return found.message
    assert found == msgspec.json.decode(raw)
    return ""


@pytest.mark.parametrize(
    ("dialect", "sent", "bound", "path"),
    [
        ("messages", lambda n: {"tools": [{}] * n}, "tools", "tools"),
        ("chat", lambda n: {"functions": [{}] * n}, "tools", "functions"),
        ("messages", lambda n: {"messages": [HELLO] * n}, "turns", "messages"),
        ("chat", lambda n: {"messages": [HELLO] * n}, "turns", "messages"),
        ("responses", lambda n: {"input": [HELLO] * n}, "turns", "input"),
        ("messages", lambda n: {"messages": [{"content": [PART] * n}]}, "parts", "messages.content"),
        ("responses", lambda n: {"input": [{"content": [PART]}] * n}, "parts", "input.content"),
    ],
)
def test_so_many_and_no_more(dialect: str, sent: Any, bound: str, path: str) -> None:
    bounds = msgspec.structs.replace(Bounds(), **{bound: 30})
    assert problem(sent(30), bounds, dialect) == ""
    assert problem(sent(31), bounds, dialect) == f"{path}: List should have at most 30 items, not 31"


@pytest.mark.parametrize("inner", ["1", '"a"', '"[{,\\"\\\\"', "true", "1.5"])
def test_values_are_counted_before_they_are_read(inner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands within strings is none."""
    bounds = msgspec.structs.replace(Bounds(), values=5000)

    def sent(values: int) -> bytes:
        return f'{{"messages":[{",".join([inner] * values)}]}}'.encode()

    assert problem(sent(4998), bounds) == ""
    monkeypatch.setattr(untrusted, "decode", None)
    assert problem(sent(4999), bounds) == "the body holds more than 5000 values"


def test_levels_of_a_large_body() -> None:
    bounds = msgspec.structs.replace(Bounds(), depth=50)

    def sent(levels: int) -> bytes:
        return b'{"a":"%b","b":%b%b}' % (b"x" * LIGHT_BYTES, b"[" * (levels - 1), b"]" * (levels - 1))

    assert problem(sent(50), bounds) == ""
    assert problem(sent(51), bounds) == "the body is nested deeper than 50 levels"


def test_levels_without_end() -> None:
    for size in (1_000, 100_000):
        assert "not valid JSON" in problem(b'{"a":' + b"[" * size, Bounds())


@pytest.mark.parametrize(
    ("raw", "heavy"),
    [
        (b"[" + b"{}," * (LIGHT_BYTES // 3 - 1) + b"]", False),
        (b"[" + b"{}," * LIGHT_BYTES + b"]", True),
        (b'"' + b"x" * LIGHT_TEXT + b'"', True),
        (b'"' + b"x" * (LIGHT_TEXT - 2) + b'"', False),
        (b'["' + b"x" * LIGHT_BYTES + b'"' + b",1" * (LIGHT_VALUES - 2) + b"]", False),
        (b'["' + b"x" * LIGHT_BYTES + b'"' + b",1" * LIGHT_VALUES + b"]", True),
    ],
)
def test_heavy_is_what_holds_much(raw: bytes, heavy: bool) -> None:
    assert is_heavy(raw) is heavy


@pytest.mark.parametrize(
    "raw",
    [b"{}", b'{"model":"a","messages":[1,{"model":"b"}]}', b'{"model":"a","model":"b"}', b'{"mod\\u0065l":"a"}',
     b'{"model":{"a":[1]}}', b'{"model":null}', b'{"model":"\\u00e9"}', b' { "messages" : [ ] , "model" : 1 } '],
)  # fmt: skip
def test_the_model_is_the_same_with_and_without_reading_the_rest(raw: bytes) -> None:
    found = read(raw, "messages", Bounds())
    assert not isinstance(found, Rejection)
    assert model_of(raw) == found.get("model", "")


@pytest.mark.parametrize("raw", [b"", b"{", b"[1]", b'"a"', b'{"model":}', b'{"model":"a"', b'{"a":' + b"[" * 100_000])
def test_a_model_that_is_not_to_be_found(raw: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, RecursionError)):
        model_of(raw)


def largest_light(shape: Shape) -> bytes:
    """About the largest body of the shape, up to 1 MB, that the event loop would read itself."""
    hundred, more = (msgspec.json.encode(shape.build(n)) for n in (100, 200))
    size = len(more) - len(hundred)
    values = body._most_values(more) - body._most_values(hundred)  # noqa: SLF001 - by which `is_heavy` decides
    most = LIGHT_VALUES if size * LIGHT_VALUES > values * LIGHT_BYTES else values * LIGHT_BYTES // size
    number = min(95 * most // max(values, 1), 100 * 1_000_000 // size)
    return msgspec.json.encode(shape.build(number))


@pytest.fixture(scope="module")
def _without_collector() -> Iterator[None]:
    """It would go through all that earlier tests of this process have left, which no worker has."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_without_collector")
@pytest.mark.parametrize("shape", shapes(), ids=lambda shape: f"{shape.dialect}-{shape.name}")
def test_light_bodies_cost_little(shape: Shape) -> None:
    """Less than 100 ms on a machine of 2024; the assertion leaves room for slower ones."""
    raw = largest_light(shape)
    assert not body.is_heavy(raw) and len(raw) > LIGHT_BYTES // 2

    def cost() -> float:
        began = time.process_time()
        prepare(raw, task(shape.dialect, "messages" if shape.dialect != "messages" else "chat"))
        return time.process_time() - began

    assert any(cost() < 0.3 for _ in range(2))
