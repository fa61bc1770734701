"""What `extproc up` and `extproc serve` make sure of before anything is started."""

from pathlib import Path

import pytest

from extproc.gateway.gateway import GATEWAY_SOCKET
from extproc.supervisor import up
from extproc.supervisor.up import CannotStart
from tests.settings import GATEWAY, source

JUDGE = "auto_mode: {judge: {model: claude-x%s}}\n"


def test_workers_learn_where_envoy_accepts_the_gateways_own_calls(tmp_path: Path) -> None:
    made = source(tmp_path, GATEWAY + JUDGE % "")
    assert up.own_socket(made, tmp_path) == {GATEWAY_SOCKET: str(tmp_path / "gateway.sock")}


def test_a_judge_needs_a_socket_where_envoys_folder_is_not_known(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=r"auto_mode\.judge needs `socket`"):
        up.own_socket(source(tmp_path, GATEWAY + JUDGE % ""), None)
    assert up.own_socket(source(tmp_path, GATEWAY + JUDGE % ", socket: /run/own.sock"), None) == {}
    assert up.own_socket(source(tmp_path, GATEWAY), None) == {}
