import asyncio

import pytest

from extproc.web.context import Clients
from tests.e2e.stack import free_port
from tests.key_server import Answer, key_server


@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY"])
def test_plain_http_goes_through_no_proxy(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    with key_server() as server:
        server.answers["/x"] = Answer(b"here")

        async def scene() -> bytes:
            clients = Clients()
            try:
                return (await clients.trusting().get(f"{server.url}/x")).content
            finally:
                await clients.close()

        assert asyncio.run(scene()) == b"here"


def test_one_client_for_each_set_of_roots() -> None:
    clients = Clients()
    assert clients.trusting() is clients.trusting()
    asyncio.run(clients.close())
