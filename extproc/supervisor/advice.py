"""What is no mistake in a configuration, but what an operator will want to know: `extproc check` prints it, and a start
logs it."""

import re
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel

from extproc.config import schema, schema_providers, schema_values
from extproc.config.faults import Where
from extproc.config.loading import Source
from extproc.config.schema_tls import Tls
from extproc.gateway.gateway import Gateway
from extproc.providers.catalogue import profile_of
from extproc.store.opening import FOLDER
from extproc.wire import Dialect, dialects

_CALLER_ID = re.compile(r"\bcaller\s*\.\s*id\b")


def warnings(gateway: Gateway) -> list[str]:
    """One a line: file, line, key, and what is unwise about it."""
    source = gateway.source
    found = [*_misaddressed(gateway), *_exposed(gateway), *_without_keys(gateway), *_ambiguous(gateway)]
    found += [*_of_sign_in(source), *gateway.managed_settings.unknown, *_unlisted(gateway), *_of_clouds(gateway)]
    found += _of_admin(source)
    return [f"{source.place(where)}: {'.'.join(map(str, where))}: {text}" for where, text in found]


def _of_sign_in(source: Source) -> Iterator[tuple[Where, str]]:
    settings, store = source.config.sign_in, source.config.store
    if settings is None:
        return
    if not settings.allow:
        yield ("sign_in",), "without `allow`, everybody with an account at the issuer can sign in"
    if store.redis is not None and settings.signing_key is None:
        yield (
            ("sign_in", "signing_key"),
            "is absent, so the private key is kept in Redis; whoever reads it there is anyone",
        )
    folder = source.path.parent / (store.folder or FOLDER)
    if store.redis is None and _is_world_readable(folder):
        yield ("store", "folder"), f"every user of this machine can enter {folder}; take that away: chmod 700 {folder}"


def _of_admin(source: Source) -> Iterator[tuple[Where, str]]:
    settings = source.config.admin
    if settings is not None and not source.config.budgets:
        yield ("admin",), "there are no `budgets`, so there is nothing to administer"
    if settings is not None and not settings.allow:
        yield ("admin",), "without `allow`, nobody may use its API"


def _misaddressed(gateway: Gateway) -> Iterator[tuple[Where, str]]:
    for name, provider in gateway.source.config.providers.items():
        if provider.cloud is not None:
            continue
        problem = _base_url(provider.base_url, below_v1=_serve_below_v1(provider))
        if problem:
            yield ("providers", name, "base_url"), problem


def _endpoints() -> tuple[str, ...]:
    """What people copy along with a base URL."""
    served = (row.provider_path.removeprefix("/v1") for row in dialects.rows())
    return (*served, "/completions", "/embeddings", "/models")


def _serve_below_v1(provider: schema_providers.Provider) -> bool:
    """Whether a dialect of the provider's leaves `/v1` to the base URL."""
    return any(not dialects.row(name).provider_path.startswith("/v1/") for name in provider.dialects)


def _base_url(url: str, *, below_v1: bool) -> str:
    path = urlsplit(url).path
    endpoint = next((end for end in _endpoints() if path.endswith(end)), None)
    if endpoint is not None:
        return f"ends in an endpoint, and {endpoint} would be added once more; probably {url.removesuffix(endpoint)}"
    if not path and below_v1:
        return f"most servers serve below /v1; probably {url}/v1"
    return ""


def _exposed(gateway: Gateway) -> Iterator[tuple[Where, str]]:
    for where, path in _secret_files(gateway.source.config, ()):
        if _is_world_readable(gateway.source.resolve(path)):
            yield where, f"every user of this machine can read {path}; take that away: chmod o= {path}"


def _secret_files(value: object, where: Where) -> Iterator[tuple[Where, Path]]:
    """Files that hold secrets, hashes of static keys included."""
    match value:
        case (
            schema_values.Secret(file=Path() as path) | schema_values.SecretFile(file=path) | schema.ApiKeys(file=path)
        ):
            yield (*where, "file"), path
        case Tls(key=path):
            yield (*where, "key"), path
        case BaseModel():
            for name in type(value).model_fields:
                yield from _secret_files(getattr(value, name), (*where, name))
        case dict():
            for name, inner in value.items():
                yield from _secret_files(inner, (*where, name))
        case list():
            for index, inner in enumerate(value):
                yield from _secret_files(inner, (*where, index))
        case _:
            pass


