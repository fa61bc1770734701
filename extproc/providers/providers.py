"""The providers: their addresses, their credentials, and the names of the clusters by which Envoy knows them."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import msgspec

from extproc.config import schema_providers
from extproc.providers.cloud_credentials import CloudAccess
from extproc.providers.clouds import Wrappings
from extproc.wire import Dialect, dialects

_MIN_KEY = 8
MIRROR_CLUSTERS = "mirror:"
"""Begins the names of clusters that get copies of calls."""


class Credential:
    """A provider's key. Only `reveal` shows it; neither `repr` nor an error message does."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Credential(***)"


class Provider(msgspec.Struct, frozen=True):
    name: str
    dialects: tuple[Dialect, ...]
    base_url: str
    credential: Credential | None
    timeouts: schema_providers.Timeouts = schema_providers.Timeouts()
    key_header: str | None = None
    """Carries its key, whatever is asked; None: the dialect of the call says which header does."""
    prefer: Sequence[Dialect] | None = None
    wrappings: Wrappings = {}
    """What its cloud puts around each dialect; empty for a provider that is no cloud."""
    access: CloudAccess | None = None
    """The credential of its cloud."""
    vendor: str | None = None
    """Whose prices apply; None: known by the base URL."""

    @property
    def cluster(self) -> str:
        """Envoy's name for it; routes match on it."""
        return cluster(self.name, self.base_url)

    @property
    def attempt_cluster(self) -> str:
        """Envoy's name for it where it is one of a model's providers, so that a call may move on to the next."""
        return attempt_cluster(self.name, self.base_url)

    @property
    def mirror_cluster(self) -> str:
        """Envoy's name for it where it gets copies of calls."""
        return mirror_cluster(self.name, self.base_url)

    @property
    def authority(self) -> str:
        return urlsplit(self.base_url).netloc

    def path(self, below: str, *, root: bool = False) -> str:
        """`below` its base URL. People write that URL with `/v1` or without; the segment is not doubled.
        `root`: beside that segment."""
        base = urlsplit(self.base_url).path
        if root:
            return base.removesuffix("/v1") + below
        return base + (below.removeprefix("/v1") if base.endswith("/v1") and below.startswith("/v1/") else below)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Its key and its host's name in lower case; what holds neither needs no concealing."""
        host = urlsplit(self.base_url).hostname or ""
        return (host, *(key.lower() for key in self._keys()))

    def _keys(self) -> tuple[str, ...]:
        own = () if self.credential is None else (self.credential.reveal(),)
        return own if self.access is None else (*own, *self.access.secrets())

    def concealed(self, text: bytes) -> bytes:
        """Without its key and its address, whatever they look like: a provider may quote them in an error."""
        for key in self._keys():
            if len(key) >= _MIN_KEY:
                text = text.replace(key.encode(), b"[key]")
        names = {self.authority, urlsplit(self.base_url).hostname or ""}
        # A name of one plain word may be any word.
        for name in sorted((name for name in names if re.search(r"[.:\d-]", name)), key=len, reverse=True):
            text = re.sub(rb"(?i)(?<![\w.-])%b(?![\w-])" % re.escape(name.encode()), b"[address]", text)
        return text

    @property
    def lacks_credential(self) -> bool:
        """It cannot be asked now, since its credential could not be fetched."""
        return self.access is not None and self.access.is_missing

    def credential_headers(
        self, dialect: Dialect, sent: Mapping[str, str] | None = None, now: float = 0
    ) -> dict[str, str] | None:
        """None: there is no credential now. `dialect`: the call's, as it is sent; where the provider speaks no other
        vendor's, that vendor's form is used for all calls, unless the configuration says which. `sent`: the other
        headers; `now`: Unix seconds."""
        if self.access is not None:
            return self.access.headers(self.authority, sent or {}, now)
        if self.credential is None:
            return {}
        key = self.credential.reveal()
        header = self.key_header or dialects.row(dialect).key_header
        return {header: f"Bearer {key}" if header == dialects.AUTHORIZATION else key}


def cluster(name: str, base_url: str) -> str:
    """A provider that moves gets another cluster: no verdict of before, with its key, is sent to the new place."""
    return f"provider:{name}:{hashlib.sha256(base_url.encode()).hexdigest()[:8]}"


def attempt_cluster(name: str, base_url: str) -> str:
    return f"attempt:{cluster(name, base_url).removeprefix('provider:')}"


def mirror_cluster(name: str, base_url: str) -> str:
    return f"{MIRROR_CLUSTERS}{cluster(name, base_url).removeprefix('provider:')}"
