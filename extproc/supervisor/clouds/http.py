"""Requests to token endpoints and metadata servers."""

import asyncio
import math
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import msgspec

from extproc.config.schema_values import key_url
from extproc.policy.keys.fetch import CONNECT_SECONDS, SECONDS, read_body, reason_of, trusted_roots
from extproc.policy.keys.places import NotFetched
from extproc.providers.cloud_credentials import CloudCredential
from extproc.wire import untrusted

Json = dict[str, Any]
# OAuth's and AWS's names of errors; anything else in an answer may be a secret.
_NAMED = re.compile(r'"error"\s*:\s*"(\w{1,60})"|<Code>(\w{1,60})</Code>|"code"\s*:\s*"(\w{1,60})"')


class Fetched(msgspec.Struct, frozen=True):
    credential: CloudCredential
    expires: float
    """Unix seconds."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    method: str = "GET"
    headers: Mapping[str, str] = {}
    body: bytes = b""


def form(url: str, fields: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Request:
    """Returns a POST of a form."""
    media = {"content-type": "application/x-www-form-urlencoded; charset=utf-8", **(headers or {})}
    return Request(url=url, method="POST", headers=media, body=urlencode(fields).encode())


async def ask(request: Request, roots: str | None = None) -> bytes:
    """Returns the body of an answer of status 200. `roots`: certificates in PEM, trusted instead of the public ones.
    Raises NotFetched, which quotes nothing but names of errors."""
    try:
        async with asyncio.timeout(SECONDS):
            return await _ask(request, roots)
    except TimeoutError:
        raise NotFetched(f"no answer within {SECONDS:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise NotFetched(reason_of(error)) from None


async def _ask(request: Request, roots: str | None) -> bytes:
    secure = urlsplit(request.url).scheme == "https"
    async with httpx.AsyncClient(
        verify=await asyncio.to_thread(trusted_roots, roots),
        timeout=httpx.Timeout(SECONDS, connect=CONNECT_SECONDS),
        headers={"accept": "application/json", "accept-encoding": "identity", "user-agent": "llm-extproc"},
        trust_env=secure,  # proxies; a metadata server is on this machine or its link, and goes through none
    ) as client:
        content = request.body or None
        async with client.stream(request.method, request.url, headers=request.headers, content=content) as response:
            body = await read_body(response)
            if response.status_code == 200:
                return body
            raise NotFetched(f"status {response.status_code}{_name_of(body)}")


def _name_of(body: bytes) -> str:
    found = _NAMED.search(body.decode("utf-8", "replace"))
    return f", {next(filter(None, found.groups()))}" if found else ""


def read_json(body: bytes) -> Json:
    """Raises NotFetched."""
    try:
        value = untrusted.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise NotFetched("the answer is no JSON object")
    return value


def text(holder: Json, name: str) -> str:
    """Returns a member that must be there. Raises NotFetched."""
    value = holder.get(name)
    if not isinstance(value, str) or not value or not value.isascii() or not value.isprintable():
        raise NotFetched(f"{name} is missing, or no text that a header can carry")
    return value


def seconds(holder: Json, name: str) -> float:
    """Returns a number, which may be written as text. Raises NotFetched."""
    value = holder.get(name)
    try:
        found = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise NotFetched(f"{name} is no number")
    return found


def endpoint(url: str) -> str:
    """Returns a URL that a credential may be sent to: HTTPS, or HTTP on this machine. Raises NotFetched."""
    try:
        return key_url(url)
    except ValueError:
        raise NotFetched("a token endpoint has to be an HTTPS URL") from None
