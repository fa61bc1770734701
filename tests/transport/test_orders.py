import asyncio
import contextlib
import math
import os
from typing import Any

import pytest

from extproc.policy.keys.key_sets import NEVER, KeySetUpdate
from extproc.providers.availability import AvailabilityUpdate, OutcomeSummary
from extproc.transport import orders
from extproc.transport.orders import Order

NAME = ("https://idp.example/jwks", "https://idp.example, \u00e4\n", True)


@pytest.mark.parametrize(
    "message",
    [
        Order(7, {"/x": b"\x00"}),
        KeySetUpdate(NAME, b"{}", 1.5, NEVER),
        KeySetUpdate(NAME, None, 0, 0),
        AvailabilityUpdate({"a": 1.5, "b": math.inf}, ["a"]),
    ],
)
def test_what_is_sent_arrives(message: orders.Message) -> None:
    async def scene() -> list[Any]:
        stream = asyncio.StreamReader()
        stream.feed_data(orders.encoded(message) * 2)
        stream.feed_eof()
        return [await orders.read(stream) for _ in range(3)]

    assert asyncio.run(scene()) == [message, message, None]


@pytest.mark.parametrize("cut", [0, 2, 4, 10])
def test_half_a_message_is_none(cut: int) -> None:
    async def scene() -> Any:
        stream = asyncio.StreamReader()
        stream.feed_data(orders.encoded(Order(1, {}))[:cut])
        stream.feed_eof()
        return await orders.read(stream)

    assert asyncio.run(scene()) is None


def test_nothing_is_shown() -> None:
    assert "sk-1" not in repr(Order(1, {"/key": b"sk-1"}))


@pytest.mark.parametrize(("line", "found"), [("using 3 4", [3, 4]), ("using", []), ("ready", None), ("used 3", None)])
def test_what_is_in_use(line: str, found: Any) -> None:
    assert orders.using(line) == found and orders.wanted(line) is None


def test_what_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    orders.say_wanted(NAME)
    [line] = capsys.readouterr().out.splitlines()
    assert orders.wanted(line) == NAME and orders.using(line) is None


def test_outcomes(capsys: pytest.CaptureFixture[str]) -> None:
    summary = OutcomeSummary("\u00e4\n b", 3, True, 60.5)
    orders.say_outcomes(summary)
    [line] = capsys.readouterr().out.splitlines()
    assert orders.outcomes(line) == summary and orders.using(line) is None and orders.wanted(line) is None
    assert orders.outcomes("using 3") is None


def test_a_full_pipe_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing to it would stop the worker for as long as its supervisor hangs."""
    reads, writes = os.pipe()
    monkeypatch.setattr(orders, "_STANDARD_OUTPUT", writes)
    try:
        assert orders.can_say()
        os.set_blocking(writes, False)
        with contextlib.suppress(BlockingIOError):
            while os.write(writes, b"x" * 65536):
                pass
        assert not orders.can_say()
        while len(os.read(reads, 1 << 20)) == 1 << 20:
            pass
        assert orders.can_say()
    finally:
        os.close(reads)
        os.close(writes)
