"""What `extproc provider` prints, and how it ends. tests/e2e/test_provider_command.py tries it on a gateway."""

from pathlib import Path

import pytest

from extproc.cli.main import main
from extproc.providers.availability import ProviderState
from extproc.transport import control
from extproc.transport.control import ControlReply, ControlRequest

AVAILABLE, DRAINED = ProviderState("available"), ProviderState("drained")


class Gateway:
    """Answers in the place of one that runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reply = ControlReply({"anthropic": AVAILABLE, "vllm": DRAINED})
        self.requests: list[ControlRequest] = []
        monkeypatch.setattr(control, "ask", self._ask)

    def _ask(self, _config: Path, request: ControlRequest) -> ControlReply:
        self.requests.append(request)
        return self.reply


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Gateway:
    return Gateway(monkeypatch)


def test_the_list(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    gateway.reply.providers["openai"] = ProviderState("cooling down", 1_764_470_000.5, "failures")
    gateway.reply.providers["local"] = ProviderState("cooling down", 1_764_470_060, "retry_after")
    assert main(["provider", "list"]) == 0
    assert gateway.requests == [ControlRequest("list")]
    assert capsys.readouterr().out.splitlines() == [
        "anthropic  available",
        "vllm       drained",
        "openai     cooling down until 2025-11-30T02:33:20Z (failures in a row)",
        "local      cooling down until 2025-11-30T02:34:20Z (retry-after)",
    ]


def test_by_hand(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    assert [main(["provider", command, "vllm"]) for command in ("drain", "resume")] == [0, 0]
    assert gateway.requests == [ControlRequest("drain", "vllm"), ControlRequest("resume", "vllm")]
    assert capsys.readouterr().out.splitlines() == [
        "vllm is drained: models with other providers no longer ask it. Calls in progress run to their end.",
        "It stays so until `extproc provider resume vllm`, or until the gateway is started again.",
        "vllm is available",
    ]


def test_a_name_that_no_provider_has(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    gateway.reply.known = False
    assert main(["provider", "drain", "nobody"]) == 2
    assert capsys.readouterr() == ("", "there is no provider 'nobody'; the gateway has: anthropic, vllm\n")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["drain"], "extproc provider drain: expected a NAME\n"),
        (["resume"], "extproc provider resume: expected a NAME\n"),
        (["list", "vllm"], "extproc provider list: takes no NAME\n"),
    ],
)
def test_a_command_that_is_not_whole(
    gateway: Gateway, capsys: pytest.CaptureFixture[str], words: list[str], problem: str
) -> None:
    assert main(["provider", *words]) == 2
    assert capsys.readouterr() == ("", problem)
    assert gateway.requests == []


def test_a_gateway_that_does_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["provider", "list", "--config", str(tmp_path / "gateway.yaml")]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(
        f"no gateway of this user answers that was started with {tmp_path}/gateway.yaml"
    )
