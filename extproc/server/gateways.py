"""The configurations of one worker. The supervisor reads the files, checks them, and sends their contents here: all
workers run the same, after a crash too, whatever stands in the files by then."""

import asyncio
import gc
import logging
import os
import stat
import sys
import weakref
from collections.abc import Mapping
from pathlib import Path

import msgspec

from extproc import gateway
from extproc.files import Files
from extproc.gateway import Gateway
from extproc.policy.admit import Held
from extproc.policy.remote_keys import RemoteKeys

log = logging.getLogger("extproc")

USING = "using"
_LENGTH_BYTES = 4


class Order(msgspec.Struct):
    """Take this configuration."""

    number: int
    contents: dict[str, bytes]

    def __repr__(self) -> str:
        return f"Order({self.number})"


def encoded(number: int, contents: Mapping[Path, bytes]) -> bytes:
    message = msgspec.msgpack.encode(Order(number, {str(path): content for path, content in contents.items()}))
    return len(message).to_bytes(_LENGTH_BYTES, "big") + message


def using(line: str) -> list[int] | None:
    """The numbers in a worker's line; None if it says something else."""
    word, *numbers = line.split()
    return [int(number) for number in numbers] if word == USING else None


class Gateways:
    """`current` for each new exchange; one that runs keeps what it has."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._orders: asyncio.StreamReader | None = None
        self._loop = asyncio.get_running_loop()
        self._current: Gateway | None = None
        self._using: list[int] = []
        self.supervised = False
        """The first configuration came from a supervisor."""
        self._held = Held()
        self._remote = RemoteKeys()
        self._fetching: asyncio.Task[None] | None = None

    def current(self) -> Gateway:
        assert self._current is not None
        return self._current

    def ready(self) -> bool:
        """All keys have been here, once; what happens to them later concerns single issuers."""
        return self._remote.ready()

    async def begin(self) -> None:
        """Takes the first one, from the supervisor if there is one, else from the files. Raises config.Invalid."""
        self._orders = await _standard_input()
        order = await self._next()
        self.supervised = order is not None
        order = order or Order(1, {})
        self._take(order.number, self._made(order))
        self._fetching = asyncio.create_task(self._remote.run())

    async def follow(self) -> None:
        """Until the supervisor is gone. Says on standard output which configurations are in use, at each change."""
        self._say()
        while (order := await self._next()) is not None:
            try:
                made = self._made(order)
                # An issuer's calls go on while its keys come from a new place.
                await self._remote.first_fetches()
                self._take(order.number, made)
            except Exception as error:  # noqa: BLE001 - the supervisor has found it good; whatever it is, work goes on
                log.error("configuration %s could not be taken: %s", order.number, type(error).__name__)
            self._say()

    async def _next(self) -> Order | None:
        if self._orders is None:
            return None
        try:
            length = int.from_bytes(await self._orders.readexactly(_LENGTH_BYTES), "big")
            return msgspec.msgpack.decode(await self._orders.readexactly(length), type=Order)
        except asyncio.IncompleteReadError:
            return None

    def _made(self, order: Order) -> Gateway:
        files = Files({Path(path): content for path, content in order.contents.items()})
        made = gateway.load(self._path, files=files, held=self._held, remote=self._remote)
        self._remote.use(made.fetched)
        return made

    def _take(self, number: int, made: Gateway) -> None:
        weakref.finalize(made, self._left, number).atexit = False
        self._using.append(number)
        self._current = made

    def _left(self, number: int) -> None:
        """The last exchange of a former configuration has ended."""
        self._using.remove(number)
        self._say()
        # The collector looks seldom here, and there are circles among what is left.
        if not self._loop.is_closed():
            self._loop.call_soon(gc.collect)

    def _say(self) -> None:
        print(USING, *self._using, flush=True)


async def _standard_input() -> asyncio.StreamReader | None:
    """A pipe from the supervisor; anything else has no orders for us."""
    kind = os.fstat(sys.stdin.fileno()).st_mode
    if not (stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind)):
        return None
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader
