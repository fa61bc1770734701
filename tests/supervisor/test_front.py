import asyncio
import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from extproc.config.loading import Source
from extproc.supervisor import front
from extproc.supervisor.envoy_admin import EnvoyAdmin, Stats
from extproc.supervisor.front import ConfigRejected, EnvoyControl
from tests.certificates import certificate
from tests.settings import GATEWAY, source

MORE = GATEWAY.replace("models:", '  more: {dialects: [chat], base_url: "http://more.example"}\nmodels:')
FINE = {"cluster_manager.warming_clusters": "0", "listener_manager.total_listeners_warming": "0"}


class FakeAdmin(EnvoyAdmin):
    """The administration of an Envoy that answers as the test says, or takes whatever is in its folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "admin.sock")
        self._folder = folder
        self.answers: list[Stats | None] = []
        self.takes = True
        self.live = True

    async def stats(self, names: Iterable[str]) -> Stats | None:
        if self.answers:
            return self.answers.pop(0)
        took = {
            stat: json.loads((self._folder / name).read_text()).get("version_info", "")
            for name, stat in front.VERSIONS.items()
        }
        return FINE | took if self.takes else FINE

    async def ready(self) -> bool:
        return self.live


class Shown(EnvoyControl):
    """Beside that Envoy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.envoy = FakeAdmin(folder)
        super().__init__(folder, ["unix:/a"], self.envoy)


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shown:
    monkeypatch.setattr(front, "SPREAD_SECONDS", 0)
    monkeypatch.setattr(front, "UNSEEN_SECONDS", 0)
    monkeypatch.setattr(front, "LOOK_SECONDS", 0)
    folder = tmp_path / "envoy"
    folder.mkdir()
    found = Shown(folder)
    found.envoy.answers = [None]
    asyncio.run(found.begin(source(tmp_path, GATEWAY)))
    found.open()
    return found


def more(folder: Path, text: str = MORE) -> Source:
    return source(folder, text)


def contents(told: Shown) -> dict[str, str]:
    """Without their versions."""
    read = {path.name: json.loads(path.read_text()) for path in told.folder.iterdir()}
    return {name: json.dumps({**content, "version_info": ""}, sort_keys=True) for name, content in read.items()}


def clusters(told: Shown) -> int:
    return len(json.loads((told.folder / "clusters.json").read_text())["resources"])


def listeners(told: Shown) -> int:
    return len(json.loads((told.folder / "listeners.json").read_text())["resources"])


def test_the_listener_is_there_when_it_is_opened(tmp_path: Path) -> None:
    front = Shown(tmp_path)
    front.envoy.answers = [None, None]
    asyncio.run(front.begin(source(tmp_path, GATEWAY)))
    assert listeners(front) == 0
    assert not asyncio.run(front.ready())
    front.open()
    assert listeners(front) == 1


@pytest.mark.parametrize(("answer", "kept"), [(FINE, 1), (None, 0)])
def test_an_envoy_that_runs_already_keeps_its_listener(
    told: Shown, tmp_path: Path, answer: Stats | None, kept: int
) -> None:
    after = Shown(told.folder)
    after.envoy.answers = [answer]
    asyncio.run(after.begin(source(tmp_path, GATEWAY)))
    assert listeners(after) == kept


def test_an_envoy_without_a_listener_gets_none_before_it_is_opened(tmp_path: Path) -> None:
    for _ in range(2):
        front = Shown(tmp_path)
        front.envoy.answers = [FINE]
        asyncio.run(front.begin(source(tmp_path, GATEWAY)))
        assert listeners(front) == 0


def test_workers_without_keys_are_not_waited_for_as_long(told: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "KEYS_SECONDS", 0.01)
    asyncio.run(told.healthy(fetching=True))
    monkeypatch.setattr(front, "SECONDS", 0.01)
    with pytest.raises(ConfigRejected, match="did not begin to serve"):
        asyncio.run(told.healthy())


