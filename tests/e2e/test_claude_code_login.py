"""The real Claude Code's `/login`, from a machine that its company manages to the first answer of a model."""

import re
import subprocess
import time
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.e2e import signing_in
from tests.e2e.claude_code import NEWEST, install
from tests.e2e.claude_login import READY, Machine, needs_namespaces, sign_in
from tests.e2e.signing_in import Browser, Idp, signed_in, token
from tests.e2e.stack import ONE_WORKER, Model, Stack, free_port, prompt, up
from tests.e2e.test_sign_in import CONFIG, until

BUDGETS = """
prices: {overrides: [{model: "*", input: 100, output: 0}]}
budgets:
  - {name: month, key: jwt.sub, limit: {usd: 500}, per: month}
  - {name: tight, key: jwt.sub, when: 'model == "claude-tight"', limit: {usd: 0.001}, per: month}
"""


@pytest.fixture(scope="module")
def idp() -> Iterator[Idp]:
    with signing_in.idp() as running:
        running.user("alice")
        yield running


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, idp: Idp, model: Model) -> Iterator[Stack]:
    port = free_port()
    config = CONFIG.replace("PORT", str(port)).replace("ISSUER", idp.url)
    config = config.replace("authorization: {}", "authorization: {deny: 'model == \"claude-forbidden\"'}")
    environ = {"MODEL_URL": model.url, "OIDC_SECRET": "s3cr3t-of-oidc"}
    with up(
        tmp_path_factory.mktemp("login"), environ=environ, config=config + BUDGETS, port=port, arguments=ONE_WORKER
    ) as running:
        yield running


@pytest.fixture(scope="module")
def signed_in_machine(tmp_path_factory: pytest.TempPathFactory, stack: Stack) -> Machine:
    """On which alice has signed in."""
    needs_namespaces()
    url = stack.url.replace("127.0.0.1", "localhost")
    made = Machine(install()[NEWEST], tmp_path_factory.mktemp("machine"), url)
    browser = Browser(url)

    def approve(opened: str) -> None:
        [code] = parse_qs(urlsplit(opened).query)["user_code"]
        assert browser.open(opened).status_code == 200
        assert "signed in" in browser.sign_in(code).text

    with made.session() as session:
        screens = sign_in(session, made, approve)
        assert any("Calls are recorded." in screen for screen in screens)
        session.say("demo: say hello-after-login")
        session.shows("● hello-after-login")
    browser.close()
    return made


@pytest.fixture
def machine(signed_in_machine: Machine, idp: Idp) -> Iterator[Machine]:
    """With a session of its own, so that no test ends another's."""
    saved = signed_in_machine.credentials()
    yield signed_in_machine
    signed_in_machine.store(saved)


@pytest.fixture
def fresh(machine: Machine, stack: Stack) -> Machine:
    """With tokens that no other test uses."""
    browser = Browser(machine.gateway)
    tokens = signed_in(stack, browser)
    browser.close()
    change(machine, jwt=tokens["access_token"], idpRefreshToken=tokens["refresh_token"], left=3600)
    return machine


def change(machine: Machine, left: float | None = None, **members: str | None) -> None:
    """Changes what the client has stored. `left`: seconds until its token expires, as it believes."""
    stored = machine.credentials()
    session = stored["enterpriseGateway"] | members
    if left is not None:
        session["expiresAt"] = int((time.time() + left) * 1000)
    machine.store(stored | {"enterpriseGateway": {name: value for name, value in session.items() if value is not None}})


def jwt_of(machine: Machine) -> str:
    return str(machine.credentials()["enterpriseGateway"]["jwt"])


def answered(done: "subprocess.CompletedProcess[str]") -> bool:
    return (done.returncode, done.stdout.strip()) == (0, "printed")


# Whole dollars come without cents.
SPENT = re.compile(r"\$(\d+(?:\.\d\d)?) / \$500(?:\.00)? spent this month · Resets \w+ 1\b")
SAY = ("-p", "demo: say printed")
EXPIRED = "API Error: Cloud gateway session expired"
VOID = "not-a-token-of-this-gateway"


def test_login_to_first_answer(machine: Machine, stack: Stack) -> None:
    record = stack.record_where(lambda line: line["http.path"] == "/v1/messages" and line["http.status"] == 200)
    assert record["jwt.sub"] == "alice" and record["caller.email"] == "alice@corp.example"
    assert machine.credentials()["enterpriseGateway"]["url"] == machine.gateway


def test_print_mode_after_login(machine: Machine) -> None:
    done = machine.run(*SAY)
    assert answered(done), done.stderr


def test_no_refresh_while_five_minutes_are_left(fresh: Machine) -> None:
    before = jwt_of(fresh)
    change(fresh, left=320)
    assert answered(fresh.run(*SAY)) and jwt_of(fresh) == before


@pytest.mark.parametrize("left", [200, -10])
def test_a_refresh(fresh: Machine, left: float) -> None:
    before = jwt_of(fresh)
    change(fresh, left=left)
    assert answered(fresh.run(*SAY)) and jwt_of(fresh) != before


def test_a_refused_refresh_while_the_token_counts(fresh: Machine) -> None:
    before = jwt_of(fresh)
    change(fresh, left=200, idpRefreshToken=VOID)
    assert answered(fresh.run(*SAY)) and jwt_of(fresh) == before


