"""HTTP to a gateway's OAuth endpoints and its API for budgets, with each failure put into a sentence for the person at
the terminal."""

import email.utils
import ipaddress
import json
import os
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import httpx
import truststore

from extproc.printable import printable
from extproc.version import version

TIMEOUT_SECONDS: Final = 15.0
MAX_BYTES: Final = 16 << 20


class ClientError(Exception):
    """Worded for the person at the terminal."""


class Unreachable(ClientError):
    """No answer came; another try may help."""


@dataclass(frozen=True)
class Reply:
    """One answer, of JSON."""

    status: int
    fields: Mapping[str, Any] = field(default_factory=dict)
    """The members of a JSON object; empty where the body is none."""
    clock_offset: float | None = None
    """Seconds by which this machine's clock is ahead of the server's, or None where the server sent no `Date`."""

    @property
    def error(self) -> str:
        """The `error` of an OAuth error response (RFC 6749, section 5.2), or an empty string."""
        return self._text("error")

    def describe(self) -> str:
        """What the server said was wrong, in one line."""
        if self.status == 200:
            return "HTTP 200, but without the members that belong there"
        parts = f"HTTP {self.status}", self.error, self._text("error_description")
        return ": ".join(part for part in parts if part)

    def _text(self, member: str) -> str:
        value = self.fields.get(member)
        return printable(value) if isinstance(value, str) else ""


def gateway_url(text: str) -> str:
    """Returns a gateway's base URL in the one form under which its tokens are kept.

    Raises ClientError for what is no such URL, and for plain http to anything but this machine.
    """
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname, parts.port
    except ValueError:  # from brackets, and from ports
        parts, host, port = urlsplit(""), None, None
    if parts.scheme not in ("https", "http") or not host or parts.query or parts.fragment or "@" in parts.netloc:
        raise ClientError(f"{printable(text)} is not a gateway's address; expected one like https://llm.example.com")
    if parts.scheme == "http" and not is_loopback(host):
        raise ClientError(
            f"{printable(text)} would send tokens unencrypted: use https:// (plain http is for this machine only)"
        )
    default = 443 if parts.scheme == "https" else 80
    shown = f"[{host}]" if ":" in host else host
    place = shown if port in (None, default) else f"{shown}:{port}"
    return urlunsplit((parts.scheme, place, parts.path.rstrip("/"), "", ""))


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def origin(url: str) -> tuple[str, str | None, int | None]:
    """Returns what no other URL has; of a text that is none, nothing that a URL has."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:
        return "", None, None


def get(url: str, headers: Mapping[str, str] | None = None) -> Reply:
    return _send("GET", url, None, headers or {})


def probe(url: str) -> None:
    """Raises Unreachable where nobody answers; any answer will do."""
    _send("HEAD", url, None, {})


def post(url: str, form: Mapping[str, str]) -> Reply:
    return _send("POST", url, form, {})


def call(method: str, url: str, token: str, body: Mapping[str, Any] | None = None) -> Reply:
    """Sends JSON, or nothing, with a credential."""
    content = None if body is None else json.dumps(body).encode()
    more = {} if body is None else {"content-type": "application/json"}
    return _send(method, url, None, {"authorization": f"Bearer {token}", **more}, content)


def _send(
    method: str, url: str, form: Mapping[str, str] | None, more: Mapping[str, str], content: bytes | None = None
) -> Reply:
    headers = {"accept": "application/json", "user-agent": f"llm-extproc/{version()}", **more}
    loopback = is_loopback(urlsplit(url).hostname or "")
    place = f"{urlsplit(url).scheme}://{urlsplit(url).netloc}"
    try:
        with (
            # A proxy of the environment would not reach this machine.
            httpx.Client(verify=trust(), timeout=TIMEOUT_SECONDS, trust_env=not loopback) as client,
            client.stream(method, url, data=form, content=content, headers=headers) as answer,
        ):
            body = b""
            for piece in answer.iter_bytes():
                body += piece
                if len(body) > MAX_BYTES:
                    raise ClientError(f"{place} sent an answer that is too long")
            return Reply(answer.status_code, _object(body), _clock_offset(answer.headers.get("date")))
    except httpx.TimeoutException as error:
        raise Unreachable(f"{place} did not answer within {TIMEOUT_SECONDS:.0f} seconds") from error
    except httpx.HTTPError as error:
        raise Unreachable(f"cannot reach {place}: {_reason(error)}") from error


@cache
def trust() -> ssl.SSLContext:
    """The operating system's certificates, where a company's own authority is installed; or those of SSL_CERT_FILE."""
    if os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR"):
        return ssl.create_default_context()
    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _reason(error: httpx.HTTPError) -> str:
    text = re.sub(r"^\[Errno -?\d+\] ", "", printable(str(error))) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" not in text:
        return text
    detail = text.partition("certificate verify failed: ")[2].partition(" (_ssl")[0] or text
    if "not yet valid" in text or "expired" in text:
        now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        return f"its certificate is not valid now ({detail}). This machine's clock says {now}; is that right?"
    return (
        f"its certificate is not trusted ({detail}). Install the authority's certificate on this machine, or name its "
        "file in SSL_CERT_FILE"
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _clock_offset(date: str | None) -> float | None:
    try:
        return time.time() - email.utils.parsedate_to_datetime(date).timestamp() if date else None
    except ValueError:
        return None
