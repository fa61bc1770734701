"""One connection, the server's side: streams, flow control, header blocks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import hpack
import msgspec

from extproc.server.http2 import frames
from extproc.server.http2.frames import Broken, Code, Frame, FrameReader, Setting

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DEFAULT_WINDOW = 65_535
STREAM_WINDOW = 4 << 20
CONNECTION_WINDOW = 1 << 30
MAX_WINDOW = MAX_STREAM = (1 << 31) - 1
MAX_HEADER_BYTES = 64 * 1024
BACKLOG_BYTES = 1 << 20
"""A peer that leaves so much of a stream unread gets no credit to send more on it."""

Headers = dict[bytes, bytes]


class Opened(msgspec.Struct, frozen=True):
    stream: int
    headers: Headers


class Received(msgspec.Struct, frozen=True):
    stream: int
    data: bytes
    end: bool


class Closed(msgspec.Struct, frozen=True):
    """The peer gave the stream up; nothing more can be said on it."""

    stream: int


Event = Opened | Received | Closed


@dataclass(slots=True)
class _Stream:
    id: int
    window: int
    """What the peer still takes."""
    unacknowledged: int = 0
    """What it sent since it last got credit."""
    queue: bytearray = field(default_factory=bytearray)
    """What waits for the window."""
    trailers: bytes | None = None
    """They follow the queue and end our half."""
    done: bool = False
    """The peer's half has ended."""


