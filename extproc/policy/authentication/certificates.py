"""Callers known by a TLS client certificate, such as a workload's SPIFFE certificate (X.509-SVID).

Envoy verifies it in the handshake, by `listen.tls.client_ca`. Here it becomes claims. A request header never does: the
certificate comes by ext_proc attributes of the connection, and only from the listener that is rendered here
(transport/messages.py).
"""

import re
from collections.abc import Collection
from typing import Any

from extproc.config.faults import Fault
from extproc.events import PeerCertificate
from extproc.policy.authentication.authenticator import Presented, Setup
from extproc.policy.authentication.credential import Unproven
from extproc.policy.authentication.tokens import KEY_SUBJECT
from extproc.policy.facts import Caller

# https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md#2-spiffe-identity
_SPIFFE_ID = re.compile(r"spiffe://([a-z0-9._-]{1,255})((?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+)*)")
_MAX_ID = 2048


class ClientCertificates:
    def __init__(self, trust_domains: Collection[str] = ()) -> None:
        """`trust_domains`: those a caller may be of; empty: any certificate that Envoy has verified will do."""
        self._trust_domains = frozenset(trust_domains)

    async def identify(self, presented: Presented, now: float) -> Caller | None:
        """Returns the caller that the certificate names; see Authenticator."""
        certificate = presented.certificate
        return None if certificate is None else self._caller(certificate)

    def _caller(self, certificate: PeerCertificate) -> Caller:
        # The first URI in it; an X.509-SVID has exactly one:
        # https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md#2-spiffe-id
        subject = certificate.uri or certificate.subject
        if not subject:
            raise Unproven("certificate_without_name")
        if subject.startswith(KEY_SUBJECT):
            raise Unproven("reserved_subject")
        domain = trust_domain(certificate.uri)
        if self._trust_domains and domain not in self._trust_domains:
            raise Unproven("wrong_trust_domain")
        known: dict[str, Any] = {
            "sub": subject,
            "uri": certificate.uri,
            "subject": certificate.subject,
            "trust_domain": domain,
            "sha256": certificate.sha256,
        }
        return Caller({name: value for name, value in known.items() if value}, "certificate")


def trust_domain(uri: str) -> str:
    """Returns that of a SPIFFE ID, or an empty string where the URI is none."""
    found = _SPIFFE_ID.fullmatch(uri) if len(uri) <= _MAX_ID else None
    return found[1] if found else ""


def load(setup: Setup) -> ClientCertificates | None:
    """Returns the authenticator, or None where `authentication.certificates` is not configured."""
    settings = setup.source.config.authentication.certificates
    if settings is None:
        return None
    tls = setup.source.config.listen.tls
    if tls is None or tls.client_ca is None:
        problem = "needs `listen: {tls: {client_ca: FILE}}`: only our own listener verifies what callers are known by"
        setup.faults.append(Fault(("authentication", "certificates"), problem))
    return ClientCertificates(settings.trust_domains)
