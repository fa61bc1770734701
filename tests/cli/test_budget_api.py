"""`extproc budget --gateway URL`, against answers that are written down. tests/e2e/test_budget_admin.py tries it on a
gateway."""

import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from extproc.cli import budget_api
from extproc.client import connection, session
from extproc.client.connection import ClientError, Reply
from extproc.transport.control import BudgetAnswer, BudgetChange, BudgetCommand, BudgetLine

URL = "https://llm.corp.example"


class Gateway:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reply = Reply(200, {"data": []})
        self.calls: list[tuple[str, str, str, Mapping[str, Any] | None]] = []
        monkeypatch.setattr(connection, "call", self._call)

    def _call(self, method: str, url: str, token: str, body: Mapping[str, Any] | None = None) -> Reply:
        self.calls.append((method, url.removeprefix(URL), token, body))
        return self.reply

    def asks(self, command: BudgetCommand) -> BudgetAnswer:
        return budget_api.ask(URL, "t", command)


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Gateway:
    return Gateway(monkeypatch)


def test_a_change_is_sent_as_it_was_given(gateway: Gateway) -> None:
    gateway.asks(BudgetCommand("grant", "team", "data", 50.0, "usd", 1_796_083_200))
    assert gateway.calls == [("POST", "/admin/budgets", "t", {
        "command": "grant", "budget": "team", "key": "data", "amount": 50.0, "measure": "usd",
        "until": "2026-12-01T00:00:00+00:00",
    })]  # fmt: skip


def test_what_is_listed_is_as_on_the_machine(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    gateway.reply = Reply(200, {"data": [{
        "budget": "team", "key": "data", "measure": "usd", "used": 1.5, "reserved": 0, "limit": 7, "configured": 5,
        "resets_at": "2026-12-01T00:00:00Z", "set_to": None, "set_until": None, "created_at": "2026-11-30T00:00:00Z",
        "updated_at": None, "grants": [{"amount": 2, "until": "2026-12-01T00:00:00Z"}],
    }], "has_more": True})  # fmt: skip
    line = BudgetLine("team", "data", "usd", 1.5, 0, 7, 5, 1_796_083_200, grants=[(2.0, 1_796_083_200)])
    assert gateway.asks(BudgetCommand("list")) == BudgetAnswer([line])
    assert capsys.readouterr().err == "only the first 1 limits are shown\n"


def test_the_audit_is_as_on_the_machine(gateway: Gateway) -> None:
    entry = {"by": "olga", "via": "api", "action": "set", "budget": "team", "key": "data", "measure": "usd"}
    times = {"at": "2026-12-01T00:00:00Z", "until": None}
    gateway.reply = Reply(200, {"data": [entry | times | {"old": 5, "new": 7, "issuer": "i"}], "has_more": True})
    change = BudgetChange(1_796_083_200, "olga", "api", "set", "team", "data", "usd", 5, 7, 0, "i")
    assert gateway.asks(BudgetCommand("audit")) == BudgetAnswer(changes=[change], has_more=True)


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (Reply(403, {"error": {"message": "no\x1b[2J"}, "request_id": "id-1"}), r"HTTP 403: no.*\(request-id id-1\)"),
        (Reply(404, {}), "HTTP 404: this is no gateway with `admin`"),
        (Reply(200, {"data": {}}), "HTTP 200: this is no gateway"),
        (Reply(200, {"data": [{"budget": 5}]}), "of another version"),
        (Reply(200, {"data": [{"resets_at": "soon"}]}), "of another version"),
        (Reply(200, {"data": [5]}), "of another version"),
    ],
)
def test_an_answer_that_is_none(gateway: Gateway, reply: Reply, problem: str) -> None:
    gateway.reply = reply
    with pytest.raises(ClientError, match=problem) as error:
        gateway.asks(BudgetCommand("list"))
    assert "\x1b" not in str(error.value)


def test_the_credential_is_in_a_file_the_environment_or_a_sign_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "fresh_token", lambda url: f"of {url}")
    monkeypatch.delenv("EXTPROC_TOKEN", raising=False)
    assert budget_api.credential(URL, None) == f"of {URL}"
    monkeypatch.setenv("EXTPROC_TOKEN", "of-the-environment\n")
    assert budget_api.credential(URL, None) == "of-the-environment"
    (tmp_path / "token").write_text("of-the-file\n")
    assert budget_api.credential(URL, tmp_path / "token") == "of-the-file"
    monkeypatch.setattr(sys, "stdin", io.StringIO("of-the-input\n"))
    assert budget_api.credential(URL, Path("-")) == "of-the-input"


def test_a_file_without_a_token_is_not_quoted(tmp_path: Path) -> None:
    for text in ("", "sk-secret and more", "sk-secret\nsk-other", "sk-s\u00e9cret"):
        (tmp_path / "token").write_text(text)
        with pytest.raises(ClientError, match="holds no token") as error:
            budget_api.credential(URL, tmp_path / "token")
        assert "sk-" not in str(error.value)
    with pytest.raises(ClientError, match="cannot read"):
        budget_api.credential(URL, tmp_path / "none")
