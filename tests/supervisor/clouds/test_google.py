"""Google's credential files and metadata server, at endpoints that verify what they are given."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from google.auth.transport.requests import Request
from google.oauth2 import service_account

from extproc.config.schema_clouds import CloudAuth
from extproc.policy.keys.places import NotFetched
from extproc.providers.cloud_credentials import CredentialSpec, bearer
from extproc.supervisor.clouds.google import GoogleCredentials
from extproc.supervisor.clouds.http import Fetched
from tests.e2e.token_server import GOOGLES_TOKENS, TokenServer

FILE = {"file": "x.json"}


@pytest.fixture(scope="module")
def tokens() -> Iterator[TokenServer]:
    with TokenServer().serving() as server:
        yield server


def fetch(auth: dict[str, Any], *, secrets: dict[str, str] | None = None, file: Path | None = None) -> Fetched:
    files = {f"google.{kind}": file for kind in ("adc", "workload_identity") if file is not None}
    spec = CredentialSpec("vertex", "n", CloudAuth.model_validate(auth), "", "", secrets or {}, files, None)
    return asyncio.run(GoogleCredentials(spec, time.time).fetch())


def check(found: Fetched, tokens: TokenServer) -> None:
    assert found.credential == bearer(tokens.token)
    assert 3500 < found.expires - time.time() <= 3601


def test_a_service_account(tokens: TokenServer) -> None:
    key = {"google.service_account": json.dumps(tokens.service_account())}
    check(fetch({"google": {"service_account": FILE}}, secrets=key), tokens)


def test_a_service_account_proves_itself_as_with_googles_own_library(tokens: TokenServer) -> None:
    account = tokens.service_account()
    fetch({"google": {"service_account": FILE}}, secrets={"google.service_account": json.dumps(account)})
    ours = tokens.assertion
    theirs = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
        account, scopes=["https://www.googleapis.com/auth/cloud-platform"]
    )
    theirs.refresh(Request())
    assert jwt.get_unverified_header(ours) == jwt.get_unverified_header(tokens.assertion)
    unverified = {"verify_signature": False}
    mine, google = (jwt.decode(one, options=unverified) for one in (ours, tokens.assertion))  # type: ignore[arg-type]
    assert mine.keys() == google.keys() and (mine["iss"], mine["scope"]) == (google["iss"], google["scope"])
    # Ours is what the key file names, which for Google's own keys is the same.
    assert (mine["aud"], google["aud"]) == (account["token_uri"], GOOGLES_TOKENS)
    assert abs(mine["iat"] - google["iat"]) < 60 and mine["exp"] - mine["iat"] <= google["exp"] - google["iat"]


def test_a_key_that_is_none(tokens: TokenServer) -> None:
    broken = json.dumps(tokens.service_account() | {"private_key": "-----BEGIN"})
    with pytest.raises(NotFetched, match="private_key cannot be used"):
        fetch({"google": {"service_account": FILE}}, secrets={"google.service_account": broken})
    elsewhere = json.dumps(tokens.service_account() | {"token_uri": "http://attacker.example/token"})
    with pytest.raises(NotFetched, match="HTTPS"):
        fetch({"google": {"service_account": FILE}}, secrets={"google.service_account": elsewhere})


def test_the_file_of_gcloud(tokens: TokenServer, tmp_path: Path) -> None:
    file = tmp_path / "adc.json"
    user = {"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r"}
    file.write_text(json.dumps(user))
    check(fetch({"google": {"adc": FILE}, "endpoint": f"{tokens.url}/google/token"}, file=file), tokens)
    file.write_text(json.dumps(user | {"refresh_token": "old"}))
    with pytest.raises(NotFetched, match=r"^status 400, invalid_grant$"):
        fetch({"google": {"adc": FILE}, "endpoint": f"{tokens.url}/google/token"}, file=file)
    file.write_text('{"type": "gdch_service_account"}')
    with pytest.raises(NotFetched, match="expected the type"):
        fetch({"google": {"adc": FILE}}, file=file)


@pytest.mark.parametrize("impersonates", [True, False])
@pytest.mark.parametrize("shape", ["text", "json"])
def test_workload_identity_federation(tokens: TokenServer, tmp_path: Path, impersonates: bool, shape: str) -> None:
    subject = tmp_path / "subject"
    subject.write_text("subject\n" if shape == "text" else '{"access_token": "subject"}')
    form = {"type": "json", "subject_token_field_name": "access_token"} if shape == "json" else {"type": "text"}
    account = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/pool",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{tokens.url}/google/exchange",
        "credential_source": {"file": str(subject), "format": form},
    }
    if impersonates:
        account["service_account_impersonation_url"] = f"{tokens.url}/google/impersonate"
    file = tmp_path / "pool.json"
    file.write_text(json.dumps(account))
    check(fetch({"google": {"workload_identity": FILE}}, file=file), tokens)
    file.write_text(json.dumps(account | {"credential_source": {"environment_id": "aws1"}}))
    with pytest.raises(NotFetched, match="neither a file nor a url"):
        fetch({"google": {"workload_identity": FILE}}, file=file)


def test_the_metadata_server(tokens: TokenServer) -> None:
    check(fetch({"google": {"metadata": True}, "endpoint": tokens.url}), tokens)


def test_a_server_that_is_gone() -> None:
    with pytest.raises(NotFetched, match="Connection refused"):
        fetch({"google": {"metadata": True}, "endpoint": "http://127.0.0.1:1"})
