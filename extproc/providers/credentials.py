"""Secrets that the configuration points at, and the credentials of providers that are made of them."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
from pydantic import BaseModel

from extproc.config import authorities, schema_providers, schema_values
from extproc.config.faults import Fault, Where
from extproc.config.loading import Source
from extproc.config.schema_clouds import CloudAuth
from extproc.providers import clouds
from extproc.providers.cloud_credentials import (
    CloudAccess,
    CloudCredential,
    CredentialSpec,
    Given,
    HeaderCredential,
    Sent,
    SentCredentials,
    aws_keys,
    bearer,
)
from extproc.providers.providers import Credential
from extproc.wire import untrusted

M = TypeVar("M", bound=BaseModel)
_MIN_PATH = 12


def _shown(source: Source, file: Path) -> str:
    """`file: "${KEY}"` is easily written for `env: KEY`: what does not look like a path is not quoted."""
    named = file.suffix or len(str(file)) < _MIN_PATH or (len(file.parts) > 1 and source.resolve(file).parent.is_dir())
    return f"the file {file}" if named else "the file of that name"


WITHHELD = "withheld"


def withheld_files(source: Source) -> set[Path]:
    """Files with keys of providers, which a process that makes no calls to models is not given."""
    return {source.resolve(key.file) for key in of_providers(source) if key.file is not None}


def withheld_variables(source: Source) -> dict[str, str]:
    """The same for variables of the environment: what stands in their place."""
    return {key.env: WITHHELD for key in of_providers(source) if key.env is not None}


def of_providers(source: Source) -> Iterator[schema_values.Secret]:
    """Yields where each key of a provider comes from, those of clouds included."""
    for provider in source.config.providers.values():
        if provider.api_key is not None:
            yield provider.api_key
        if provider.auth is not None:
            yield from (secret for _, secret in members(provider.auth, schema_values.Secret))


def members(section: BaseModel, kind: type[M], above: str = "") -> Iterator[tuple[str, M]]:
    """Yields the parts of a section that are of a kind, with their dotted keys."""
    for key in type(section).model_fields:
        match getattr(section, key):
            case BaseModel() as inner if isinstance(inner, kind):
                yield above + key, inner
            case BaseModel() as inner:
                yield from members(inner, kind, f"{above}{key}.")
            case _:
                pass


def load(  # noqa: PLR0913 - the last has a default
    source: Source,
    secret: schema_values.Secret,
    where: Where,
    environ: Mapping[str, str],
    faults: list[Fault],
    *,
    one_line: bool = True,
) -> Credential | None:
    """The secret that the configuration points at. Adds to `faults` where there is none, or none that is usable.
    `one_line`: it is to be the value of a header."""
    if secret.env is not None:
        value, origin = environ.get(secret.env, ""), f"the environment variable {secret.env}"
    else:
        assert secret.file is not None
        try:
            value, origin = source.read(secret.file).decode("utf-8"), f"the file {secret.file}"
        except PermissionError:
            problem = f"{_shown(source, secret.file)} cannot be read by user {os.getuid()}, as whom this runs"
            faults.append(Fault(where, f"{problem}: give it the file (chown) or the right to read it (chmod)"))
            return None
        except (OSError, UnicodeDecodeError):
            faults.append(Fault(where, f"{_shown(source, secret.file)} cannot be read"))
            return None
    value = value.strip()
    if not value:
        faults.append(Fault(where, f"{origin} is not set or empty"))
    elif one_line and not (value.isascii() and value.isprintable()):
        faults.append(Fault(where, f"{origin} holds characters that no header can carry"))
    return Credential(value)


def cloud_access(
    source: Source, name: str, environ: Mapping[str, str], sent: SentCredentials, faults: list[Fault]
) -> CloudAccess | None:
    """Returns what authenticates calls to a provider's cloud; None: they go without a credential. Adds to `faults`."""
    found = of_cloud(source, name, environ, faults)
    if found is None:
        return None
    if isinstance(found, HeaderCredential):
        return CloudAccess(Given(found))
    holder = Sent(sent, found) if isinstance(found, CredentialSpec) else Given(found)
    return CloudAccess(holder, clouds.scope(source.config.providers[name]))


def of_cloud(
    source: Source, name: str, environ: Mapping[str, str], faults: list[Fault]
) -> CloudCredential | CredentialSpec | None:
    """The credential of a provider's cloud, or how it is fetched; None: calls go without. Adds to `faults`."""
    settings = source.config.providers[name]
    if settings.auth is None:
        return None
    where: Where = ("providers", name, "auth")
    found = {}
    for path, secret in members(settings.auth, schema_values.Secret):
        one_line = path != "google.service_account"
        value = load(source, secret, (*where, *path.split(".")), environ, faults, one_line=one_line)
        found[path] = value.reveal() if value is not None else ""
    _check_key_file(found.get("google.service_account"), where, faults)
    return _given(settings, settings.auth, found) or _spec(source, name, found, faults)


def _check_key_file(text: str | None, where: Where, faults: list[Fault]) -> None:
    if text in (None, "", WITHHELD):
        return
    try:
        key = untrusted.decode(text or "")
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        key = None
    if not isinstance(key, dict) or key.get("type") != "service_account":
        faults.append(Fault((*where, "google", "service_account"), "expected the JSON key of a service account"))


def _given(settings: schema_providers.Provider, auth: CloudAuth, found: Mapping[str, str]) -> CloudCredential | None:
    """None: it has to be fetched."""
    if auth.azure is not None and auth.azure.key is not None:
        # Azure's name for the header, and Anthropic's, which Claude in Foundry reads.
        return HeaderCredential("api-key" if settings.cloud == "azure-openai" else "x-api-key", found["azure.key"])
    if auth.aws is not None and auth.aws.api_key is not None:
        return bearer(found["aws.api_key"])
    if auth.aws is not None and auth.aws.keys is not None and auth.aws.role is None:
        return aws_keys(found)
    return None


def _spec(source: Source, name: str, found: Mapping[str, str], faults: list[Fault]) -> CredentialSpec:
    settings = source.config.providers[name]
    auth = settings.auth
    assert auth is not None
    roots = authorities.load(source, auth.ca_file, ("providers", name, "auth", "ca_file"), faults)
    files = {
        path: (source.path.parent / secret.file).absolute() for path, secret in members(auth, schema_values.SecretFile)
    }
    known = [settings.cloud or "", settings.region or "", auth.model_dump_json(), roots or "", *found.values()]
    digest = hashlib.sha256("\0".join([name, *known]).encode()).hexdigest()
    azure = "https://ai.azure.com" if settings.cloud == "azure-foundry" else "https://cognitiveservices.azure.com"
    # An application without a user can ask Entra for no other scope than a service's `.default`:
    # https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
    scope = (auth.azure.scope if auth.azure else None) or f"{azure}/.default"
    return CredentialSpec(name, digest, auth, settings.region or "", scope, found, files, roots)
