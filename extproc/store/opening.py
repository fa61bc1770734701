"""The store that the configuration names."""

from collections.abc import Mapping
from pathlib import Path

from extproc.config.loading import Fault, Source
from extproc.providers import credentials
from extproc.store.interface import Store

FOLDER = Path("state")
_WHERE = ("store", "redis", "password")


def faults(source: Source, environ: Mapping[str, str]) -> list[Fault]:
    """Mistakes in `store` that its keys alone do not show."""
    found: list[Fault] = []
    settings = source.config.store.redis
    if settings is None:
        return found
    if settings.password is not None:
        credentials.load(source, settings.password, _WHERE, environ, found)
    if settings.ca_file is not None and not source.resolve(settings.ca_file).is_file():
        found.append(Fault(("store", "redis", "ca_file"), f"{settings.ca_file} is no file"))
    return found


def open_store(source: Source, environ: Mapping[str, str]) -> Store:
    """Loads the library of the one that is configured. A shared store connects when it is used. Raises StoreDown where
    the embedded store's folder cannot be used."""
    settings = source.config.store
    if settings.redis is not None:
        from extproc.store.shared import SharedStore

        secret = settings.redis.password
        password = credentials.load(source, secret, _WHERE, environ, []) if secret is not None else None
        roots = settings.redis.ca_file
        ca_file = str(source.resolve(roots)) if roots is not None else None
        return SharedStore(settings.redis, password.reveal() if password is not None else None, ca_file)
    from extproc.store.embedded import EmbeddedStore

    # Not `resolve`: what is kept there changes all the time, and is no part of the configuration.
    return EmbeddedStore((source.path.parent / (settings.folder or FOLDER)).absolute())
