"""A gRPC call as a service sees it, whether server/grpc.py carries it or server/grpcio_server.py."""

from collections.abc import Callable
from typing import Protocol

from extproc.server.grpc import Receiver, Status


class Call(Protocol):
    """The server's side of a call."""

    ended: bool

    def write(self, message: bytes) -> None:
        """Does nothing after the end."""

    def end(self, status: Status = Status.OK, message: str = "") -> None:
        """`message`: ASCII without `%`. Does nothing after the end."""


Method = Callable[[Call], Receiver]

__all__ = ["Call", "Method", "Receiver", "Status"]
