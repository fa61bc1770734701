from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backends.fail import Keyring as NoKeyring

from tests.client.oauth_server import OAuthServer, oauth_server


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home without sign-ins, on a machine without a keyring."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    monkeypatch.delenv("EXTPROC_GATEWAY", raising=False)
    keyring.set_keyring(NoKeyring())  # type: ignore[no-untyped-call]
    yield tmp_path
    keyring.set_keyring(NoKeyring())  # type: ignore[no-untyped-call]


@pytest.fixture
def gateway() -> Iterator[OAuthServer]:
    with oauth_server() as running:
        yield running
