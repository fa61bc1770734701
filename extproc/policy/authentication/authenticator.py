"""The interface of an authenticator, what it is made from, and its view of a request."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from extproc.config.faults import Fault, Where
from extproc.config.loading import Source
from extproc.config.schema import Location
from extproc.events import Headers, PeerCertificate
from extproc.policy.authentication.credential import credential
from extproc.policy.facts import Caller
from extproc.policy.keys.key_sets import KeySets, KeySetSpec


class Presented:
    """The credentials that one request carries."""

    def __init__(
        self, headers: Headers, certificate: PeerCertificate | None, locations: Sequence[Location], max_bytes: int
    ) -> None:
        """`locations`, `max_bytes`: where a token may stand, and how long it may be."""
        self.certificate = certificate
        """The client's, verified by our own listener; None: it presented none."""
        self._headers = headers
        self._locations = locations
        self._max_bytes = max_bytes
        self._token: str | None = None
        self._is_read = False

    @property
    def token(self) -> str | None:
        """The one token or key among the headers. Raises Unproven where there are several, or it has no form."""
        if not self._is_read:  # `cached_property` of Python 3.11 takes a lock, which costs as much as reading
            self._token = credential(self._headers, self._locations, self._max_bytes)
            self._is_read = True
        return self._token


class Authenticator(Protocol):
    """A link of the chain. It has three answers: the caller, None for "not mine", Unproven for "refused"."""

    async def identify(self, presented: Presented, now: float) -> Caller | None:
        """Returns the caller, or None where the request carries nothing of this authenticator's kind. `now`: Unix
        seconds. Raises Unproven where it does, and that proves nothing: later links are not asked."""


@dataclass
class Setup:
    """The material that authenticators are made from, and notes that they leave for others."""

    source: Source
    remote: KeySets[Any]
    """Where sets of keys that are fetched come from."""
    claims: frozenset[str] | None
    """Those that somebody will read; None: any may be."""
    faults: list[Fault]
    fetched: list[KeySetSpec] = field(default_factory=list)
    """Sets of keys that are to be fetched, for KeySets.use."""
    without_keys: list[Where] = field(default_factory=list)
    """Files and sets that hold no key, so that nobody gets in by them."""
