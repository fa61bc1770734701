"""Keys are taken back by emptying their file, or by deleting it: what they prove ends in time, and says so."""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from extproc.policy.authentication import api_keys
from tests.certificates import certificate
from tests.e2e.issuer import BODY, CONFIG, ISSUER, Signer, gateway, until
from tests.e2e.prometheus import Scrape
from tests.e2e.stack import Model, Stack, free_port, up
from tests.key_server import Answer, KeyServer, key_server

KEYS, JWKS = "api-keys.yaml", "jwks.json"
# Longer than tests wait, and shorter.
LONG, SHORT = 3600, 2


@dataclass
class Scene:
    stack: Stack
    monitor: str
    token: str
    """Of the issuer with a file, like the next ones."""
    key: str

    def status(self, credential: str) -> int:
        return self.stack.call(BODY, token=credential).status_code

    def is_refused(self, credential: str) -> Callable[[], bool]:
        return lambda: self.status(credential) == 401

    def file(self, name: str) -> Path:
        return self.stack.folder / name

    def told(self, path: str) -> tuple[int, Any]:
        answer = httpx.get(self.monitor + path, timeout=20, verify=False)
        return answer.status_code, answer.json()

    def says_gone(self, name: str) -> bool:
        ready, status = self.told("/readyz"), self.told("/status")
        metric = Scrape(self.monitor + "/metrics").total("extproc_deleted_key_files")
        path = str(self.file(name))
        found = [ready[1].get("deleted_key_files", []), list(status[1]["deleted_key_files"])]
        assert ready[0] == status[0] == 200
        return found == [[path], [path]] and metric == 1

    def is_as_at_the_start(self) -> bool:
        ready, status = self.told("/readyz")[1], self.told("/status")[1]
        in_force = status["configuration"] == "in force" and "deleted_key_files" not in ready
        return in_force and [self.status(self.token), self.status(self.key)] == [200, 200]


@contextlib.contextmanager
def started(folder: Path, model: Model, stale: int) -> Iterator[Scene]:
    """`stale`: `max_stale` of both files."""
    signer, (key, line), port = Signer("a"), api_keys.new("nightly", {"team": "data"}), free_port()
    (folder / JWKS).write_text(json.dumps({"keys": [signer.jwk]}))
    (folder / KEYS).write_text(line)
    config = CONFIG.format(issuer=ISSUER, jwks=json.dumps({"file": JWKS, "max_stale": stale}))
    config = config.replace("  jwt:", f"  api_keys: {{file: {KEYS}, max_stale: {stale}}}\n  jwt:")
    config += f"metrics: {{port: {port}}}\n"
    with up(folder, environ={"MODEL_URL": model.url}, config=config) as stack:
        yield Scene(stack, f"http://127.0.0.1:{port}", signer.token(), key)


@contextlib.contextmanager
def restoring(scene: Scene) -> Iterator[Scene]:
    """Puts its files back at the end, and waits until they count."""
    contents = {name: scene.file(name).read_text() for name in (KEYS, JWKS, "gateway.yaml")}
    assert scene.is_as_at_the_start()
    try:
        yield scene
    finally:
        for name, content in contents.items():
            scene.file(name).write_text(content)
        until(scene.is_as_at_the_start, 15)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Scene]:
    with started(tmp_path_factory.mktemp("long"), model, LONG) as scene:
        yield scene


@pytest.fixture(scope="module")
def shared_short(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Scene]:
    with started(tmp_path_factory.mktemp("short"), model, SHORT) as scene:
        yield scene


@pytest.fixture
def scene(shared: Scene) -> Iterator[Scene]:
    """Keys of a deleted file count for longer than tests wait."""
    with restoring(shared) as found:
        yield found


@pytest.fixture
def short_scene(shared_short: Scene) -> Iterator[Scene]:
    """Keys of a deleted file end while a test waits."""
    with restoring(shared_short) as found:
        yield found


