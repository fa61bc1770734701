"""`extproc check --probe`: asks each provider for its models, with its key, as a call would, the token endpoints of
clouds for credentials, and the identity provider of the sign-in for its metadata and keys. The database of the ledger
and Redis are connected to."""

import asyncio
import os
import ssl
import time
from collections.abc import Iterator
from typing import Any

import httpx

from extproc.config import schema_providers
from extproc.config.authorities import trusting
from extproc.config.loading import Source
from extproc.envoy.configuration import system_roots
from extproc.gateway.gateway import Gateway
from extproc.policy.keys.places import NotFetched
from extproc.printable import show
from extproc.providers.cloud_credentials import CredentialSpec
from extproc.providers.providers import Provider
from extproc.sign_in.configuration import Configuration
from extproc.sign_in.provider import CALLBACK_PATH
from extproc.sign_in.provider import Provider as IdentityProvider
from extproc.sign_in.refusals import Refusal
from extproc.store.interface import StoreDown
from extproc.store.opening import open_store
from extproc.supervisor.clouds.keeper import fetch
from extproc.usage.opening import open_ledger
from extproc.wire import dialects

SECONDS = 10.0
SHOWN = 5


def run(gateway: Gateway) -> int:
    """Prints a line for each provider, and one for each model that it does not list. 1: some did not answer well."""
    return asyncio.run(_run(gateway))


async def _run(gateway: Gateway) -> int:
    settings = gateway.source.config.providers
    names = [name for name in gateway.providers if settings[name].cloud is None]
    asked = (_models(gateway.source, gateway.providers[name], settings[name]) for name in names)
    failed = False
    for name, found in zip(names, await asyncio.gather(*asked), strict=True):
        if isinstance(found, str):
            failed = True
            show(f"{name}: {found}")
            continue
        show(f"{name}: answers, {len(found)} models")
        for model in _unlisted(gateway, name, found):
            shown = ", ".join(found[:SHOWN]) + (", ..." if len(found) > SHOWN else "")
            show(f"{name}: {model!r} is not among them: {shown}")
    for spec in gateway.credentials:
        failed |= not await _credential(spec)
    if gateway.sign_in is not None:
        failed |= not await _identity_provider(gateway.sign_in)
    usage = gateway.source.config.usage
    if usage is not None and usage.postgresql is not None:
        failed |= not await asyncio.to_thread(_database, gateway.source)
    if gateway.source.config.store.redis is not None:
        failed |= not await _store(gateway.source)
    return 1 if failed else 0


async def _store(source: Source) -> bool:
    """Redis, also where Sentinels have to be asked for it or it is a cluster."""
    store = open_store(source, os.environ)
    try:
        await store.get("probe")
    except StoreDown as problem:
        show(f"store: {problem}")
        return False
    finally:
        await store.close()
    show("store: Redis answers")
    return True


async def _credential(spec: CredentialSpec) -> bool:
    """A cloud lists no models by its models' endpoint; its credential is what can be tried without a call."""
    try:
        found = await fetch(spec)
    except NotFetched as problem:
        show(f"{spec.provider}: its credential cannot be fetched: {problem}")
        return False
    left = round((found.expires - time.time()) / 60)
    show(f"{spec.provider}: its credential can be fetched, and is good for {left} minutes; no model was asked")
    return True


def _database(source: Source) -> bool:
    """That of the ledger."""
    from extproc.usage.ledger import LedgerDown

    ledger = open_ledger(source, os.environ)
    try:
        ledger.check()
    except LedgerDown as error:
        show(f"usage: the database cannot be used: {error}")
        return False
    finally:
        ledger.close()
    show("usage: the database answers")
    return True


async def _identity_provider(configuration: Configuration) -> bool:
    settings = configuration.settings
    verify = httpx.create_ssl_context() if configuration.roots is None else trusting(configuration.roots)
    async with httpx.AsyncClient(verify=verify, timeout=SECONDS) as client:
        try:
            await IdentityProvider(configuration, client).check()
        except Refusal as refusal:
            show(f"sign_in: {settings.issuer}: {refusal.reason}")
            return False
    redirect = settings.public_url + CALLBACK_PATH
    show(f"sign_in: {settings.issuer} answers; {settings.client_id!r} must be registered there with {redirect}")
    return True


async def _models(source: Source, provider: Provider, settings: schema_providers.Provider) -> list[str] | str:
    """Their ids, or what went wrong, in words without the key."""
    rows = [dialects.row(name) for name in provider.dialects]
    # A gateway that speaks several vendors' dialects lists its models as most servers do.
    row = next((row for row in rows if row.key_header == dialects.AUTHORIZATION), rows[0])
    url = f"{settings.base_url.partition('://')[0]}://{provider.authority}{provider.path(row.provider_list_path)}"
    headers = provider.credential_headers(row.name, {}, 0) or {}
    for one in rows:
        headers |= one.provider_headers
    try:
        async with httpx.AsyncClient(verify=_trusted(source, settings), timeout=SECONDS) as client:
            answer = await client.get(url, headers=headers)
    except (httpx.HTTPError, OSError) as error:
        return f"cannot be reached at {url}: {str(error) or type(error).__name__}"
    if answer.status_code in (401, 403):
        return f"{url} refuses the key ({answer.status_code})"
    if answer.status_code != 200:
        return f"{url} answers {answer.status_code}; is base_url right?"
    return _ids(answer) or f"{url} answers, but not with a list of models; is base_url right?"


def _ids(answer: httpx.Response) -> list[str]:
    try:
        listed: Any = answer.json()
    except ValueError:
        return []
    entries = listed.get("data") if isinstance(listed, dict) else None
    return [str(entry["id"]) for entry in entries or () if isinstance(entry, dict) and "id" in entry]


def _trusted(source: Source, settings: schema_providers.Provider) -> ssl.SSLContext:
    """As Envoy trusts: the provider's own roots, else the system's."""
    roots = source.resolve(settings.ca_file) if settings.ca_file is not None else system_roots()
    return ssl.create_default_context(cafile=str(roots))


def _unlisted(gateway: Gateway, provider: str, listed: list[str]) -> Iterator[str]:
    """Names that the configuration asks this provider for; those with a wildcard are the client's."""
    for rule in gateway.catalogue.every_rule:
        name = rule.settings.model or rule.settings.name
        if rule.provider.name == provider and "*" not in name and name not in listed:
            yield name
