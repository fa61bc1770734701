"""Keys are taken back by emptying their file, or by deleting it: what they prove ends in time, and says so."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from extproc.policy.authentication import api_keys
from tests.e2e.issuer import BODY, CONFIG, ISSUER, Signer, gateway, until
from tests.e2e.prometheus import Scrape
from tests.e2e.stack import Model, Stack, free_port, up
from tests.key_server import Answer, KeyServer

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


@pytest.fixture
def scene(request: pytest.FixtureRequest, tmp_path: Path, model: Model) -> Iterator[Scene]:
    """The parameter: `max_stale` of both files."""
    stale = getattr(request, "param", LONG)
    signer, (key, line), port = Signer("a"), api_keys.new("nightly", {"team": "data"}), free_port()
    (tmp_path / JWKS).write_text(json.dumps({"keys": [signer.jwk]}))
    (tmp_path / KEYS).write_text(line)
    config = CONFIG.format(issuer=ISSUER, jwks=json.dumps({"file": JWKS, "max_stale": stale}))
    config = config.replace("  jwt:", f"  api_keys: {{file: {KEYS}, max_stale: {stale}}}\n  jwt:")
    config += f"metrics: {{port: {port}}}\n"
    with up(tmp_path, environ={"MODEL_URL": model.url}, config=config) as stack:
        found = Scene(stack, f"http://127.0.0.1:{port}", signer.token(), key)
        assert [found.status(found.token), found.status(key)] == [200, 200]
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


@pytest.mark.parametrize("body", [b'{"keys": []}', b""], ids=["no keys", "nothing"])
def test_an_emptied_set_at_a_url_takes_its_keys_back(
    tmp_path: Path, model: Model, server: KeyServer, body: bytes
) -> None:
    signer = Signer("a")
    server.serve(signer.jwk)
    with gateway(tmp_path, model, {"url": f"{server.url}/jwks", "ca_file": "ca.pem", "refresh": 1}) as stack:
        token = signer.token()
        assert stack.call(BODY, token=token).status_code == 200
        server.answers["/jwks"] = Answer(body)
        until(lambda: stack.call(BODY, token=token).status_code == 401, 10)
        server.serve(signer.jwk)
        until(lambda: stack.call(BODY, token=token).status_code == 200, 10)


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


@pytest.mark.parametrize("scene", [SHORT], indirect=True)
@pytest.mark.parametrize("name", [KEYS, JWKS])
@pytest.mark.parametrize("broken", [False, True], ids=["alone", "beside a mistake in gateway.yaml"])
def test_keys_of_a_deleted_file_end(scene: Scene, name: str, broken: bool) -> None:
    ends, stays = (scene.key, scene.token) if name == KEYS else (scene.token, scene.key)
    content = scene.file(name).read_text()
    if broken:
        config = scene.file("gateway.yaml")
        config.write_text(config.read_text() + "nobody: knows\n")
    scene.file(name).unlink()
    until(scene.is_refused(ends), 15)
    assert scene.status(stays) == 200
    assert scene.says_gone(name)
    if not broken:
        scene.file(name).write_text(content)
        until(lambda: scene.status(ends) == 200, 10)


@pytest.mark.parametrize(("name", "content"), [(KEYS, "- {id: broken}"), (JWKS, '{"keys": [{}]}'), (JWKS, "{")])
def test_a_mistake_in_a_file_keeps_what_was_before(scene: Scene, name: str, content: str) -> None:
    scene.file(name).write_text(content)
    until(lambda: scene.told("/status")[1]["configuration"] == "refused", 10)
    assert [scene.status(scene.token), scene.status(scene.key)] == [200, 200]
