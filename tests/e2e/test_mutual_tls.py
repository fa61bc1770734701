"""A processor on TCP: mutual TLS with the real Envoy, and who else is let in."""

import asyncio
import contextlib
import json
import os
import re
import signal
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from extproc import pb
from extproc.config import loading
from extproc.config.schema_tls import Processor, ProcessorClient
from extproc.envoy import configuration
from extproc.transport import health
from tests.certificates import Authority
from tests.e2e.bare import Setup, configured, envoy_in, processor
from tests.e2e.processes import children
from tests.e2e.refusals import never_asked
from tests.e2e.reloading import Load, Reloads
from tests.e2e.sse import events, kinds, said, streaming
from tests.e2e.stack import GATEWAY, PROVIDER_KEY, SECONDS, Model, Stack, free_port, prompt, text_of

TLS = """
processor:
  tls: {certificate: tls/processor.pem, key: tls/processor.key, client_ca: tls/ca.pem}
  client: {certificate: tls/envoy.pem, key: tls/envoy.key, ca_file: tls/ca.pem}
"""
INSECURE = "processor: {insecure: true}\n"
EVERYWHERE = "0.0.0.0"


@contextlib.contextmanager
def prepared(model: Model, text: str = TLS) -> Iterator[tuple[Setup, Authority]]:
    with configured(model.url, GATEWAY + text) as setup:
        authority = Authority(setup.folder / "tls")
        issue(authority)
        yield setup, authority


def issue(authority: Authority) -> None:
    authority.issue("processor", "127.0.0.1", "localhost")
    authority.issue("envoy")


@contextlib.contextmanager
def serving(setup: Setup, address: str) -> Iterator[Reloads]:
    """`extproc serve` on TCP, and an Envoy in the folder that it keeps."""
    with (
        processor(setup, address, "--envoy-folder", str(setup.folder)) as (process, err),
        envoy_in(setup, healthy=1) as front,
    ):
        yield Reloads(Stack(front.url, setup.folder, process, front.out, err))


@dataclass
class Shared:
    """A processor on 127.0.0.1 and its Envoy, for several tests: each leaves them as they were."""

    setup: Setup
    authority: Authority
    address: str
    reloads: Reloads

    def answers(self) -> bool:
        return self.reloads.stack.call(prompt("demo: say hello")).status_code == 200

    @contextlib.contextmanager
    def refusing(self, path: Path, content: str, complaint: str) -> Iterator[None]:
        """While `content`, of which it complains anew, is in a file."""

        def complains(line: str) -> bool | None:
            return complaint in line or None

        err, good = self.reloads.stack.err, path.read_text()
        earlier = len([line for line in err.seen if complains(line)])
        path.write_text(content)
        try:
            self.reloads.now(good=False)
            err.nth(earlier + 1, complains)
            yield
        finally:
            path.write_text(good)
            self.reloads.now()


@pytest.fixture(scope="module")
def shared(model: Model) -> Iterator[Shared]:
    address = f"127.0.0.1:{free_port()}"
    with prepared(model) as (setup, authority), serving(setup, address) as reloads:
        yield Shared(setup, authority, address, reloads)


@pytest.fixture(params=["127.0.0.1", "localhost"])
def named(request: pytest.FixtureRequest, shared: Shared, model: Model) -> Iterator[Stack]:
    """Where Envoy knows its processor by that name."""
    if shared.address.startswith(f"{request.param}:"):
        yield shared.reloads.stack
        return
    with prepared(model) as (setup, _), serving(setup, f"{request.param}:{free_port()}") as reloads:
        yield reloads.stack


def test_the_three_cases_and_a_stream(model: Model, named: Stack) -> None:
    with never_asked(model):
        assert named.call(prompt("hello"), token=None).status_code == 401
        assert named.call(prompt("hello"), token=named.token(team="marketing")).status_code == 403
    answer = named.call(prompt("demo: say bonjour"))
    assert (answer.status_code, text_of(answer.json())) == (200, "bonjour")
    with streaming(named, "demo: say one two three") as streamed:
        found = list(events(streamed))
    assert kinds(found)[-1] == "message_stop" and said(found) == "one two three"
    large = named.call(prompt("x" * 10_000_000 + "\ndemo: say bonjour"))
    assert (large.status_code, text_of(large.json())) == (200, "bonjour")


def presenting(setup: Setup, who: str) -> ssl.SSLContext | None:
    """What a peer shows that is not our Envoy; None for plaintext."""
    if who == "plaintext":
        return None
    context = ssl.create_default_context(cafile=setup.folder / "tls" / "ca.pem")
    context.set_alpn_protocols(["h2"])
    if who == "another authority's":
        other = Authority(setup.folder / "other", name="authority")
        other.issue("envoy")
        context.load_cert_chain(setup.folder / "other/envoy.pem", setup.folder / "other/envoy.key")
    elif who == "ours":
        context.load_cert_chain(setup.folder / "tls/envoy.pem", setup.folder / "tls/envoy.key")
    return context


