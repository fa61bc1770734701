"""The location of an issuer's keys. Fetching is in a module of its own, so that workers load no HTTP client."""

import msgspec

from extproc.config import authorities
from extproc.config.faults import Fault, Where
from extproc.config.loading import Source
from extproc.config.schema import Issuer


class NotFetched(Exception):
    """Keys could not be fetched; `str()` says why, without a host name or content of the answer."""


class JwksLocation(msgspec.Struct, frozen=True):
    """Where the keys of an issuer are."""

    url: str
    """URL of the JWKS; with `discovers`, of the issuer or of its discovery document."""
    issuer: str
    discovers: bool = False
    roots: str | None = None
    """Certificates in PEM, trusted instead of the public authorities."""


def load(source: Source, issuer: Issuer, where: Where) -> JwksLocation | Fault:
    jwks = issuer.jwks
    url = jwks.discovery or jwks.url
    assert url is not None
    faults: list[Fault] = []
    roots = authorities.load(source, jwks.ca_file, (*where, "jwks", "ca_file"), faults)
    if faults:
        return faults[0]
    return JwksLocation(url, issuer.issuer, jwks.discovery is not None, roots)
