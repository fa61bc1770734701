"""Just enough HTTP/1.1 for a server that pooled clients keep open: requests in, whole or chunked answers out."""

import asyncio
from http.client import responses

import msgspec

HEAD_LIMIT = 1 << 18
BODY_LIMIT = 64 << 20

Headers = list[tuple[str, str]]


class BadRequestError(Exception):
    """The bytes are not a request; the connection ends after the answer."""


class Request(msgspec.Struct, frozen=True):
    method: str
    target: str
    version: str
    headers: Headers
    """Exactly as they came."""
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def header(self, name: str) -> str:
        return _header(self.headers, name)

    @property
    def keep_alive(self) -> bool:
        return self.version == "HTTP/1.1" and "close" not in self.header("connection").lower()


def _header(headers: Headers, name: str) -> str:
    return ", ".join(value for key, value in headers if key.lower() == name)


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    """Returns the next request; None if the client has closed the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError as error:
        raise BadRequestError("headers too large") from error
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    words = first.split(" ")
    pairs = [line.partition(":") for line in lines]
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not all(colon for _, colon, _ in pairs):
        raise BadRequestError("not an HTTP/1.1 request")
    headers = [(name, value.strip()) for name, _, value in pairs]
    if "100-continue" in _header(headers, "expect").lower():
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return Request(words[0], words[1], words[2], headers, await _body(reader, headers))


async def _body(reader: asyncio.StreamReader, headers: Headers) -> bytes:
    try:
        if "chunked" in _header(headers, "transfer-encoding").lower():
            return await _chunks(reader)
        length = int(_header(headers, "content-length") or "0")
    except ValueError as error:
        raise BadRequestError("bad length") from error
    if not 0 <= length <= BODY_LIMIT:
        raise BadRequestError("bad length")
    return await reader.readexactly(length)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := int((await reader.readline()).partition(b";")[0], 16):
        if size < 0 or len(body) + size > BODY_LIMIT:
            raise ValueError(size)
        body += (await reader.readexactly(size + 2))[:-2]
    while (await reader.readline()).strip():
        pass  # trailers
    return bytes(body)


def head(status: int, headers: Headers) -> bytes:
    lines = [f"HTTP/1.1 {status} {responses.get(status, 'Demo')}", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"
