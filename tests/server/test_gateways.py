import asyncio
from pathlib import Path
from typing import Any

import pytest

from extproc.config import Invalid
from extproc.gateway import Gateway
from extproc.server import gateways
from extproc.server.gateways import Gateways
from tests.settings import GATEWAY, KEY

OTHER = GATEWAY.replace("claude-*", "other-*")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    found = tmp_path / "gateway.yaml"
    found.write_text(GATEWAY)
    return found


async def begun(path: Path, *orders: bytes) -> Gateways:
    """Whose supervisor has sent these."""
    held = Gateways(path)
    reader = asyncio.StreamReader()
    for order in orders:
        reader.feed_data(order)
    reader.feed_eof()

    async def given() -> asyncio.StreamReader:
        return reader

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gateways, "_standard_input", given)
        await held.begin()
    return held


def models(gateway: Gateway) -> list[str]:
    return [model.name for model in gateway.source.config.models]


def order(path: Path, number: int, text: str) -> bytes:
    return gateways.encoded(number, {path: text.encode()})


def test_without_a_supervisor_the_files_count(path: Path) -> None:
    async def scene() -> None:
        assert models((await begun(path)).current()) == ["claude-*"]

    asyncio.run(scene())


def test_what_the_supervisor_sends_counts_and_not_the_files(path: Path) -> None:
    path.write_text("broken: [")

    async def scene() -> None:
        assert models((await begun(path, order(path, 7, OTHER))).current()) == ["other-*"]

    asyncio.run(scene())


def test_a_bad_first_one_is_an_error(path: Path) -> None:
    async def scene() -> None:
        with pytest.raises(Invalid):
            await begun(path, order(path, 1, "broken: ["))

    asyncio.run(scene())


def test_an_exchange_keeps_what_it_began_with(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def scene() -> None:
        held = await begun(path, order(path, 1, GATEWAY), order(path, 2, OTHER))
        running: list[Gateway] = [held.current()]
        await held.follow()
        assert models(running[0]) == ["claude-*"]
        assert models(held.current()) == ["other-*"]
        assert capsys.readouterr().out == "using 1\nusing 1 2\n"
        running.clear()
        assert capsys.readouterr().out == "using 2\n"

    asyncio.run(scene())


def test_a_bad_later_one_changes_nothing(
    path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        held = await begun(path, order(path, 1, GATEWAY), order(path, 2, f"{KEY}: ["), order(path, 3, OTHER))
        await held.follow()
        assert models(held.current()) == ["other-*"]

    asyncio.run(scene())
    assert capsys.readouterr().out.splitlines()[:2] == ["using 1", "using 1"]
    assert "configuration 2 could not be taken: Invalid" in caplog.text
    assert KEY not in caplog.text


def test_nothing_is_shown() -> None:
    assert "sk-1" not in repr(gateways.Order(1, {"/key": b"sk-1"}))


@pytest.mark.parametrize(("line", "found"), [("using 3 4", [3, 4]), ("using", []), ("ready", None), ("used 3", None)])
def test_what_a_worker_says(line: str, found: Any) -> None:
    assert gateways.using(line) == found
