"""Credentials of clouds: given in the configuration, or fetched by the supervisor and sent to all workers.

A worker never asks a token endpoint. What it needs is here before a call comes, or the call is refused.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from extproc.config.schema_clouds import CloudAuth
from extproc.providers.sigv4 import AwsKeys, Scope, Signer

Clock = Callable[[], float]


class HeaderCredential(msgspec.Struct, frozen=True, tag="header"):
    """A token or a key, as the header that carries it. `repr` does not show it."""

    name: str
    value: str

    def __repr__(self) -> str:
        return f"HeaderCredential({self.name}: ***)"


CloudCredential = AwsKeys | HeaderCredential


_BEARER = "Bearer "


def bearer(token: str) -> HeaderCredential:
    return HeaderCredential("authorization", _BEARER + token)


class CredentialSpec(msgspec.Struct, frozen=True):
    """How a credential is fetched. `repr` shows no secret."""

    provider: str
    """Its name in the configuration, for the log."""
    name: str
    """Identity across reloads: another one as soon as anything about it has changed."""
    auth: CloudAuth
    region: str
    scope: str
    """What a token is for, where its issuer is asked for a scope."""
    secrets: Mapping[str, str]
    """Values of the secrets in `auth`, by their keys."""
    files: Mapping[str, Path]
    """Files that are read again with each fetch, by their keys in `auth`."""
    roots: str | None
    """Certificates in PEM, trusted instead of the public authorities."""

    def __repr__(self) -> str:
        return f"CredentialSpec({self.provider})"


class CredentialSource(Protocol):
    def current(self) -> CloudCredential | None:
        """The credential to use now; None: there is none that is good."""


class Given(msgspec.Struct, frozen=True):
    """A credential that the configuration gives."""

    credential: CloudCredential

    def current(self) -> CloudCredential:
        return self.credential


class CloudAccess(msgspec.Struct, frozen=True):
    """Authenticates calls to a provider's cloud."""

    source: CredentialSource
    scope: Scope | None = None
    """What signatures are good for; None: the credential itself is sent."""

    @property
    def fetched(self) -> CredentialSpec | None:
        """What the supervisor has to fetch; None: nothing."""
        return self.source.spec if isinstance(self.source, Sent) else None

    @property
    def is_missing(self) -> bool:
        """The credential has been asked for, and there is none now. `extproc check` asks for none."""
        return isinstance(self.source, Sent) and self.source.sent.is_missing(self.source.spec.name)

    def headers(self, authority: str, sent: Mapping[str, str], now: float) -> dict[str, str] | None:
        """Returns headers to add to a POST, or None if there is no credential now. `sent`: the others, `:path` among
        them. `now`: Unix seconds."""
        match self.source.current():
            case AwsKeys() as keys if self.scope is not None:
                signer = Signer(keys, self.scope)
                return signer.sign("POST", f"https://{authority}{sent[':path']}", sent, now)
            case HeaderCredential(name, value):
                return {name: value}
            case _:
                return None

    def secrets(self) -> tuple[str, ...]:
        """Returns what has to be taken out of a provider's errors, which may quote it."""
        match self.source.current():
            case AwsKeys(key_id, secret, token):
                return tuple(filter(None, (key_id, secret, token)))
            case HeaderCredential(_, value):
                return (value.removeprefix(_BEARER),)
            case _:
                return ()


class CredentialUpdate(msgspec.Struct, tag=True):
    """What is known of a credential, sent after each fetch, good or bad."""

    name: str
    credential: CloudCredential | None
    """None: it has never been fetched."""
    expires: float
    """Unix seconds."""

    def __repr__(self) -> str:
        return f"CredentialUpdate({self.name})"


class SentCredentials:
    """The credentials that the supervisor has sent to this process."""

    def __init__(self, clock: Clock = time.time) -> None:
        self._clock = clock
        self._known: dict[str, CredentialUpdate] = {}
        self._used: frozenset[str] = frozenset()

    def take(self, update: CredentialUpdate) -> None:
        """Also of one that only the next configuration names."""
        self._known[update.name] = update

    def use(self, specs: Sequence[CredentialSpec]) -> None:
        """These and no others from now on, but for those of calls that run."""
        names = frozenset(spec.name for spec in specs)
        self._known = {name: one for name, one in self._known.items() if name in names | self._used}
        self._used = names

    def ready(self) -> bool:
        """Each has been asked for, once: what could not be fetched concerns the calls of one provider."""
        return self._used <= self._known.keys()

    def current(self, name: str) -> CloudCredential | None:
        known = self._known.get(name)
        return known.credential if known is not None and self._clock() < known.expires else None

    def is_missing(self, name: str) -> bool:
        """It has been asked for, and there is none that is good."""
        return name in self._known and self.current(name) is None


class Sent(msgspec.Struct, frozen=True):
    """A credential that the supervisor keeps fresh."""

    sent: SentCredentials
    spec: CredentialSpec

    def current(self) -> CloudCredential | None:
        return self.sent.current(self.spec.name)


def aws_keys(secrets: Mapping[str, str]) -> AwsKeys:
    """The keys that the configuration gives."""
    names = ("access_key_id", "secret_access_key", "session_token")
    return AwsKeys(*(secrets.get(f"aws.keys.{name}", "") for name in names))