class Connection:
    """`receive` takes bytes, `take` gives those to be sent. Raises Broken; then `take` once more, and close."""

    def __init__(self) -> None:
        self._out = bytearray()
        self._reader = FrameReader()
        self._preface = b""
        self._decoder = hpack.Decoder(max_header_list_size=MAX_HEADER_BYTES)
        self._block: tuple[Frame, bytearray] | None = None
        """A header block that CONTINUATION frames go on with."""
        self._streams: dict[int, _Stream] = {}
        self._last = 0
        self._window = DEFAULT_WINDOW
        self._initial_window = DEFAULT_WINDOW
        self._frame_bytes = frames.DEFAULT_FRAME_BYTES
        self._unacknowledged = 0
        self._readers: dict[int, Callable[[Frame], Iterator[Event]]] = {
            frames.DATA: self._data,
            frames.HEADERS: self._headers,
            frames.CONTINUATION: self._continuation,
            frames.RST_STREAM: self._reset,
            frames.SETTINGS: self._settings,
            frames.PING: self._ping,
            frames.WINDOW_UPDATE: self._window_update,
            frames.PUSH_PROMISE: self._forbidden,
        }
        self._out += frames.settings(
            {Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW, Setting.MAX_FRAME_SIZE: frames.MAX_FRAME_BYTES}
        )
        self._out += frames.window_update(0, CONNECTION_WINDOW - DEFAULT_WINDOW)

    def take(self) -> bytes:
        taken = bytes(self._out)
        self._out.clear()
        return taken

    def receive(self, data: bytes) -> Iterator[Event]:
        """Events one by one: what is sent in reply to one may go before the next is read. Raises Broken."""
        try:
            for found in self._reader.feed(self._after_preface(data)):
                if self._block is not None and found.kind != frames.CONTINUATION:
                    raise Broken(Code.PROTOCOL_ERROR)
                reader = self._readers.get(found.kind)
                if reader is not None:
                    yield from reader(found)
        except Broken as broken:
            self._out += frames.goaway(self._last, broken.code)
            raise

    def leave(self, *, announced: bool = False) -> None:
        """Streams that are open go on; the peer opens no more. `announced`: it shall stop, but what is on its way is
        still welcome (https://www.rfc-editor.org/rfc/rfc9113#section-6.8)."""
        self._out += frames.goaway(MAX_STREAM if announced else self._last, Code.NO_ERROR)

    def send_headers(self, stream: int, block: bytes) -> None:
        if stream in self._streams:
            self._out += frames.frame(frames.HEADERS, frames.END_HEADERS, stream, block)

    def send_data(self, stream: int, data: bytes) -> None:
        state = self._streams.get(stream)
        if state is None:
            return
        if not state.queue and len(data) <= min(self._frame_bytes, self._window, state.window):
            self._write(state, data)
        else:
            state.queue += data
            self._flush(state)

    def end(self, stream: int, trailers: bytes) -> None:
        """Behind all that was sent, ends our half."""
        state = self._streams.get(stream)
        if state is not None:
            state.trailers = trailers
            self._flush(state)

    # Reading

    def _after_preface(self, data: bytes) -> bytes:
        missing = len(PREFACE) - len(self._preface)
        if not missing:
            return data
        self._preface += data[:missing]
        if not PREFACE.startswith(self._preface):
            raise Broken(Code.PROTOCOL_ERROR)
        return data[missing:]

    def _data(self, found: Frame) -> Iterator[Event]:
        size = len(found.payload)
        self._unacknowledged += size
        if self._unacknowledged > CONNECTION_WINDOW // 2:
            self._out += frames.window_update(0, self._unacknowledged)
            self._unacknowledged = 0
        state = self._streams.get(found.stream)
        if state is None:
            self._must_be_old(found.stream)
            return
        if state.done:
            raise Broken(Code.STREAM_CLOSED)
        state.unacknowledged += size
        if state.unacknowledged > STREAM_WINDOW:
            raise Broken(Code.FLOW_CONTROL_ERROR)
        state.done = bool(found.flags & frames.END_STREAM)
        self._credit(state)
        yield Received(state.id, frames.unpadded(found), state.done)

    def _headers(self, found: Frame) -> Iterator[Event]:
        block = frames.unpadded(found)
        if not found.flags & frames.END_HEADERS:
            self._block = found, bytearray(block)
            return iter(())
        return self._header_block(found, block)

    def _continuation(self, found: Frame) -> Iterator[Event]:
        if self._block is None or self._block[0].stream != found.stream:
            raise Broken(Code.PROTOCOL_ERROR)
        first, block = self._block
        block += found.payload
        if len(block) > MAX_HEADER_BYTES:
            raise Broken(Code.ENHANCE_YOUR_CALM)
        if not found.flags & frames.END_HEADERS:
            return iter(())
        self._block = None
        return self._header_block(first, bytes(block))

    def _header_block(self, found: Frame, block: bytes) -> Iterator[Event]:
        try:
            # Even where nobody wants them they are read: the peer's later blocks refer to them.
            headers = dict(self._decoder.decode(block, raw=True))
        except hpack.HPACKError:
            raise Broken(Code.COMPRESSION_ERROR) from None
        end = bool(found.flags & frames.END_STREAM)
        state = self._streams.get(found.stream)
        if state is not None:  # trailers
            if state.done or not end:
                raise Broken(Code.PROTOCOL_ERROR)
            state.done = True
            yield Received(state.id, b"", end=True)
        elif found.stream > self._last and found.stream % 2:
            self._last = found.stream
            self._streams[found.stream] = _Stream(found.stream, self._initial_window, done=end)
            yield Opened(found.stream, headers)
            if end:
                yield Received(found.stream, b"", end=True)
        else:
            self._must_be_old(found.stream)

    def _must_be_old(self, stream: int) -> None:
        """What was on its way when a stream ended is no mistake."""
        if not stream % 2 or stream > self._last:
            raise Broken(Code.PROTOCOL_ERROR)

    def _reset(self, found: Frame) -> Iterator[Event]:
        frames.read_long(found.payload)
        if self._streams.pop(found.stream, None) is None:
            self._must_be_old(found.stream)
        else:
            yield Closed(found.stream)

    def _settings(self, found: Frame) -> Iterator[Event]:
        if found.stream:
            raise Broken(Code.PROTOCOL_ERROR)
        if not found.flags & frames.ACK:
            for key, value in frames.read_settings(found.payload):
                self._set(key, value)
            self._out += frames.frame(frames.SETTINGS, frames.ACK, 0)
        return iter(())

    def _set(self, key: int, value: int) -> None:
        if key == Setting.MAX_FRAME_SIZE:
            if not frames.DEFAULT_FRAME_BYTES <= value < 1 << 24:
                raise Broken(Code.PROTOCOL_ERROR)
            self._frame_bytes = value
        elif key == Setting.INITIAL_WINDOW_SIZE:
            if value > MAX_WINDOW:
                raise Broken(Code.FLOW_CONTROL_ERROR)
            change = value - self._initial_window
            self._initial_window = value
            for state in list(self._streams.values()):
                state.window += change
                self._flush(state)

    def _ping(self, found: Frame) -> Iterator[Event]:
        if len(found.payload) != 8:
            raise Broken(Code.FRAME_SIZE_ERROR)
        if not found.flags & frames.ACK:
            self._out += frames.frame(frames.PING, frames.ACK, 0, found.payload)
        return iter(())

    def _window_update(self, found: Frame) -> Iterator[Event]:
        credit = frames.read_long(found.payload) & MAX_WINDOW
        if not credit:
            raise Broken(Code.PROTOCOL_ERROR)
        if not found.stream:
            self._window += credit
            waiting = [state for state in self._streams.values() if state.queue]
        elif (state := self._streams.get(found.stream)) is not None:
            state.window += credit
            waiting = [state]
        else:
            self._must_be_old(found.stream)
            return iter(())
        if max(self._window, *(state.window for state in waiting), 0) > MAX_WINDOW:
            raise Broken(Code.FLOW_CONTROL_ERROR)
        for state in waiting:
            self._flush(state)
        return iter(())

    def _forbidden(self, found: Frame) -> Iterator[Event]:
        raise Broken(Code.PROTOCOL_ERROR)

    # Writing

    def _write(self, state: _Stream, data: bytes) -> None:
        self._window -= len(data)
        state.window -= len(data)
        self._out += frames.frame(frames.DATA, 0, state.id, data)

    def _flush(self, state: _Stream) -> None:
        while state.queue and (size := min(self._frame_bytes, self._window, state.window, len(state.queue))) > 0:
            self._write(state, bytes(state.queue[:size]))
            del state.queue[:size]
        self._credit(state)
        if state.trailers is None or state.queue:
            return
        flags = frames.END_HEADERS | frames.END_STREAM
        self._out += frames.frame(frames.HEADERS, flags, state.id, state.trailers)
        if not state.done:
            # https://www.rfc-editor.org/rfc/rfc9113#section-8.1: the rest of the request is not wanted.
            self._out += frames.rst_stream(state.id, Code.NO_ERROR)
        del self._streams[state.id]

    def _credit(self, state: _Stream) -> None:
        if state.unacknowledged > STREAM_WINDOW // 2 and len(state.queue) < BACKLOG_BYTES and not state.done:
            self._out += frames.window_update(state.id, state.unacknowledged)
            state.unacknowledged = 0
