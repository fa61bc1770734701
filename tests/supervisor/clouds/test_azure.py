"""Tokens of Entra ID that are refused, and the endpoint of App Service. tests/e2e/test_azure.py has the others."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from extproc.config.schema_clouds import CloudAuth
from extproc.policy.keys.places import NotFetched
from extproc.providers.cloud_credentials import CredentialSpec, bearer
from extproc.supervisor.clouds.azure import AzureCredentials
from extproc.supervisor.clouds.http import Fetched
from tests.e2e.token_server import TokenServer

SCOPE = "https://ai.azure.com/.default"


@pytest.fixture(scope="module")
def tokens() -> Iterator[TokenServer]:
    with TokenServer().serving() as server:
        yield server


def fetch(auth: dict[str, Any], environ: dict[str, str] | None = None, **secrets: str) -> Fetched:
    named = {f"azure.client.{name}": value for name, value in secrets.items()}
    made = CloudAuth.model_validate(auth)
    spec = CredentialSpec("foundry", "n", made, "", SCOPE, named, dict[str, Path](), None)
    return asyncio.run(AzureCredentials(spec, environ or {}, time.time).fetch())


def test_a_secret_that_is_refused(tokens: TokenServer) -> None:
    client = {"tenant": "tenant-1", "client_id": "app", "secret": {"env": "S"}}
    auth = {"azure": {"client": client}, "endpoint": tokens.url}
    assert fetch(auth, secret="the proof").credential == bearer(tokens.token)
    with pytest.raises(NotFetched, match=r"^status 401, invalid_client$"):
        fetch(auth, secret="old")


def test_the_endpoint_of_app_service(tokens: TokenServer) -> None:
    environ = {"IDENTITY_ENDPOINT": f"{tokens.url}/msi/token", "IDENTITY_HEADER": "the header"}
    found = fetch({"azure": {"managed_identity": {"client_id": "id-1"}}}, environ)
    assert found.credential == bearer(tokens.token)
    assert 3500 < found.expires - time.time() <= 3601
