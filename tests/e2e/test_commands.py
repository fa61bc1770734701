"""The commands as a user types them: what they print, where, and how they end."""

import base64
import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from extproc.supervisor.up import binary_path
from extproc.version import version
from tests.e2e.bare import Setup, configured, started
from tests.e2e.signing_in import DEVICE_GRANT, Browser
from tests.e2e.stack import GATEWAY, PROVIDER_KEY, SECONDS, Json, Lines, Model, free_port, prompt
from tests.settings import PRICED

OWN = Path(__file__).resolve().parents[2] / "gateway.yaml"

MALFORMED = """\
listen: {adress: 127.0.0.1, port: 99999}
authentication:
  jwt:
    - {issuer: claude-code-lab, audiences: [], jwks: {file: a.json, inline: {}}}
providers:
  openai: {dialects: [telex], base_url: "ftp://x", api_key: sk-0123}
models:
  - {name: "claude-*"}
  - {name: "*", provider: openai, max_output_tokens: -1}
workers: 0
workers: "${NOWHERE}"
"""
MALFORMED_SAYS = [
    "1: listen.adress: unknown key",
    "4: authentication.jwt.0.audiences: ",
    "4: authentication.jwt.0.jwks: keys come from exactly one of: file, inline, url, discovery",
    "6: providers.openai.dialects.0: ",
    "6: providers.openai.base_url: expected a URL such as https://api.openai.com/v1",
    "6: providers.openai.api_key: a secret is {env: NAME} or {file: PATH}, never the value itself",
    "8: models.0: needs either `provider` or `providers`",
    "9: models.1.max_output_tokens: ",
    "11: workers: this key occurs twice",
    "11: workers: the environment variable NOWHERE is not set",
]
MEANINGLESS = """\
authentication:
  jwt:
    - {issuer: claude-code-lab, audiences: [a], jwks: {file: nowhere.json}}
authorization:
  allow: ['jwt.org = "acme"', '1 + 1']
  deny: ['nobody.knows == 1']
providers:
  openai: {dialects: [chat], base_url: "https://x/v1", api_key: {env: NOWHERE}}
models:
  - {name: "claude-*", provider: opnai}
  - {name: "*", provider: openai, profile: telex}
  - {name: gpt-4, provider: openai, allow: 'model in'}
"""
MEANINGLESS_SAYS = [
    "3: authentication.jwt.0.jwks.file: nowhere.json cannot be read: No such file or directory",
    "5: authorization.allow.0: not a valid CEL expression: ",
    "5: authorization.allow.1: the expression gives INT, expected bool",
    "6: authorization.deny.0: not a valid CEL expression: ",
    "8: providers.openai.api_key: the environment variable NOWHERE is not set or empty",
    "10: models.0.provider: no provider is named 'opnai'; there are: openai",
    "11: models.1.profile: no profile is named 'telex'",
    "12: models.2.name: never reached: '*' (models.1) matches first",
    "12: models.2.allow.0: not a valid CEL expression: ",
]


