import asyncio
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from extproc.policy.keys.keys import parse
from extproc.sign_in.signing_keys import (
    FRESH_SECONDS,
    MAX_TOKEN_SECONDS,
    PUBLISHED_SECONDS,
    ROTATE_SECONDS,
    SigningKeys,
)
from extproc.store.embedded import EmbeddedStore

DAY = 86400.0


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def kid(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


def ids(jwks: dict[str, Any]) -> list[str]:
    assert all("d" not in key for key in jwks["keys"])
    _, problems = parse(jwks)
    assert not problems
    return [key["kid"] for key in jwks["keys"]]


def test_processes_that_start_at_once_have_one_key(tmp_path: Path, clock: Clock) -> None:
    async def scene() -> None:
        stores = [EmbeddedStore(tmp_path, clock) for _ in range(3)]
        sets = await asyncio.gather(*(SigningKeys(store, clock=clock).jwks() for store in stores))
        assert sets[0] == sets[1] == sets[2]
        for store in stores:
            await store.close()

    asyncio.run(scene())


def test_rotation(tmp_path: Path, clock: Clock) -> None:
    """Whoever verifies has each key before it signs, and until its last token has expired."""

    async def scene() -> None:
        store = EmbeddedStore(tmp_path, clock)
        signer, verifier = SigningKeys(store, clock=clock), SigningKeys(store, clock=clock)
        used: dict[str, tuple[float, float]] = {}
        published: dict[str, tuple[float, float]] = {}
        for _ in range(2000):
            clock.now += 3600.0 if clock.now % 7200 else 300.0
            key = kid(await signer.sign({}))
            used[key] = used.get(key, (clock.now, 0))[0], clock.now
            for name in ids(await verifier.jwks()):
                published[name] = published.get(name, (clock.now, 0))[0], clock.now
        assert len(used) >= 2
        for name, (first, last) in list(used.items())[:-1]:
            assert published[name][1] >= last + MAX_TOKEN_SECONDS - 2 * 3600
            assert last - first <= ROTATE_SECONDS + PUBLISHED_SECONDS + 2 * 3600
        for name, (first, _) in list(used.items())[1:]:
            assert published[name][0] <= first
        assert len(ids(await verifier.jwks())) <= 2
        await store.close()

    asyncio.run(scene())


def test_a_new_key_is_published_before_it_signs(tmp_path: Path, clock: Clock) -> None:
    async def scene() -> None:
        store = EmbeddedStore(tmp_path, clock)
        keys = SigningKeys(store, clock=clock)
        first = kid(await keys.sign({}))
        clock.now += ROTATE_SECONDS + 1
        assert kid(await keys.sign({})) == first
        assert len(ids(await keys.jwks())) == 2
        clock.now += PUBLISHED_SECONDS + FRESH_SECONDS
        assert kid(await keys.sign({})) != first and first in ids(await keys.jwks())
        clock.now += 2 * DAY
        assert first not in ids(await keys.jwks())
        await store.close()

    asyncio.run(scene())


def test_a_key_of_a_file_is_the_only_one(tmp_path: Path, clock: Clock) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    async def scene() -> None:
        store = EmbeddedStore(tmp_path, clock)
        one, two = (SigningKeys(store, pem, clock) for _ in range(2))
        token = await one.sign({"a": 1})
        assert ids(await two.jwks()) == [kid(token)]
        assert jwt.decode(token, private.public_key(), ["ES256"]) == {"a": 1}
        assert await store.scan("") == {}
        await store.close()

    asyncio.run(scene())
