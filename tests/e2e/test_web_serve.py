"""The web process of `extproc serve`, for an Envoy that somebody else starts: on a Unix socket, and on TCP."""

import contextlib
import ssl
import sys
from collections.abc import Iterator

import httpx
import pytest

from tests.certificates import Authority
from tests.e2e.bare import Setup, configured, envoy_in, processor, started
from tests.e2e.stack import GATEWAY, Model, Stack, free_port
from tests.e2e.test_mutual_tls import TLS, issue
from tests.e2e.test_sign_in import DISCOVERY

SIGN_IN = """
sign_in: {public_url: "http://localhost:18099", issuer: "http://127.0.0.1:9", client_id: gateway}
"""


@contextlib.contextmanager
def serving(model: Model, address: str, more: str) -> Iterator[tuple[Setup, Stack]]:
    with configured(model.url, GATEWAY + SIGN_IN + more) as setup:
        issue(Authority(setup.folder / "tls"))
        where = address.replace("FOLDER", str(setup.folder))
        with (
            processor(setup, where, "--envoy-folder", str(setup.folder)),
            envoy_in(setup, healthy=1) as front,
        ):
            yield setup, front


def asks(stack: Stack) -> None:
    assert stack.call(path=DISCOVERY, method="GET", token=None).status_code == 200
    codes = stack.call(path="/oauth/device_authorization", token=None).json()
    assert codes["expires_in"] == 600


def test_on_a_unix_socket_beside_the_processors(model: Model) -> None:
    with serving(model, "unix:FOLDER/run.sock", "") as (setup, stack):
        asks(stack)
        assert (setup.folder / "web.sock").stat().st_mode & 0o777 == 0o600


def test_on_tcp_with_mutual_tls(model: Model) -> None:
    port = free_port()
    more = TLS + f'web: {{address: "127.0.0.1:{port}"}}\n'
    with serving(model, f"127.0.0.1:{free_port()}", more) as (setup, stack):
        asks(stack)
        trusted = ssl.create_default_context(cafile=setup.folder / "tls/ca.pem")
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"https://127.0.0.1:{port}{DISCOVERY}", verify=trusted)
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{port}{DISCOVERY}", verify=False)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("", "web.address: is needed where the processor is on TCP"),
        ('web: {address: "0.0.0.0:PORT"}\n', "can be reached by other machines"),
    ],
)
def test_an_address_that_is_missing_or_open_to_others(model: Model, more: str, said: str) -> None:
    with configured(model.url, GATEWAY + SIGN_IN + more.replace("PORT", str(free_port()))) as setup:
        argv = [sys.executable, "-m", "extproc", "serve", "--processor", f"127.0.0.1:{free_port()}"]
        with started(argv, setup.folder, setup.environ) as (process, _, err):
            assert process.wait(20) == 2
            err.thread.join(20)
            assert said in err.text
