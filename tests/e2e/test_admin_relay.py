"""What the container of Envoy shows of its administration on loopback, where other containers of a pod can reach it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from extproc.config import loading
from extproc.envoy import configuration
from extproc.supervisor import up
from tests.e2e.bare import configured, started
from tests.e2e.stack import SECONDS, Model, free_port
from tests.manifests import ROOT

SCRIPT = (ROOT / "envoy/entrypoint.sh").read_text()


@pytest.fixture(scope="module")
def relay(model: Model) -> Iterator[tuple[str, Path]]:
    """Its URL, and Envoy's folder."""
    [added] = re.findall(r"admin='(.*?)'\n", SCRIPT, re.DOTALL)
    address = f"127.0.0.1:{free_port()}"
    added = added.replace("9901", address.rpartition(":")[2])
    assert yaml.safe_load(added)
    with configured(model.url) as setup:
        configuration.write(loading.load(setup.path, setup.environ), [f"unix:{setup.folder}/p"], setup.folder)
        argv = [up.binary_path(), "-c", "bootstrap.json", "--config-yaml", added, "--disable-hot-restart"]
        with started([*argv, "--log-level", "error", "--concurrency", "1"], setup.folder, {}) as (process, _, err):
            wait_until_it_answers(f"http://{address}")
            yield f"http://{address}", setup.folder
            assert process.poll() is None, err.text


def wait_until_it_answers(url: str) -> None:
    with httpx.Client(verify=False, transport=httpx.HTTPTransport(retries=100, verify=False)) as client:
        assert "LIVE" in client.get(f"{url}/ready").text


def ask(url: str, method: str, path: str, **headers: str) -> httpx.Response:
    return httpx.request(method, url + path, headers=headers, timeout=SECONDS, verify=False)


def test_what_the_script_asks_for_is_there(relay: tuple[str, Path]) -> None:
    url, _ = relay
    assert "LIVE" in ask(url, "GET", "/ready").text
    assert ask(url, "GET", "/stats?filter=^server.live$").text == "server.live: 1\n"
    assert ask(url, "GET", "/listeners").status_code == 200
    asked = re.findall(r"\$address(/[a-z_/]+)", SCRIPT)
    assert set(asked) == {"/ready", "/stats", "/listeners", "/healthcheck/fail", "/drain_listeners"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/quitquitquit"),
        ("POST", "/quitquitquit?x=/ready"),
        ("POST", "/ready/../quitquitquit"),
        ("POST", "//quitquitquit"),
        ("POST", "/runtime_modify?a=b"),
        ("POST", "/logging?level=trace"),
        ("POST", "/reset_counters"),
        ("POST", "/stats"),
        ("GET", "/config_dump"),
        ("GET", "/certs"),
        ("GET", "/clusters"),
        ("GET", "/server_info"),
        ("GET", "/heap_dump"),
        ("GET", "/"),
    ],
)
def test_nothing_else_is(relay: tuple[str, Path], method: str, path: str) -> None:
    url, folder = relay
    refused = ask(url, method, path)
    assert (refused.status_code, refused.text) == (404, "")
    admin = httpx.HTTPTransport(uds=str(folder / "admin.sock"), verify=False)
    with httpx.Client(transport=admin, timeout=SECONDS) as client:
        assert json.loads(client.get("http://admin/server_info").text)["state"] == "LIVE"


def test_a_page_in_a_browser_cannot_ask(relay: tuple[str, Path]) -> None:
    """Its host name is another, wherever that resolves to."""
    url, _ = relay
    assert ask(url, "GET", "/stats", host="rebound.example").status_code == 404


def test_a_drain_is_possible(relay: tuple[str, Path]) -> None:
    url, _ = relay
    for path in ("/healthcheck/fail", "/drain_listeners?inboundonly"):
        assert ask(url, "POST", path).text == "OK\n"
    assert ask(url, "GET", "/stats?filter=^server.live$").text == "server.live: 0\n"
