"""A developer's day through the real Envoy: `extproc login` without a browser, then Claude Code, Codex and SDKs with
its tokens, renewal, a person who is disabled at the identity provider, and the end."""

import contextlib
import html
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import anthropic
import jwt
import openai
import pytest
from playwright.sync_api import Page

from tests import issuing
from tests.e2e import claude_code, signing_in
from tests.e2e.chromium import chromium
from tests.e2e.claude_runs import QUIET
from tests.e2e.codex import Codex, binary
from tests.e2e.issuer import until
from tests.e2e.signing_in import Browser, Idp
from tests.e2e.stack import Json, Model, Stack, free_port, prompt, up
from tests.e2e.terminal import terminal
from tests.e2e.test_sign_in import CONFIG
from tests.key_server import KeyServer, key_server
from tests.manifests import ROOT

SECONDS = 60.0
WINDOW = 131072
EXCHANGE = """
  exchange:
    - {issuer: "CI", keys: "CI/jwks", audiences: [llm-gateway], when: 'jwt.repository == "corp/app"'}
authentication:"""
BUDGETS = """
budgets: [{name: calls, key: jwt.sub, limit: {requests: 1000}, per: day}]
admin: {allow: ['"developers" in jwt.groups']}
"""
EXTPROC = [sys.executable, "-m", "extproc"]


@dataclass(frozen=True)
class Developer:
    """A person's account on a machine without a keyring, with hardly any environment."""

    home: Path
    gateway: str
    """As the person knows it."""

    @property
    def environ(self) -> dict[str, str]:
        bare = {"PATH": f"{self.home / 'bin'}{os.pathsep}{os.environ['PATH']}", "HOME": str(self.home)}
        python = {"PYTHONPATH": str(ROOT), "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
        return {**bare, **python, **dict.fromkeys(QUIET, "1")}

    def start(self, *words: str, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*EXTPROC, *words], env={**self.environ, **variables}, cwd=self.home, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*words)
        try:
            out, err = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def token(self) -> str:
        done = self.run("token", "--stored")
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.strip()

    def age(self, seconds: float) -> None:
        """Lets the kept token be older, so that so many seconds are left."""
        [path] = (self.home / ".local/share/llm-extproc").glob("*.json")
        record = json.loads(path.read_text())
        record |= {"obtained_at": time.time() - 3600, "expires_at": time.time() + seconds}
        path.write_text(json.dumps(record))

    def install(self, name: str, program: Path) -> None:
        (self.home / "bin").mkdir(exist_ok=True)
        (self.home / "bin" / name).symlink_to(program)


@pytest.fixture(scope="module")
def idp() -> Iterator[Idp]:
    with signing_in.idp() as running:
        running.user("alice")
        running.user("mallory", groups=["visitors"])
        yield running


@pytest.fixture(scope="module")
def ci() -> Iterator[KeyServer]:
    """The issuer of workloads' tokens."""
    with key_server() as server:
        server.serve(issuing.jwk())
        yield server


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, idp: Idp, ci: KeyServer, model: Model) -> Iterator[Stack]:
    port = free_port()
    rows = EXCHANGE.replace("CI", ci.url)
    config = CONFIG.replace("PORT", str(port)).replace("ISSUER", idp.url).replace("authentication:", rows, 1)
    config = config.replace("gpt-4o-mini", f"gpt-4o-mini, context_window: {WINDOW}")
    environ = {"MODEL_URL": model.url, "OIDC_SECRET": "s3cr3t-of-oidc"}
    with up(tmp_path_factory.mktemp("developers"), environ=environ, config=config + BUDGETS, port=port) as running:
        yield running


def log_in(home: Path, gateway: str, sub: str) -> tuple[Developer, str]:
    """Signs in with a terminal here and a browser elsewhere; also what the terminal shows in the end."""
    found = Developer(home, gateway)
    browser = Browser(gateway)
    with terminal([*EXTPROC, "login", "--gateway", gateway], found.environ, home) as screen:
        shown = screen.shows("It must show the code ")
        user_code = shown.partition("It must show the code ")[2].split()[0]
        assert f"{gateway}/device?user_code={user_code}" in shown
        browser.sign_in(user_code, sub)
        shown = screen.shows("ended with ")
    browser.close()
    return found, shown


