"""The store that the configuration names."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from extproc.config.faults import Fault
from extproc.config.loading import Source
from extproc.config.schema_store import Redis
from extproc.providers import credentials
from extproc.store.interface import Store
from extproc.store.overrides import COUNTERS, Override, read_only

if TYPE_CHECKING:
    from extproc.store.shared_counters import SharedCounters

FOLDER = Path("state")


def faults(source: Source, environ: Mapping[str, str]) -> list[Fault]:
    """Mistakes in `store` that its keys alone do not show."""
    found: list[Fault] = []
    settings = source.config.store.redis
    if settings is None:
        return found
    _passwords(source, settings, environ, found)
    if settings.ca_file is not None and not source.resolve(settings.ca_file).is_file():
        found.append(Fault(("store", "redis", "ca_file"), f"{settings.ca_file} is no file"))
    return found


def state_folder(source: Source) -> Path:
    """Where the files of one machine's store are. Not `resolve`: what is kept there changes all the time, and is no
    part of the configuration."""
    return (source.path.parent / (source.config.store.folder or FOLDER)).absolute()


def open_counters(source: Source, environ: Mapping[str, str]) -> "SharedCounters | None":
    """Returns the counters that several machines share; None: this machine has its own."""
    settings = source.config.store.redis
    if settings is None:
        return None
    from extproc.store.shared_counters import SharedCounters

    return SharedCounters(settings, *_access(source, settings, environ))


def _access(source: Source, settings: Redis, environ: Mapping[str, str]) -> tuple[str | None, str | None, str | None]:
    """The servers' password, the file of trusted roots, and the Sentinels' password."""
    password, sentinel_password = _passwords(source, settings, environ, [])
    roots = str(source.resolve(settings.ca_file)) if settings.ca_file is not None else None
    return password, roots, sentinel_password


def _passwords(
    source: Source, settings: Redis, environ: Mapping[str, str], found: list[Fault]
) -> tuple[str | None, str | None]:
    """The servers' password, and the Sentinels'. `found` gets what is wrong with them."""
    sentinel = settings.sentinel.password if settings.sentinel is not None else None
    loaded = [
        credentials.load(source, secret, ("store", "redis", *where), environ, found) if secret is not None else None
        for secret, where in ((settings.password, ("password",)), (sentinel, ("sentinel", "password")))
    ]
    first, second = (secret.reveal() if secret is not None else None for secret in loaded)
    return first, second


async def read_overrides(source: Source, environ: Mapping[str, str]) -> dict[str, Override] | None:
    """Returns the limits of budgets that were changed by hand, by account, and changes nothing itself. None: no gateway
    has kept any here. Raises StoreDown."""
    shared = open_counters(source, environ)
    if shared is None:
        return read_only(state_folder(source) / COUNTERS)
    try:
        return await shared.overrides()
    finally:
        await shared.close()


def open_store(source: Source, environ: Mapping[str, str]) -> Store:
    """Loads the library of the one that is configured. A shared store connects when it is used. Raises StoreDown where
    the embedded store's folder cannot be used."""
    settings = source.config.store
    if settings.redis is not None:
        from extproc.store.shared import SharedStore

        return SharedStore(settings.redis, *_access(source, settings.redis, environ))
    from extproc.store.embedded import EmbeddedStore

    return EmbeddedStore(state_folder(source))