def _is_world_readable(path: Path) -> bool:
    """Others may read it, and may enter all folders above it."""
    try:
        folders = [folder.stat().st_mode & stat.S_IXOTH for folder in path.resolve().parents]
        return bool(path.stat().st_mode & stat.S_IROTH) and all(folders)
    except OSError:
        return False


def _without_keys(gateway: Gateway) -> Iterator[tuple[Where, str]]:
    for where in gateway.without_keys:
        yield where, "there is no key in it: every credential that it is for is refused"


def _unlisted(gateway: Gateway) -> Iterator[tuple[Where, str]]:
    """Patterns of models, where managed settings list the models that a caller may use."""
    if not gateway.managed_settings.lists_models:
        return
    for rule in gateway.catalogue.rules:
        if "*" in rule.settings.name and not rule.settings.aliases:
            problem = (
                "managed settings cannot list what `*` stands for: give the names that clients are to see as aliases"
            )
            yield ("models", rule.index, "name"), problem


def _ambiguous(gateway: Gateway) -> Iterator[tuple[Where, str]]:
    if len(gateway.source.config.authentication.jwt) < 2:
        return
    for rule in gateway.rules.every():
        if _CALLER_ID.search(rule.text) and "jwt.iss" not in rule.text:
            yield rule.where, "two issuers may give the same caller.id; compare jwt.iss, too"


# Prefixes of cross-region inference on Bedrock, and how the regions begin from which they can be called:
# https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html
_CALLED_FROM = {
    "us": ("us-", "ca-"),
    "eu": ("eu-",),
    "apac": ("ap-",),
    "jp": ("ap-northeast-",),
    "au": ("ap-southeast-",),
    "us-gov": ("us-gov-",),
}


def _of_clouds(gateway: Gateway) -> Iterator[tuple[Where, str]]:
    """What a cloud is known to refuse."""
    settings = gateway.source.config.providers
    for name, provider in settings.items():
        if provider.cloud is not None and provider.auth is None:
            yield ("providers", name, "cloud"), "there is no `auth`: calls go out without a credential"
    for rule in gateway.catalogue.rules:
        asked, model = settings[rule.provider.name], rule.settings.model or rule.settings.name
        if asked.cloud is None or "*" in model:
            continue
        where: Where = ("models", rule.index, "model" if rule.settings.model else "name")
        if problem := _model_id(asked, rule.dialects[0], model):
            yield where, problem
        refused = profile_of(rule, model, gateway.source.config).refused_members
        for section in ("defaults", "overrides"):
            for member in getattr(rule.settings, section).keys() & set(refused):
                yield ("models", rule.index, section, member), f"{asked.cloud} refuses this member; it is left out"


def _model_id(provider: schema_providers.Provider, dialect: Dialect, model: str) -> str:
    """What is wrong with the form of a model's id; empty: nothing is known to be."""
    match provider.cloud, dialect:
        case "aws-bedrock", "messages":
            return _bedrock_id(provider.region or "", model)
        case "google-vertex", "messages" if "." in model or ":" in model:
            return "Vertex AI's ids of Claude have the form claude-sonnet-4-5@20250929, or no date"
        case "google-vertex", "chat" if "/" not in model:
            return f"Vertex AI's ids name the publisher here; probably google/{model}"
        case _:
            return ""


def _bedrock_id(region: str, model: str) -> str:
    if model.startswith("arn:"):
        return ""
    prefix, found, _ = model.partition(".anthropic.")
    if not found:
        base = model.startswith("anthropic.")
        example = f"eu.{model}" if base else "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
        problem = "most models are served through an inference profile only" if base else "Bedrock has no such id"
        return f"{problem}; an id has the form {example}, or is an ARN"
    beginnings = _CALLED_FROM.get(prefix, ("",))
    return "" if region.startswith(beginnings) else f"{prefix}. cannot be called from {region}"
