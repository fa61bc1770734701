"""Asks a processor whether it serves (grpc.health.v1), for the health checks of containers.

One call of fixed bytes: a check that runs every few seconds should load no library for it.
https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

import socket
from collections.abc import Iterator

SECONDS = 2.0
_DATA, _HEADERS, _SETTINGS = 0, 1, 4  # RFC 9113, 6
_END_STREAM, _END_HEADERS = 1, 4
_SERVING = b"\x08\x01"  # HealthCheckResponse{status: SERVING}
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def serves(address: str) -> bool:
    """Whether the processor on `unix:PATH` or `HOST:PORT` says that it serves; two seconds of silence are a no."""
    try:
        with _connect(address) as connection:
            connection.settimeout(SECONDS)
            connection.sendall(_QUESTION)
            return next(_answers(connection), b"") == _SERVING
    except (OSError, EOFError):
        return False


def _connect(address: str) -> socket.socket:
    if address.startswith("unix:"):
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(address.removeprefix("unix:"))
        except OSError:
            connection.close()
            raise
        return connection
    host, _, port = address.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), SECONDS)


def _answers(connection: socket.socket) -> Iterator[bytes]:
    """Messages that come, up to the end of the call."""
    over = False
    while not over:
        head = _exactly(connection, 9)
        payload = _exactly(connection, int.from_bytes(head[:3], "big"))
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:9], "big")
        if (kind, stream) == (_DATA, 1) and payload:
            yield payload[5:]
        over = stream == 1 and kind in (_DATA, _HEADERS) and bool(flags & _END_STREAM)


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _fields(fields: list[tuple[bytes, bytes]]) -> bytes:
    """HPACK without its tables: each name and value as it is (RFC 7541, 6.2.2)."""
    return b"".join(b"\0%c%b%c%b" % (len(name), name, len(value), value) for name, value in fields)


_QUESTION = (
    _PREFACE
    + _frame(_SETTINGS, 0, 0, b"")
    + _frame(
        _HEADERS,
        _END_HEADERS,
        1,
        _fields(
            [
                (b":method", b"POST"),
                (b":scheme", b"http"),
                (b":path", b"/grpc.health.v1.Health/Check"),
                (b":authority", b"localhost"),
                (b"content-type", b"application/grpc"),
                (b"te", b"trailers"),
            ]
        ),
    )
    # An empty HealthCheckRequest, uncompressed: it asks for the server as a whole.
    + _frame(_DATA, _END_STREAM, 1, b"\0\0\0\0\0")
)
