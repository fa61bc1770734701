"""The section `sign_in` with its secrets read and its rules compiled, or its faults."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from extproc.config import authorities, schema
from extproc.config.faults import Fault, Where
from extproc.config.loading import Source
from extproc.config.schema_sign_in import SignIn
from extproc.config.schema_values import Secret
from extproc.policy.authorization import variables
from extproc.policy.authorization.cel import Part, Rule
from extproc.policy.keys.places import JwksLocation
from extproc.providers import credentials
from extproc.sign_in.sealing import KEY_BYTES

_SIGNING_KEY = "expected a private key of the curve P-256 in PEM: openssl ecparam -genkey -name prime256v1 -noout"
_SEALING_KEY = "expected 32 random bytes in base64: openssl rand -base64 32"
_ONLY_CLAIMS = "only `jwt`, the claims of the token, is known here"


@dataclass(frozen=True)
class Workload:
    """A row of `sign_in.exchange`."""

    settings: schema.Issuer
    place: JwksLocation
    when: Rule
    claims: dict[str, Any]
    token_ttl: int


@dataclass(frozen=True)
class Configuration:
    settings: SignIn
    client_secret: str | None = field(repr=False)
    roots: str | None
    """Trusted certificates in PEM instead of the public ones."""
    allow: list[Rule]
    signing_key: bytes | None = field(repr=False)
    """PEM."""
    sealing_key: bytes | None = field(repr=False)
    workloads: list[Workload]

    def allows(self, claims: dict[str, Any]) -> bool:
        return not self.allow or any(holds(rule, claims) for rule in self.allow)


def holds(rule: Rule, claims: dict[str, Any]) -> bool:
    """A rule that fails, for instance because a claim is missing, does not hold."""
    return rule.evaluate(variables.activation({"jwt": claims})) is True


def load(source: Source, environ: Mapping[str, str], faults: list[Fault]) -> Configuration | None:
    """None where there is no such section. Adds to `faults`."""
    settings = source.config.sign_in
    if settings is None:
        return None
    return _Loading(source, environ, faults).load(settings)


class _Loading:
    def __init__(self, source: Source, environ: Mapping[str, str], faults: list[Fault]) -> None:
        self._source = source
        self._environ = environ
        self._faults = faults

    def load(self, settings: SignIn) -> Configuration:
        if settings.issuer == settings.public_url:
            self._fault(("issuer",), "is this gateway itself; expected the URL of the company's identity provider")
        for index, issuer in enumerate(self._source.config.authentication.jwt):
            if issuer.issuer == settings.public_url:
                where = ("authentication", "jwt", index, "issuer")
                self._faults.append(Fault(where, "is this gateway itself, which `sign_in` trusts without a row here"))
        return Configuration(
            settings,
            self._secret(settings.client_secret, ("client_secret",)),
            authorities.load(self._source, settings.ca_file, ("sign_in", "ca_file"), self._faults),
            [rule for n, text in enumerate(settings.allow) if (rule := self._rule(text, ("allow", n)))],
            self._signing_key(settings),
            self._sealing_key(settings),
            self._workloads(settings),
        )

    def _fault(self, where: Where, problem: str) -> None:
        self._faults.append(Fault(("sign_in", *where), problem))

    def _secret(self, secret: Secret | None, where: Where) -> str | None:
        if secret is None:
            return None
        found = credentials.load(self._source, secret, ("sign_in", *where), self._environ, self._faults)
        return found.reveal() if found is not None else None

    def _bytes(self, secret: Secret, where: Where) -> bytes:
        """Not `credentials.load`: a key in PEM has several lines."""
        if secret.env is not None:
            return self._environ.get(secret.env, "").encode()
        assert secret.file is not None
        try:
            return self._source.read(secret.file)
        except OSError as error:
            self._fault(where, f"the file cannot be read: {error.strerror}")
            return b""

    def _rule(self, text: str, where: Where) -> Rule | None:
        rule = variables.compile_rule(text, ("sign_in", *where))
        if isinstance(rule, Fault):
            self._faults.append(rule)
            return None
        if rule.reads - {Part.CALLER} or "caller." in text:
            self._fault(where, _ONLY_CLAIMS)
        return rule

    def _signing_key(self, settings: SignIn) -> bytes | None:
        if settings.signing_key is None:
            return None
        pem = self._bytes(settings.signing_key, ("signing_key",))
        try:
            key = load_pem_private_key(pem, None)
            fits = isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)
        except (ValueError, TypeError):
            fits = False
        if not fits:
            self._fault(("signing_key",), _SIGNING_KEY)
        return pem

    def _sealing_key(self, settings: SignIn) -> bytes | None:
        if settings.sealing_key is None:
            return None
        try:
            key = base64.b64decode(self._bytes(settings.sealing_key, ("sealing_key",)).strip(), validate=True)
        except binascii.Error:
            key = b""
        if len(key) != KEY_BYTES:
            self._fault(("sealing_key",), _SEALING_KEY)
            return None
        return key

    def _workloads(self, settings: SignIn) -> list[Workload]:
        found = []
        for index, row in enumerate(settings.exchange):
            where = ("exchange", index)
            if row.issuer == settings.public_url:
                self._fault((*where, "issuer"), "is this gateway itself, whose tokens need no exchange")
            roots = authorities.load(self._source, row.ca_file, ("sign_in", *where, "ca_file"), self._faults)
            place = JwksLocation(row.keys or row.issuer, row.issuer, row.keys is None, roots)
            # What is here of key sets serves as a form; the keys come from the place.
            issuer = schema.Issuer(
                issuer=row.issuer,
                audiences=row.audiences,
                jwks=schema.Jwks(url=row.keys or row.issuer),
                algorithms=["RS256", "ES256", "PS256", "RS384", "RS512", "ES384", "EdDSA"],
            )
            if (rule := self._rule(row.when, (*where, "when"))) is not None:
                found.append(Workload(issuer, place, rule, row.claims, row.token_ttl))
        return found
