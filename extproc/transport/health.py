"""The health of a worker, by gRPC's protocol: https://github.com/grpc/grpc/blob/master/doc/health-checking.md

The worker answers Envoy and the supervisor. One call on one connection is a few fixed bytes of HTTP/2
(https://www.rfc-editor.org/rfc/rfc9113), so the supervisor needs no gRPC client.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable

from extproc.config.loading import Source
from extproc.transport.calls import Call

CHECK = b"/grpc.health.v1.Health/Check"
SECONDS = 1.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_ACK, _END_STREAM, _END_HEADERS = 1, 1, 4
# HealthCheckResponse{status}: so small that it needs no generated code.
_SERVING, _NOT_SERVING = b"\x08\x01", b"\x08\x02"
# gRPC puts five bytes before each message: not compressed, and its length
# (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
_SERVING_FRAMED = b"\0" + len(_SERVING).to_bytes(4) + _SERVING


async def serving(address: str, tls: ssl.SSLContext | None = None) -> bool:
    """Returns whether the worker on `unix:PATH` or `HOST:PORT` reports SERVING within SECONDS."""
    with contextlib.suppress(OSError, EOFError, TimeoutError):
        async with asyncio.timeout(SECONDS):
            return await _ask(address, tls)
    return False


def mutual_tls(source: Source) -> ssl.SSLContext | None:
    """Returns TLS with the certificate of `processor.client`, as Envoy uses it; None without that section. Raises
    OSError if its files cannot be used."""
    client = source.config.processor.client
    if client is None:
        return None
    context = ssl.create_default_context(cafile=source.resolve(client.ca_file))
    # Python 3.13 requires certificate extensions that Envoy does not.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # Without a password OpenSSL asks for that of an encrypted key on the terminal, and waits:
    # https://docs.python.org/3/library/ssl.html#ssl.SSLContext.load_cert_chain
    context.load_cert_chain(source.resolve(client.certificate), source.resolve(client.key), password="")
    # gRPC's servers refuse TLS without ALPN.
    context.set_alpn_protocols(["h2"])
    return context


async def _ask(address: str, tls: ssl.SSLContext | None) -> bool:
    reader, writer = await _connect(address, tls)
    try:
        writer.write(_PREFACE + _frame(_SETTINGS, 0, 0))
        # An empty request asks about the server as a whole.
        writer.write(_frame(_HEADERS, _END_HEADERS, 1, _headers()) + _frame(_DATA, _END_STREAM, 1, b"\0" * 5))
        while True:
            head = await reader.readexactly(9)
            payload = await reader.readexactly(int.from_bytes(head[:3]))
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:])
            if kind == _SETTINGS and not flags & _ACK:
                writer.write(_frame(_SETTINGS, _ACK, 0))
            elif stream and kind == _DATA and payload:
                return payload == _SERVING_FRAMED
            # A call that fails may have trailers alone.
            elif stream and kind in (_DATA, _HEADERS) and flags & _END_STREAM:
                return False
    finally:
        writer.transport.abort()  # without this, closing would wait for the peer to end TLS


async def _connect(address: str, tls: ssl.SSLContext | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.startswith("unix:"):
        return await asyncio.open_unix_connection(address.removeprefix("unix:"))
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host.strip("[]"), int(port), ssl=tls)


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def _headers() -> bytes:
    """Returns a header block in HPACK (https://www.rfc-editor.org/rfc/rfc7541) that refers to the static table only."""
    # By the static table 4 is `:path`, 1 `:authority`, 31 (15 + 16) `content-type`; below, 3 and 6 are
    # `:method: POST` and `:scheme: http`.
    named = [(b"\x04", CHECK.decode()), (b"\x01", "worker"), (b"\x0f\x10", "application/grpc")]
    # gRPC demands it, so that proxies show themselves which do not pass trailers on.
    named.append((b"\0" + _text("te"), "trailers"))
    return b"\x83\x86" + b"".join(name + _text(value) for name, value in named)


def _text(text: str) -> bytes:
    return bytes((len(text),)) + text.encode()


class Health:
    def __init__(self, ready: Callable[[], bool]) -> None:
        """`ready`: called for each check; returns whether calls could be decided now."""
        self.serving = False
        self._ready = ready

    def serves(self) -> bool:
        return self.serving and self._ready()

    def check(self, call: Call) -> "_Check":
        return _Check(self, call)


class _Check:
    def __init__(self, health: Health, call: Call) -> None:
        self._health = health
        self._call = call

    def received(self, message: bytes) -> None:
        self._call.write(_SERVING if self._health.serves() else _NOT_SERVING)
        self._call.end()

    def finished(self) -> None:
        self._call.end()

    def closed(self) -> None:
        pass
