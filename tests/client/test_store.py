import json
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends.null import Keyring as Forgetful
from keyring.errors import KeyringLocked, PasswordDeleteError

from extproc.client import store
from extproc.client.connection import ClientError
from extproc.client.oauth import Server, Tokens
from extproc.client.store import Place, SignIn

URL = "https://llm.corp.example"
MODE = 0o777


class MemoryKeyring(KeyringBackend):
    """As strict about lengths as that of Windows."""

    priority = 1

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.entries = dict[tuple[str, str], str]()
        self.locked = False

    def get_password(self, service: str, username: str) -> str | None:
        if self.locked:
            raise KeyringLocked("the prompt was dismissed")
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.locked:
            raise KeyringLocked("the prompt was dismissed")
        assert len(password) <= 1280
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if (service, username) not in self.entries:
            raise PasswordDeleteError(username)
        del self.entries[service, username]


@pytest.fixture
def memory(home: Path) -> MemoryKeyring:
    found = MemoryKeyring()
    keyring.set_keyring(found)
    return found


def sign_in(place: Place, *, gateway: str = URL, token: str = "access") -> SignIn:
    return SignIn(gateway, Server(gateway, f"{gateway}/oauth/token"), token, "refresh", 1000.0, 4600.0, place)


@pytest.mark.parametrize("place", ["file", "keyring"])
def test_what_is_saved_is_loaded(memory: MemoryKeyring, place: Place) -> None:
    saved = sign_in(place, token="a" * 5000)
    with store.locked(URL):
        store.save(saved)
        assert store.load(URL) == saved
        store.save(sign_in(place))  # shorter: nothing of the longer one stays
        assert store.load(URL) == sign_in(place)
        assert len(memory.entries) == (1 if place == "keyring" else 0)
        store.delete(URL)
        assert store.load(URL) is None
    assert not memory.entries and store.gateways() == []


def test_only_the_owner_reads_the_file(home: Path) -> None:
    with store.locked(URL):
        store.save(sign_in("file"))
    [path] = store.folder().glob("*.json")
    assert "access" in path.read_text()
    assert (path.stat().st_mode & MODE, path.parent.stat().st_mode & MODE) == (0o600, 0o700)
    path.chmod(0o644)
    with pytest.raises(ClientError, match=f"can be read by others.*chmod 600 {path}"):
        store.load(URL)


def test_tokens_in_the_keyring_are_not_in_the_file(memory: MemoryKeyring) -> None:
    with store.locked(URL):
        store.save(sign_in("keyring", token="a.secret"))
    [path] = store.folder().glob("*.json")
    assert "a.secret" not in path.read_text() and "secrets" not in json.loads(path.read_text())


def test_several_gateways(home: Path) -> None:
    for url in ("https://b.example", "https://a.example"):
        with store.locked(url):
            store.save(sign_in("file", gateway=url, token=url))
    assert store.gateways() == ["https://a.example", "https://b.example"]
    found = store.load("https://b.example")
    assert found is not None and found.access_token == "https://b.example"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_file_that_is_damaged(home: Path, text: str) -> None:
    with store.locked(URL):
        store.save(sign_in("file"))
    [path] = store.folder().glob("*.json")
    path.write_text(text)
    with pytest.raises(ClientError, match=f"{path} is damaged; remove it, and sign in again"):
        store.load(URL)


@pytest.mark.parametrize("member", ["secrets", "server", "expires_at", "place"])
def test_a_file_that_lacks_something(home: Path, member: str) -> None:
    with store.locked(URL):
        store.save(sign_in("file"))
    [path] = store.folder().glob("*.json")
    record = json.loads(path.read_text())
    del record[member]
    path.write_text(json.dumps(record))
    with pytest.raises(ClientError, match=f"is damaged. Sign in again: extproc login --gateway {URL}"):
        store.load(URL)


def test_the_place_is_a_keyring_that_keeps_things(memory: MemoryKeyring) -> None:
    assert store.choose_place() == "keyring" and not memory.entries
    memory.locked = True
    with pytest.raises(ClientError, match=r"keyring is locked; unlock it .* extproc login --keep-in file"):
        store.choose_place()
    keyring.set_keyring(Forgetful())  # type: ignore[no-untyped-call]
    assert store.choose_place() == "file"


def test_no_keyring(home: Path) -> None:
    assert store.choose_place() == "file"


def test_a_keyring_that_has_been_locked_since(memory: MemoryKeyring) -> None:
    with store.locked(URL):
        store.save(sign_in("keyring"))
    memory.locked = True
    with pytest.raises(ClientError, match="keyring is locked"):
        store.load(URL)


def test_tokens_that_vanished_from_the_keyring(memory: MemoryKeyring) -> None:
    with store.locked(URL):
        store.save(sign_in("keyring"))
    memory.entries.clear()
    with pytest.raises(ClientError, match=r"is damaged\. Sign in again"):
        store.load(URL)


def test_a_refresh_token_that_is_not_rotated() -> None:
    renewed = sign_in("file").renewed(Tokens("new", None, 600.0), now=5000.0)
    assert (renewed.access_token, renewed.refresh_token, renewed.expires_at) == ("new", "refresh", 5600.0)


def test_a_folder_that_cannot_be_made(home: Path) -> None:
    (home / "data").write_text("a file")
    with pytest.raises(ClientError, match="cannot use "), store.locked(URL):
        pass
