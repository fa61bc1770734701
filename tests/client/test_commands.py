"""The commands as somebody types them, in processes of their own."""

import os
import signal
import subprocess
import sys
import time
import webbrowser
from collections.abc import Callable
from pathlib import Path

import jwt
import keyring
import pytest

from extproc.cli import main
from extproc.client import commands, session, store
from tests.client.oauth_server import KEY, OAuthServer
from tests.client.test_browser import Browser, agree
from tests.client.test_launch import sign_in
from tests.client.test_store import MemoryKeyring

ROOT = Path(commands.__file__).parents[2]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def approved(gateway: OAuthServer) -> OAuthServer:
    """Somebody signs in as soon as there is a code."""
    begin = gateway.begin

    def begin_and_approve() -> dict[str, object]:
        answer = begin()
        gateway.approve()
        return answer

    gateway.begin = begin_and_approve  # type: ignore[method-assign]
    return gateway


@pytest.fixture
def run(home: Path, capsys: Capture) -> Callable[..., tuple[int, str, str]]:
    def run(*words: str) -> tuple[int, str, str]:
        status = main.main(list(words))
        out, err = capsys.readouterr()
        return status, out, err

    return run


Command = Callable[..., tuple[int, str, str]]


def test_from_sign_in_to_sign_out(approved: OAuthServer, run: Command) -> None:
    url = approved.url
    status, out, err = run("login", "--gateway", f"{url}/")
    assert (status, out) == (0, "")
    assert f"{url}/device?user_code=QWYB-MXWQ" in err and "the code QWYB-MXWQ" in err
    assert f"Signed in to {url} as ann@corp.example. The tokens are in a file that only you can read, in " in err
    status, token, err = run("token", "--stored")
    assert (status, err) == (0, "")
    assert jwt.decode(token.strip(), KEY, ["HS256"])["sub"] == "ann"
    status, out, _ = run("whoami")
    lines = out.splitlines()
    assert status == 0 and lines[0] == f"gateway: {url}" and lines[1].startswith("token: good for 60 minutes, until 20")
    assert lines[2:7] == [
        "renews itself: yes",
        "kept in: file",
        "sub: ann",
        "email: ann@corp.example",
        "groups: dev, ops",
    ]
    status, _, err = run("logout")
    assert (status, err) == (0, f"Signed out of {url}. Its tokens are revoked.\n")
    assert approved.revoked[0] == token.strip() and len(approved.revoked) == 2
    assert run("token", "--stored")[0] == 1


def test_a_second_sign_in_replaces_the_first(approved: OAuthServer, run: Command) -> None:
    run("login", "--gateway", approved.url)
    first = run("token", "--stored")[1]
    assert run("login")[0] == 0  # there is only one that can be meant
    assert run("token", "--stored")[1] != first and store.gateways() == [approved.url]


@pytest.mark.parametrize("offset", [-600, 600])
def test_a_wrong_clock(approved: OAuthServer, run: Command, offset: int) -> None:
    approved.headers["date"] = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + offset))
    status, _, err = run("login", "--gateway", approved.url)
    direction = "ahead of" if offset < 0 else "behind"
    assert status == 0 and f"warning: this machine's clock is 10 minutes {direction} the gateway's" in err
    assert run("token", "--stored")[0] == 0 and approved.refreshes == 0


def test_a_notice(approved: OAuthServer, run: Command) -> None:
    approved.device = {"login_notice": "Use is\nmonitored\x1b[2J."}
    assert f"Notice from {approved.url}: Use is?monitored?[2J." in run("login", "--gateway", approved.url)[2]


def test_the_sign_in_is_denied(gateway: OAuthServer, run: Command) -> None:
    gateway.scripted = [(400, {"error": "access_denied"})]
    status, _, err = run("login", "--gateway", gateway.url)
    assert status == 1 and err.splitlines()[-1].startswith("extproc: the sign-in at") and store.gateways() == []


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        (["login"], 1, "Sign in: extproc login --gateway URL"),
        (["login", "--gateway", "http://llm.corp.example"], 1, "use https://"),
        (["login", "--gateway", "https://llm.invalid"], 1, "cannot reach https://llm.invalid"),
        (["login", "--gateway", "https://a.example", "--issuer", "https://b.example"], 1, "--issuer needs --client-id"),
        (["token", "--gateway", "https://a.example"], 2, "--gateway goes with --stored"),
        (["token", "--stored", "--gateway", "https://a.example"], 1, "not signed in to https://a.example"),
        (["logout"], 1, "not signed in to any gateway"),
        (["whoami"], 1, "not signed in to any gateway"),
    ],
)
def test_mistakes(run: Command, words: list[str], status: int, complaint: str) -> None:
    found, out, err = run(*words)
    assert (found, out) == (status, "") and complaint in err and len(err.splitlines()) == 1


def test_whoami_shows_every_sign_in(gateway: OAuthServer, run: Command) -> None:
    sign_in("https://a.example")
    sign_in("https://b.example")
    _, out, _ = run("whoami")
    assert out.count("renews itself: yes") == 2 and "gateway: https://b.example" in out
    assert run("whoami", "--gateway", "https://a.example")[1].count("gateway:") == 1


def test_a_browser(gateway: OAuthServer, run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webbrowser, "open", Browser(agree).open)
    status, _, err = run("login", "--gateway", gateway.url, "--browser")
    assert status == 0, err
    assert f"{gateway.url}/oauth/authorize?" in err and "Signed in to" in err
    assert run("token", "--stored")[1].count(".") == 2


def test_a_workloads_token(gateway: OAuthServer, run: Command, tmp_path: Path) -> None:
    """Nothing is kept: a job asks anew."""
    (tmp_path / "token").write_text("workload\n")
    status, out, _ = run("token", "--token-file", str(tmp_path / "token"), "--gateway", gateway.url)
    assert status == 0 and jwt.decode(out.strip(), KEY, ["HS256"])["sub"] == "ann"
    assert store.gateways() == []
    (tmp_path / "token").write_text("another")
    assert "invalid_grant" in run("token", "--token-file", str(tmp_path / "token"), "--gateway", gateway.url)[2]
    assert "cannot read" in run("token", "--token-file", str(tmp_path / "none"), "--gateway", gateway.url)[2]


def test_ctrl_c_gives_up(home: Path, gateway: OAuthServer) -> None:
    command = [sys.executable, "-m", "extproc", "login", "--gateway", gateway.url]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        err = ""
        try:
            while "Ctrl-C gives up" not in err:
                err += process.stderr.readline()
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
        finally:
            process.kill()
        assert "Traceback" not in process.stderr.read()


def test_a_keyring_that_is_locked_asks_nobody_to_sign_in(approved: OAuthServer, run: Command) -> None:
    found = MemoryKeyring()
    keyring.set_keyring(found)
    assert run("login", "--gateway", approved.url)[0] == 0 and found.entries
    assert "kept in: keyring" in run("whoami")[1]
    found.locked = True
    status, _, err = run("login", "--gateway", approved.url)
    assert status == 1 and "keyring is locked" in err and "QWYB" not in err
    assert run("login", "--gateway", approved.url, "--keep-in", "file")[0] == 0  # as the message says
    assert session.current(approved.url).place == "file"
    found.locked = False
    assert run("login", "--gateway", approved.url)[0] == 0 and found.entries
    assert run("login", "--gateway", approved.url, "--keep-in", "file")[0] == 0 and not found.entries
