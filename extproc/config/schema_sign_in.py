"""The keys of `sign_in`, `managed_settings` and `web` in `gateway.yaml`."""

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, field_validator

from extproc.config.schema_tls import STRICT
from extproc.config.schema_values import Expressions, KeyUrl, Secret, key_url

RESERVED_CLAIMS = frozenset({"iss", "aud", "exp", "iat", "nbf", "jti", "sid", "idp", "auth_time", "client_id"})
"""Claims that the gateway's own tokens set themselves."""


def _public_url(url: str) -> str:
    parts = urlsplit(key_url(url))
    if parts.query:
        raise ValueError("expected a URL without a query, such as https://llm.corp.example")
    if parts.path not in ("", "/"):
        raise ValueError("expected a URL without a path: the gateway's pages have fixed paths below its host")
    # As browsers write it into `Origin`, which is compared: https://www.rfc-editor.org/rfc/rfc6454#section-6.1
    host = (parts.hostname or "").lower()
    port = f":{parts.port}" if parts.port not in (None, {"https": 443, "http": 80}[parts.scheme]) else ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"


def _issuer(url: str) -> str:
    if urlsplit(key_url(url)).query:
        raise ValueError("an issuer is a URL without a query, as it stands in `iss` of its tokens")
    return url


class Exchange(BaseModel):
    """An issuer of workloads' tokens, which are exchanged for the gateway's own (RFC 8693)."""

    model_config = STRICT

    issuer: Annotated[str, AfterValidator(_issuer)]
    """As in the `iss` of the workload's token."""
    audiences: list[str] = Field(min_length=1)
    """One of these must be in its `aud`."""
    when: str
    """CEL over the workload's claims, as `jwt`. Anybody can have a token of a public issuer, for any audience, so this
    says whose count; `true`: all of them."""
    claims: dict[str, Any] = {}
    """What the gateway's token carries besides the workload's `sub`."""
    keys: KeyUrl | None = None
    """The URL of its JWKS; absent: found by discovery at the issuer."""
    ca_file: Path | None = None
    """Trusted roots instead of the public ones."""
    token_ttl: int = Field(900, ge=60, le=86400)
    """Seconds for which the gateway's token counts."""

    @field_validator("claims")
    @classmethod
    def _no_reserved(cls, claims: dict[str, Any]) -> dict[str, Any]:
        if found := sorted(claims.keys() & (RESERVED_CLAIMS | {"sub"})):
            raise ValueError(f"the gateway sets {', '.join(found)} itself")
        return claims


class SignIn(BaseModel):
    """Company login: an OpenID Connect provider, and the gateway's own tokens."""

    model_config = STRICT

    public_url: Annotated[str, AfterValidator(_public_url)]
    """Where developers and browsers reach this gateway; the issuer of its tokens."""
    issuer: Annotated[str, AfterValidator(_issuer)]
    """The identity provider, exactly as in its metadata."""
    client_id: str = Field(min_length=1)
    """As which the gateway is registered there."""
    client_secret: Secret | None = None
    """Absent: PKCE alone."""
    ca_file: Path | None = None
    """Trusted roots instead of the public ones, for an identity provider with a private certificate authority."""
    scopes: list[str] = ["openid", "profile", "email", "offline_access"]
    """What the gateway asks the identity provider for; `offline_access` gives it a refresh token."""
    authorization_parameters: dict[str, str] = {}
    """Further parameters for the provider's authorization endpoint, such as Google's access_type: offline."""
    allow: Expressions = []
    """CEL over the id_token's claims, as `jwt`; one must hold. None: everybody who can sign in."""
    claims: list[str] = ["sub", "email", "name", "groups"]
    """Claims of the id_token that the gateway's token carries on."""
    userinfo: bool = False
    """Where a refresh brings no id_token, take the claims from the provider's UserInfo endpoint. Without it they stay
    as they were at the sign-in."""
    token_ttl: int = Field(3600, ge=600, le=86400)
    """Seconds. Below 600 Claude Code would refresh before nearly every call."""
    signing_key: Secret | None = None
    """A private P-256 key in PEM. Absent: made on first start, kept in the store, and rotated."""
    sealing_key: Secret | None = None
    """32 bytes in base64, by which refresh tokens are sealed. Absent: made on first start, kept in the store."""
    notice: str | None = Field(None, max_length=500)
    """Plain text that Claude Code shows before the sign-in."""
    attempts_per_address: int = Field(60, ge=5)
    """Sign-ins that one address may begin in ten minutes, and codes that it may try. Behind a load balancer all
    developers have one address."""
    exchange: list[Exchange] = []
    """Workloads, such as CI jobs, whose tokens are exchanged for the gateway's."""

    @field_validator("scopes")
    @classmethod
    def _openid(cls, scopes: list[str]) -> list[str]:
        if "openid" not in scopes:
            raise ValueError("`openid` must be among them")
        return scopes

    @field_validator("claims")
    @classmethod
    def _no_reserved(cls, claims: list[str]) -> list[str]:
        if found := sorted(set(claims) & RESERVED_CLAIMS):
            raise ValueError(f"the gateway sets {', '.join(found)} itself")
        return claims


class Settings(BaseModel):
    """Managed settings of Claude Code, for the callers for whom `when` holds. `true` makes the base for everybody."""

    model_config = STRICT

    when: str = "true"
    """CEL over the caller's claims, as `jwt`."""
    settings: dict[str, Any]
    """As in Claude Code's settings.json."""


def _web_address(address: str) -> str:
    host, _, port = address.rpartition(":")
    if not (address.startswith("unix:/") or (host and port.isdecimal() and 0 < int(port) < 65536)):
        raise ValueError("expected unix:/PATH or HOST:PORT")
    return address


class Web(BaseModel):
    """The process that serves pages, OAuth endpoints and other paths beside the models'."""

    model_config = STRICT

    address: Annotated[str, AfterValidator(_web_address)] | None = None
    """Where Envoy reaches it. Absent: `web.sock` beside the processor's first Unix socket."""