def run(setup: Setup, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "extproc", *words]
    environment = setup.environ | environ
    return subprocess.run(
        command, cwd=setup.folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_check_finds_no_mistake_in_a_good_file(model: Model) -> None:
    with configured(model.url, GATEWAY + PRICED) as setup:
        done = run(setup, "check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "gateway.yaml: no mistakes found\n", "")


@pytest.mark.parametrize(
    ("command", "text", "says"),
    [
        ("check", MALFORMED, MALFORMED_SAYS),
        ("check", MEANINGLESS, MEANINGLESS_SAYS),
        ("up", MEANINGLESS, MEANINGLESS_SAYS),
    ],
    ids=["form", "meaning", "meaning, up"],
)
def test_every_mistake_at_once(model: Model, command: str, text: str, says: list[str]) -> None:
    with configured(model.url) as setup:
        setup.path.write_text(text)
        done = run(setup, command, OPENAI_API_KEY="sk-test")
    lines = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    missing = [said for said in says if not any(line.startswith(f"gateway.yaml:{said}") for line in lines)]
    assert not missing, done.stderr
    assert len(lines) == len(set(lines)) and "sk-0123" not in done.stderr


def test_a_token_has_the_claims_of_the_lab(model: Model) -> None:
    with configured(model.url) as setup:
        before = int(time.time())
        head, claims = decoded(run(setup, "token").stdout)
        keys = setup.folder / "keys"
        assert keys.joinpath("private.pem").stat().st_mode & 0o777 == 0o600
        assert "d" not in json.loads(keys.joinpath("jwks.json").read_text())["keys"][0]
    assert head == {"alg": "RS256", "kid": "claude-code-key", "typ": "JWT"}
    issued, expires = claims.pop("iat"), claims.pop("exp")
    assert before <= issued <= time.time() and expires - issued == 3600
    assert claims == LAB


def test_a_new_key_is_shown_once(model: Model) -> None:
    words = ["key", "new", "--id", "nightly", "--claim", "org=acme", "--claim", "team=data-platform"]
    with configured(model.url) as setup:
        done = run(setup, *words)
        refused = run(setup, "key", "new", "--id", "nightly", "--claim", "iss=x")
    key, line = done.stdout.splitlines()[1::2]
    entry = json.loads(line.removeprefix("- "))
    assert key.startswith("extproc_") and hashlib.sha256(key.encode()).hexdigest() == entry["sha256"]
    assert (entry["id"], entry["claims"]) == ("nightly", {"org": "acme", "team": "data-platform"})
    assert (refused.returncode, refused.stdout, refused.stderr) == (2, "", "iss cannot be set for a key\n")


LAB = {
    "iss": "claude-code-lab",
    "aud": "anthropic-api",
    "sub": "developer@acme.example",
    "org": "acme",
    "team": "data-platform",
    "llms": {"openai": ["gpt-4o-mini"]},
}
CHANGES: list[tuple[list[str], Json]] = [
    (["--team", "marketing"], {"team": "marketing"}),
    (["--claim", "org=globex", "--claim", 'llms={"openai": []}'], {"org": "globex", "llms": {"openai": []}}),
    (["--claim", "admin=true"], {"admin": True}),
]


@pytest.mark.parametrize(("words", "changes"), CHANGES)
def test_a_token_changes_in_what_was_asked_alone(model: Model, words: list[str], changes: Json) -> None:
    with configured(model.url) as setup:
        _, claims = decoded(run(setup, "token", "--ttl", "60", *words).stdout)
    assert claims.pop("exp") - claims.pop("iat") == 60
    assert claims == LAB | changes


def decoded(token: str) -> tuple[Json, Any]:
    head, payload, _ = token.strip().split(".")
    return json.loads(base64.urlsafe_b64decode(head + "==")), json.loads(base64.urlsafe_b64decode(payload + "=="))


def test_up_says_when_its_port_is_taken(model: Model) -> None:
    with configured(model.url) as setup, socket.create_server(("127.0.0.1", setup.port)):
        done = run(setup, "up")
    expected = f"cannot listen on 127.0.0.1:{setup.port}: Address already in use; choose another with --port\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", expected)


def test_the_own_configuration_runs_without_a_key_and_the_demo_is_as_expected(model: Model) -> None:
    with configured(model.url) as setup:
        setup.path.write_text(OWN.read_text())
        address = f"http://127.0.0.1:{(port := free_port())}"
        argv = [sys.executable, "-m", "extproc", "up", "--port", str(port)]
        with started(argv, setup.folder, {"PATH": os.environ["PATH"]}) as (process, out, err):
            out.first(lambda line: "THE DEMO MODEL ANSWERS" in line or None)
            out.first(lambda line: f"export ANTHROPIC_BASE_URL={address}" in line or None)
            done = run(setup, "demo", "--url", address)
            assert done.stdout.splitlines()[-1] == "All as expected.", done.stdout + err.text
            assert (done.returncode, err.text) == (0, "")
            process.send_signal(signal.SIGTERM)
            assert process.wait(SECONDS) == 0


def test_up_prints_json_and_nothing_else_where_that_is_wanted(model: Model) -> None:
    """To a terminal, too, where it otherwise prints a line for people."""
    with configured(model.url) as setup:
        argv = [sys.executable, "-m", "extproc", "up", "--json"]
        screen, terminal = os.openpty()
        process = subprocess.Popen(
            argv, cwd=setup.folder, env=setup.environ, stdout=terminal, stderr=subprocess.PIPE, text=True
        )
        os.close(terminal)
        assert process.stderr is not None
        err = Lines(process.stderr)
        try:
            err.first(lambda line: "is serving on" in line or None)
            url = f"http://127.0.0.1:{setup.port}/v1/messages"
            assert httpx.post(url, json={}, verify=False).status_code == 401
            shown = os.read(screen, 65536)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(SECONDS) == 0
            err.thread.join(SECONDS)
        with contextlib.suppress(OSError):  # EIO: nobody writes there any more
            while more := os.read(screen, 65536):
                shown += more
        os.close(screen)
    assert [json.loads(line)["http.status"] for line in shown.splitlines()] == [401]


def test_a_written_configuration_serves_anywhere(tmp_path: Path) -> None:
    port = free_port()
    setup = Setup(tmp_path, {"PATH": os.environ["PATH"]}, port)
    written = run(setup, "init", "--provider", "openai")
    assert (written.returncode, written.stderr) == (0, "") and "extproc up" in written.stdout
    keyed = Setup(tmp_path, {**setup.environ, "OPENAI_API_KEY": "sk-0123456789"}, port)
    checked = run(keyed, "check")
    assert (checked.returncode, checked.stderr) == (0, "") and "no mistakes found" in checked.stdout
    argv = [sys.executable, "-m", "extproc", "up", "--port", str(port)]
    with started(argv, tmp_path, setup.environ) as (process, out, err):
        out.first(lambda line: "THE DEMO MODEL ANSWERS" in line or None)
        done = run(setup, "demo", "--url", f"http://127.0.0.1:{port}")
        assert done.stdout.splitlines()[-1] == "All as expected.", done.stdout + err.text
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    again = run(setup, "init")
    assert (again.returncode, again.stdout) == (2, "") and "is there already" in again.stderr


def test_up_without_a_file_says_what_can_be_done(tmp_path: Path) -> None:
    done = run(Setup(tmp_path, {"PATH": os.environ["PATH"]}, 0), "up")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("there is no gateway.yaml here.")
    assert all(word in done.stderr for word in ("extproc init", "ollama", "--config", "--demo"))


def test_up_with_the_demo_needs_no_file_and_asks_no_provider(tmp_path: Path) -> None:
    port = free_port()
    setup = Setup(tmp_path, {"PATH": os.environ["PATH"], "OPENAI_API_KEY": "sk-real"}, port)
    argv = [sys.executable, "-m", "extproc", "up", "--demo", "--port", str(port)]
    with started(argv, tmp_path, setup.environ) as (process, out, err):
        out.first(lambda line: "THE DEMO MODEL ANSWERS" in line or None)
        done = run(setup, "demo", "--url", f"http://127.0.0.1:{port}")
        assert done.stdout.splitlines()[-1] == "All as expected.", done.stdout + err.text
        sign_in_at_the_lab(port, out.text)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]


