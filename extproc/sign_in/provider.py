"""The company's identity provider: OpenID Connect's code flow with PKCE, refresh, revocation.

https://openid.net/specs/openid-connect-core-1_0.html, https://www.rfc-editor.org/rfc/rfc7636
"""

import base64
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Callable
from typing import Any, get_args
from urllib.parse import quote_plus, urlencode, urlsplit

import httpx
import msgspec

from extproc.config.schema import Algorithm, Issuer, Jwks
from extproc.config.schema_values import key_url
from extproc.policy.authentication.credential import Unproven
from extproc.policy.authentication.proof import UNAVAILABLE, Trusted, prove
from extproc.policy.keys.fetch import WELL_KNOWN
from extproc.policy.keys.places import JwksLocation, NotFetched
from extproc.sign_in.configuration import Configuration
from extproc.sign_in.on_demand_keys import OnDemandKeys
from extproc.sign_in.refusals import Refusal, unavailable

log = logging.getLogger("extproc")

CALLBACK_PATH = "/oauth/callback"
METADATA_SECONDS = 3600.0
MAX_BYTES = 512 * 1024
LEEWAY_SECONDS = 60
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_OPTIONAL_ENDPOINTS = ("revocation_endpoint", "userinfo_endpoint")
# Errors of the token endpoint that are the operator's or pass by. Any other means that this sign-in is over: providers
# say it of a disabled person by invalid_grant, but also by access_denied, login_required or even invalid_request.
_NOT_THE_PERSONS = frozenset(
    {
        "invalid_client",
        "invalid_scope",
        "server_error",
        "slow_down",
        "temporarily_unavailable",
        "unauthorized_client",
        "unsupported_grant_type",
    }
)
_CLOCKS = "the clocks of the gateway and of the company's login differ; the gateway's operator can help"
_FLAWS = {"token_not_yet_valid": _CLOCKS, "token_expired": _CLOCKS}
_FLAW = "the company's login sent something that this gateway does not accept; its operator finds the reason in the log"


class Metadata(msgspec.Struct, frozen=True):
    """https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderMetadata"""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    algorithms: list[str]
    secret_in_body: bool
    sends_issuer: bool
    """It names itself in the redirect (https://www.rfc-editor.org/rfc/rfc9207)."""
    revocation_endpoint: str | None = None
    userinfo_endpoint: str | None = None

    @property
    def origin(self) -> str:
        parts = urlsplit(self.authorization_endpoint)
        return f"{parts.scheme}://{parts.netloc}"


class Identity(msgspec.Struct, frozen=True):
    """The person who signed in, as the identity provider tells."""

    claims: dict[str, Any] | None
    """What the id_token says; None where a refresh brought none."""
    refresh_token: str | None


class BadMetadata(Exception):
    """`str()` says what is wrong with an issuer's metadata."""


def metadata(document: Any, issuer: str) -> Metadata:
    """Raises BadMetadata."""
    if not isinstance(document, dict):
        raise BadMetadata("it is no JSON object")
    # Compared as it is, a slash at the end included:
    # https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderConfigurationValidation.
    if document.get("issuer") != issuer:
        raise BadMetadata(f"its issuer is {document.get('issuer')!r}, expected {issuer!r}, exactly as in its tokens")
    for name in (*_ENDPOINTS, *_OPTIONAL_ENDPOINTS):
        value = document.get(name)
        if value is None and name in _OPTIONAL_ENDPOINTS:
            continue
        try:
            key_url(value if isinstance(value, str) else "")
        except ValueError:
            raise BadMetadata(f"its {name} is no HTTPS URL") from None
    # The defaults of these three are those of the standards, for providers that do not name them.
    offered = document.get("id_token_signing_alg_values_supported", ["RS256"])
    algorithms = [name for name in get_args(Algorithm) if isinstance(offered, list) and name in offered]
    if not algorithms:
        raise BadMetadata("it signs id_tokens by no algorithm with a public key")
    challenges = document.get("code_challenge_methods_supported", ["S256"])
    if "S256" not in challenges:
        raise BadMetadata("it does not support PKCE with S256")
    ways = document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    return Metadata(
        document["authorization_endpoint"],
        document["token_endpoint"],
        document["jwks_uri"],
        algorithms,
        "client_secret_basic" not in ways and "client_secret_post" in ways,
        document.get("authorization_response_iss_parameter_supported") is True,
        document.get("revocation_endpoint"),
        document.get("userinfo_endpoint"),
    )