@pytest.mark.parametrize(
    ("name", "content"),
    [(KEYS, ""), (KEYS, "# nobody any more\n"), (KEYS, "[]"), (JWKS, ""), (JWKS, "\n"), (JWKS, '{"keys": []}')],
)
def test_an_emptied_file_takes_its_keys_back(scene: Scene, name: str, content: str) -> None:
    ends, stays = (scene.key, scene.token) if name == KEYS else (scene.token, scene.key)
    scene.file(name).write_text(content)
    until(scene.is_refused(ends), 10)
    assert scene.status(stays) == 200
    # It holds up no other change.
    config = scene.file("gateway.yaml")
    config.write_text(config.read_text().replace('jwt.team == "data"', 'jwt.team == "others"'))
    until(lambda: scene.status(stays) == 403, 10)
    assert scene.told("/status")[1]["configuration"] == "in force"


@dataclass
class AtUrl:
    stack: Stack
    server: KeyServer
    signer: Signer


@pytest.fixture(scope="module")
def at_url(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[AtUrl]:
    """The server holds the issuer's keys at the end of each test, as at its beginning."""
    folder, signer = tmp_path_factory.mktemp("url"), Signer("a")
    with key_server(certificate(folder, "localhost")) as server:
        server.serve(signer.jwk)
        with gateway(folder, model, {"url": f"{server.url}/jwks", "ca_file": "ca.pem", "refresh": 1}) as stack:
            yield AtUrl(stack, server, signer)


@pytest.mark.parametrize("body", [b'{"keys": []}', b""], ids=["no keys", "nothing"])
def test_an_emptied_set_at_a_url_takes_its_keys_back(at_url: AtUrl, body: bytes) -> None:
    token = at_url.signer.token()
    assert at_url.stack.call(BODY, token=token).status_code == 200
    at_url.server.answers["/jwks"] = Answer(body)
    until(lambda: at_url.stack.call(BODY, token=token).status_code == 401, 10)
    at_url.server.serve(at_url.signer.jwk)
    until(lambda: at_url.stack.call(BODY, token=token).status_code == 200, 10)


@pytest.mark.parametrize("name", [KEYS, JWKS])
def test_a_deleted_file_is_reported_and_its_keys_count_for_a_while(scene: Scene, name: str) -> None:
    content = scene.file(name).read_text()
    scene.file(name).unlink()
    until(lambda: scene.says_gone(name), 10)
    assert [scene.status(scene.token), scene.status(scene.key)] == [200, 200]
    # It holds up no other change, and its keys are still good: 403 is not 401.
    config = scene.file("gateway.yaml")
    config.write_text(config.read_text().replace('jwt.team == "data"', 'jwt.team == "others"'))
    until(lambda: [scene.status(scene.token), scene.status(scene.key)] == [403, 403], 10)
    assert scene.says_gone(name)
    scene.file(name).write_text(content)
    until(lambda: "deleted_key_files" not in scene.told("/readyz")[1], 10)


@pytest.mark.parametrize("name", [KEYS, JWKS])
@pytest.mark.parametrize("broken", [False, True], ids=["alone", "beside a mistake in gateway.yaml"])
def test_keys_of_a_deleted_file_end(short_scene: Scene, name: str, broken: bool) -> None:
    ends, stays = (short_scene.key, short_scene.token) if name == KEYS else (short_scene.token, short_scene.key)
    content = short_scene.file(name).read_text()
    if broken:
        config = short_scene.file("gateway.yaml")
        config.write_text(config.read_text() + "nobody: knows\n")
    short_scene.file(name).unlink()
    until(short_scene.is_refused(ends), 15)
    assert short_scene.status(stays) == 200
    assert short_scene.says_gone(name)
    if not broken:
        short_scene.file(name).write_text(content)
        until(lambda: short_scene.status(ends) == 200, 10)


@pytest.mark.parametrize(("name", "content"), [(KEYS, "- {id: broken}"), (JWKS, '{"keys": [{}]}'), (JWKS, "{")])
def test_a_mistake_in_a_file_keeps_what_was_before(scene: Scene, name: str, content: str) -> None:
    scene.file(name).write_text(content)
    until(lambda: scene.told("/status")[1]["configuration"] == "refused", 10)
    assert [scene.status(scene.token), scene.status(scene.key)] == [200, 200]