def test_old_and_new_together_then_the_new_alone(told: Shown, tmp_path: Path) -> None:
    old, new = source(tmp_path, GATEWAY), more(tmp_path)
    asyncio.run(told.show(new, [old]))
    assert clusters(told) == 4
    asyncio.run(told.show(old, [new]))
    assert clusters(told) == 4
    asyncio.run(told.show(old, []))
    assert clusters(told) == 3


def test_what_stays_the_same_is_not_written(told: Shown, tmp_path: Path) -> None:
    before = {path: path.stat().st_ino for path in told.folder.iterdir()}
    asyncio.run(told.show(more(tmp_path, GATEWAY.replace("claude-*", "other-*")), []))
    assert {path: path.stat().st_ino for path in told.folder.iterdir()} == before
    asyncio.run(told.show(more(tmp_path), []))
    assert {path.name for path, inode in before.items() if path.stat().st_ino != inode} == {
        "clusters.json",
        "routes.json",
    }


def test_the_listener_stays_when_providers_change(told: Shown, tmp_path: Path) -> None:
    """To replace it would end connections."""
    before = contents(told)["listeners.json"]
    asyncio.run(told.show(more(tmp_path), []))
    assert contents(told)["listeners.json"] == before


@pytest.mark.parametrize(("live", "healthy", "ready"), [(True, "1", True), (True, "0", False), (False, "1", False)])
def test_ready(told: Shown, live: bool, healthy: str, ready: bool) -> None:
    told.envoy.live = live
    told.envoy.answers = [{"cluster.extproc.membership_healthy": healthy}]
    assert asyncio.run(told.ready()) is ready


REJECTED = FINE | {"cluster_manager.cds.update_rejected": "1"}
WARMING = FINE | {"cluster_manager.warming_clusters": "1"}


@pytest.mark.parametrize(
    ("answer", "problem"),
    [(REJECTED, "Envoy refuses"), (WARMING, "Envoy was not ready"), (FINE, "Envoy was not ready")],
)
def test_what_envoy_does_not_take_is_taken_back(
    told: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Stats, problem: str
) -> None:
    before = contents(told)
    told.envoy.answers, told.envoy.takes = [FINE, answer], False
    monkeypatch.setattr(front, "SECONDS", 0.01)
    with pytest.raises(ConfigRejected, match=problem):
        asyncio.run(told.show(more(tmp_path), []))
    assert contents(told) == before


@pytest.mark.parametrize("answers", [[None], [FINE, None]])
def test_an_envoy_that_is_down_reads_it_later(told: Shown, tmp_path: Path, answers: list[Stats | None]) -> None:
    told.envoy.answers = answers
    asyncio.run(told.show(more(tmp_path), []))
    assert clusters(told) == 4


def test_secrets_of_no_more_use_go(told: Shown, tmp_path: Path) -> None:
    text = MORE.replace('"http://more.example"', '"https://more.example", ca_file: ca.pem')
    asyncio.run(told.show(more(tmp_path, text), []))
    assert len(list(told.folder.glob("secret.*"))) == 1
    asyncio.run(told.show(more(tmp_path), []))
    assert not list(told.folder.glob("secret.*"))


TLS = "listen: {tls: {certificate: server.pem, key: KEY}}\n"
PRIVATE = GATEWAY.replace('example/v1"', 'example/v1", ca_file: CA')


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (GATEWAY + TLS.replace("KEY", "server.pem"), []),
        (GATEWAY + TLS.replace("KEY", "ca.pem"), [("listen", "tls")]),
        (GATEWAY + TLS.replace("KEY", "gone.pem"), [("listen", "tls")]),
        (PRIVATE.replace("CA", "ca.pem"), []),
        (PRIVATE.replace("CA", "gone.pem"), [("providers", "openai", "ca_file")]),
        (PRIVATE.replace("CA", "gateway.yaml"), [("providers", "openai", "ca_file")]),
    ],
)
def test_certificates(tmp_path: Path, text: str, found: list[tuple[str, ...]]) -> None:
    certificate(tmp_path, "localhost")
    made = source(tmp_path, text)
    assert [fault.where for fault in front.faults(made)] == found
    assert tmp_path / ("server.pem" if "tls" in text else "gateway.yaml") in made.files.digests
