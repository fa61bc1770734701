import asyncio
from typing import Any

import pytest

from extproc.policy.keys.key_sets import NEVER, KeySetUpdate
from extproc.transport import orders
from extproc.transport.orders import Order

NAME = ("https://idp.example/jwks", "https://idp.example, \u00e4\n", True)


@pytest.mark.parametrize(
    "message", [Order(7, {"/x": b"\x00"}), KeySetUpdate(NAME, b"{}", 1.5, NEVER), KeySetUpdate(NAME, None, 0, 0)]
)
def test_what_is_sent_arrives(message: Order | KeySetUpdate) -> None:
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
