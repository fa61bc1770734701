"""What supervisor and workers say to each other: messages down a worker's standard input, lines up its output."""

import asyncio
import select
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import msgspec

from extproc.policy.authentication.revocations import Revoked
from extproc.policy.keys.key_sets import KeySetUpdate, Name
from extproc.providers.availability import AvailabilityUpdate, OutcomeSummary
from extproc.providers.cloud_credentials import CredentialUpdate
from extproc.store.counters import Claim, Settlement, Taken

_LENGTH_BYTES = 4
_WRITING = threading.Lock()
_USING, _WANTS, _OUTCOMES, _BUDGETS = "using", "wants", "outcomes", "budgets"
_STANDARD_OUTPUT = 1


class Order(msgspec.Struct, tag=True):
    """Take this configuration."""

    number: int
    contents: dict[str, bytes]

    def __repr__(self) -> str:
        return f"Order({self.number})"


class InUse(msgspec.Struct, tag=True):
    """These configurations are used by some worker; others are needed no more."""

    numbers: list[int]


class BudgetReply(msgspec.Struct, tag=True):
    """The answer to a BudgetRequest."""

    id: int
    taken: Taken | None
    """None: the counters cannot be reached."""


class BudgetRecall(msgspec.Struct, tag=True):
    """Others need what is idle in these accounts."""

    accounts: list[str]


class BudgetRequest(msgspec.Struct, omit_defaults=True):
    """A line of a worker's: claims, which are answered, or settlements, which are not."""

    id: int = 0
    claims: list[Claim] = []
    settlements: list[Settlement] = []
    ended: list[str] = []
    """Ids of calls whose last settlement this is."""
    recalled: bool = False
    """What a BudgetRecall asked for has been given back, in the lines before."""


Message = Order | InUse | KeySetUpdate | Revoked | CredentialUpdate | AvailabilityUpdate | BudgetReply | BudgetRecall
"""What a supervisor sends."""


def order(number: int, contents: Mapping[Path, bytes]) -> bytes:
    return encoded(Order(number, {str(path): content for path, content in contents.items()}))


def encoded(message: Message) -> bytes:
    data = msgspec.msgpack.encode(message)
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


_decode = msgspec.msgpack.Decoder(Message).decode


async def read(stream: asyncio.StreamReader) -> Message | None:
    """None when there will be no more."""
    try:
        length = int.from_bytes(await stream.readexactly(_LENGTH_BYTES), "big")
        message: Message = _decode(await stream.readexactly(length))
        return message
    except asyncio.IncompleteReadError:
        return None


def write_lines(*lines: str) -> None:
    """Writes to the supervisor, from any thread: lines of two never mix."""
    with _WRITING:
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()


def say_using(numbers: list[int]) -> None:
    """These configurations are in use."""
    write_lines(" ".join([_USING, *map(str, numbers)]))


def say_wanted(name: Name) -> None:
    """A key is missing in this set."""
    if can_say():  # the next call that wants the key says it again
        write_lines(f"{_WANTS} {msgspec.json.encode(name).decode()}")


def say_outcomes(summary: OutcomeSummary) -> None:
    """Report how attempts at a provider ended."""
    write_lines(f"{_OUTCOMES} {msgspec.json.encode(summary).decode()}")


def say_budgets(request: BudgetRequest) -> None:
    """Claim or settle amounts of budgets."""
    write_lines(f"{_BUDGETS} {msgspec.json.encode(request).decode()}")


def can_say(seconds: float = 0) -> bool:
    """Returns whether a line can be written without blocking, now or within so many seconds. A pipe that is full
    belongs to a supervisor that hangs, which is no reason to stop serving."""
    return bool(select.select([], [_STANDARD_OUTPUT], [], seconds)[1])


def using(line: str) -> list[int] | None:
    """The numbers in a worker's line; None if it says something else."""
    word, _, numbers = line.partition(" ")
    return [int(number) for number in numbers.split()] if word == _USING else None


def wanted(line: str) -> Name | None:
    """The set in a worker's line; None if it says something else."""
    word, _, name = line.partition(" ")
    return msgspec.json.decode(name, type=Name) if word == _WANTS else None


def outcomes(line: str) -> OutcomeSummary | None:
    """The outcomes in a worker's line; None if it says something else."""
    word, _, summary = line.partition(" ")
    return msgspec.json.decode(summary, type=OutcomeSummary) if word == _OUTCOMES else None


def budgets(line: str) -> BudgetRequest | None:
    """The claims or settlements in a worker's line; None if it says something else."""
    word, _, request = line.partition(" ")
    return msgspec.json.decode(request, type=BudgetRequest) if word == _BUDGETS else None
