"""Asks a worker how it is, as Envoy does: https://github.com/grpc/grpc/blob/master/doc/health-checking.md

One call on one connection is a few fixed bytes of HTTP/2 (https://www.rfc-editor.org/rfc/rfc9113), so the supervisor
needs no gRPC client.
"""

import asyncio
import contextlib
import ssl

from extproc.config.loading import Source

SECONDS = 1.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_ACK, _END_STREAM, _END_HEADERS = 1, 1, 4
# `HealthCheckResponse{status: SERVING}` in gRPC's envelope.
_SERVING = b"\0\0\0\0\2\x08\x01"


async def serving(address: str, tls: ssl.SSLContext | None = None) -> bool:
    """Whether the worker on `unix:PATH` or `HOST:PORT` says that it serves; no answer in time is a no."""
    with contextlib.suppress(OSError, EOFError, TimeoutError):
        async with asyncio.timeout(SECONDS):
            return await _ask(address, tls)
    return False


def mutual_tls(source: Source) -> ssl.SSLContext | None:
    """As Envoy does it, by `processor.client`; None where there is none. Raises OSError if its files cannot be used."""
    client = source.config.processor.client
    if client is None:
        return None
    context = ssl.create_default_context(cafile=source.resolve(client.ca_file))
    # Python 3.13 wants extensions of certificates that Envoy does without.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(source.resolve(client.certificate), source.resolve(client.key), password="")
    context.set_alpn_protocols(["h2"])
    return context


async def _ask(address: str, tls: ssl.SSLContext | None) -> bool:
    reader, writer = await _connect(address, tls)
    try:
        writer.write(_PREFACE + _frame(_SETTINGS, 0, 0))
        writer.write(_frame(_HEADERS, _END_HEADERS, 1, _headers()) + _frame(_DATA, _END_STREAM, 1, b"\0" * 5))
        while True:
            head = await reader.readexactly(9)
            payload = await reader.readexactly(int.from_bytes(head[:3]))
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:])
            if kind == _SETTINGS and not flags & _ACK:
                writer.write(_frame(_SETTINGS, _ACK, 0))
            elif stream and kind == _DATA and payload:
                return payload == _SERVING
            elif stream and kind in (_DATA, _HEADERS) and flags & _END_STREAM:
                return False
    finally:
        writer.transport.abort()  # the answer is here, or none will come; a tidy end of TLS would be waited for


async def _connect(address: str, tls: ssl.SSLContext | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.startswith("unix:"):
        return await asyncio.open_unix_connection(address.removeprefix("unix:"))
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host.strip("[]"), int(port), ssl=tls)


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def _headers() -> bytes:
    """HPACK without a table of our own (https://www.rfc-editor.org/rfc/rfc7541): indexes are of the static one."""
    named = [(b"\x04", "/grpc.health.v1.Health/Check"), (b"\x01", "worker"), (b"\x0f\x10", "application/grpc")]
    named.append((b"\0" + _text("te"), "trailers"))
    return b"\x83\x86" + b"".join(name + _text(value) for name, value in named)


def _text(text: str) -> bytes:
    return bytes((len(text),)) + text.encode()