class Provider:
    def __init__(
        self, configuration: Configuration, client: httpx.AsyncClient, clock: Callable[[], float] = time.time
    ) -> None:
        self._settings = configuration.settings
        self._secret = configuration.client_secret
        self._client = client
        self._clock = clock
        self._metadata: tuple[float, Metadata] | None = None
        self._keys: OnDemandKeys | None = None
        self._warned = False

    async def metadata(self) -> Metadata:
        """Raises Refusal where it cannot be fetched or used, unless it could be before."""
        if self._metadata is not None and self._clock() - self._metadata[0] < METADATA_SECONDS:
            return self._metadata[1]
        try:
            # A slash at the issuer's end is not doubled: OpenID Connect Discovery, section 4.1.
            status, document = await self._ask("GET", self._settings.issuer.rstrip("/") + WELL_KNOWN)
            if status != 200:
                raise unavailable(f"issuer's metadata: status {status}")
            found = metadata(document, self._settings.issuer)
        except BadMetadata as error:
            raise unavailable(f"issuer's metadata: {error}") from None
        except Refusal as refusal:
            if self._metadata is None:
                raise
            log.warning("sign-in: %s; the metadata at hand stays in use", refusal.reason)
            return self._metadata[1]
        self._metadata = self._clock(), found
        self._keys = OnDemandKeys(JwksLocation(found.jwks_uri, self._settings.issuer), self._fetch_keys)
        return found

    async def check(self) -> Metadata:
        """Asks for all that a sign-in will need. Raises Refusal, whose reason says what is wrong."""
        found = await self.metadata()
        assert self._keys is not None
        await self._keys.refresh()
        if self._keys.current() is None:
            raise unavailable(f"issuer's keys: {self._keys.problem}")
        return found

    async def authorization_url(self, state: str, nonce: str, verifier: str) -> str:
        """Where a browser goes to sign in. Raises Refusal."""
        endpoint = (await self.metadata()).authorization_endpoint
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            **self._settings.authorization_parameters,
            "client_id": self._settings.client_id,
            "scope": " ".join(self._settings.scopes),
            "response_type": "code",
            "response_mode": "query",
            "redirect_uri": self._redirect_uri,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            # `plain` would show the verifier to whoever sees the address:
            # https://www.rfc-editor.org/rfc/rfc7636#section-4.2.
            "code_challenge_method": "S256",
        }
        return endpoint + ("&" if urlsplit(endpoint).query else "?") + urlencode(query)

    async def redeem(self, code: str, verifier: str, nonce: str) -> Identity:
        """Exchanges the code of a redirect. Raises Refusal."""
        form = {"code": code, "redirect_uri": self._redirect_uri, "code_verifier": verifier}
        answer = await self._tokens("authorization_code", **form)
        identity = await self._identity(answer)
        if identity.claims is None:
            raise Refusal("server_error", _FLAW, reason="no id_token; is `openid` among the scopes?")
        # Binds the id_token to this sign-in: https://openid.net/specs/openid-connect-core-1_0.html#NonceNotes.
        if not hmac.compare_digest(str(identity.claims.get("nonce")).encode(), nonce.encode()):
            raise Refusal("access_denied", _FLAW, reason="id_token: wrong nonce")
        return identity

    async def refresh(self, refresh_token: str) -> Identity:
        """Raises Refusal: `invalid_grant` where the provider no longer knows this person."""
        answer = await self._tokens("refresh_token", refresh_token=refresh_token)
        identity = await self._identity(answer)
        claims = identity.claims
        if claims is None and self._settings.userinfo:
            claims = await self._userinfo(answer.get("access_token"))
        elif claims is None and not self._warned:
            self._warned = True
            log.warning("sign-in: the identity provider sends no id_token with a refresh; see sign_in.userinfo")
        # A provider may send a new refresh token or leave the old one in use:
        # https://www.rfc-editor.org/rfc/rfc6749#section-6.
        return Identity(claims, identity.refresh_token or refresh_token)

    async def _userinfo(self, access_token: Any) -> dict[str, Any]:
        """https://openid.net/specs/openid-connect-core-1_0.html#UserInfo; whose `sub` it is, the caller compares."""
        endpoint = (await self.metadata()).userinfo_endpoint
        if endpoint is None or not isinstance(access_token, str):
            raise unavailable("identity provider: no UserInfo endpoint, or no access token for it")
        status, claims = await self._ask("GET", endpoint, headers={"authorization": f"Bearer {access_token}"})
        if status in {401, 403}:
            raise Refusal("invalid_grant", _FLAW, reason=f"identity provider's UserInfo endpoint: status {status}")
        if status != 200 or not isinstance(claims, dict) or not isinstance(claims.get("sub"), str):
            raise unavailable(f"identity provider's UserInfo endpoint: status {status}, or no claims")
        return claims

    async def revoke(self, refresh_token: str) -> None:
        """Tells the provider that the token is no longer needed, if it wants to know. Best effort."""
        try:
            found = await self.metadata()
            if found.revocation_endpoint is not None:
                form = {"token": refresh_token, "token_type_hint": "refresh_token"}
                await self._post(found, found.revocation_endpoint, form)
        except Refusal as refusal:
            log.warning("sign-in: a refresh token was not revoked at the identity provider: %s", refusal.reason)

    @property
    def _redirect_uri(self) -> str:
        return self._settings.public_url + CALLBACK_PATH

    async def _identity(self, answer: dict[str, Any]) -> Identity:
        refresh_token = answer.get("refresh_token")
        claims = await self._claims(answer["id_token"]) if isinstance(answer.get("id_token"), str) else None
        # An id_token is optional with a refresh:
        # https://openid.net/specs/openid-connect-core-1_0.html#RefreshTokenResponse.
        return Identity(claims, refresh_token if isinstance(refresh_token, str) else None)

    async def _fetch_keys(self, place: JwksLocation) -> tuple[Any, float | None]:
        """Raises NotFetched."""
        try:
            status, document = await self._ask("GET", place.url)
        except Refusal as refusal:
            raise NotFetched(refusal.reason) from None
        if status != 200:
            raise NotFetched(f"status {status}")
        return document, None

    async def _claims(self, id_token: str) -> dict[str, Any]:
        found = await self.metadata()
        assert self._keys is not None
        await self._keys.refresh()
        issuer = Issuer(
            issuer=self._settings.issuer,
            audiences=[self._settings.client_id],
            jwks=Jwks(url=found.jwks_uri),
            algorithms=[name for name in get_args(Algorithm) if name in found.algorithms],
            leeway=LEEWAY_SECONDS,
            required_claims=["sub", "iat"],
            token_types=["JWT"],
        )
        try:
            proof = await prove(id_token, {issuer.issuer: Trusted(issuer, self._keys)}, self._clock())
        except Unproven as problem:
            if str(problem) == UNAVAILABLE:
                raise unavailable(f"issuer's keys: {self._keys.problem}") from None
            raise Refusal("access_denied", _FLAWS.get(str(problem), _FLAW), reason=f"id_token: {problem}") from None
        # https://openid.net/specs/openid-connect-core-1_0.html#IDTokenValidation, 4 and 5
        if proof.claims.get("azp", self._settings.client_id) != self._settings.client_id:
            raise Refusal("access_denied", _FLAW, reason="id_token: another client's (azp)")
        if not isinstance(proof.claims["sub"], str) or not proof.claims["sub"]:
            raise Refusal("access_denied", _FLAW, reason="id_token: sub is no string")
        return proof.claims

    async def _tokens(self, grant_type: str, **form: str) -> dict[str, Any]:
        """The token endpoint's answer. Raises Refusal."""
        found = await self.metadata()
        status, answer = await self._post(found, found.token_endpoint, {"grant_type": grant_type, **form})
        if status == 200 and isinstance(answer, dict):
            return answer
        error = answer.get("error") if isinstance(answer, dict) else None
        reason = f"identity provider's token endpoint: status {status}, {str(error)[:60]!r}"
        if 400 <= status < 500 and isinstance(error, str) and error not in _NOT_THE_PERSONS:
            raise Refusal("invalid_grant", "the company's login no longer accepts this sign-in", reason=reason)
        log.error("sign-in: %s", reason)
        raise unavailable(reason)

    async def _post(self, found: Metadata, url: str, form: dict[str, str]) -> tuple[int, Any]:
        client_id, headers = self._settings.client_id, {}
        if self._secret is None:
            form = form | {"client_id": client_id}
        elif found.secret_in_body:
            form = form | {"client_id": client_id, "client_secret": self._secret}
        else:  # https://www.rfc-editor.org/rfc/rfc6749#section-2.3.1: each half is encoded first
            pair = f"{quote_plus(client_id)}:{quote_plus(self._secret)}"
            headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        return await self._ask("POST", url, form, headers)

    async def _ask(
        self, method: str, url: str, form: dict[str, str] | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Status and JSON, None if it is none. Raises Refusal where no answer came."""
        sent = {"accept": "application/json", **(headers or {})}
        body = b""
        try:
            async with self._client.stream(method, url, data=form, headers=sent) as response:
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > MAX_BYTES:
                        raise unavailable(f"identity provider: more than {MAX_BYTES} bytes")
        except httpx.HTTPError as error:
            raise unavailable(f"identity provider: {type(error).__name__}") from None
        try:
            return response.status_code, json.loads(body)
        except (ValueError, RecursionError):
            return response.status_code, None
