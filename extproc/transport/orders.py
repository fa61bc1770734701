"""What supervisor and workers say to each other: messages down a worker's standard input, lines up its output."""

import asyncio
import select
from collections.abc import Mapping
from pathlib import Path

import msgspec

from extproc.policy.authentication.revocations import Revoked
from extproc.policy.keys.key_sets import KeySetUpdate, Name
from extproc.providers.availability import AvailabilityUpdate, OutcomeSummary
from extproc.providers.cloud_credentials import CredentialUpdate

_LENGTH_BYTES = 4
_USING, _WANTS, _OUTCOMES = "using", "wants", "outcomes"
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


Message = Order | InUse | KeySetUpdate | Revoked | CredentialUpdate | AvailabilityUpdate
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


def say_using(numbers: list[int]) -> None:
    """These configurations are in use."""
    print(_USING, *numbers, flush=True)


def say_wanted(name: Name) -> None:
    """A key is missing in this set."""
    print(_WANTS, msgspec.json.encode(name).decode(), flush=True)


def say_outcomes(summary: OutcomeSummary) -> None:
    """Report how attempts at a provider ended."""
    print(_OUTCOMES, msgspec.json.encode(summary).decode(), flush=True)


def can_say() -> bool:
    """Returns whether a line can be written without blocking. A pipe that is full belongs to a supervisor that hangs,
    which is no reason to stop serving."""
    return bool(select.select([], [_STANDARD_OUTPUT], [], 0)[1])


def using(line: str) -> list[int] | None:
    """The numbers in a worker's line; None if it says something else."""
    word, *numbers = line.split()
    return [int(number) for number in numbers] if word == _USING else None


def wanted(line: str) -> Name | None:
    """The set in a worker's line; None if it says something else."""
    word, _, name = line.partition(" ")
    return msgspec.json.decode(name, type=Name) if word == _WANTS else None


def outcomes(line: str) -> OutcomeSummary | None:
    """The outcomes in a worker's line; None if it says something else."""
    word, _, summary = line.partition(" ")
    return msgspec.json.decode(summary, type=OutcomeSummary) if word == _OUTCOMES else None
