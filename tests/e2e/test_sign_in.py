"""Company sign-in through the real Envoy, with a real OpenID provider."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.e2e import signing_in
from tests.e2e.signing_in import Browser, Idp, begin, poll, signed_in, token, words
from tests.e2e.stack import PROVIDER_KEY, Json, Model, Stack, free_port, prompt, up

DISCOVERY = "/.well-known/oauth-authorization-server"
CONFIG = """
sign_in:
  public_url: "http://localhost:PORT"
  issuer: "ISSUER"
  client_id: llm-gateway
  client_secret: {env: OIDC_SECRET}
  allow: ['"developers" in jwt.groups']
  notice: "Calls are recorded."
authentication: {}
authorization: {}
providers:
  openai: {dialects: [chat], base_url: "${MODEL_URL}", api_key: {env: MODEL_KEY}}
models:
  - {name: "claude-*", provider: openai, model: gpt-4o-mini}
records: {claims: [email]}
"""


@pytest.fixture(scope="module")
def idp() -> Iterator[Idp]:
    with signing_in.idp() as running:
        running.user("alice")
        running.user("mallory", groups=["visitors"])
        yield running


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, idp: Idp, model: Model) -> Iterator[Stack]:
    port = free_port()
    config = CONFIG.replace("PORT", str(port)).replace("ISSUER", idp.url)
    environ = {"MODEL_URL": model.url, "OIDC_SECRET": "s3cr3t-of-oidc"}
    with up(tmp_path_factory.mktemp("sign-in"), environ=environ, config=config, port=port) as running:
        yield running


@pytest.fixture
def browser(stack: Stack) -> Iterator[Browser]:
    opened = Browser(stack.url.replace("127.0.0.1", "localhost"))
    yield opened
    opened.close()


def test_first_sign_in_to_first_answer(stack: Stack, browser: Browser) -> None:
    codes = begin(stack)
    assert poll(stack, codes["device_code"]).json() == {"error": "authorization_pending"}
    page = browser.open(codes["verification_uri_complete"])
    assert codes["user_code"] in words(page) and "Claude Code asked for it just now" in words(page)
    done = browser.sign_in(codes["user_code"])
    assert "You're signed in." in words(done)
    tokens = poll(stack, codes["device_code"]).json()
    assert tokens["token_type"] == "Bearer" and tokens["expires_in"] == 3600
    answer = stack.call(prompt("hello"), token=tokens["access_token"])
    assert answer.status_code == 200, answer.text
    record = stack.record(answer)
    assert record["jwt.sub"] == "alice" and record["caller.email"] == "alice@corp.example"


def until(fits: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not fits():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def works(stack: Stack, tokens: Json) -> bool:
    return stack.call(prompt("hello"), token=tokens["access_token"]).status_code == 200


def refreshed(stack: Stack, tokens: Json) -> httpx.Response:
    return token(stack, grant_type="refresh_token", refresh_token=tokens["refresh_token"])


def test_the_gateway_trusts_its_own_tokens_and_no_id_token(stack: Stack, browser: Browser, idp: Idp) -> None:
    tokens = signed_in(stack, browser)
    parts = tokens["access_token"].split(".")
    for bad in (".".join([*parts[:2], parts[2][:-2] + "AA"]), tokens["refresh_token"], "extproc"):
        answer = stack.call(prompt("hello"), token=bad)
        assert answer.status_code == 401
        assert answer.headers["x-should-retry"] == "false" and "Bearer" in answer.headers["www-authenticate"]


def test_a_refresh_and_a_disabled_user(stack: Stack, browser: Browser, idp: Idp) -> None:
    idp.user("carol")
    first = signed_in(stack, browser, "carol")
    second = refreshed(stack, first).json()
    assert works(stack, second)
    assert refreshed(stack, first).json() == second
    idp.disable("carol")
    answer = refreshed(stack, second)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_grant")
    assert works(stack, second), "until the access token expires"


def test_logout_ends_the_access_token_too(stack: Stack, browser: Browser) -> None:
    tokens, others = signed_in(stack, browser), signed_in(stack, browser)
    assert works(stack, tokens)
    assert (
        httpx.post(f"{stack.url}/oauth/revoke", data={"token": tokens["access_token"]}, verify=False).status_code == 200
    )
    until(lambda: not works(stack, tokens))
    assert refreshed(stack, tokens).status_code == 401
    assert works(stack, others)


def test_the_command_that_ends_a_persons_tokens(stack: Stack, browser: Browser, idp: Idp) -> None:
    idp.user("dave")
    tokens, others = signed_in(stack, browser, "dave"), signed_in(stack, browser)
    assert works(stack, tokens)
    command = [
        sys.executable,
        "-m",
        "extproc",
        "revoke",
        "--sub",
        "dave",
        "--config",
        str(stack.folder / "gateway.yaml"),
    ]
    environ = {"PATH": os.environ["PATH"], "MODEL_URL": "http://x/v1", "MODEL_KEY": "k", "OIDC_SECRET": "s"}
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=True)
    assert "all tokens of 'dave' are void" in done.stdout
    until(lambda: not works(stack, tokens))
    answer = stack.call(prompt("hello"), token=tokens["access_token"])
    assert answer.status_code == 401 and stack.record(answer)["error"] == "token_revoked"
    assert refreshed(stack, tokens).status_code == 401
    assert works(stack, others)
    assert works(stack, signed_in(stack, browser, "dave"))


def web_process(stack: Stack) -> psutil.Process:
    [found] = [one for one in psutil.Process(stack.process.pid).children() if "extproc.web.process" in one.cmdline()]
    return found


def kill(process: psutil.Process) -> None:
    """Returns when it has ended. Until then Envoy may send it a request that is lost with it, which nobody repeats."""
    process.kill()
    process.wait(10)


def test_a_killed_web_process_loses_nothing(stack: Stack, browser: Browser) -> None:
    codes = begin(stack)
    location = browser.confirm(codes["user_code"])
    kill(web_process(stack))
    done = browser.open(browser.log_in(location, "alice"))  # waits at Envoy until the process is back
    assert "You're signed in." in words(done)
    kill(web_process(stack))
    assert works(stack, poll(stack, codes["device_code"]).json())


def test_calls_go_on_without_the_web_process(stack: Stack, browser: Browser) -> None:
    tokens = signed_in(stack, browser)
    process = web_process(stack)
    process.suspend()
    try:
        assert works(stack, tokens)
    finally:
        process.resume()


def test_the_web_process_has_no_key_of_a_provider(stack: Stack) -> None:
    environ = web_process(stack).environ()
    assert environ["MODEL_KEY"] == "withheld" and PROVIDER_KEY not in environ.values()
    assert environ["OIDC_SECRET"] == "s3cr3t-of-oidc"


def test_only_its_owner_reaches_the_socket(stack: Stack) -> None:
    path = Path(web_process(stack).cmdline()[-1].removeprefix("unix:"))
    assert path.stat().st_mode & 0o777 == 0o600
    assert (stack.folder / "state").stat().st_mode & 0o777 == 0o700


def test_the_address_is_envoys_not_the_clients(stack: Stack) -> None:
    claimed = {"x-extproc-client-address": "198.51.100.9", "x-forwarded-for": "198.51.100.9"}
    answer = httpx.post(f"{stack.url}/oauth/device_authorization", headers=claimed, verify=False)
    page = httpx.get(f"{stack.url}/device?user_code={answer.json()['user_code']}", verify=False)
    assert "127.0.0.1" in words(page) and "198.51.100.9" not in page.text


def test_nothing_secret_is_logged(stack: Stack, browser: Browser) -> None:
    tokens = signed_in(stack, browser)
    refreshed(stack, tokens)
    printed = stack.printed
    for secret in (*tokens.values(), "s3cr3t-of-oidc"):
        assert str(secret) not in printed or secret in {"Bearer", 3600}


def test_a_second_gateway_trusts_the_first(stack: Stack, browser: Browser, tmp_path: Path, model: Model) -> None:
    """By its published keys, as it would any issuer's."""
    issuer = browser.public_url
    config = f"""
authentication:
  jwt:
    - {{issuer: "{issuer}", audiences: ["{issuer}"], algorithms: [ES256], jwks: {{discovery: "{issuer}"}}}}
""" + CONFIG.partition("authentication: {}")[2]
    with up(tmp_path, environ={"MODEL_URL": model.url}, config=config) as second:
        assert works(second, signed_in(stack, browser))


