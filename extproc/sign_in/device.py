"""The device flow (https://www.rfc-editor.org/rfc/rfc8628): codes that a client waits with while a person signs in.

Everything is in the store, so any machine can serve any step, and a restart loses nothing.
"""

import hashlib
import secrets
import time
from collections.abc import Callable
from typing import Literal

import msgspec

from extproc.sign_in.refusals import Refusal
from extproc.store.interface import Store

CODE_SECONDS = 600
INTERVAL_SECONDS = 5
ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
"""Consonants, so that no code is a word; 20^8 codes (RFC 8628, 6.1)."""
_LENGTH = 8
_TOO_EARLY_SECONDS = INTERVAL_SECONDS - 1.0
"""Less than the interval: networks deliver polls unevenly."""


class Device(msgspec.Struct, frozen=True):
    """A client that waits."""

    user_code: str
    client: str
    """What it says it is."""
    address: str
    began: float
    """Unix seconds."""
    state: Literal["pending", "approved", "denied"] = "pending"
    grant: str = ""
    """The person who signed in, sealed; empty unless approved."""


class Codes(msgspec.Struct, frozen=True):
    device_code: str
    user_code: str


class DeviceFlow:
    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    async def begin(self, client: str, address: str) -> Codes:
        """Raises StoreDown."""
        device_code = secrets.token_urlsafe(32)
        waiting = _id(device_code)
        while True:
            # Short enough to type, so attempts to guess one are bounded by address (web/browser.py):
            # https://www.rfc-editor.org/rfc/rfc8628#section-5.1.
            user_code = "".join(secrets.choice(ALPHABET) for _ in range(_LENGTH))
            if await self._store.add(_by_user_code(user_code), waiting.encode(), CODE_SECONDS):
                break
        device = Device(user_code, client, address, self._clock())
        await self._store.put(_by_id(waiting), msgspec.json.encode(device), CODE_SECONDS)
        return Codes(device_code, f"{user_code[:4]}-{user_code[4:]}")

    async def find(self, user_code: str) -> tuple[str, Device] | None:
        """The id of the client that waits with this code, and what is known of it. Raises StoreDown."""
        waiting = await self._store.get(_by_user_code(user_code)) if len(user_code) == _LENGTH else None
        raw = await self._store.get(_by_id(waiting.decode())) if waiting is not None else None
        if waiting is None or raw is None:
            return None
        device = msgspec.json.decode(raw, type=Device)
        return (waiting.decode(), device) if device.state == "pending" else None

    async def approve(self, waiting: str, grant: str) -> bool:
        """Lets the client have what is sealed in `grant`. False: it no longer waits. Raises StoreDown."""
        return await self._end(waiting, "approved", grant)

    async def deny(self, waiting: str) -> bool:
        """False: it no longer waits. Raises StoreDown."""
        return await self._end(waiting, "denied")

    async def _end(self, waiting: str, state: Literal["approved", "denied"], grant: str = "") -> bool:
        raw = await self._store.get(_by_id(waiting))
        if raw is None:
            return False
        device = msgspec.json.decode(raw, type=Device)
        if device.state != "pending":
            return False
        ended = msgspec.json.encode(msgspec.structs.replace(device, state=state, grant=grant))
        if not await self._store.swap(_by_id(waiting), raw, ended, CODE_SECONDS):
            return False
        await self._store.take(_by_user_code(device.user_code))
        return True

    async def poll(self, device_code: str) -> str:
        """The sealed grant, once. Raises Refusal with the error that the client expects, StoreDown."""
        waiting = _id(device_code)
        raw = await self._store.get(_by_id(waiting))
        device = msgspec.json.decode(raw, type=Device) if raw is not None else None
        if device is not None and device.state == "pending":
            # https://www.rfc-editor.org/rfc/rfc8628#section-3.5
            if not await self._store.add(f"sign-in/polled/{waiting}", b"", _TOO_EARLY_SECONDS):
                raise Refusal("slow_down", f"poll every {INTERVAL_SECONDS} seconds")
            raise Refusal("authorization_pending", "nobody has signed in with this code yet")
        # A code counts once: of two polls at the same time one finds it.
        if device is None or await self._store.take(_by_id(waiting)) is None:
            raise Refusal("expired_token", "this code has expired or has been used; begin again")
        if device.state == "denied":
            raise Refusal("access_denied", "the sign-in was refused")
        return device.grant


def normalized(user_code: str) -> str:
    """As it is kept, however a person types it."""
    return "".join(char for char in user_code.upper()[:40] if char in ALPHABET)


def _id(device_code: str) -> str:
    """The store has no code in it that could be used."""
    return hashlib.sha256(device_code.encode()).hexdigest()


def _by_id(waiting: str) -> str:
    return f"sign-in/device/{waiting}"


def _by_user_code(user_code: str) -> str:
    return f"sign-in/user-code/{user_code}"
