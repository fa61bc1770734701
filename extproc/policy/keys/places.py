"""The location of an issuer's keys. Fetching is in a module of its own, so that workers load no HTTP client."""

import ssl

import msgspec

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


def trusting(roots: str) -> ssl.SSLContext:
    """Returns TLS that trusts these certificates alone. Raises ssl.SSLError if there are none."""
    # With an empty string Python would trust the system's.
    return ssl.create_default_context(cadata=roots or "-")


def load(source: Source, issuer: Issuer, where: Where) -> JwksLocation | Fault:
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
    return JwksLocation(url, issuer.issuer, jwks.discovery is not None, roots)
