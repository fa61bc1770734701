"""The socket on which commands reach the supervisor."""

import asyncio
import contextlib
import os
import pwd
import socket
import stat
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from extproc.providers.availability import ProviderState
from extproc.supervisor.budgets import BudgetKeeper
from extproc.supervisor.control import listening
from extproc.supervisor.provider_health import ProviderHealth
from extproc.transport.control import (
    BudgetCommand,
    ControlReply,
    ControlRequest,
    Unreachable,
    ask,
    ask_budgets,
    socket_path,
)
from tests.settings import GATEWAY, source

LIST = ControlRequest("list")
AVAILABLE, DRAINED = {"openai": ProviderState("available")}, {"openai": ProviderState("drained")}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """For temporary files, with a path that is short enough for a socket. `tmp_path` is made before, elsewhere."""
    with tempfile.TemporaryDirectory(prefix="control-") as name:
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield Path(name)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "gateway.yaml"


@pytest.fixture
def health(tmp_path: Path) -> ProviderHealth:
    made = ProviderHealth(lambda _: None)
    made.use(source(tmp_path, GATEWAY))
    return made


def run(scene: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await scene()

    asyncio.run(whole())


async def asked(config: Path, request: ControlRequest) -> ControlReply:
    return await asyncio.to_thread(ask, config, request)


def test_a_command_is_obeyed_and_answered(config: Path, health: ProviderHealth) -> None:
    async def scene() -> None:
        async with listening(config, health):
            assert await asked(config, LIST) == ControlReply(AVAILABLE)
            assert await asked(config, ControlRequest("drain", "openai")) == ControlReply(DRAINED)
            assert health.states() == DRAINED
            assert await asked(config, LIST) == ControlReply(DRAINED)
            assert await asked(config, ControlRequest("resume", "openai")) == ControlReply(AVAILABLE)

    run(scene)


@pytest.mark.parametrize("command", ["drain", "resume"])
def test_an_unknown_provider_is_said(config: Path, health: ProviderHealth, command: str) -> None:
    async def scene() -> None:
        async with listening(config, health):
            reply = await asked(config, ControlRequest(command, "nobody"))  # type: ignore[arg-type]
            assert reply == ControlReply(AVAILABLE, known=False)

    run(scene)


def test_nobody_else_may_connect(config: Path, health: ProviderHealth) -> None:
    async def scene() -> None:
        async with listening(config, health):
            path = socket_path(config)
            assert [stat.S_IMODE(one.stat().st_mode) for one in (path, path.parent)] == [0o600, 0o700]

    run(scene)


@pytest.mark.parametrize(
    "line", [b"", b"{\n", b'{"command": "stop"}\n', b"[" * 100_000 + b"\n", b"x" * (2 << 20) + b"\n"]
)
def test_what_is_no_command_is_not_answered(config: Path, health: ProviderHealth, line: bytes) -> None:
    async def scene() -> None:
        async with listening(config, health):
            reader, writer = await asyncio.open_unix_connection(str(socket_path(config)))
            writer.write(line)
            writer.write_eof()
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
            assert await asked(config, LIST) == ControlReply(AVAILABLE)

    run(scene)


def test_without_a_gateway_the_command_says_where_it_looked(config: Path, folder: Path) -> None:
    with pytest.raises(Unreachable) as raised:
        ask(config, LIST)
    assert str(config) in str(raised.value) and str(folder) in str(raised.value)


def test_a_gateway_with_another_configuration_is_not_asked(config: Path, health: ProviderHealth) -> None:
    async def scene() -> None:
        async with listening(config, health):
            with pytest.raises(Unreachable):
                await asked(config.with_name("other.yaml"), LIST)

    run(scene)


def test_the_last_one_that_started_is_asked(config: Path, health: ProviderHealth, tmp_path: Path) -> None:
    """An older one that still finishes its calls must not take the socket with it."""

    async def scene() -> None:
        later = ProviderHealth(lambda _: None)
        later.use(source(tmp_path, GATEWAY.replace("openai", "later")))
        older = listening(config, health)
        await older.__aenter__()
        async with listening(config, later):
            await older.__aexit__(None, None, None)
            assert list((await asked(config, LIST)).providers) == ["later"]
        assert not socket_path(config).exists()

    run(scene)


def test_a_socket_that_was_left_behind_is_replaced(config: Path, health: ProviderHealth) -> None:
    path = socket_path(config)
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(Unreachable):
        ask(config, LIST)

    async def scene() -> None:
        async with listening(config, health):
            assert await asked(config, LIST) == ControlReply(AVAILABLE)

    run(scene)


@pytest.mark.parametrize("mode", [0o755, 0o770])
def test_a_folder_that_others_may_enter_is_not_used(
    config: Path, health: ProviderHealth, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Another user may have made it, to be asked in our place."""
    path = socket_path(config)
    path.parent.mkdir()
    path.parent.chmod(mode)

    async def scene() -> None:
        async with listening(config, health):
            assert not path.exists()

    run(scene)
    assert "`extproc provider` cannot reach this gateway" in caplog.text
    with pytest.raises(Unreachable, match="belongs to another user"):
        ask(config, LIST)


def test_a_link_in_its_place_is_not_followed(config: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o700)
    socket_path(config).parent.symlink_to(tmp_path / "mine")
    with pytest.raises(Unreachable, match="belongs to another user"):
        ask(config, LIST)


def test_who_does_not_answer_is_not_waited_for(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extproc.transport.control.SECONDS", 0.05)
    path = socket_path(config)
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        with pytest.raises(Unreachable, match="timed out"):
            ask(config, LIST)
        with pytest.raises(Unreachable, match="timed out"):
            ask_budgets(config, BudgetCommand("list"))
        answer = ask_budgets(config, BudgetCommand("grant", "team", "data", 5))
        assert answer.maybe_done and answer.problem.startswith("it is unknown whether the change was made")


def test_a_change_by_the_command_is_its_users_and_one_by_the_api_the_callers(
    config: Path, health: ProviderHealth, tmp_path: Path
) -> None:
    async def scene() -> None:
        budgets = "budgets: [{name: team, key: jwt.team, limit: {requests: 3}, per: month}]\n"
        keeper = BudgetKeeper(lambda _: None)
        keeper.use(source(tmp_path, GATEWAY + budgets), {})
        change = BudgetCommand("set", "team", "data", 5, by="somebody else", issuer="https://idp.example")
        async with listening(config, health, keeper):
            assert (await asyncio.to_thread(ask_budgets, config, change)).problem == ""
            await asyncio.to_thread(ask_budgets, config, msgspec.structs.replace(change, via="api"))
            by_api, by_command = (await asyncio.to_thread(ask_budgets, config, BudgetCommand("audit"))).changes
        assert (by_command.by, by_command.issuer) == (pwd.getpwuid(os.getuid()).pw_name, "")
        assert (by_api.by, by_api.issuer) == ("somebody else", "https://idp.example")

    run(scene)
