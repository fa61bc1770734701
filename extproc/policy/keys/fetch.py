"""An issuer's keys over HTTPS: one JSON document, or the one that OpenID Connect Discovery names
(https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderConfig). No other module speaks HTTP outwards.
"""

import asyncio
import json
import logging
import os
import re
import socket
import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx

from extproc.config.authorities import trusting
from extproc.config.schema_values import key_url
from extproc.policy.keys import keys
from extproc.policy.keys.places import JwksLocation, NotFetched

SECONDS = 10.0
"""For all of it."""
CONNECT_SECONDS = 3.0
MAX_BYTES = 512 * 1024
MAX_REDIRECTS = 3
WELL_KNOWN = "/.well-known/openid-configuration"
_WRONG_HOST = 62  # X509_V_ERR_HOSTNAME_MISMATCH
_MAX_AGE = re.compile(r"max-age=\"?(\d{1,9})")

logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log every URL


async def fetch(place: JwksLocation) -> tuple[Any, float | None]:
    """The JWKS, and for how many seconds its server lets it be kept, where it says so. Raises NotFetched."""
    try:
        async with asyncio.timeout(SECONDS):
            return await _fetch(place)
    except TimeoutError:
        raise NotFetched(f"no answer within {SECONDS:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise NotFetched(reason_of(error)) from None


async def _fetch(place: JwksLocation) -> tuple[Any, float | None]:
    # Reading the roots takes a while, and calls are waiting.
    trusted = await asyncio.to_thread(trusted_roots, place.roots)
    secure = urlsplit(place.url).scheme == "https"
    async with httpx.AsyncClient(
        verify=trusted,
        timeout=httpx.Timeout(SECONDS, connect=CONNECT_SECONDS),
        headers={"accept": "application/json", "accept-encoding": "identity", "user-agent": "llm-extproc"},
        trust_env=secure,  # proxies; plain HTTP is for this machine alone and goes through none
    ) as client:
        url = place.url
        if place.discovers:
            document, _ = await _get(client, _document(url))
            url = _jwks_uri(_json(document, json.loads), place.issuer, secure=secure)
        jwks, max_age = await _get(client, url)
        return _json(jwks, keys.read), max_age


def trusted_roots(roots: str | None) -> ssl.SSLContext:
    return httpx.create_ssl_context() if roots is None else trusting(roots)


def _document(url: str) -> str:
    return url if urlsplit(url).path.endswith(WELL_KNOWN) else url.rstrip("/") + WELL_KNOWN


def _jwks_uri(document: Any, issuer: str, *, secure: bool) -> str:
    if not isinstance(document, dict) or not isinstance(document.get("jwks_uri"), str):
        raise NotFetched("the discovery document names no jwks_uri")
    # Otherwise one issuer could answer for another:
    # https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderConfigurationValidation.
    if document.get("issuer") != issuer:
        raise NotFetched("the discovery document is another issuer's")
    url: str = document["jwks_uri"]
    try:
        key_url(url)
    except ValueError:
        raise NotFetched("the discovery document's jwks_uri is not an HTTPS URL") from None
    if secure and urlsplit(url).scheme != "https":
        raise NotFetched("the discovery document's jwks_uri is not an HTTPS URL")
    return url


async def _get(client: httpx.AsyncClient, url: str) -> tuple[bytes, float | None]:
    where = httpx.URL(url)
    for _ in range(MAX_REDIRECTS + 1):
        async with client.stream("GET", where) as response:
            # httpx follows no redirect by itself: https://www.python-httpx.org/quickstart/#redirection-and-history.
            if response.next_request is not None:
                where = _same_host(where, response.next_request.url)
                continue
            if response.status_code != 200:
                raise NotFetched(f"status {response.status_code}")
            return await read_body(response), _max_age(response.headers)
    raise NotFetched("too many redirects")


def _same_host(known: httpx.URL, other: httpx.URL) -> httpx.URL:
    if (known.scheme, known.host, known.port) != (other.scheme, other.host, other.port):
        # The certificate of the first host proves nothing about the second.
        raise NotFetched("a redirect to another host")
    return other


async def read_body(response: httpx.Response) -> bytes:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise NotFetched("an encoded answer, where none was asked for")
    body = b""
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > MAX_BYTES:
            raise NotFetched(f"more than {MAX_BYTES} bytes")
    return body


def _json(body: bytes, parse: Callable[[bytes], Any]) -> Any:
    try:
        return parse(body)
    except (ValueError, RecursionError):
        raise NotFetched("not JSON") from None


def _max_age(headers: httpx.Headers) -> float | None:
    """https://www.rfc-editor.org/rfc/rfc9111#section-5.2.2"""
    control = headers.get("cache-control", "").lower()
    if "no-store" in control or "no-cache" in control:
        return 0
    found = _MAX_AGE.search(control)
    # A cache on the way may have kept it for some of that time: https://www.rfc-editor.org/rfc/rfc9111#section-5.1.
    age = headers.get("age", "")
    return max(0, int(found[1]) - (int(age) if age.isdecimal() and len(age) < 10 else 0)) if found else None


_KINDS: tuple[tuple[type[Exception], str], ...] = (
    (ssl.SSLError, "no TLS connection"),
    (httpx.TimeoutException, "no answer in time"),
    (httpx.ConnectError, "no connection"),
    (httpx.HTTPError, "a broken answer"),
)


def reason_of(error: Exception) -> str:
    """What httpx says wraps what the system said, and may name hosts."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            wrong_host = cause.verify_code == _WRONG_HOST
            return f"its certificate is {'for another host' if wrong_host else 'not trusted'}"
        if isinstance(cause, socket.gaierror):
            return "its host name is not known"
        if isinstance(cause, OSError) and cause.errno and not isinstance(cause, ssl.SSLError):
            return os.strerror(cause.errno)
        cause = cause.__cause__ or cause.__context__
    return next((text for kind, text in _KINDS if isinstance(error, kind)), type(error).__name__)
