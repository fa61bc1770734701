"""Access tokens of Google Cloud, by the kinds of credential files that Google has, or from the metadata server.

https://google.aip.dev/auth
"""

import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import jwt
import msgspec

from extproc.policy.keys.places import NotFetched
from extproc.providers.cloud_credentials import CredentialSpec, HeaderCredential, bearer
from extproc.supervisor.clouds.aws import moment
from extproc.supervisor.clouds.http import Fetched, Json, Request, ask, endpoint, form, read_json, seconds, text

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
# Plain HTTP, within the machine's own network: https://cloud.google.com/compute/docs/metadata/overview.
METADATA = "http://metadata.google.internal"
TOKENS = "https://oauth2.googleapis.com/token"
_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"
_SECONDS = 3600
_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_REQUESTED = "urn:ietf:params:oauth:token-type:access_token"


class GoogleCredentials:
    """Fetches what a specification says. `clock`: Unix seconds."""

    def __init__(self, spec: CredentialSpec, clock: Callable[[], float]) -> None:
        assert spec.auth.google is not None
        self._spec = spec
        self._clock = clock

    async def fetch(self) -> Fetched:
        """Raises NotFetched."""
        google = self._spec.auth.google
        assert google is not None
        if google.metadata:
            return await self._from_metadata()
        if google.service_account is not None:
            return await self._by_service_account(read_json(self._spec.secrets["google.service_account"].encode()))
        kind = "workload_identity" if google.workload_identity is not None else "adc"
        return await self._by_file(read_json(_contents(self._spec.files[f"google.{kind}"])))

    async def _by_file(self, found: Json) -> Fetched:
        match found.get("type"):
            case "service_account":
                return await self._by_service_account(found)
            case "authorized_user":
                return await self._by_refresh_token(found)
            case "external_account":
                return await self._by_exchange(found)
            case _:
                raise NotFetched("expected the type service_account, authorized_user or external_account")

    async def _by_service_account(self, key: Json) -> Fetched:
        """https://developers.google.com/identity/protocols/oauth2/service-account#httprest"""
        where = endpoint(self._spec.auth.endpoint or text(key, "token_uri"))
        now = int(self._clock())
        # The audience is Google's own name for the endpoint, wherever it is asked.
        claims: Json = {"iss": text(key, "client_email"), "scope": SCOPE, "aud": text(key, "token_uri")}
        claims |= {"iat": now, "exp": now + _SECONDS}
        try:
            signed = jwt.encode(claims, _private_key(key), "RS256", {"kid": text(key, "private_key_id")})
        except (jwt.PyJWTError, ValueError, TypeError):
            raise NotFetched("the service account's private_key cannot be used") from None
        return await self._token(form(where, {"grant_type": _JWT_BEARER, "assertion": signed}))

    async def _by_refresh_token(self, user: Json) -> Fetched:
        fields = {name: text(user, name) for name in ("client_id", "client_secret", "refresh_token")}
        where = self._spec.auth.endpoint or TOKENS
        return await self._token(form(where, {"grant_type": "refresh_token", **fields}))

    async def _by_exchange(self, account: Json) -> Fetched:
        """https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token"""
        source = account.get("credential_source")
        fields = {
            "grant_type": _EXCHANGE,
            "audience": text(account, "audience"),
            "scope": SCOPE,
            "requested_token_type": _REQUESTED,
            "subject_token_type": text(account, "subject_token_type"),
            "subject_token": await self._subject(source if isinstance(source, dict) else {}),
        }
        found = await self._token(form(endpoint(self._spec.auth.endpoint or text(account, "token_url")), fields))
        if not account.get("service_account_impersonation_url"):
            return found
        return await self._impersonated(endpoint(text(account, "service_account_impersonation_url")), found)

    async def _subject(self, source: Json) -> str:
        """The other issuer's token."""
        if isinstance(source.get("file"), str):
            body = _contents(Path(source["file"]))
        elif isinstance(source.get("url"), str):
            headers = source.get("headers")
            named = {str(name): str(value) for name, value in headers.items()} if isinstance(headers, dict) else {}
            body = await ask(Request(url=endpoint(source["url"]), headers=named), self._spec.roots)
        else:
            raise NotFetched("credential_source has neither a file nor a url; others are not used")
        shape = source.get("format")
        if isinstance(shape, dict) and shape.get("type") == "json":
            return text(read_json(body), str(shape.get("subject_token_field_name")))
        return text({"the token": body.decode("utf-8", "replace").strip()}, "the token")

    async def _impersonated(self, url: str, caller: Fetched) -> Fetched:
        """https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken"""
        assert isinstance(caller.credential, HeaderCredential)
        headers = {"content-type": "application/json", caller.credential.name: caller.credential.value}
        body = msgspec.json.encode({"scope": [SCOPE], "lifetime": f"{_SECONDS}s"})
        found = read_json(await ask(Request(url=url, method="POST", headers=headers, body=body), self._spec.roots))
        return Fetched(bearer(text(found, "accessToken")), moment(text(found, "expireTime")))

    async def _from_metadata(self) -> Fetched:
        """https://cloud.google.com/compute/docs/access/authenticate-workloads#applications"""
        base = (self._spec.auth.endpoint or METADATA).rstrip("/")
        url = f"{base}{_PATH}?{urlencode({'scopes': SCOPE})}"
        # Required against SSRF: whoever makes a server fetch a URL must not get a token.
        return await self._token(Request(url=url, headers={"metadata-flavor": "Google"}))

    async def _token(self, request: Request) -> Fetched:
        began = self._clock()
        found = read_json(await ask(request, self._spec.roots))
        return Fetched(bearer(text(found, "access_token")), began + seconds(found, "expires_in"))


def _private_key(key: Json) -> str:
    """PEM has lines. Raises TypeError."""
    value = key.get("private_key")
    if not isinstance(value, str):
        raise TypeError
    return value


def _contents(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotFetched(f"a file cannot be read: {os.strerror(error.errno or 0)}") from None
