"""Credentials of AWS: from STS, from the container's or the instance's endpoint, from a profile.

https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
"""

import configparser
import os
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from extproc.config.schema_clouds import aws_domain
from extproc.policy.keys.places import NotFetched
from extproc.providers.cloud_credentials import CredentialSpec, aws_keys
from extproc.providers.sigv4 import DIGEST, AwsKeys, Scope, Signer, digest
from extproc.supervisor.clouds.http import Fetched, Json, Request, ask, form, read_json, text

INSTANCE = "http://169.254.169.254"
CONTAINER = "http://169.254.170.2"
# https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
_CONTAINER_HOSTS = re.compile(r"localhost|127(\.\d{1,3}){3}|::1|169\.254\.170\.(2|23)|fd00:ec2::23")
_ROLES = "/latest/meta-data/iam/security-credentials/"
_SECONDS = 3600
_FOREVER = 10 * 365 * 86400.0
Environ = Mapping[str, str]


class AwsCredentials:
    """Fetches what a specification says. `clock`: Unix seconds."""

    def __init__(self, spec: CredentialSpec, environ: Environ, clock: Callable[[], float]) -> None:
        assert spec.auth.aws is not None
        self._spec = spec
        self._aws = spec.auth.aws
        self._environ = environ
        self._clock = clock

    async def fetch(self) -> Fetched:
        """Raises NotFetched."""
        base = await self._base()
        if self._aws.role is None:
            return base
        assert isinstance(base.credential, AwsKeys)
        return await self._assume(self._aws.role, base.credential, self._aws.external_id)

    async def _base(self) -> Fetched:
        aws = self._aws
        if aws.keys is not None:
            return self._lasting(aws_keys(self._spec.secrets))
        if aws.profile is not None:
            return await self._profile(aws.profile)
        if aws.web_identity is not None:
            token = read_token(self._spec.files["aws.web_identity.token"])
            return await self._by_web_identity(aws.web_identity.role, token)
        return await (self._container() if aws.container else self._instance())

    def _lasting(self, keys: AwsKeys) -> Fetched:
        return Fetched(keys, self._clock() + _FOREVER)

    async def _assume(self, role: str, keys: AwsKeys, external_id: str | None) -> Fetched:
        fields = {"Action": "AssumeRole", "RoleArn": role, **({"ExternalId": external_id} if external_id else {})}
        request = self._sts(fields)
        headers = {**request.headers, DIGEST: digest(request.body)}
        signer = Signer(keys, Scope(self._spec.region, "sts"))
        headers |= signer.sign("POST", request.url, headers, self._clock())
        return _from_sts(await ask(_with(request, headers), self._spec.roots))

    async def _by_web_identity(self, role: str, token: str) -> Fetched:
        fields = {"Action": "AssumeRoleWithWebIdentity", "RoleArn": role, "WebIdentityToken": token}
        return _from_sts(await ask(self._sts(fields), self._spec.roots))

    def _sts(self, fields: Mapping[str, str]) -> Request:
        region = self._spec.region
        url = self._spec.auth.endpoint or f"https://sts.{region}.{aws_domain(region)}/"
        # https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html; an hour is what every role allows,
        # and all that a role may have which was assumed by another.
        always = {"Version": "2011-06-15", "RoleSessionName": self._aws.session, "DurationSeconds": str(_SECONDS)}
        return form(url, {**always, **fields})

    async def _container(self) -> Fetched:
        environ = self._environ
        url = self._spec.auth.endpoint or environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
        if not url:
            relative = environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "")
            if not relative.startswith("/"):
                raise NotFetched("AWS_CONTAINER_CREDENTIALS_FULL_URI and _RELATIVE_URI are not set")
            url = CONTAINER + relative
        parts = urlsplit(url)
        # Without this check, whoever can set the variable could have the token sent to any host.
        if parts.scheme != "https" and not _CONTAINER_HOSTS.fullmatch(parts.hostname or ""):
            raise NotFetched("the container's endpoint is neither HTTPS nor one of AWS's addresses")
        file = environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
        token = read_token(Path(file)) if file else environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
        # As it is, without `Bearer`.
        headers = {"authorization": token} if token else {}
        return _from_endpoint(read_json(await ask(Request(url=url, headers=headers), self._spec.roots)))

    async def _instance(self) -> Fetched:
        """IMDSv2: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html"""
        base = (self._spec.auth.endpoint or INSTANCE).rstrip("/")
        # The longest that AWS allows, in seconds. The token is used at once, and a new one is asked for next time.
        lasts = {"x-aws-ec2-metadata-token-ttl-seconds": "21600"}
        # With the instance's hop limit at 1 the answer never reaches a container, and this ends in a timeout.
        token = await ask(Request(url=f"{base}/latest/api/token", method="PUT", headers=lasts))
        headers = {"x-aws-ec2-metadata-token": text({"token": token.decode("latin-1")}, "token")}
        roles = (await ask(Request(url=base + _ROLES, headers=headers))).decode("latin-1").split()
        if not roles or not re.fullmatch(r"[\w+=,.@-]+", roles[0]):
            raise NotFetched("the instance has no role")
        found = read_json(await ask(Request(url=f"{base}{_ROLES}{roles[0]}", headers=headers)))
        if found.get("Code", "Success") != "Success":
            raise NotFetched("the instance's role has no credentials")
        return _from_endpoint(found)

    async def _profile(self, name: str, seen: tuple[str, ...] = ()) -> Fetched:
        """https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html"""
        if name in seen:
            raise NotFetched("the profiles refer to each other in a circle")
        keys = _profile(self._environ, name)
        role = keys.get("role_arn")
        if role and (token := keys.get("web_identity_token_file")):
            return await self._by_web_identity(role, read_token(Path(token)))
        if role and (source := keys.get("source_profile")):
            own = {one: value for one, value in keys.items() if one.startswith("aws_")}
            base = self._static(own) if source == name else await self._profile(source, (*seen, name))
            assert isinstance(base.credential, AwsKeys)
            return await self._assume(role, base.credential, keys.get("external_id"))
        if role:
            raise NotFetched("of a profile's roles, only those with source_profile or web_identity_token_file are used")
        return self._static(keys)

    def _static(self, keys: Mapping[str, str]) -> Fetched:
        try:
            found = AwsKeys(keys["aws_access_key_id"], keys["aws_secret_access_key"], keys.get("aws_session_token", ""))
        except KeyError:
            raise NotFetched("the profile has no keys; sign-in by SSO and credential_process are not used") from None
        # Somebody else may replace temporary keys in the file: it is read again soon.
        return Fetched(found, self._clock() + _SECONDS) if found.session_token else self._lasting(found)


def _with(request: Request, headers: Mapping[str, str]) -> Request:
    return Request(url=request.url, method=request.method, headers=headers, body=request.body)


def _profile(environ: Environ, name: str) -> dict[str, str]:
    home = Path(environ.get("HOME", "~")).expanduser() / ".aws"
    credentials = Path(environ.get("AWS_SHARED_CREDENTIALS_FILE", home / "credentials"))
    config = Path(environ.get("AWS_CONFIG_FILE", home / "config"))
    # The two files name the same profile in different ways, and the file of credentials wins.
    in_config = name if name == "default" else f"profile {name}"
    found: dict[str, str] = {}
    for path, section in ((config, in_config), (credentials, name)):
        # Raw, because others take a `%` in a value for an interpolation.
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(path.read_text("utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError, configparser.Error):
            raise NotFetched(f"the file of profiles {path} cannot be read") from None
        if parser.has_section(section):
            found |= dict(parser.items(section))
    if not found:
        raise NotFetched(f"there is no profile {name!r}")
    return found


def read_token(path: Path) -> str:
    """Raises NotFetched."""
    try:
        return text({"the token": path.expanduser().read_text("ascii").strip()}, "the token")
    except (OSError, UnicodeDecodeError) as error:
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "not ASCII"
        raise NotFetched(f"the file with the token cannot be read: {why}") from None


def _from_sts(body: bytes) -> Fetched:
    """STS answers in XML; its values hold no markup."""
    xml = body.decode("utf-8", "replace")

    def value(name: str) -> str:
        found = re.search(rf"<{name}>\s*([^<>&\s]+)\s*</{name}>", xml)
        return text({name: found[1] if found else ""}, name)

    keys = AwsKeys(value("AccessKeyId"), value("SecretAccessKey"), value("SessionToken"))
    return Fetched(keys, moment(value("Expiration")))


def _from_endpoint(found: Json) -> Fetched:
    keys = AwsKeys(text(found, "AccessKeyId"), text(found, "SecretAccessKey"), text(found, "Token"))
    return Fetched(keys, moment(text(found, "Expiration")))


def moment(written: str) -> float:
    """Unix seconds of an RFC 3339 moment. Raises NotFetched."""
    try:
        at = datetime.fromisoformat(written)
    except ValueError:
        raise NotFetched("the end of the credential is no moment") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
