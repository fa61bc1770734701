"""AWS Signature Version 4 (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).

Only headers are signed that no proxy between here and AWS changes: `host`, `content-type` and AWS's own. The body is
known by its digest, so whoever signs need not have it.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote, unquote_plus, urlsplit

import msgspec

DIGEST = "x-amz-content-sha256"
"""The header with the SHA-256 of the body, in hexadecimal."""
EMPTY_DIGEST = hashlib.sha256(b"").hexdigest()
_ALGORITHM = "AWS4-HMAC-SHA256"
_SIGNED = frozenset({"content-type", "host", "x-amz-date", "x-amz-security-token", DIGEST})
_BLANKS = re.compile(r"\s+")


class AwsKeys(msgspec.Struct, frozen=True, tag="aws"):
    """An AWS credential. `repr` shows none of it."""

    access_key_id: str
    secret_access_key: str
    session_token: str = ""
    """Empty for the long-lived keys of a user."""

    def __repr__(self) -> str:
        return "AwsKeys(***)"


class Scope(msgspec.Struct, frozen=True):
    """What a signature is good for."""

    region: str
    service: str


class Signer(msgspec.Struct, frozen=True):
    keys: AwsKeys
    scope: Scope

    def sign(self, method: str, url: str, headers: Mapping[str, str], now: float) -> dict[str, str]:
        """Returns the headers that are to be added: `authorization`, `x-amz-date` and perhaps `x-amz-security-token`.

        `url`: with its host and, if it has one, its query; the path as it is sent, percent-encoded once. `headers`:
        those that are sent, with lower-case names; without DIGEST the body is empty. `now`: Unix seconds."""
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        token = self.keys.session_token
        added = {"x-amz-date": moment, **({"x-amz-security-token": token} if token else {})}
        parts = urlsplit(url)
        sent = {"host": parts.netloc, **headers, **added}
        signed = {name: _BLANKS.sub(" ", sent[name]).strip() for name in sorted(_SIGNED & sent.keys())}
        names = ";".join(signed)
        lines = [f"{name}:{value}" for name, value in signed.items()]
        # The path is encoded once more for the signature, though it is encoded already; of AWS's services S3 alone does
        # without.
        path, query = quote(parts.path or "/", safe="/~"), _query(parts.query)
        request = "\n".join([method, path, query, *lines, "", names, sent.get(DIGEST, EMPTY_DIGEST)])
        # A signature is good for one day, region and service, and AWS refuses one whose `x-amz-date` is more than
        # minutes off.
        place = f"{moment[:8]}/{self.scope.region}/{self.scope.service}/aws4_request"
        text = "\n".join([_ALGORITHM, moment, place, digest(request.encode())])
        key = _signing_key(self.keys.secret_access_key, moment[:8], self.scope)
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        credential = f"Credential={self.keys.access_key_id}/{place}"
        return {"authorization": f"{_ALGORITHM} {credential}, SignedHeaders={names}, Signature={signature}", **added}


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _query(query: str) -> str:
    """Names and values in AWS's own spelling, sorted."""
    pairs = [part.partition("=") for part in query.split("&") if part]
    written = sorted((_spelled(name), _spelled(value)) for name, _, value in pairs)
    return "&".join(f"{name}={value}" for name, value in written)


def _spelled(text: str) -> str:
    # A blank is `%20`, never `+`.
    return quote(unquote_plus(text), safe="-_.~")


@lru_cache(maxsize=64)
def _signing_key(secret: str, day: str, scope: Scope) -> bytes:
    key = f"AWS4{secret}".encode()
    # Made once a day:
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html#derive-signing-key.
    for part in (day, scope.region, scope.service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