def test_a_changed_section_is_taken_while_it_runs(stack: Stack, browser: Browser) -> None:
    path = stack.folder / "gateway.yaml"
    before = path.read_text()
    codes = begin(stack)
    path.write_text(before.replace("client_id:", "token_ttl: 1200\n  client_id:"))
    try:
        until(lambda: "configuration 2 is in force" in stack.err.text)
        assert "signed in" in browser.sign_in(codes["user_code"]).text  # begun before
        assert poll(stack, codes["device_code"]).json()["expires_in"] == 1200
    finally:
        path.write_text(before)
    until(lambda: "configuration 3 is in force" in stack.err.text)


def test_check_explains_our_own_token(stack: Stack, browser: Browser) -> None:
    token_ = signed_in(stack, browser)["access_token"]
    argv = [sys.executable, "-m", "extproc", "check", "--token", token_, "--model", "claude-x"]
    environ = {"PATH": os.environ["PATH"], "MODEL_URL": "http://127.0.0.1:1/v1", "OIDC_SECRET": "s"}
    done = subprocess.run(argv, cwd=stack.folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "alice" in done.stdout


def test_a_start_without_a_place_to_keep_things(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    (tmp_path / "gateway.yaml").write_text(
        CONFIG.replace("PORT", "18099").replace("ISSUER", "https://idp.corp.example")
    )
    argv = [sys.executable, "-m", "extproc", "up", "--port", str(free_port())]
    environ = {"PATH": os.environ["PATH"], "MODEL_URL": "http://127.0.0.1:1/v1", "MODEL_KEY": "k", "OIDC_SECRET": "s"}
    done = subprocess.run(argv, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1 and "the store cannot be used: its folder cannot be used" in done.stderr


def test_discovery_needs_no_credential(stack: Stack, browser: Browser) -> None:
    answer = stack.call(path=DISCOVERY, method="GET", token=None)
    assert answer.status_code == 200 and answer.json()["issuer"] == browser.public_url
    assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "path",
    [f"{DISCOVERY}/", DISCOVERY.upper(), f"{DISCOVERY}/x", "/oauth", "/oauth/tokens", "/device/../v1/messages"],
)
def test_other_paths_stay_behind_the_verdict(stack: Stack, path: str) -> None:
    answer = stack.call(path=path, method="GET", token=None)
    assert answer.status_code == 401


def test_the_gateways_page_and_claude_codes_probe_have_one_path(stack: Stack) -> None:
    page = stack.call(method="GET", path="/?from=bookmark", token=None)
    assert page.status_code == 200 and "type /login" in words(page)
    assert page.headers["x-frame-options"] == "DENY" and page.headers["x-request-id"]
    assert stack.call(method="GET", path="/protocol", token=None).text.startswith("# How clients use this gateway")
    probe = stack.record(stack.call(method="HEAD", path="/", token=None))
    assert (probe["http.status"], probe["endpoint"]) == (200, "probe")
    assert stack.call(method="POST", path="/", token=None).status_code == 401


def test_a_page_is_on_record(stack: Stack) -> None:
    answer = stack.call({"grant_type": "password"}, path="/oauth/token", token=None)
    line = stack.record(answer)
    assert (answer.status_code, line["http.path"]) == (400, "/oauth/token")
    assert (line["http.status"], line["reason"]) == (400, "InvalidRequest")