@pytest.mark.parametrize("who", ["another authority's", "no certificate", "plaintext"])
def test_a_peer_without_our_certificate_is_refused(shared: Shared, who: str) -> None:
    assert not asyncio.run(health.serving(shared.address, presenting(shared.setup, who)))
    assert asyncio.run(health.serving(shared.address, presenting(shared.setup, "ours")))
    assert shared.answers()


def asked_directly(address: str, token: str, credentials: grpc.ChannelCredentials | None) -> bytes:
    """What the processor replies to somebody with a good token who speaks ext_proc with it, as Envoy would."""
    fields = {":method": "POST", ":path": "/v1/messages", "authorization": f"Bearer {token}"}
    headers = [pb.HeaderValue(key=name, raw_value=value.encode()) for name, value in fields.items()]
    messages = [
        pb.ProcessingRequest(request_headers=pb.HttpHeaders(headers=pb.HeaderMap(headers=headers))),
        pb.ProcessingRequest(request_body=pb.HttpBody(body=json.dumps(prompt("hi")).encode(), end_of_stream=True)),
    ]
    with grpc.secure_channel(address, credentials) if credentials else grpc.insecure_channel(address) as channel:
        call: Any = channel.stream_stream("/envoy.service.ext_proc.v3.ExternalProcessor/Process")
        return b"".join(call((message.SerializeToString() for message in messages), timeout=SECONDS))


@pytest.mark.parametrize("encrypted", [False, True])
def test_nobody_but_envoy_is_handed_the_providers_key(shared: Shared, encrypted: bool) -> None:
    """It stands in the reply to a request that may pass, so any pod with one good token could have it."""
    token, authority = shared.reloads.stack.good_token, shared.authority
    stranger = grpc.ssl_channel_credentials(authority.pem) if encrypted else None
    with pytest.raises(grpc.RpcError):
        asked_directly(shared.address, token, stranger)
    pair = ((authority.folder / name).read_bytes() for name in ("envoy.key", "envoy.pem"))
    allowed = grpc.ssl_channel_credentials(authority.pem, *pair)
    assert PROVIDER_KEY.encode() in asked_directly(shared.address, token, allowed), "the same from Envoy"


@pytest.mark.parametrize("wrong", ["another authority's certificate", "no certificate", "of another name"])
def test_calls_fail_where_envoy_and_processor_do_not_trust_each_other(model: Model, wrong: str) -> None:
    """Closed, as without a processor."""
    with prepared(model) as (setup, authority):
        source = loading.load(setup.path, setup.environ)
        if wrong == "of another name":
            authority.issue("processor", "elsewhere.test")
        elif wrong == "another authority's certificate":
            # Not in the place of the first, which the processor would take anew in a moment.
            another = Authority(setup.folder / "another", name="another")
            issue(another)
            files = {"certificate": "envoy.pem", "key": "envoy.key", "ca_file": "ca.pem"}
            client = ProcessorClient(**{name: another.folder / file for name, file in files.items()})
            ours = source.config.processor.model_copy(update={"client": client})
            source = source.replaced(source.config.model_copy(update={"processor": ours}))
        elif wrong == "no certificate":
            source = source.replaced(source.config.model_copy(update={"processor": Processor()}))
        with processor(setup, address := f"127.0.0.1:{free_port()}"):
            configuration.write(source, [address], setup.folder)
            with envoy_in(setup, healthy=0) as stack, never_asked(model):
                wait_for_a_failed_connection(setup)
                assert stack.call(prompt("hello")).status_code == 503


def wait_for_a_failed_connection(setup: Setup) -> None:
    admin = httpx.HTTPTransport(uds=str(setup.folder / "admin.sock"), verify=False)
    deadline = time.monotonic() + SECONDS
    with httpx.Client(transport=admin, timeout=SECONDS) as client:
        while client.get("http://admin/stats?filter=^cluster.extproc.health_check.failure$").text.endswith(": 0\n"):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_certificates_are_rotated_under_load(model: Model) -> None:
    """Those of both sides, then their authority by way of a file that holds the old and the new one."""
    with prepared(model) as (setup, authority), serving(setup, address := f"127.0.0.1:{free_port()}") as reloads:
        withdrawn = presenting(setup, "ours")
        with Load(reloads.stack) as load:
            load.await_more(5, 1)
            issue(authority)
            reloads.now()
            load.await_more(5, 1)
            fresh = Authority(setup.folder / "fresh", name="fresh")
            issue(fresh)
            (authority.folder / "ca.pem").write_bytes(authority.pem + fresh.pem)
            reloads.now()
            for name in ("processor.pem", "processor.key", "envoy.pem", "envoy.key"):
                (fresh.folder / name).replace(authority.folder / name)
            reloads.now()
            load.await_more(5, 1)
            assert withdrawn is not None
            withdrawn.load_verify_locations(cadata=fresh.pem.decode())
            assert asyncio.run(health.serving(address, withdrawn)), "not yet withdrawn"
            (authority.folder / "ca.pem").write_bytes(fresh.pem)
            reloads.now()
            load.await_more(5, 1)
        assert not load.failed
        assert not asyncio.run(health.serving(address, withdrawn))
        assert asyncio.run(health.serving(address, presenting(setup, "ours")))
        # Envoy has kept its connection until now; a worker that starts anew wants a new one.
        [worker] = children(reloads.stack.process.pid)
        os.kill(worker, signal.SIGKILL)
        deadline = time.monotonic() + SECONDS
        while reloads.stack.call(prompt("demo: say hello")).status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_broken_certificate_changes_nothing(shared: Shared) -> None:
    path = shared.setup.folder / "tls/processor.pem"
    with shared.refusing(path, "-----BEGIN NOTHING", "processor.tls: expected a certificate in PEM"):
        assert asyncio.run(health.serving(shared.address, presenting(shared.setup, "ours")))
        assert shared.answers()


