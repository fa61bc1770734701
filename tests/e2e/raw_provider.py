"""A provider made of sockets, for what no HTTP server would do. One connection carries one request."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

from tests.e2e.stack import SECONDS

CHAT = b'{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"finish_reason":"stop","message":'
CHAT += b'{"role":"assistant","content":"hi"}}],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}'
USED = b'data: {"model":"m","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":1,"total_tokens":6}}\n\n'
SAID = b'data: {"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"hm "}}]}\n\n'
ENDED = b'data: {"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def head(*fields: str, status: str = "200 OK", media: str = "application/json") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-type: {media}", *fields, "", ""]
    return "\r\n".join(lines).encode()


def whole(body: bytes, *fields: str, status: str = "200 OK", media: str = "application/json") -> bytes:
    return head(f"content-length: {len(body)}", "connection: close", *fields, status=status, media=media) + body


FINE = whole(CHAT)
STREAM = head("connection: close", media="text/event-stream")


class Connection:
    """One that a request has come through."""

    def __init__(self, sock: socket.socket, over: threading.Event) -> None:
        self.socket = sock
        self._over = over

    def say(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def until_left(self) -> None:
        """Silent until the other side goes."""
        with contextlib.suppress(ConnectionError):
            while self.socket.recv(1 << 16):
                pass

    def pause(self, seconds: float) -> None:
        self._over.wait(seconds)


Play = Callable[[Connection], None]


class RawProvider:
    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        """Of all requests since `plays` was set."""
        self.left = threading.Event()
        """A call since `plays` was set is over, whoever ended it."""
        self._plays: list[Play] = []
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"

    def plays(self, *plays: Play | bytes) -> None:
        """What the next requests get, one each; the last stays."""
        self.bodies.clear()
        self.left = threading.Event()
        self._plays = [play if callable(play) else says(play) for play in plays]

    @contextlib.contextmanager
    def serving(self) -> Iterator["RawProvider"]:
        thread = threading.Thread(target=self._accept, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            thread.join(SECONDS)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        left = threading.Event()
        with sock, contextlib.suppress(OSError):
            body = _read(sock)
            if body is None:
                return
            self.bodies.append(body)
            left = self.left
            play = self._plays.pop(0) if len(self._plays) > 1 else self._plays[0]
            play(Connection(sock, self._over))
        left.set()


def _read(sock: socket.socket) -> bytes | None:
    """A request's body; None where none came."""
    sock.settimeout(SECONDS)
    data = b""
    while b"\r\n\r\n" not in data:
        if not (piece := sock.recv(1 << 16)):
            return None
        data += piece
    top, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line[15:]) for line in top.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    while len(body) < length:
        body += sock.recv(1 << 16)
    return body


def says(data: bytes) -> Play:
    return lambda connection: connection.say(data)


def resets(data: bytes = b"") -> Play:
    """After `data`, when that has been taken."""

    def play(connection: Connection) -> None:
        if data:
            connection.say(data)
            connection.pause(0.05)
        connection.reset()

    return play


def goes_silent(data: bytes = b"") -> Play:
    def play(connection: Connection) -> None:
        connection.say(data)
        connection.until_left()

    return play
