"""`extproc revoke`: ends a person's tokens now, on all machines that share the store."""

import asyncio
import os
import time
from pathlib import Path

from extproc.config import loading
from extproc.printable import show
from extproc.sign_in import revoking
from extproc.store.interface import StoreDown
from extproc.store.opening import open_store


class Unusable(Exception):
    """`str()` says why nothing was revoked."""


def run(config: Path, subject: str) -> int:
    """Returns the exit status. Raises config.Invalid, Unusable."""
    source = loading.load(config)
    if source.config.sign_in is None:
        raise Unusable(f"{config}: there is no `sign_in`, so no tokens to revoke")
    try:
        asyncio.run(_revoke(source, subject))
    except StoreDown as error:
        raise Unusable(f"nothing was revoked: the store cannot be used: {error}") from None
    show(f"all tokens of {subject!r} are void within a second or two; whoever is still allowed can sign in again")
    return 0


async def _revoke(source: loading.Source, subject: str) -> None:
    store = open_store(source, os.environ)
    try:
        await revoking.end_subject(store, subject, time.time())
    finally:
        await store.close()
