"""The configurations of one worker. The supervisor reads the files, checks them, and sends their contents here, and the
keys that it fetches: all workers run the same, after a crash too, whatever stands in the files by then."""

import asyncio
import logging
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from extproc.config.files import Files
from extproc.gateway import gateway
from extproc.gateway.gateway import Gateway
from extproc.gateway.preparation import Prepare, prepare_here
from extproc.policy.admit import InFlight
from extproc.policy.authentication.revocations import Revoked
from extproc.policy.budgets.wallet import Wallet
from extproc.policy.keys.key_sets import KeySetUpdate, ReplicatedKeySets
from extproc.providers.availability import Availability, AvailabilityUpdate
from extproc.providers.cloud_credentials import CredentialUpdate
from extproc.transport import orders
from extproc.transport.budget_bank import SupervisorsBank
from extproc.transport.calls import MESSAGE_MARGIN_BYTES
from extproc.transport.orders import BudgetRecall, BudgetReply, InUse, Order

log = logging.getLogger("extproc")

AGAIN_SECONDS = 0.5
SAME_SECONDS = 4.0
"""Envoy waits five for a message."""
REPORT_SECONDS = 0.01
"""Outcomes of attempts are collected for so long, so that failures of many calls are few reports."""


@dataclass
class Configuration:
    number: int
    gateway: Gateway
    streams: int = 0
    """Streams that began with it and have not ended."""


class Gateways:
    """The configuration for new streams, and older ones until their last stream has ended."""

    def __init__(self, path: Path, prepare: Prepare = prepare_here) -> None:
        self._path = path
        self._prepare = prepare
        self._supervisor: asyncio.StreamReader | None = None
        self._current: Configuration | None = None
        self._in_use: list[Configuration] = []
        self._kept: list[Configuration] = []
        """Older ones that no stream here uses, but perhaps one of another worker, whose next attempt may come here."""
        self._installed = asyncio.Event()
        self.supervised = False
        """The first configuration came from a supervisor."""
        self._in_flight = InFlight()
        self.keys = ReplicatedKeySets(orders.say_wanted)
        """Key sets that the supervisor fetches."""
        self.availability = Availability(self._report_soon)
        """Which providers are left out, as the supervisor says."""
        self._bank = SupervisorsBank()
        self._wallet = Wallet()
        """What this worker may use of budgets."""

    def current(self) -> Gateway:
        return self._newest().gateway

    def acquire(self) -> Configuration:
        """The configuration of a stream that begins; to be released at its end."""
        found = self._newest()
        found.streams += 1
        return found

    async def acquire_same(self, number: int) -> Configuration:
        """The configuration of a call that another worker may have admitted; to be released like any other. Waits for
        one that is on its way; the newest, where there is none of this number."""
        # A reload reaches the workers one after the other, and a call's next attempt may be quicker.
        async with asyncio.timeout(SAME_SECONDS):
            while self._newest().number < number:
                self._installed.clear()
                await self._installed.wait()
        known = (one for one in (*self._in_use, *self._kept) if one.number == number)
        found = next(known, self._newest())
        if found in self._kept:
            self._kept.remove(found)
            self._in_use.append(found)
        found.streams += 1
        return found

    def release(self, configuration: Configuration) -> None:
        configuration.streams -= 1
        if not configuration.streams and configuration is not self._current:
            self._leave(configuration)
            self._say()

    def flush(self) -> None:
        """Tells the supervisor what calls that have ended have used of budgets."""
        self._bank.flush()

    def _leave(self, configuration: Configuration) -> None:
        self._in_use.remove(configuration)
        if self.supervised and configuration.gateway.catalogue.has_pools:
            self._kept.append(configuration)

    def max_message_bytes(self) -> int:
        """The largest message from Envoy: a whole request body."""
        return self.current().source.config.max_body_bytes + MESSAGE_MARGIN_BYTES

    def ready(self) -> bool:
        """All keys have been here, once; what happens to them later concerns single issuers. Of each credential it is
        known whether it could be fetched."""
        return self.keys.ready() and self.keys.credentials.ready()

    async def begin(self) -> None:
        """Takes the first one, from the supervisor if there is one, else from the files. Raises config.Invalid."""
        self._supervisor = await _standard_input()
        order = await self._next()
        self.supervised = order is not None
        if self.supervised:
            self._wallet = Wallet(self._bank)
        order = order or Order(1, {})
        self._install(order.number, self._made(order))

    async def follow(self) -> None:
        """Until the supervisor is gone. Says on standard output which configurations are in use, at each change."""
        self._say()
        while (order := await self._next()) is not None:
            try:
                self._install(order.number, self._made(order))
            except Exception as error:  # noqa: BLE001 - the supervisor has found it good; whatever it is, work goes on
                log.error("configuration %s could not be taken: %s", order.number, type(error).__name__)
            self._say()

    async def _next(self) -> Order | None:
        """Takes all other messages that come before it."""
        if self._supervisor is None:
            return None
        while True:
            match message := await orders.read(self._supervisor):
                case KeySetUpdate():
                    self.keys.take(message)
                case InUse(numbers):
                    self._kept = [one for one in self._kept if one.number in numbers]
                case Revoked():
                    self.keys.revocations.replace(message)
                case AvailabilityUpdate():
                    self.availability.replace(message)
                case BudgetReply():
                    self._bank.answered(message)
                case BudgetRecall(accounts):
                    self._wallet.give_back(accounts)
                    self._bank.recalled()
                case CredentialUpdate():
                    self.keys.credentials.take(message)
                case _:
                    return message

    def _made(self, order: Order) -> Gateway:
        files = Files({Path(path): content for path, content in order.contents.items()})
        made = gateway.load(
            self._path,
            files=files,
            in_flight=self._in_flight,
            remote=self.keys,
            prepare=self._prepare,
            availability=self.availability,
            wallet=self._wallet,
        )
        self.keys.use(made.fetched)
        self.keys.credentials.use(made.credentials)
        return made

    def _install(self, number: int, made: Gateway) -> None:
        made.number = number
        self._wallet.give_back()  # limits may have changed
        former, self._current = self._current, Configuration(number, made)
        if former is not None and not former.streams:
            self._leave(former)
        self._in_use.append(self._current)
        self._installed.set()

    def _newest(self) -> Configuration:
        assert self._current is not None
        return self._current

    def _report_soon(self) -> None:
        if self.supervised:
            asyncio.get_running_loop().call_later(REPORT_SECONDS, self._report)

    def _report(self) -> None:
        while orders.can_say():
            if (summary := self.availability.next_report()) is None:
                return
            orders.say_outcomes(summary)
        self._report_soon()

    def _say(self) -> None:
        """Says which configurations are in use, later if the supervisor does not read."""
        if orders.can_say():
            orders.say_using([configuration.number for configuration in self._in_use])
        else:
            asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._say)


async def _standard_input() -> asyncio.StreamReader | None:
    """A pipe from the supervisor; anything else has no orders for us."""
    kind = os.fstat(sys.stdin.fileno()).st_mode
    if not (stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind)):
        return None
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader
