"""The keys of a provider that is a company's cloud, and the address that follows from them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

from extproc.config.schema_tls import STRICT
from extproc.config.schema_values import KeyUrl, Secret, SecretFile

Cloud = Literal[
    "aws-bedrock", "aws-bedrock-mantle", "aws-claude-platform", "google-vertex", "azure-openai", "azure-foundry"
]

# Region -> its partition's domain and the domain of services that have been added since, as botocore has them.
_PARTITIONS: tuple[tuple[str, str, str], ...] = (
    ("cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    ("eusc-", "amazonaws.eu", "api.amazonwebservices.eu"),
    ("us-isob-", "sc2s.sgov.gov", "api.aws.scloud"),
    ("us-iso-", "c2s.ic.gov", "api.aws.ic.gov"),
    ("us-isof-", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
    ("", "amazonaws.com", "api.aws"),  # aws and aws-us-gov
)
_MULTI_REGIONS = ("eu", "us")
"""Locations of Vertex AI that are several regions, with hosts of another form, as Anthropic's SDK has them."""


def aws_domain(region: str, *, newer: bool = False) -> str:
    """Returns the domain below which the endpoints of a region are. `newer`: that of services whose endpoints have
    IPv6 from the beginning."""
    _, domain, new = next(row for row in _PARTITIONS if region.startswith(row[0]))
    return new if newer else domain


class _Strict(BaseModel):
    model_config = STRICT


def _exactly_one(section: BaseModel, names: tuple[str, ...]) -> str:
    """Returns the name of the key that is set. Raises ValueError."""
    found = [name for name in names if getattr(section, name)]
    if len(found) != 1:
        raise ValueError(f"expected exactly one of: {', '.join(names)}")
    return found[0]


_Arn = Annotated[str, Field(pattern=r"^arn:[a-z0-9-]+:iam::\d{12}:role/.+$", max_length=2048)]
_Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,255}$")]


class AwsKeys(_Strict):
    """Keys of a user or of a session."""

    access_key_id: Secret
    """The id, which is no secret, but comes from the same place."""
    secret_access_key: Secret
    """The key."""
    session_token: Secret | None = None
    """The token of temporary keys."""


class AwsWebIdentity(_Strict):
    """A role for the token of another issuer, such as a Kubernetes service account (IRSA)."""

    role: _Arn
    """The role that is assumed."""
    token: SecretFile
    """The token's file. It is read again each time."""


class Aws(_Strict):
    """A credential of AWS. The gateway looks in no other place than the one that is named here."""

    keys: AwsKeys | None = None
    """Keys that are given."""
    profile: str | None = Field(None, min_length=1)
    """A profile of `~/.aws/credentials` and `~/.aws/config`, or of the files that AWS_SHARED_CREDENTIALS_FILE and
    AWS_CONFIG_FILE name."""
    web_identity: AwsWebIdentity | None = None
    """A role for a token in a file."""
    container: bool = False
    """The endpoint of ECS or of EKS Pod Identity that AWS_CONTAINER_CREDENTIALS_FULL_URI or _RELATIVE_URI names."""
    instance: bool = False
    """The metadata service of the EC2 instance (IMDSv2)."""
    api_key: Secret | None = None
    """An API key of Bedrock or of Claude Platform on AWS, in the place of a signature."""
    role: _Arn | None = None
    """A role that is assumed with `keys`, `profile`, `container` or `instance`."""
    session: str = Field("llm-extproc", pattern=r"^[A-Za-z0-9_+=,.@-]{2,64}$")
    """The name of the role's sessions, which AWS writes into its own logs."""
    external_id: str | None = Field(None, pattern=r"^[A-Za-z0-9_+=,.@:/-]+$", min_length=2, max_length=1224)
    """The external id that the role's trust policy asks for."""

    @model_validator(mode="after")
    def _complete(self) -> "Aws":
        base = _exactly_one(self, ("keys", "profile", "web_identity", "container", "instance", "api_key"))
        if self.role and base in ("web_identity", "api_key"):
            raise ValueError(f"role: not with {base}")
        return self


class Google(_Strict):
    """A credential of Google Cloud."""

    service_account: Secret | None = None
    """The JSON key of a service account."""
    workload_identity: SecretFile | None = None
    """A configuration of workload identity federation, as `gcloud iam workload-identity-pools create-cred-config`
    writes it: the token of another issuer, from a file or a URL, for one of Google's."""
    adc: SecretFile | None = None
    """The file that `gcloud auth application-default login` writes."""
    metadata: bool = False
    """The metadata server of the machine, or of GKE."""

    @model_validator(mode="after")
    def _complete(self) -> "Google":
        _exactly_one(self, ("service_account", "workload_identity", "adc", "metadata"))
        return self


class AzureClient(_Strict):
    """An application of Microsoft Entra ID with a secret."""

    tenant: _Id
    """Id of the tenant, or its domain."""
    client_id: _Id
    """Id of the application."""
    secret: Secret
    """The application's secret."""


class AzureWorkload(_Strict):
    """An application that trusts the token of another issuer, such as a Kubernetes service account."""

    tenant: _Id
    """Id of the tenant, or its domain."""
    client_id: _Id
    """Id of the application or of the user-assigned managed identity."""
    token: SecretFile
    """The token's file. It is read again each time."""


class ManagedIdentity(_Strict):
    """The managed identity of the machine or of the App Service."""

    client_id: _Id | None = None
    """Id of a user-assigned identity; absent: the system-assigned one."""


class Azure(_Strict):
    """A credential of Azure."""

    key: Secret | None = None
    """A key of the resource."""
    client: AzureClient | None = None
    """An application and its secret."""
    workload_identity: AzureWorkload | None = None
    """An application for a token in a file."""
    managed_identity: ManagedIdentity | None = None
    """The managed identity of the machine; `{}` for the system-assigned one."""
    scope: str | None = Field(None, pattern=r"^https://[^\s]+$")
    """What the token is for. Absent: `https://cognitiveservices.azure.com/.default` for azure-openai,
    `https://ai.azure.com/.default` for azure-foundry."""

    @model_validator(mode="after")
    def _complete(self) -> "Azure":
        _exactly_one(self, ("key", "client", "workload_identity", "managed_identity"))
        return self


class CloudAuth(_Strict):
    """The credential of a cloud. Tokens are fetched and renewed by one process for all workers."""

    aws: Aws | None = None
    """For the clouds of AWS."""
    google: Google | None = None
    """For Vertex AI."""
    azure: Azure | None = None
    """For Azure OpenAI and Foundry."""
    endpoint: KeyUrl | None = None
    """Where the token is asked for, in the place of the cloud's usual endpoint: a private STS endpoint, the authority
    of a national cloud. HTTPS, or plain HTTP on this machine."""
    ca_file: Path | None = None
    """Trusted roots for that endpoint instead of the public ones."""

    @model_validator(mode="after")
    def _complete(self) -> "CloudAuth":
        _exactly_one(self, ("aws", "google", "azure"))
        return self


_REQUIRED: dict[str, tuple[str, ...]] = {
    "aws-bedrock": ("region",),
    "aws-bedrock-mantle": ("region",),
    "aws-claude-platform": ("region", "workspace"),
    "google-vertex": ("project", "location"),
    "azure-openai": ("base_url",),
    "azure-foundry": ("base_url",),
}
_OPTIONAL: dict[str, tuple[str, ...]] = {"azure-openai": ("api_version",)}
_OWN = ("region", "project", "location", "workspace", "api_version")
DIALECTS: dict[str, tuple[str, ...]] = {
    "aws-bedrock": ("messages", "chat", "responses"),
    "aws-bedrock-mantle": ("messages",),
    "aws-claude-platform": ("messages",),
    "google-vertex": ("messages", "chat"),
    "azure-openai": ("chat", "responses"),
    "azure-foundry": ("messages",),
}
"""The dialects in which each cloud's models are asked."""
_ENDPOINT_PATHS = re.compile(r"(/openai)?(/anthropic)?(/v1)?/?$")


