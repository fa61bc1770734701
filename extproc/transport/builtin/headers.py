"""Header blocks: HPACK (https://www.rfc-editor.org/rfc/rfc7541) and what a request's fields must look like
(https://www.rfc-editor.org/rfc/rfc9113#section-8.2)."""

import re
from typing import NamedTuple

import hpack
import hpack.table

from extproc.transport.builtin.frames import Code, ConnectionFailed

MAX_HEADER_BYTES = 64 * 1024
"""Most bytes of one header block: compressed, and as RFC 7541 counts its fields (32 bytes more for each). Envoy sends
less than a kilobyte, but with tracing it may pass on a client's `tracestate`, and accepts 60 KiB from a client."""
_CACHED_BLOCKS, _CACHED_BLOCK_BYTES = 64, 512

Headers = dict[bytes, bytes]
Fields = list[tuple[bytes, bytes]]

# Upper case is malformed in HTTP/2: https://www.rfc-editor.org/rfc/rfc9113#section-8.2.1.
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
# Malformed in a value, by the same section.
_BAD_VALUE = re.compile(rb"[\0\r\n]|\A[ \t]|[ \t]\Z").search
# Of HTTP/1.1; malformed in HTTP/2: https://www.rfc-editor.org/rfc/rfc9113#section-8.2.2.
_OF_CONNECTIONS = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
_PSEUDO = frozenset({b":method", b":scheme", b":path", b":authority"})
_LENGTH_DIGITS = 18


class Malformed(Exception):
    """The fields are no request (https://www.rfc-editor.org/rfc/rfc9113#section-8.1.1): a stream error."""


class Request(NamedTuple):
    headers: Headers
    content_length: int | None


class Block:
    """One decoded header block."""

    __slots__ = ("_fields", "_request")

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._request: Request | None = None

    @property
    def is_request(self) -> bool:
        return any(name.startswith(b":") for name, _ in self._fields)

    def request(self) -> Request:
        """Raises Malformed."""
        if self._request is None:
            self._request = _request(self._fields)
        return self._request

    def check_trailers(self) -> None:
        """Raises Malformed."""
        for name, value in self._fields:
            _check_field(name, value)


class BlockReader:
    """Decodes the header blocks of one connection, all of them and in order: later ones refer to earlier ones."""

    def __init__(self) -> None:
        self._table = _Table()
        self._decoder = hpack.Decoder(max_header_list_size=MAX_HEADER_BYTES)
        self._decoder.header_table = self._table
        self._known: dict[bytes, Block] = {}
        """Blocks that mean the same while the table does not change: Envoy sends few different ones."""

    def read(self, block: bytes) -> Block:
        """Raises ConnectionFailed."""
        known = self._known.get(block)
        if known is not None:
            return known
        additions = self._table.additions
        try:
            # Raw, for a value may have any bytes, and hpack would decode them as UTF-8.
            found = Block([(name, value) for name, value in self._decoder.decode(block, raw=True)])
        except hpack.OversizedHeaderListError:
            raise ConnectionFailed(Code.ENHANCE_YOUR_CALM) from None
        except hpack.HPACKError:
            raise ConnectionFailed(Code.COMPRESSION_ERROR) from None
        resizes = block[:1] and block[0] >> 5 == 1  # https://www.rfc-editor.org/rfc/rfc7541#section-6.3
        if self._table.additions != additions or resizes or len(self._known) >= _CACHED_BLOCKS:
            self._known.clear()
        elif len(block) <= _CACHED_BLOCK_BYTES:
            self._known[block] = found
        return found


class _Table(hpack.table.HeaderTable):
    """HPACK's dynamic table, which counts what is added."""

    def __init__(self) -> None:
        super().__init__()
        self.additions = 0

    def add(self, name: bytes, value: bytes) -> None:
        self.additions += 1
        super().add(name, value)


def _request(fields: Fields) -> Request:
    headers: Headers = {}
    lengths: set[bytes] = set()
    regular = False
    for name, value in fields:
        if name.startswith(b":"):
            # Pseudo-header fields come before all others, and once: RFC 9113, section 8.3.
            if regular or name in headers or name not in _PSEUDO or _BAD_VALUE(value):
                raise Malformed
        else:
            regular = True
            _check_field(name, value)
            if name == b"content-length":
                lengths.add(value)
        headers[name] = value
    _check_target(headers)
    return Request(headers, _content_length(lengths))


def _check_field(name: bytes, value: bytes) -> None:
    if not _NAME(name) or _BAD_VALUE(value) or name in _OF_CONNECTIONS:
        raise Malformed
    # gRPC sends it: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.
    if name == b"te" and value != b"trailers":
        raise Malformed


def _check_target(headers: Headers) -> None:
    """https://www.rfc-editor.org/rfc/rfc9113#section-8.3.1"""
    method, scheme, path = headers.get(b":method"), headers.get(b":scheme"), headers.get(b":path")
    authority = headers.get(b":authority")
    if method == b"CONNECT":
        well_formed = bool(authority) and scheme is None and path is None
    else:
        well_formed = bool(method) and bool(scheme) and path is not None and (path[:1] == b"/" or path == b"*")
    if authority is not None:
        well_formed &= b"@" not in authority and headers.get(b"host", authority) == authority
    if not well_formed:
        raise Malformed


def _content_length(values: set[bytes]) -> int | None:
    if not values:
        return None
    # The same number twice may count as one: RFC 9110, section 8.6.
    value = values.pop()
    if values or not value.isdigit() or len(value) > _LENGTH_DIGITS:
        raise Malformed
    return int(value)