def test_a_refused_refresh_of_an_expired_token(fresh: Machine) -> None:
    change(fresh, left=-10, idpRefreshToken=VOID)
    done = fresh.run(*SAY)
    assert done.returncode == 1 and EXPIRED in done.stdout


def test_an_expired_token_without_a_refresh_token(fresh: Machine) -> None:
    change(fresh, left=-10, idpRefreshToken=None)
    done = fresh.run(*SAY)
    assert done.returncode == 1 and "Not signed in to the Cloud gateway" in done.stdout


def test_a_provider_that_is_down_and_comes_back(fresh: Machine, idp: Idp) -> None:
    idp.pause()
    try:
        change(fresh, left=200)
        assert answered(fresh.run(*SAY)), "the token still counts"
        change(fresh, left=-10)
        done = fresh.run(*SAY)
        assert done.returncode == 1 and EXPIRED in done.stdout
    finally:
        idp.resume()
    assert answered(fresh.run(*SAY)), "nobody had to sign in again"


def test_two_processes_that_refresh_at_once(fresh: Machine) -> None:
    change(fresh, left=-10)
    for done in [fresh.popen(*SAY) for _ in range(2)]:
        out, err = done.communicate(timeout=60)
        assert (done.returncode, out.strip()) == (0, "printed"), err
    assert answered(fresh.run(*SAY))


def test_a_person_who_is_disabled_at_the_provider(fresh: Machine, stack: Stack, idp: Idp) -> None:
    idp.user("erin")
    browser = Browser(fresh.gateway)
    tokens = signed_in(stack, browser, "erin")
    browser.close()
    idp.disable("erin")
    change(fresh, jwt=tokens["access_token"], idpRefreshToken=tokens["refresh_token"], left=-10)
    done = fresh.run(*SAY)
    assert done.returncode == 1 and EXPIRED in done.stdout


def test_a_token_that_was_revoked(fresh: Machine, stack: Stack) -> None:
    httpx.post(f"{stack.url}/oauth/revoke", data={"token": jwt_of(fresh)}, verify=False).raise_for_status()
    until(lambda: stack.call(prompt("x"), token=jwt_of(fresh)).status_code == 401)
    began = time.monotonic()
    done = fresh.run(*SAY)
    assert done.returncode == 1 and "no longer accepts this session" in done.stderr
    assert time.monotonic() - began < 20, "no ten silent tries"


@pytest.mark.parametrize(
    ("name", "shown"),
    [("claude-forbidden", "Gateway refused the request"), ("gpt-none", "It may not exist or you may not have access")],
)
def test_a_model_that_is_refused(fresh: Machine, stack: Stack, name: str, shown: str) -> None:
    done = fresh.run("--model", name, *SAY)
    assert done.returncode == 1 and shown in done.stdout, done.stdout


@pytest.mark.parametrize("name", ["ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY"])
def test_a_managed_machine_with_a_key(machine: Machine, name: str) -> None:
    done = machine.run(*SAY, **{name: "sk-ant-some-key"})
    assert done.returncode == 1 and "Administrator policy requires a Cloud gateway sign-in" in done.stderr


def test_usage_draws_the_bar_of_the_budget(fresh: Machine, stack: Stack) -> None:
    """Its numbers are those that the gateway tells this person of its own budgets."""
    assert stack.call(prompt("word " * 500), token=jwt_of(fresh)).status_code == 200
    with fresh.session() as session:
        session.wait(lambda screen: bool(READY.search(screen)))
        session.say("/usage")
        screen = session.wait(lambda screen: "spent this month" in screen)
    headers = {"authorization": f"Bearer {jwt_of(fresh)}"}
    [one] = httpx.get(f"{stack.url}/v1/usage", headers=headers, verify=False).json()["budgets"]
    shown = SPENT.search(screen)
    assert shown is not None and "Spend limit" in screen, screen
    assert one["name"] == "month" and float(shown[1]) == pytest.approx(one["used"], abs=0.01) and one["used"] > 0.01
    percent = int(one["used"] / one["limit"] * 100)
    assert f"{percent}% used" in screen, screen


def test_a_call_beyond_a_budget(fresh: Machine, stack: Stack) -> None:
    """The client shows the gateway's message: which budget, and when it resets."""
    assert stack.call(prompt("x", model="claude-tight"), token=jwt_of(fresh)).status_code == 200
    done = fresh.run("--model", "claude-tight", *SAY)
    assert done.returncode == 1
    assert "budget tight: 0.001 USD each month are used up or reserved; it resets at 20" in done.stdout, done.stdout


def test_logout_revokes_both_tokens(fresh: Machine, stack: Stack) -> None:
    stored = fresh.credentials()["enterpriseGateway"]
    with fresh.session() as session:
        session.wait(lambda screen: "shift+tab" in screen or "? for shortcuts" in screen)
        session.say("/logout")
        until(lambda: stack.call(prompt("x"), token=stored["jwt"]).status_code == 401, 30)
    answer = token(stack, grant_type="refresh_token", refresh_token=stored["idpRefreshToken"])
    assert answer.status_code == 401
