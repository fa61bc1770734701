"""gRPC (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md) for streams of messages, over asyncio."""

import asyncio
import contextlib
import struct
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Protocol, cast

from extproc.server.http2.connection import Closed, Connection, Event, Opened, Received
from extproc.server.http2.frames import Broken, literal

MAX_MESSAGE_BYTES = 256 << 20
GOODBYE_SECONDS = 0.1
_PREFIX = struct.Struct(">BL")
_STATUS_200 = b"\x88"  # https://www.rfc-editor.org/rfc/rfc7541#appendix-A
_HEADERS = _STATUS_200 + literal(b"content-type", b"application/grpc")


class Status(IntEnum):
    """https://grpc.io/docs/guides/status-codes/"""

    OK = 0
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13


class Receiver(Protocol):
    """What a method makes of its messages."""

    def received(self, message: bytes) -> None: ...
    def finished(self) -> None:
        """The caller has nothing more to say and waits for the end."""

    def closed(self) -> None:
        """The call is over, whoever ended it; called once, last."""


Method = Callable[["Call"], Receiver]


class Call:
    """The server's side of one call."""

    __slots__ = ("_begun", "_peer", "_stream", "ended")

    def __init__(self, peer: "Peer", stream: int) -> None:
        self._peer = peer
        self._stream = stream
        self._begun = False
        self.ended = False

    def write(self, message: bytes) -> None:
        """Does nothing after the end."""
        if self.ended:
            return
        self._begin()
        self._peer.http.send_data(self._stream, _PREFIX.pack(0, len(message)) + message)
        self._peer.has_said()

    def end(self, status: Status = Status.OK, message: str = "") -> None:
        """`message`: ASCII without `%`."""
        if self.ended:
            return
        self.ended = True
        self._begin()
        trailers = literal(b"grpc-status", b"%d" % status)
        if message:
            trailers += literal(b"grpc-message", message.encode("ascii"))
        self._peer.http.end(self._stream, trailers)
        self._peer.over(self._stream)
        self._peer.has_said()

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._peer.http.send_headers(self._stream, _HEADERS)


class _Open:
    """A call and what has come of its next message."""

    __slots__ = ("_buffer", "call", "receiver")

    def __init__(self, call: Call, receiver: Receiver) -> None:
        self.call = call
        self.receiver = receiver
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        if not self._buffer and len(data) >= _PREFIX.size:
            compressed, length = _PREFIX.unpack_from(data)
            if not compressed and len(data) == _PREFIX.size + length:  # nearly always
                self.receiver.received(data[_PREFIX.size :])
                return
        self._buffer += data
        while not self.call.ended and len(self._buffer) >= _PREFIX.size:
            compressed, length = _PREFIX.unpack_from(self._buffer)
            if compressed:
                self.call.end(Status.UNIMPLEMENTED, "compression was not offered")
            elif length > MAX_MESSAGE_BYTES:
                self.call.end(Status.RESOURCE_EXHAUSTED, "message too large")
            elif len(self._buffer) < _PREFIX.size + length:
                return
            else:
                message = bytes(memoryview(self._buffer)[_PREFIX.size : _PREFIX.size + length])
                del self._buffer[: _PREFIX.size + length]
                self.receiver.received(message)


class Peer(asyncio.Protocol):
    """One connection. What is said while its bytes are read goes out in one write."""

    def __init__(self, server: "Server") -> None:
        self.http = Connection()
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._open: dict[int, _Open] = {}
        self._transport: asyncio.Transport | None = None
        self._flushing = False

    @property
    def idle(self) -> bool:
        return not self._open

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server.peers.add(self)
        self.has_said()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        for stream in list(self._open):
            self.over(stream)
        self._server.lost(self)

    def data_received(self, data: bytes) -> None:
        self._flushing = True
        try:
            for event in self.http.receive(data):
                self._handle(event)
        except Broken:
            self.close()
        else:
            self._flush()

    def has_said(self) -> None:
        """The bytes go out when all that is ready to run has had its say: one write for many calls."""
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def over(self, stream: int) -> None:
        found = self._open.pop(stream, None)
        if found is not None:
            found.call.ended = True
            found.receiver.closed()
            self._server.settled(self)

    def leave(self, *, announced: bool = False) -> None:
        self.http.leave(announced=announced)
        self.has_said()

    def close(self) -> None:
        """When what has been said is sent."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _flush(self) -> None:
        self._flushing = False
        if self._transport is not None and (data := self.http.take()):
            self._transport.write(data)

    def _handle(self, event: Event) -> None:
        match event:
            case Received(stream, data, end):
                if (found := self._open.get(stream)) is None:
                    return
                if data:
                    found.feed(data)
                if end and stream in self._open:
                    found.receiver.finished()
            case Opened(stream, headers):
                call = Call(self, stream)
                method = self._server.methods.get(headers.get(b":path", b""))
                if method is None:
                    call.end(Status.UNIMPLEMENTED, "no such method")
                else:
                    self._open[stream] = _Open(call, method(call))
            case Closed(stream):
                self.over(stream)


class Server:
    """Methods by their path, `b"/package.Service/Method"`."""

    def __init__(self, methods: Mapping[bytes, Method]) -> None:
        self.methods = methods
        self.peers: set[Peer] = set()
        self._leaving = False
        self._settled = asyncio.Event()
        self._listener: asyncio.Server | None = None

    async def listen(self, address: str) -> None:
        """`unix:PATH` or `HOST:PORT`. Raises OSError."""
        loop = asyncio.get_running_loop()
        if address.startswith("unix:"):
            self._listener = await loop.create_unix_server(self._peer, address.removeprefix("unix:"))
        else:
            host, _, port = address.rpartition(":")
            self._listener = await loop.create_server(self._peer, host.strip("[]"), int(port))

    async def stop(self, grace: float) -> None:
        """No new calls; those that run have `grace` seconds."""
        assert self._listener is not None
        self._listener.close()
        for peer in self.peers:
            peer.leave(announced=True)
        # What the peers began before they heard of it is served, too.
        await asyncio.sleep(min(GOODBYE_SECONDS, grace))
        self._leaving = True
        for peer in list(self.peers):
            peer.leave()
            self.settled(peer)
        if self.peers:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._settled.wait(), grace)
            for peer in list(self.peers):
                peer.abort()
            await self._settled.wait()

    def settled(self, peer: Peer) -> None:
        """A call of this peer is over; who leaves waits for the last."""
        if self._leaving and peer.idle:
            peer.close()

    def lost(self, peer: Peer) -> None:
        self.peers.discard(peer)
        if self._leaving and not self.peers:
            self._settled.set()

    def _peer(self) -> Peer:
        return Peer(self)