@pytest.mark.parametrize("text", ["", INSECURE])
def test_tls_is_never_switched_off_while_it_serves(shared: Shared, text: str) -> None:
    path = shared.setup.path
    without = path.read_text().replace(TLS, text)
    with shared.refusing(path, without, "processor.tls: is switched on or off by a restart only"):
        assert shared.answers()


def test_a_larger_body_limit_waits_for_the_next_start(model: Model) -> None:
    """grpcio's limit is set once; a body beyond it is a 413, not a failure of the processor."""
    address = f"127.0.0.1:{free_port()}"
    with prepared(model, TLS + "max_body_bytes: 2000000\n") as (setup, _), serving(setup, address) as reloads:
        setup.path.write_text(setup.path.read_text().replace("2000000", "9000000"))
        reloads.now()
        reloads.stack.err.first(lambda line: "wait for the next start: max_body_bytes" in line or None)
        assert reloads.stack.call(prompt("x" * 4_000_000)).status_code == 413
        assert reloads.stack.call(prompt("x" * 1_000_000 + "\ndemo: say hello")).status_code == 200


def run(setup: Setup, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "extproc", *words]
    return subprocess.run(
        argv, cwd=setup.folder, env=setup.environ, capture_output=True, text=True, timeout=SECONDS, check=False
    )


@pytest.mark.parametrize("command", ["serve", "envoy-config"])
def test_plaintext_beyond_loopback_is_refused_with_what_to_add(model: Model, command: str) -> None:
    """Whoever upgrades copies these lines, and it serves."""
    with prepared(model, "") as (setup, _):
        done = run(setup, command, "--config", "gateway.yaml", "--processor", f"{EVERYWHERE}:9000", "--workers", "1")
        assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (2, "", False)
        assert done.stderr.startswith("gateway.yaml: processor: 0.0.0.0:9000 can be reached by other machines")
        added = re.findall(r"^(processor:|  \w+: \{.*)$", done.stderr, re.MULTILINE)
        assert len(added) == (3 if command == "serve" else 2)
        text = "\n".join(added).replace(": processor.", ": tls/processor.").replace(": envoy.", ": tls/envoy.")
        setup.path.write_text(setup.path.read_text() + text.replace(": ca.pem", ": tls/ca.pem") + "\n")
        if command == "envoy-config":
            assert run(setup, command, "--processor", f"{EVERYWHERE}:9000").returncode == 0
        else:
            with serving(setup, f"127.0.0.1:{free_port()}") as reloads:
                assert reloads.stack.call(prompt("demo: say hello")).status_code == 200


def test_plaintext_that_is_asked_for_is_named(model: Model) -> None:
    with prepared(model, INSECURE) as (setup, _):
        done = run(setup, "check")
        assert done.returncode == 0
        assert re.search(
            r"^gateway.yaml:\d+: processor.insecure: plaintext is spoken on TCP", done.stdout, re.MULTILINE
        )
        assert run(setup, "envoy-config", "--processor", "processor:9000").returncode == 0


def test_the_command_that_asks_for_health_presents_envoys_certificate(shared: Shared) -> None:
    assert run(shared.setup, "health", "--processor", shared.address).returncode == 0
    assert run(shared.setup, "health", "--config", "nowhere.yaml", "--processor", shared.address).returncode == 1


def test_a_processor_on_tcp_says_whether_it_is_ready(model: Model) -> None:
    """Its supervisor asks it without a certificate, on a socket of their own."""
    port = free_port()
    without_client = TLS.partition("  client")[0] + f"health: {{port: {port}}}\n"
    with prepared(model, without_client) as (setup, _), processor(setup, f"127.0.0.1:{free_port()}"):
        answer = httpx.get(f"http://127.0.0.1:{port}/readyz", verify=False, timeout=SECONDS)
        assert (answer.status_code, answer.json()["status"]) == (200, "ready")


def test_a_socket_is_for_its_owner_alone(model: Model) -> None:
    with configured(model.url) as setup, processor(setup, f"unix:{setup.folder}/p.sock"):
        assert stat.filemode((setup.folder / "p.sock").stat().st_mode) == "srw-------"


def test_without_a_certificate_health_cannot_be_asked(model: Model) -> None:
    with prepared(model, TLS.partition("  client")[0]) as (setup, _):
        done = run(setup, "health", "--processor", "127.0.0.1:9000")
        assert done.returncode == 2 and "processor.client: is needed" in done.stderr
