"""The configurations of one worker. The supervisor reads the files, checks them, and sends their contents here, and the
keys that it fetches: all workers run the same, after a crash too, whatever stands in the files by then."""

import asyncio
import gc
import logging
import os
import stat
import sys
import weakref
from pathlib import Path

from extproc import gateway
from extproc.files import Files
from extproc.gateway import Gateway
from extproc.policy.admit import Held
from extproc.policy.given_keys import GivenKeys
from extproc.policy.key_sets import News
from extproc.preparation import Prepare, prepare_here
from extproc.server import orders
from extproc.server.orders import Order

log = logging.getLogger("extproc")


class Gateways:
    """`current` for each new exchange; one that runs keeps what it has."""

    def __init__(self, path: Path, prepare: Prepare = prepare_here) -> None:
        self._path = path
        self._prepare = prepare
        self._supervisor: asyncio.StreamReader | None = None
        self._loop = asyncio.get_running_loop()
        self._current: Gateway | None = None
        self._using: list[int] = []
        self.supervised = False
        """The first configuration came from a supervisor."""
        self._held = Held()
        self._keys = GivenKeys(orders.say_wanted)

    def current(self) -> Gateway:
        assert self._current is not None
        return self._current

    def ready(self) -> bool:
        """All keys have been here, once; what happens to them later concerns single issuers."""
        return self._keys.ready()

    async def begin(self) -> None:
        """Takes the first one, from the supervisor if there is one, else from the files. Raises config.Invalid."""
        self._supervisor = await _standard_input()
        order = await self._next()
        self.supervised = order is not None
        order = order or Order(1, {})
        self._take(order.number, self._made(order))

    async def follow(self) -> None:
        """Until the supervisor is gone. Says on standard output which configurations are in use, at each change."""
        self._say()
        while (order := await self._next()) is not None:
            try:
                self._take(order.number, self._made(order))
            except Exception as error:  # noqa: BLE001 - the supervisor has found it good; whatever it is, work goes on
                log.error("configuration %s could not be taken: %s", order.number, type(error).__name__)
            self._say()

    async def _next(self) -> Order | None:
        """Takes all news that come before it."""
        if self._supervisor is None:
            return None
        while isinstance(message := await orders.read(self._supervisor), News):
            self._keys.take(message)
        return message

    def _made(self, order: Order) -> Gateway:
        files = Files({Path(path): content for path, content in order.contents.items()})
        made = gateway.load(self._path, files=files, held=self._held, remote=self._keys, prepare=self._prepare)
        self._keys.use(made.fetched)
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
        orders.say_using(self._using)


async def _standard_input() -> asyncio.StreamReader | None:
    """A pipe from the supervisor; anything else has no orders for us."""
    kind = os.fstat(sys.stdin.fileno()).st_mode
    if not (stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind)):
        return None
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader
