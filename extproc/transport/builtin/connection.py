"""One connection, the server's side: streams, flow control, and limits on what a peer may cost."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator

from extproc.transport.builtin import frames
from extproc.transport.builtin.allowance import CHEAP, CONTROL, REFUSAL, SMALL_DATA_BYTES, Allowance
from extproc.transport.builtin.frames import (
    MAX_STREAM,
    MAX_WINDOW,
    Code,
    ConnectionFailed,
    Frame,
    FrameReader,
    Setting,
    StreamFailed,
)
from extproc.transport.builtin.headers import MAX_HEADER_BYTES, Block, BlockReader, Malformed
from extproc.transport.builtin.streams import Closed, Event, Opened, Received, Stream

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DEFAULT_WINDOW = 65_535
STREAM_WINDOW = 1 << 20
CONNECTION_WINDOW = 512 << 20
"""Most bytes of a peer that are not consumed yet. Twice the bodies that a worker admits by default
(`limits.body_bytes`), so that bodies which arrive side by side cannot block each other."""
_CREDIT_FROM = CONNECTION_WINDOW // 2
MAX_CONCURRENT_STREAMS = 4096
"""Envoy opens 1,024 on one connection, and then another connection."""
BACKLOG_BYTES = 256 << 10
"""A peer that leaves this much of a stream unread gets no credit to send more on it. A slow reader makes us hold this
much and STREAM_WINDOW."""


class Connection:
    """`receive` takes bytes, `take` gives those to be sent. After ConnectionFailed: `take` once more, and close."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._allowance = Allowance(clock)
        self._out = bytearray()
        self._reader = FrameReader()
        self._preface = b""
        self._blocks = BlockReader()
        self._block: tuple[Frame, bytearray] | None = None
        """A header block that is continued by CONTINUATION frames."""
        self._expected: int | None = frames.SETTINGS  # the second half of the preface: RFC 9113, section 3.4
        """The kind that the next frame must have, if only one is allowed."""
        self._streams: dict[int, Stream] = {}
        self._blocked: OrderedDict[int, Stream] = OrderedDict()
        """Streams that only wait for the connection's window."""
        self._last = 0
        """The peer's highest stream."""
        self._last_served: int | None = None
        """The last stream of our final GOAWAY."""
        self._window = DEFAULT_WINDOW
        self._initial_window = DEFAULT_WINDOW
        self._frame_bytes = frames.DEFAULT_FRAME_BYTES
        self._uncredited = 0
        self._held = 0
        self._readers: dict[int, Callable[[Frame], Event | None]] = {
            frames.DATA: self._on_data,
            frames.HEADERS: self._on_headers,
            frames.PRIORITY: self._on_priority,
            frames.RST_STREAM: self._on_rst_stream,
            frames.SETTINGS: self._on_settings,
            frames.PUSH_PROMISE: self._on_push_promise,
            frames.PING: self._on_ping,
            frames.GOAWAY: self._on_goaway,
            frames.WINDOW_UPDATE: self._on_window_update,
            frames.CONTINUATION: self._on_continuation,
        }
        self._out += frames.settings(
            {
                Setting.MAX_CONCURRENT_STREAMS: MAX_CONCURRENT_STREAMS,
                Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                Setting.MAX_HEADER_LIST_SIZE: MAX_HEADER_BYTES,
            }
        )
        self._out += frames.window_update(0, CONNECTION_WINDOW - DEFAULT_WINDOW)  # SETTINGS cannot: RFC 9113, 6.9.2

    def take(self) -> bytes:
        taken = bytes(self._out)
        self._out.clear()
        return taken

    def receive(self, data: bytes) -> Iterator[Event]:
        """Yields events one by one: the reply to one may be sent before the next is read. Raises ConnectionFailed."""
        try:
            for found in self._reader.feed(self._after_preface(data)):
                if self._expected is not None and found.kind != self._expected:
                    raise ConnectionFailed(Code.PROTOCOL_ERROR)
                try:
                    event = self._readers.get(found.kind, self._on_unknown)(found)
                except StreamFailed as error:
                    event = self._fail_stream(error)
                if event is not None:
                    yield event
        except ConnectionFailed as error:
            self._out += frames.goaway(self._goaway_stream(), error.code)
            raise

    def announce_goaway(self) -> None:
        """Ask the peer to open no more streams; those on their way are still served
        (https://www.rfc-editor.org/rfc/rfc9113#section-6.8)."""
        self._out += frames.goaway(MAX_STREAM, Code.NO_ERROR)

    def send_goaway(self) -> None:
        """Tell the peer the last stream that is served; later ones are refused, open ones continue."""
        self._last_served = self._goaway_stream()
        self._out += frames.goaway(self._last_served, Code.NO_ERROR)

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
        """End our half behind all that was sent."""
        state = self._streams.get(stream)
        if state is not None:
            state.trailers = trailers
            self._flush(state)

    def hold(self, stream: int, size: int) -> None:
        """`size` bytes received on the stream are not consumed yet. The peer gets no credit for them until a later call
        names fewer."""
        state = self._streams.get(stream)
        if state is not None:
            self._held += size - state.held
            state.held = size
            self._credit_connection()

    # Reading

    def _after_preface(self, data: bytes) -> bytes:
        missing = len(PREFACE) - len(self._preface)
        if not missing:
            return data
        self._preface += data[:missing]
        if not PREFACE.startswith(self._preface):
            raise ConnectionFailed(Code.PROTOCOL_ERROR)
        return data[missing:]

    def _on_data(self, found: Frame) -> Event | None:
        size = len(found.payload)
        if size < SMALL_DATA_BYTES:
            self._allowance.spend(CHEAP)
        self._uncredited += size  # padding and closed streams count, too: RFC 9113, section 6.9
        if self._uncredited > _CREDIT_FROM:
            if self._uncredited > CONNECTION_WINDOW:
                raise ConnectionFailed(Code.FLOW_CONTROL_ERROR)
            self._credit_connection()
        state = self._streams.get(found.stream)
        if state is None:
            return self._on_closed_stream(found)
        if state.done:
            raise StreamFailed(state.id, Code.STREAM_CLOSED)
        state.uncredited += size
        if state.uncredited > STREAM_WINDOW:
            raise StreamFailed(state.id, Code.FLOW_CONTROL_ERROR)
        state.done = bool(found.flags & frames.END_STREAM)
        if state.uncredited > STREAM_WINDOW // 2:
            self._credit(state)
        data = frames.unpadded(found) if found.flags & frames.PADDED else found.payload
        if state.missing is not None:
            self._count_down(state, len(data))
        return Received(state.id, data, state.done) if data or state.done else None

    def _count_down(self, state: Stream, size: int) -> None:
        """https://www.rfc-editor.org/rfc/rfc9113#section-8.1.1"""
        assert state.missing is not None
        state.missing -= size
        if state.missing < 0 or (state.done and state.missing):
            raise StreamFailed(state.id, Code.PROTOCOL_ERROR)

    def _on_headers(self, found: Frame) -> Event | None:
        return self._on_block(found, found, bytearray(frames.unpadded(found)))

    def _on_continuation(self, found: Frame) -> Event | None:
        self._allowance.spend(CHEAP)
        if self._block is None or self._block[0].stream != found.stream:
            raise ConnectionFailed(Code.PROTOCOL_ERROR)
        first, block = self._block
        block += found.payload
        return self._on_block(first, found, block)

    def _on_block(self, first: Frame, latest: Frame, block: bytearray) -> Event | None:
        if len(block) > MAX_HEADER_BYTES:
            raise ConnectionFailed(Code.ENHANCE_YOUR_CALM)
        if not latest.flags & frames.END_HEADERS:
            self._block, self._expected = (first, block), frames.CONTINUATION
            return None
        self._block = self._expected = None
        self._allowance.spend_on_block(len(block))
        # Blocks of closed streams must be decoded, too: later blocks refer to their entries in the HPACK table.
        read = self._blocks.read(bytes(block))
        end = bool(first.flags & frames.END_STREAM)
        state = self._streams.get(first.stream)
        if state is not None:
            return self._on_trailers(state, read, end)
        if first.stream > self._last and first.stream % 2:  # clients' streams are odd: RFC 9113, section 5.1.1
            return self._open(first.stream, read, end)
        if read.is_request:  # a stream is used once
            raise ConnectionFailed(Code.PROTOCOL_ERROR)
        return self._on_closed_stream(first)

    def _open(self, stream: int, block: Block, end: bool) -> Opened:
        self._last = stream
        if self._last_served is not None or len(self._streams) >= MAX_CONCURRENT_STREAMS:
            raise StreamFailed(stream, Code.REFUSED_STREAM)  # it may be sent again: RFC 9113, section 8.7
        try:
            headers, length = block.request()
        except Malformed:
            raise StreamFailed(stream, Code.PROTOCOL_ERROR) from None
        if end and length:
            raise StreamFailed(stream, Code.PROTOCOL_ERROR)
        self._streams[stream] = Stream(stream, self._initial_window, length, end)
        return Opened(stream, headers, end)

    def _on_trailers(self, state: Stream, block: Block, end: bool) -> Received:
        if state.done:
            raise StreamFailed(state.id, Code.STREAM_CLOSED)
        if not end:
            raise StreamFailed(state.id, Code.PROTOCOL_ERROR)
        try:
            block.check_trailers()
        except Malformed:
            raise StreamFailed(state.id, Code.PROTOCOL_ERROR) from None
        state.done = True
        if state.missing is not None:
            self._count_down(state, 0)
        return Received(state.id, b"", end=True)

    def _on_closed_stream(self, found: Frame) -> Event | None:
        """Accepts a frame that was on its way when its stream ended."""
        if not found.stream % 2 or found.stream > self._last:
            raise ConnectionFailed(Code.PROTOCOL_ERROR)
        self._allowance.spend(CHEAP)
        return None

    def _fail_stream(self, error: StreamFailed) -> Closed | None:
        self._allowance.spend(REFUSAL)
        self._out += frames.rst_stream(error.stream, error.code)
        state = self._streams.get(error.stream)
        if state is None:
            return None
        self._remove(state)
        return Closed(error.stream)

    def _on_priority(self, found: Frame) -> None:
        """Deprecated (https://www.rfc-editor.org/rfc/rfc9113#section-5.3.2)."""
        self._allowance.spend(CHEAP)
        if not found.stream:
            raise ConnectionFailed(Code.PROTOCOL_ERROR)
        if len(found.payload) != 5:
            if found.stream > self._last:  # no stream that could be reset
                raise ConnectionFailed(Code.FRAME_SIZE_ERROR)
            raise StreamFailed(found.stream, Code.FRAME_SIZE_ERROR)

    def _on_rst_stream(self, found: Frame) -> Event | None:
        self._allowance.spend(CONTROL)
        frames.read_long(found.payload)
        state = self._streams.get(found.stream)
        if state is None:
            return self._on_closed_stream(found)
        self._remove(state)
        return Closed(found.stream)

    def _on_settings(self, found: Frame) -> None:
        values = frames.read_settings(found)
        self._allowance.spend(CONTROL + len(found.payload) // 8)
        self._expected = None
        if found.flags & frames.ACK:
            return
        self._frame_bytes = values.get(Setting.MAX_FRAME_SIZE, self._frame_bytes)
        # The acknowledgement goes first: grpc-core takes what comes before it for too much by the old windows.
        self._out += frames.frame(frames.SETTINGS, frames.ACK, 0)
        window = values.get(Setting.INITIAL_WINDOW_SIZE, self._initial_window)
        if window != self._initial_window:
            self._resize_windows(window)

    def _resize_windows(self, initial: int) -> None:
        """https://www.rfc-editor.org/rfc/rfc9113#section-6.9.2: a window may become negative."""
        self._allowance.spend_on_windows(len(self._streams))
        change = initial - self._initial_window
        self._initial_window = initial
        for state in list(self._streams.values()):
            state.window += change
            if state.window > MAX_WINDOW:
                raise ConnectionFailed(Code.FLOW_CONTROL_ERROR)
            if state.queue:
                self._flush(state)

    def _on_push_promise(self, found: Frame) -> None:  # clients cannot push: RFC 9113, section 8.4
        raise ConnectionFailed(Code.PROTOCOL_ERROR)

    def _on_ping(self, found: Frame) -> None:
        self._allowance.spend(CONTROL)
        if found.stream:
            raise ConnectionFailed(Code.PROTOCOL_ERROR)
        if len(found.payload) != 8:  # RFC 9113, section 6.7
            raise ConnectionFailed(Code.FRAME_SIZE_ERROR)
        if not found.flags & frames.ACK:
            self._out += frames.frame(frames.PING, frames.ACK, 0, found.payload)

    def _on_goaway(self, found: Frame) -> None:
        self._allowance.spend(CONTROL)
        if found.stream:
            raise ConnectionFailed(Code.PROTOCOL_ERROR)
        if len(found.payload) < 8:  # debug data may follow
            raise ConnectionFailed(Code.FRAME_SIZE_ERROR)

    def _on_window_update(self, found: Frame) -> None:
        self._allowance.spend(CHEAP)
        credit = frames.read_long(found.payload) & MAX_WINDOW  # 31 bits: RFC 9113, section 6.9
        if not found.stream:
            self._window += credit
            if not credit:
                raise ConnectionFailed(Code.PROTOCOL_ERROR)
            if self._window > MAX_WINDOW:
                raise ConnectionFailed(Code.FLOW_CONTROL_ERROR)
            self._flush_blocked()
            return
        state = self._streams.get(found.stream)
        if state is None:
            self._on_closed_stream(found)
            return
        state.window += credit
        if not credit:
            raise StreamFailed(state.id, Code.PROTOCOL_ERROR)
        if state.window > MAX_WINDOW:
            raise StreamFailed(state.id, Code.FLOW_CONTROL_ERROR)
        self._flush(state)

    def _on_unknown(self, found: Frame) -> None:
        """https://www.rfc-editor.org/rfc/rfc9113#section-5.5"""
        self._allowance.spend(CHEAP)

    # Writing

    def _write(self, state: Stream, data: bytes) -> None:
        self._window -= len(data)
        state.window -= len(data)
        self._out += frames.frame(frames.DATA, 0, state.id, data)

    def _flush(self, state: Stream) -> None:
        while state.queue and (size := min(self._frame_bytes, self._window, state.window, len(state.queue))) > 0:
            self._write(state, bytes(state.queue[:size]))
            del state.queue[:size]
        self._blocked.pop(state.id, None)
        if state.queue:
            if state.window > 0:
                self._blocked[state.id] = state
        elif state.trailers is not None:
            self._finish(state, state.trailers)
            return
        self._credit(state)

    def _flush_blocked(self) -> None:
        while self._blocked and self._window > 0:
            _, state = self._blocked.popitem(last=False)
            self._flush(state)

    def _finish(self, state: Stream, trailers: bytes) -> None:
        flags = frames.END_HEADERS | frames.END_STREAM
        self._out += frames.frame(frames.HEADERS, flags, state.id, trailers)
        if not state.done:
            # https://www.rfc-editor.org/rfc/rfc9113#section-8.1: the rest of the request is not wanted.
            self._out += frames.rst_stream(state.id, Code.NO_ERROR)
        self._remove(state)

    def _remove(self, state: Stream) -> None:
        del self._streams[state.id]
        self._blocked.pop(state.id, None)
        self._held -= state.held
        self._credit_connection()

    def _credit(self, state: Stream) -> None:
        if state.uncredited > STREAM_WINDOW // 2 and len(state.queue) < BACKLOG_BYTES and not state.done:
            self._out += frames.window_update(state.id, state.uncredited)
            state.uncredited = 0

    def _credit_connection(self) -> None:
        credit = self._uncredited - self._held
        if self._uncredited > _CREDIT_FROM and credit >= STREAM_WINDOW:
            self._out += frames.window_update(0, credit)
            self._uncredited -= credit

    def _goaway_stream(self) -> int:
        return self._last if self._last_served is None else self._last_served
