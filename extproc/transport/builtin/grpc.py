"""gRPC (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md) for streams of messages, over asyncio."""

import asyncio
import contextlib
import logging
import struct
from collections.abc import Callable, Mapping
from typing import cast

from extproc.transport.builtin.connection import Connection
from extproc.transport.builtin.frames import ConnectionFailed, literal
from extproc.transport.builtin.headers import Headers
from extproc.transport.builtin.streams import Closed, Event, Opened, Received
from extproc.transport.calls import Method, Receiver, Status, where

log = logging.getLogger("extproc")

DEFAULT_MESSAGE_BYTES = 64 << 20
GOAWAY_SECONDS = 0.1
STALL_SECONDS = 60.0
"""A peer that reads nothing for so long is gone."""
_PREFIX = struct.Struct(">BL")
_STATUS_200 = b"\x88"  # https://www.rfc-editor.org/rfc/rfc7541#appendix-A
_HEADERS = _STATUS_200 + literal(b"content-type", b"application/grpc")
# HTTP's own errors: a client that knows no gRPC would take its errors, whose HTTP status is 200, for success
# (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
_WRONG_METHOD, _WRONG_CONTENT_TYPE = literal(b":status", b"405"), literal(b":status", b"415")


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
        self._peer.flush_soon()

    def end(self, status: Status = Status.OK, message: str = "") -> None:
        """`message`: ASCII without `%`."""
        if self.ended:
            return
        self.ended = True
        self._begin()
        # The HTTP status of a gRPC call is 200, however it ends.
        trailers = literal(b"grpc-status", b"%d" % status)
        if message:
            trailers += literal(b"grpc-message", message.encode("ascii"))
        self._peer.http.end(self._stream, trailers)
        self._peer.close_call(self._stream)
        self._peer.flush_soon()

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._peer.http.send_headers(self._stream, _HEADERS)


class _OpenCall:
    """A call and what has come of its next message."""

    __slots__ = ("_max_message_bytes", "buffer", "call", "receiver")

    def __init__(self, call: Call, receiver: Receiver, max_message_bytes: Callable[[], int]) -> None:
        self.call = call
        self.receiver = receiver
        self.buffer = bytearray()
        self._max_message_bytes = max_message_bytes

    def feed(self, data: bytes) -> bool:
        """Returns whether nothing had to be kept in the buffer."""
        if not self.buffer and len(data) >= _PREFIX.size:
            compressed, length = _PREFIX.unpack_from(data)
            if not compressed and len(data) == _PREFIX.size + length:  # nearly always
                self.receiver.received(data[_PREFIX.size :])
                return True
        self.buffer += data
        while not self.call.ended and len(self.buffer) >= _PREFIX.size:
            compressed, length = _PREFIX.unpack_from(self.buffer)
            if compressed:
                self.call.end(Status.UNIMPLEMENTED, "compression was not offered")
            elif length > self._max_message_bytes():
                self.call.end(Status.RESOURCE_EXHAUSTED, "message too large")
            elif len(self.buffer) < _PREFIX.size + length:
                break
            else:
                message = bytes(memoryview(self.buffer)[_PREFIX.size : _PREFIX.size + length])
                del self.buffer[: _PREFIX.size + length]
                self.receiver.received(message)
        return False

    def finish(self) -> None:
        if self.buffer:
            self.call.end(Status.INTERNAL, "incomplete message")
        else:
            self.receiver.finished()


