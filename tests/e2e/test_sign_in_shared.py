"""Two gateways with one Redis: any of them serves any step of a sign-in."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import signing_in
from tests.e2e.signing_in import Browser, Idp, begin, poll, signed_in, token
from tests.e2e.stack import SECONDS, Model, Stack, free_port, up
from tests.e2e.test_sign_in import CONFIG, until, works
from tests.redis_server import RedisServer, redis_server

PASSWORD = "correct-horse"
STORE = 'store: {redis: {url: "redis://localhost:PORT/0", password: {env: REDIS_PASSWORD}, timeout: 4}}\n'


@dataclass
class Machines:
    one: Stack
    two: Stack
    redis: RedisServer
    idp: Idp
    environ: dict[str, str]


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Machines]:
    folder = tmp_path_factory.mktemp("shared")
    with ExitStack() as running:
        redis = running.enter_context(redis_server(folder, "--requirepass", PASSWORD))
        idp = running.enter_context(signing_in.idp())
        idp.user("alice")
        port = free_port()
        config = CONFIG.replace("PORT", str(port)).replace("ISSUER", idp.url) + STORE.replace("PORT", str(redis.port))
        environ = {"MODEL_URL": model.url, "OIDC_SECRET": "s", "REDIS_PASSWORD": PASSWORD}
        stacks = []
        for name, listen in (("one", port), ("two", None)):
            (folder / name).mkdir()
            stacks.append(running.enter_context(up(folder / name, environ=environ, config=config, port=listen)))
        yield Machines(stacks[0], stacks[1], redis, idp, environ)


@pytest.fixture
def browser(machines: Machines) -> Iterator[Browser]:
    opened = Browser(machines.one.url.replace("127.0.0.1", "localhost"))
    yield opened
    opened.close()


def test_each_step_on_another_machine(machines: Machines, browser: Browser) -> None:
    codes = begin(machines.two)
    location = browser.log_in(browser.confirm(codes["user_code"]), "alice")
    back = location.replace(machines.one.url.rpartition(":")[2], machines.two.url.rpartition(":")[2], 1)
    assert browser.open(back).status_code == 200
    tokens = poll(machines.one, codes["device_code"]).json()
    until(lambda: works(machines.one, tokens) and works(machines.two, tokens))
    first = token(machines.one, grant_type="refresh_token", refresh_token=tokens["refresh_token"]).json()
    second = token(machines.two, grant_type="refresh_token", refresh_token=tokens["refresh_token"]).json()
    assert first == second


def test_revocation_reaches_both(machines: Machines, browser: Browser) -> None:
    tokens = signed_in(machines.one, browser)
    until(lambda: works(machines.two, tokens))
    command = [sys.executable, "-m", "extproc", "revoke", "--sub", "alice"]
    done = subprocess.run(
        command,
        check=False,
        cwd=machines.one.folder,
        env=machines.environ | {"MODEL_KEY": "k"},
        capture_output=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    until(lambda: not works(machines.one, tokens) and not works(machines.two, tokens))


def test_a_store_that_is_down_holds_up_no_call(machines: Machines, browser: Browser, tmp_path: Path) -> None:
    tokens = signed_in(machines.one, browser)
    machines.redis.stop()
    try:
        began = time.monotonic()
        assert works(machines.one, tokens) and works(machines.two, tokens)
        assert time.monotonic() - began < 2
        answer = token(machines.one, grant_type="refresh_token", refresh_token=tokens["refresh_token"])
        assert answer.status_code == 503 and answer.json()["error"] == "temporarily_unavailable"
        until(lambda: "the store cannot be used: Redis cannot be reached" in machines.one.err.text)
        assert PASSWORD not in machines.one.printed
    finally:
        machines.redis.start()
