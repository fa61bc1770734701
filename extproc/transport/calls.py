"""A gRPC call as a service sees it, whether transport/builtin/grpc.py carries it or transport/grpcio.py."""

import traceback
from collections.abc import Callable
from enum import IntEnum
from typing import Protocol

MESSAGE_MARGIN_BYTES = 4 << 20
"""For what comes beside a body, and for pieces of an answer: Envoy reads a megabyte of it at a time."""


class Status(IntEnum):
    """https://grpc.io/docs/guides/status-codes/"""

    OK = 0
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13


class Receiver(Protocol):
    """Handles the messages of one call. An exception of these methods ends this call and no other."""

    def received(self, message: bytes) -> None: ...
    def finished(self) -> None:
        """The caller sends no more and waits for the end."""

    def closed(self) -> None:
        """The call is over, whoever ended it; called once, last."""


class Call(Protocol):
    """The server's side of a call."""

    ended: bool

    def write(self, message: bytes) -> None:
        """Does nothing after the end."""

    def end(self, status: Status = Status.OK, message: str = "") -> None:
        """`message`: ASCII without `%`. Does nothing after the end."""


Method = Callable[[Call], Receiver]


def where(error: Exception) -> str:
    """Returns the type and the place of an exception, without its text, which may quote what a client sent."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {frame.filename.rpartition('extproc/')[2]}:{frame.lineno}"
