"""The store that the configuration names."""

from pathlib import Path

from extproc.config import Source
from extproc.store.embedded import EmbeddedStore
from extproc.store.interface import Store

FOLDER = Path("state")


def open_store(source: Source) -> Store:
    """Raises StoreDown where the embedded store's folder cannot be used; a shared store connects when it is used."""
    settings = source.config.store
    # Not `resolve`: what is kept there changes all the time, and is no part of the configuration.
    return EmbeddedStore((source.path.parent / (settings.folder or FOLDER)).absolute())