class CloudKeys(BaseModel):
    """The keys that only a cloud has; part of a provider."""

    cloud: Cloud | None = None
    """The cloud that serves the models: its endpoints, signatures and tokens. Absent: a server with a key."""
    region: str | None = Field(None, pattern=r"^[a-z]{2,8}(-[a-z0-9]+)+-\d+$")
    """AWS: the region."""
    project: str | None = Field(None, pattern=r"^[a-z0-9.:-]{1,63}$")
    """Google: id of the project."""
    location: str | None = Field(None, pattern=r"^[a-z0-9-]{1,40}$")
    """Google: a region, `global`, `us` or `eu`."""
    workspace: str | None = Field(None, pattern=r"^[A-Za-z0-9_-]{1,128}$")
    """Claude Platform on AWS: id of the workspace."""
    api_version: str | None = Field(None, pattern=r"^\d{4}-\d{2}-\d{2}(-preview)?$")
    """Azure OpenAI: the version of the older API, with deployments in the path. Absent: the `v1` API."""
    auth: CloudAuth | None = None
    """The credential of the cloud."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        cloud = value.get("cloud")
        if cloud is None:
            only = [name for name in (*_OWN, "auth") if value.get(name) is not None]
            if only:
                raise ValueError(f"{', '.join(only)}: only with `cloud`")
            return value
        is_known = isinstance(cloud, str) and cloud in _REQUIRED  # another one is refused by its type
        return {**value, "base_url": _address(cloud, value)} if is_known else value

    @model_validator(mode="after")
    def _fits(self) -> "CloudKeys":
        if self.cloud is None:
            return self
        spoken = getattr(self, "dialects", ())
        if foreign := [name for name in spoken if name not in DIALECTS[self.cloud]]:
            known = ", ".join(DIALECTS[self.cloud])
            raise ValueError(f"dialects: {self.cloud} does not speak {', '.join(foreign)}; it speaks: {known}")
        vendor = self.cloud.partition("-")[0]
        if self.auth is not None and getattr(self.auth, vendor) is None:
            raise ValueError(f"auth: {self.cloud} needs auth.{vendor}")
        if any(getattr(self, name, None) is not None for name in ("api_key", "key_header")):
            raise ValueError("api_key, key_header: a cloud's credential is in `auth`")
        return self


def _address(cloud: str, keys: Mapping[str, Any]) -> Any:
    """Returns the base URL. Raises ValueError for keys that are missing or of another cloud."""
    missing = [name for name in _REQUIRED[cloud] if not keys.get(name)]
    if missing:
        raise ValueError(f"{', '.join(missing)}: required for {cloud}")
    known = (*_REQUIRED[cloud], *_OPTIONAL.get(cloud, ()))
    if foreign := [name for name in _OWN if keys.get(name) is not None and name not in known]:
        raise ValueError(f"{', '.join(foreign)}: not for {cloud}")
    url = keys.get("base_url")
    if isinstance(url, str):
        # Vendors' pages show it with the beginning of the path, which depends on the call.
        return _ENDPOINT_PATHS.sub("", url.rstrip("/"))
    return url if url is not None else usual_address(cloud, str(keys.get("region")), str(keys.get("location")))


def usual_address(cloud: str, region: str, location: str) -> str:
    """The public endpoint of a cloud that has one."""
    if cloud == "aws-bedrock":
        return f"https://bedrock-runtime.{region}.{aws_domain(region)}"
    if cloud == "aws-bedrock-mantle":
        return f"https://bedrock-mantle.{region}.{aws_domain(region, newer=True)}"
    if cloud == "aws-claude-platform":
        return f"https://aws-external-anthropic.{region}.{aws_domain(region, newer=True)}"
    if location in _MULTI_REGIONS:
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{'' if location == 'global' else location + '-'}aiplatform.googleapis.com"
