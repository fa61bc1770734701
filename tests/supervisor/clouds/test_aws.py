"""Places of AWS's credentials that fail, each with its reason. The others are in tests/e2e/test_aws_credentials.py."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from extproc.config.schema_clouds import CloudAuth
from extproc.policy.keys.places import NotFetched
from extproc.providers.cloud_credentials import CredentialSpec
from extproc.providers.sigv4 import AwsKeys
from extproc.supervisor.clouds.aws import AwsCredentials
from extproc.supervisor.clouds.http import Fetched
from tests.e2e.token_server import ROLE, TokenServer


@pytest.fixture(scope="module")
def tokens() -> Iterator[TokenServer]:
    with TokenServer().serving() as server:
        yield server


def fetch(auth: dict[str, Any], environ: dict[str, str] | None = None, **files: Path) -> Fetched:
    paths = {f"aws.{name}.token": path for name, path in files.items()}
    made = CloudAuth.model_validate(auth)
    spec = CredentialSpec("bedrock", "n", made, "eu-central-1", "", {}, paths, None)
    return asyncio.run(AwsCredentials(spec, environ or {}, time.time).fetch())


def profiles(folder: Path, text: str, config: str = "") -> dict[str, str]:
    (folder / "credentials").write_text(text)
    (folder / "config").write_text(config)
    return {"AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"), "AWS_CONFIG_FILE": str(folder / "config")}


PROFILE = {"aws": {"profile": "p"}}


def test_a_profile_in_either_file(tmp_path: Path) -> None:
    environ = profiles(tmp_path, "", "[profile p]\naws_access_key_id = a\naws_secret_access_key = b%c\n")
    assert fetch(PROFILE, environ).credential == AwsKeys("a", "b%c")
    environ = profiles(tmp_path, "[p]\naws_access_key_id=a\naws_secret_access_key=b\naws_session_token=t\n")
    assert fetch(PROFILE, environ).credential == AwsKeys("a", "b", "t")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "there is no profile 'p'"),
        ("[p]\nregion = x\n", "the profile has no keys"),
        ("[p]\nsso_session = x\n", "the profile has no keys"),
        ("[p]\nrole_arn = r\ncredential_source = Environment\n", "only those with source_profile"),
        ("[p]\nrole_arn = r\nsource_profile = q\n[q]\nrole_arn = r\nsource_profile = p\n", "in a circle"),
        ("no section", "cannot be read"),
    ],
)
def test_profiles_that_cannot_be_used(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(NotFetched, match=says):
        fetch(PROFILE, profiles(tmp_path, text))


def test_a_profile_with_a_token(tokens: TokenServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("the proof")
    text = f"[p]\nrole_arn = {ROLE}\nweb_identity_token_file = {tmp_path / 'token'}\n"
    found = fetch(PROFILE | {"endpoint": f"{tokens.url}/sts"}, profiles(tmp_path, text))
    assert found.credential == AwsKeys(tokens.aws().access_key, tokens.aws().secret_key, tokens.aws().token or "")
    assert 3500 < found.expires - time.time() <= 3600


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({}, "are not set"),
        ({"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "elsewhere"}, "are not set"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://attacker.example/x"}, "neither HTTPS nor one of AWS's"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.169.254/x"}, "neither HTTPS nor one of AWS's"),
    ],
)
def test_containers_whose_endpoint_is_not_asked(environ: dict[str, str], says: str) -> None:
    with pytest.raises(NotFetched, match=says):
        fetch({"aws": {"container": True}}, environ)


def test_a_token_that_is_missing_or_refused(tokens: TokenServer, tmp_path: Path) -> None:
    auth = {
        "aws": {"web_identity": {"role": ROLE, "token": {"file": "t"}}},
        "endpoint": f"{tokens.url}/sts",
    }
    with pytest.raises(NotFetched, match="No such file"):
        fetch(auth, web_identity=tmp_path / "none")
    (tmp_path / "token").write_text("another")
    with pytest.raises(NotFetched, match=r"^status 403, AccessDenied$"):
        fetch(auth, web_identity=tmp_path / "token")