def sign_in_at_the_lab(port: int, printed: str) -> None:
    """With the login page of the demo, whose banner has the two keys that a machine needs."""
    url = f"http://localhost:{port}"
    assert f'{{"forceLoginMethod": "gateway", "forceLoginGatewayUrl": "{url}"}}' in printed
    browser = Browser(url)
    codes = httpx.post(f"{url}/oauth/device_authorization", verify=False).json()
    login = browser.confirm(codes["user_code"])
    assert "Who are you?" in browser.open(login).text
    cancelled = browser.client.post(login, data={"person": "nobody"}).headers["location"]
    assert "you cancelled there" in browser.open(cancelled).text
    login = browser.confirm(codes["user_code"])
    assert "signed in" in browser.open(browser.client.post(login, data={"person": "ada"}).headers["location"]).text
    browser.close()
    form = {"grant_type": DEVICE_GRANT, "device_code": codes["device_code"]}
    tokens = httpx.post(f"{url}/oauth/token", data=form, verify=False).json()
    again = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    tokens = httpx.post(f"{url}/oauth/token", data=again, verify=False).json()
    sent = {"authorization": f"Bearer {tokens['access_token']}", "anthropic-version": "2023-06-01"}
    answer = httpx.post(f"{url}/v1/messages", json=prompt("hello"), headers=sent, verify=False)
    assert answer.status_code == 200, answer.text


def test_the_version(tmp_path: Path) -> None:
    done = run(Setup(tmp_path, {"PATH": os.environ["PATH"]}, 0), "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"extproc {version()}\n", "")
    assert version() != "unknown"


PRINTING = [["token"], ["check"], ["envoy-config"], ["key", "new", "--id", "x"], ["demo"], ["--help"], ["--version"]]


@pytest.mark.parametrize("words", PRINTING, ids=" ".join)
def test_a_reader_who_has_enough_sees_no_traceback(model: Model, words: list[str]) -> None:
    with configured(model.url) as setup:
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            [sys.executable, "-m", "extproc", *words],
            cwd=setup.folder, env=setup.environ, stdout=writer, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_the_demo_says_when_nobody_listens(model: Model) -> None:
    with configured(model.url) as setup:
        done = run(setup, "demo", "--url", f"http://127.0.0.1:{setup.port}")
    assert done.returncode == 1 and "No gateway listens" in done.stdout


def test_envoy_accepts_its_configuration(model: Model) -> None:
    with configured(model.url) as setup:
        done = run(setup, "envoy-config", "--processor", "127.0.0.1:18080", "--workers", "2")
        assert done.returncode == 0 and PROVIDER_KEY not in done.stdout
        rendered = setup.folder / "envoy.json"
        rendered.write_text(done.stdout)
        argv = [binary_path(), "--mode", "validate", "-c", str(rendered)]
        validated = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert validated.returncode == 0, validated.stderr
    assert "OK" in validated.stdout and "warning" not in validated.stderr