class Peer(asyncio.Protocol):
    """One connection. Replies to bytes that arrived together go out in one write."""

    def __init__(self, server: "Server") -> None:
        self.http = Connection()
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._calls: dict[int, _OpenCall] = {}
        self._transport: asyncio.Transport | None = None
        self._flush_scheduled = False
        self._write_paused = False
        self._abort_timer: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        return not self._calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server.peers.add(self)
        self.flush_soon()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._cancel_abort()
        self._close_calls()
        self._server.connection_closed(self)

    def data_received(self, data: bytes) -> None:
        self._flush_scheduled = True
        try:
            for event in self.http.receive(data):
                try:
                    self._handle(event)
                except Exception as error:  # noqa: BLE001 - a bug ends one call, not all of this connection
                    self._fail_call(event.stream, error)
        except ConnectionFailed:
            self.close()
            self._close_calls()
        else:
            self._flush()

    def pause_writing(self) -> None:
        """Stops reading while the peer does not read, so that replies do not pile up."""
        self._write_paused = True
        if self._transport is not None:
            self._transport.pause_reading()
        self._abort_later()

    def resume_writing(self) -> None:
        self._write_paused = False
        if self._transport is None or self._transport.is_closing():
            return
        self._cancel_abort()
        self._transport.resume_reading()
        self._flush()

    def flush_soon(self) -> None:
        """Flush once at the end of this loop iteration, so that several calls share one write."""
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def close_call(self, stream: int) -> None:
        found = self._calls.pop(stream, None)
        if found is None:
            return
        found.call.ended = True
        if found.buffer:
            found.buffer.clear()
            self.http.hold(stream, 0)
        try:
            found.receiver.closed()
        except Exception as error:  # noqa: BLE001 - other calls must be closed all the same
            log.error("closing a call failed: %s", where(error))
        self._server.call_closed(self)

    def _close_calls(self) -> None:
        for stream in list(self._calls):
            self.close_call(stream)

    def announce_goaway(self) -> None:
        self.http.announce_goaway()
        self.flush_soon()

    def send_goaway(self) -> None:
        self.http.send_goaway()
        self.flush_soon()

    def close(self) -> None:
        """Close when everything is sent, or STALL_SECONDS later."""
        self._write()
        if self._transport is not None:
            self._transport.close()
            self._abort_later()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _abort_later(self) -> None:
        if self._abort_timer is None:
            self._abort_timer = self._loop.call_later(STALL_SECONDS, self.abort)

    def _cancel_abort(self) -> None:
        if self._abort_timer is not None:
            self._abort_timer.cancel()
            self._abort_timer = None

    def _flush(self) -> None:
        self._flush_scheduled = False
        if not self._write_paused:
            self._write()

    def _write(self) -> None:
        if self._transport is not None and (data := self.http.take()):
            self._transport.write(data)

    def _fail_call(self, stream: int, error: Exception) -> None:
        log.error("call failed: %s", where(error))
        if (found := self._calls.get(stream)) is not None:
            found.call.end(Status.INTERNAL, "processor failed")

    def _handle(self, event: Event) -> None:
        match event:
            case Received(stream, data, end):
                if (found := self._calls.get(stream)) is None:
                    return
                if data and not found.feed(data):
                    self.http.hold(stream, len(found.buffer))
                if end and stream in self._calls:
                    found.finish()
            case Opened(stream, headers, end):
                self._open(stream, headers)
                if end and (found := self._calls.get(stream)) is not None:
                    found.finish()
            case Closed(stream):
                self.close_call(stream)

    def _open(self, stream: int, headers: Headers) -> None:
        if headers[b":method"] != b"POST":
            self.http.end(stream, _WRONG_METHOD)
            return
        if not headers.get(b"content-type", b"").startswith(b"application/grpc"):
            self.http.end(stream, _WRONG_CONTENT_TYPE)
            return
        call = Call(self, stream)
        method = self._server.methods.get(headers[b":path"])
        if method is None:
            call.end(Status.UNIMPLEMENTED, "no such method")
            return
        try:
            receiver = method(call)
        except Exception:
            call.end(Status.INTERNAL, "processor failed")
            raise
        self._calls[stream] = _OpenCall(call, receiver, self._server.max_message_bytes)


class Server:
    """Methods by their path, `b"/package.Service/Method"`."""

    def __init__(
        self, methods: Mapping[bytes, Method], max_message_bytes: Callable[[], int] = lambda: DEFAULT_MESSAGE_BYTES
    ) -> None:
        """`max_message_bytes`: asked for each message that comes in pieces; larger ones are refused."""
        self.methods = methods
        self.max_message_bytes = max_message_bytes
        self.peers: set[Peer] = set()
        self._draining = False
        self._drained = asyncio.Event()
        self._listener: asyncio.Server | None = None

    async def listen(self, address: str) -> None:
        """`unix:PATH`; addresses of a network are for transport/grpcio.py. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_unix_server(self._peer, address.removeprefix("unix:"))

    async def stop(self, grace: float) -> None:
        """Drains: takes no new calls; those in progress have `grace` seconds to end."""
        assert self._listener is not None
        self._listener.close()
        for peer in self.peers:
            peer.announce_goaway()
        # Calls that the peers opened before the announcement arrived are served, too.
        await asyncio.sleep(min(GOAWAY_SECONDS, grace))
        self._draining = True
        for peer in list(self.peers):
            peer.send_goaway()
            self.call_closed(peer)
        if self.peers:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._drained.wait(), grace)
            for peer in list(self.peers):
                peer.abort()
            await self._drained.wait()

    def call_closed(self, peer: Peer) -> None:
        """While draining, a connection is closed with its last call."""
        if self._draining and peer.idle:
            peer.close()

    def connection_closed(self, peer: Peer) -> None:
        self.peers.discard(peer)
        if self._draining and not self.peers:
            self._drained.set()

    def _peer(self) -> Peer:
        return Peer(self)
