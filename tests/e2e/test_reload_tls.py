"""Certificates are renewed: new connections see the new one, those that stay are not disturbed."""

import contextlib
import http.client
import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import yaml

from tests.certificates import certificate
from tests.e2e.canned import Canned, upstream
from tests.e2e.reloading import Reloads
from tests.e2e.stack import GATEWAY, SECONDS, Model, Stack, prompt, up
from tests.e2e.test_vectors import FINE

TLS = "listen: {tls: {certificate: server.pem, key: server.pem}}\n"


@contextlib.contextmanager
def connected(stack: Stack) -> Iterator[http.client.HTTPSConnection]:
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    host, port = stack.url.rpartition("/")[2].split(":")
    connection = http.client.HTTPSConnection(host, int(port), timeout=SECONDS, context=trusting)
    connection.connect()
    with contextlib.closing(connection):
        yield connection


def ask(stack: Stack, connection: http.client.HTTPSConnection) -> int:
    headers = {"authorization": f"Bearer {stack.good_token}", "content-type": "application/json"}
    socket = connection.sock
    connection.request("POST", "/v1/messages", json.dumps(prompt("demo: say hello")), headers)
    answer = connection.getresponse()
    answer.read()
    assert connection.sock is socket
    return answer.status


def seen(connection: http.client.HTTPSConnection) -> bytes | None:
    found: bytes | None = connection.sock.getpeercert(binary_form=True)
    return found


def written(folder: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert((folder / "ca.pem").read_text())


def renew_in_place(folder: Path) -> None:
    certificate(folder, "localhost")


def renew_as_kubernetes(folder: Path) -> None:
    (folder / "..new").mkdir()
    certificate(folder / "..new", "localhost")
    for name in ("ca.pem", "server.pem"):
        (folder / f"{name}.link").symlink_to(f"..new/{name}")
        (folder / f"{name}.link").rename(folder / name)


def test_the_listeners_certificate_is_renewed(tmp_path: Path, model: Model) -> None:
    certificate(tmp_path, "localhost")
    with up(tmp_path, environ={"MODEL_URL": model.url}, config=GATEWAY + TLS) as stack:
        reloads = Reloads(stack)
        with connected(stack) as kept:
            for renew in (renew_in_place, renew_as_kubernetes):
                renew(tmp_path)
                reloads.now()
                with connected(stack) as fresh:
                    assert seen(fresh) == written(tmp_path) != seen(kept)
                    assert (ask(stack, kept), ask(stack, fresh)) == (200, 200)
            good = written(tmp_path)
            (tmp_path / "server.pem").write_text("-----BEGIN NOTHING")
            reloads.now(good=False)
            stack.err.first(lambda line: "listen.tls: expected a certificate in PEM and the key" in line or None)
            with connected(stack) as fresh:
                assert (seen(fresh), ask(stack, fresh), ask(stack, kept)) == (good, 200, 200)


def test_a_providers_authority_is_renewed(tmp_path: Path) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir()
    ours.mkdir()
    certificate(ours, "elsewhere.test")
    with upstream(certificate(theirs, "localhost")) as provider:
        provider.answers["gpt-4o-mini"] = Canned(json.dumps(FINE["chat"]).encode())
        config = yaml.safe_load(GATEWAY.replace("${MODEL_URL}", provider.url))
        config["providers"]["openai"]["ca_file"] = "ca.pem"
        with up(ours, config=yaml.safe_dump(config)) as stack:
            reloads = Reloads(stack)
            assert stack.call(prompt("hello")).status_code == 529
            (theirs / "ca.pem").replace(ours / "ca.pem")
            reloads.now()
            assert stack.call(prompt("hello")).status_code == 200
            (ours / "ca.pem").unlink()
            reloads.now(good=False)
            stack.err.first(lambda line: "providers.openai.ca_file: ca.pem holds no certificate" in line or None)
            assert stack.call(prompt("hello")).status_code == 200