def log_in_by_redirect(home: Path, gateway: str, sub: str) -> tuple[Developer, int, str]:
    """Signs in with a browser on the same machine; also the command's exit status and what it says."""
    found, browser = Developer(home, gateway), Browser(gateway)
    with logging_in(found) as (process, page):
        form = dict(re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', browser.open(page).text))
        answer = browser.post("/oauth/authorize", {name: html.unescape(value) for name, value in form.items()})
        back = browser.client.get(browser.log_in(answer.headers["location"], sub), follow_redirects=True)
        assert back.status_code == 200 and str(back.url).startswith("http://127.0.0.1:")
        _, err = process.communicate(timeout=SECONDS)
    browser.close()
    return found, process.returncode, err


@contextlib.contextmanager
def logging_in(developer: Developer) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`extproc login --browser`, and the page that it opens."""
    opener, opened = developer.home / "opener", developer.home / "opened"
    opener.write_text(f'#!/bin/sh\nprintf %s "$1" > {opened}.new && mv {opened}.new {opened}\n')
    opener.chmod(0o755)
    process = developer.start("login", "--browser", "--gateway", developer.gateway, BROWSER=str(opener))
    try:
        until(opened.exists)
        yield process, opened.read_text()
    finally:
        process.kill()
        process.wait(SECONDS)


@pytest.fixture(scope="module")
def alice(tmp_path_factory: pytest.TempPathFactory, stack: Stack) -> Developer:
    home = tmp_path_factory.mktemp("alice")
    found, shown = log_in(home, stack.url.replace("127.0.0.1", "localhost"), "alice")
    assert "Notice from" in shown and "Calls are recorded." in shown
    assert f"Signed in to {found.gateway} as alice@corp.example." in shown and "ended with 0" in shown
    return found


def record_of_alice(stack: Stack, model: Model, asked: int) -> Json:
    """What is on record of the first call that a model was asked for."""
    wanted = dict(model.since(asked)[0]["headers"])["x-request-id"]
    record = stack.record_where(lambda line: line["x-request-id"] == wanted)
    assert (record["jwt.sub"], record["caller.email"]) == ("alice", "alice@corp.example")
    return record


def test_a_person_who_is_not_admitted(tmp_path: Path, alice: Developer) -> None:
    mallory, status, err = log_in_by_redirect(tmp_path, alice.gateway, "mallory")
    assert status == 1 and "refused the sign-in (access_denied: your account may not use this gateway" in err
    assert "not signed in" in mallory.run("token", "--stored").stderr


def test_who_is_signed_in(alice: Developer) -> None:
    out = alice.run("whoami").stdout
    assert f"gateway: {alice.gateway}" in out and "email: alice@corp.example" in out and "groups: developers" in out
    assert "renews itself: yes" in out and "token: good for 60 minutes" in out


def test_budgets_are_changed_with_the_kept_sign_in(alice: Developer) -> None:
    done = alice.run("budget", "set", "calls", "alice", "2000", "--gateway", alice.gateway)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    [entry] = alice.run("budget", "audit", "--gateway", alice.gateway).stdout.splitlines()[1:]
    assert entry.split()[1:] == [
        "alice",
        f"({alice.gateway})",
        "api",
        "set",
        "calls",
        "alice",
        "requests",
        "1000",
        "2000",
    ]


def test_sdks(alice: Developer, stack: Stack, model: Model) -> None:
    asked = model.asked()
    with anthropic.Anthropic(base_url=stack.url, auth_token=alice.token()) as client:
        message = client.messages.create(**prompt("demo: say welcome"))
    [block] = message.content
    assert block.type == "text" and block.text == "welcome"
    record_of_alice(stack, model, asked)
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key=alice.token()) as client:
        answer = client.chat.completions.create(
            model="claude-x", messages=[{"role": "user", "content": "demo: say welcome"}]
        )
    assert answer.choices[0].message.content == "welcome"


def test_claude_code(alice: Developer, stack: Stack, model: Model) -> None:
    """Started by `extproc claude`, whose apiKeyHelper is `extproc token --stored`."""
    alice.install("claude", claude_code.install()[claude_code.NEWEST])
    asked = model.asked()
    run = alice.run("claude", "-p", "demo: say welcome")
    assert (run.returncode, run.stdout) == (0, "welcome\n"), run.stderr
    record_of_alice(stack, model, asked)


def test_codex(alice: Developer, stack: Stack, model: Model) -> None:
    """Started by `extproc codex`, whose auth.command is `extproc token --stored`, whatever config.toml has."""
    alice.install("codex", binary())
    (alice.home / ".codex").mkdir()
    (alice.home / ".codex" / "config.toml").write_text('model = "claude-x"\nmodel_provider = "openai"\n')
    asked = model.asked()
    run = alice.run("codex", "exec", "--json", "--skip-git-repo-check", "demo: say welcome")
    events = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    texts = [event["item"]["text"] for event in events if event.get("item", {}).get("type") == "agent_message"]
    assert (run.returncode, texts) == (0, ["welcome"]), run.stderr
    record_of_alice(stack, model, asked)
    kept = "".join(path.read_text() for path in (alice.home / ".codex" / "sessions").rglob("*.jsonl"))
    assert f'"model_context_window":{WINDOW * 95 // 100}' in kept  # of which Codex leaves a twentieth free


def test_codex_with_a_configuration_of_its_own(alice: Developer, stack: Stack, model: Model, tmp_path: Path) -> None:
    """As docs/rollout.md has it: nothing but `extproc token --stored` is ours."""
    run = Codex(stack, model, tmp_path)
    variables = [f"{name}={value}" for name, value in alice.environ.items()]
    run.configure("/usr/bin/env", [*variables, *EXTPROC, "token", "--stored"])
    done = run.exec("-m", "claude-x", "demo: say welcome")
    assert (done.status, done.says()) == (0, ["welcome"]), done.err
    assert {record["jwt.sub"] for record in done.records} == {"alice"}


def test_two_processes_renew_a_token_once(alice: Developer, stack: Stack) -> None:
    before = alice.token()
    alice.age(seconds=200)
    both = [alice.start("token", "--stored") for _ in range(2)]
    first, second = (process.communicate(timeout=SECONDS)[0].strip() for process in both)
    assert first == second != before
    assert jwt.decode(first, options={"verify_signature": False})["sub"] == "alice"
    assert stack.call(prompt("hello"), token=first).status_code == 200
    assert alice.token() == first


def test_a_person_who_is_disabled(alice: Developer, idp: Idp) -> None:
    """The token that is there serves to its end; there is no other."""
    before = alice.token()
    idp.disable("alice")
    alice.age(seconds=200)
    assert alice.token() == before
    alice.age(seconds=0)
    run = alice.run("token", "--stored")
    assert (run.returncode, run.stdout) == (1, "")
    assert "has ended this sign-in" in run.stderr and f"extproc login --gateway {alice.gateway}" in run.stderr


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as opened:
        yield opened


def log_in_at_the_provider(page: Page, sub: str) -> None:
    page.get_by_role("button", name="Yes, sign in with my company account").click()
    page.locator("input[name=sub]").fill(sub)
    page.get_by_role("button", name="Authorize").click()


def test_a_sign_in_with_this_machines_browser(alice: Developer, page: Page, stack: Stack, tmp_path: Path) -> None:
    """The pages' own policies let Chromium through the whole chain of redirects, back to the command."""
    bob = Developer(tmp_path, alice.gateway)
    with logging_in(bob) as (process, address):
        page.goto(address)
        log_in_at_the_provider(page, "alice")
        page.get_by_role("heading", name="Go on in the terminal").wait_for()
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0 and f"Signed in to {bob.gateway} as alice@corp.example." in err
    assert stack.call(prompt("hello"), token=bob.token()).status_code == 200


def test_a_code_in_a_browser(stack: Stack, page: Page) -> None:
    codes = signing_in.begin(stack)
    page.goto(codes["verification_uri_complete"])
    assert page.get_by_text(codes["user_code"]).is_visible()
    log_in_at_the_provider(page, "alice")
    page.get_by_role("heading", name="You're signed in.").wait_for()


def test_a_person_who_has_left(alice: Developer, stack: Stack, idp: Idp, tmp_path: Path) -> None:
    """Whatever the identity provider says: the operator ends all tokens now."""
    idp.user("eve", email="eve@corp.example")
    left, status, _ = log_in_by_redirect(tmp_path, alice.gateway, "eve")
    token = left.token()
    assert status == 0 and stack.call(prompt("hello"), token=token).status_code == 200
    command = [*EXTPROC, "revoke", "--sub", "eve", "--config", str(stack.folder / "gateway.yaml")]
    environ = {**os.environ, "OIDC_SECRET": "s", "MODEL_URL": "http://x/v1", "MODEL_KEY": "k"}
    assert subprocess.run(command, cwd=stack.folder, env=environ, check=False).returncode == 0
    until(lambda: stack.call(prompt("hello"), token=token).status_code == 401)
    left.age(seconds=0)
    assert "has ended this sign-in" in left.run("token", "--stored").stderr


def test_a_workload(alice: Developer, stack: Stack, ci: KeyServer, tmp_path: Path) -> None:
    """A job's own token, exchanged; nothing is kept on its machine."""
    subject = "repo:corp/app:ref:refs/heads/main"
    claims = issuing.claims(iss=ci.url, aud="llm-gateway", sub=subject, repository="corp/app")
    job = Developer(tmp_path, alice.gateway)
    (job.home / "token").write_text(issuing.token(claims))
    done = job.run("token", "--token-file", "token", "--gateway", job.gateway)
    assert (done.returncode, done.stderr) == (0, "")
    answer = stack.call(prompt("hello"), token=done.stdout.strip())
    assert answer.status_code == 200 and stack.record(answer)["jwt.sub"].endswith(subject)
    (job.home / "token").write_text(issuing.token(claims | {"repository": "corp/other"}))
    done = job.run("token", "--token-file", "token", "--gateway", job.gateway)
    assert done.returncode == 1 and "gave no token" in done.stderr
    assert not list(job.home.rglob("*.json"))


def test_the_end(alice: Developer, stack: Stack, tmp_path: Path) -> None:
    again, _, _ = log_in_by_redirect(tmp_path, alice.gateway, "alice")
    token = again.token()
    assert stack.call(prompt("hello"), token=token).status_code == 200
    done = again.run("logout")
    assert (done.returncode, done.stderr) == (0, f"Signed out of {alice.gateway}. Its tokens are revoked.\n")
    assert "not signed in" in again.run("token", "--stored").stderr
    until(lambda: stack.call(prompt("hello"), token=token).status_code == 401)
