"""Where an issuer's keys are fetched from. Fetching is apart: who fetches nothing loads no HTTP client."""

import ssl

import msgspec

from extproc.config.loading import Fault, Source, Where
from extproc.config.schema import Issuer


class NotFetched(Exception):
    """`str()` says why, without a host name or a byte of what was answered."""


class Place(msgspec.Struct, frozen=True):
    """Where keys are, and whose."""

    url: str
    """Of the JWKS; with `discovers`, of the issuer or of its discovery document."""
    issuer: str
    discovers: bool = False
    roots: str | None = None
    """Certificates in PEM, trusted instead of the public authorities."""


def trusting(roots: str) -> ssl.SSLContext:
    """Raises ssl.SSLError where there are none in it."""
    # Without a character of them, Python would trust the system's.
    return ssl.create_default_context(cadata=roots or "-")


def load(source: Source, issuer: Issuer, where: Where) -> Place | Fault:
    jwks = issuer.jwks
    url = jwks.discovery or jwks.url
    assert url is not None
    roots = None
    if jwks.ca_file is not None:
        try:
            roots = source.read(jwks.ca_file).decode("ascii", "ignore")
            trusting(roots)
        except ssl.SSLError:
            return Fault((*where, "jwks", "ca_file"), f"{jwks.ca_file} holds no certificates in PEM form")
        except OSError as error:
            return Fault((*where, "jwks", "ca_file"), f"{jwks.ca_file} cannot be read: {error.strerror}")
    return Place(url, issuer.issuer, jwks.discovery is not None, roots)
