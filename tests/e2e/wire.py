"""Requests byte by byte, for what no HTTP library would send."""

import http.client
import socket
from urllib.parse import urlsplit

import httpx

from tests.e2e.stack import SECONDS


def connect(url: str) -> socket.socket:
    where = urlsplit(url)
    return socket.create_connection((where.hostname, where.port), SECONDS)


def request(*fields: str, target: str = "/v1/messages", body: bytes = b"") -> bytes:
    """`fields`: header lines, in this order."""
    lines = [f"POST {target} HTTP/1.1", "host: gateway", "connection: close", "content-type: application/json"]
    lines += [f"content-length: {len(body)}", *fields, "", ""]
    return "\r\n".join(lines).encode() + body


def send(url: str, *fields: str, target: str = "/v1/messages", body: bytes = b"") -> httpx.Response:
    with connect(url) as connection:
        connection.sendall(request(*fields, target=target, body=body))
        return read(connection)


def read(connection: socket.socket) -> httpx.Response:
    with http.client.HTTPResponse(connection) as answer:
        answer.begin()
        return httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read())
