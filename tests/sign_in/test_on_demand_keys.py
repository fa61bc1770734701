"""Keys that are fetched when a token needs them, also while their server is down."""

import asyncio
from typing import Any

from extproc.policy.keys.places import JwksLocation, NotFetched
from extproc.sign_in.on_demand_keys import PAUSE_SECONDS, OnDemandKeys
from tests import issuing

PLACE = JwksLocation("https://ci.corp.example/jwks", "https://ci.corp.example")


class Server:
    """A clock, and a server of keys that takes ten seconds of it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked = 0
        self.down = True

    async def fetch(self, place: JwksLocation) -> tuple[Any, float | None]:
        self.asked += 1
        await asyncio.sleep(0)
        self.now += 10
        if self.down:
            raise NotFetched("no connection")
        return {"keys": [issuing.jwk()]}, None


def test_strangers_tokens_do_not_queue_for_an_issuer_that_is_down() -> None:
    server = Server()
    keys = OnDemandKeys(PLACE, server.fetch, lambda: server.now)

    async def scene() -> None:
        await asyncio.gather(*(keys.refresh() for _ in range(20)))
        assert (server.asked, keys.current(), keys.problem) == (1, None, "no connection")
        server.down = False
        await keys.refresh()
        assert keys.current() is None, "not at once"
        server.now += PAUSE_SECONDS
        await keys.refresh()
        assert keys.current() is not None and (server.asked, keys.problem) == (2, "")

    asyncio.run(scene())
