"""The order of a reload. Envoy and the workers are stand-ins that write down when they are told what."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from extproc.config.faults import Fault
from extproc.config.files import Files
from extproc.config.loading import Invalid, Source
from extproc.policy.keys.key_sets import KeySetUpdate
from extproc.policy.keys.places import JwksLocation
from extproc.supervisor.front import ConfigRejected, EnvoyControl
from extproc.supervisor.processes import Child
from extproc.supervisor.reload import Reloader
from extproc.transport import orders
from extproc.transport.orders import InUse, Order
from tests.issuing import ISSUER, jwk
from tests.settings import ENVIRON, GATEWAY, KEY, MODELS, PROVIDERS, authenticating

MORE = GATEWAY.replace("models:", '  more: {dialects: [chat], base_url: "http://more.example"}\nmodels:')


class Envoy(EnvoyControl):
    def __init__(self, book: list[str]) -> None:
        super().__init__(Path(), [])
        self._book = book
        self.refuses = False

    async def show(self, source: Source, older: Sequence[Source]) -> None:
        if self.refuses:
            raise ConfigRejected("Envoy refuses")
        self._book.append(
            "Envoy: " + ", ".join(sorted({name for one in [*older, source] for name in one.config.providers}))
        )


class Worker(Child):
    def __init__(self, book: list[str], says: Callable[[str], None]) -> None:
        super().__init__("worker", [])
        self._book = book
        self.says = says

    def send(self, message: bytes) -> None:
        told = msgspec.msgpack.decode(message[4:], type=Order | InUse | KeySetUpdate)
        if isinstance(told, InUse):
            return
        if isinstance(told, KeySetUpdate):
            self._book.append(f"worker: keys at {told.name[0]}")
            return
        self._book.append(f"worker: {told.number}")
        self.says(f"using {told.number - 1} {told.number}")


class Scene:
    def __init__(self, folder: Path, *, front: bool = True) -> None:
        self.path = folder / "gateway.yaml"
        self.path.write_text(GATEWAY)
        self.book: list[str] = []
        self.envoy = Envoy(self.book)
        self.reloader = Reloader(self.path, ENVIRON, self.envoy if front else None, asyncio.Event())
        child = self.reloader.crew.worker(self.path, "a", 0, {})
        assert child._on_line is not None
        self.worker = self.reloader.crew._workers["a"] = Worker(self.book, child._on_line)
        self.worker.says("using 1")

    def reload(self, text: str) -> None:
        self.path.write_text(text)
        asyncio.run(self.reloader.reload())

    @property
    def in_force(self) -> list[str]:
        return list(self.reloader.source.config.providers)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_envoy_knows_a_provider_first_and_forgets_it_last(scene: Scene) -> None:
    scene.reload(MORE)
    assert scene.book == ["Envoy: more, openai", "worker: 2"]
    scene.worker.says("using 2")
    scene.book.clear()
    scene.reload(GATEWAY)
    assert scene.book == ["Envoy: more, openai", "worker: 3"]
    scene.book.clear()
    # An exchange still runs on the second configuration.
    for says, told in (("using 2 3", ["Envoy: more, openai"]), ("using 3", ["Envoy: openai"]), ("using 3", [])):
        scene.worker.says(says)
        asyncio.run(scene.reloader._forget())
        assert scene.book == told
        scene.book.clear()


@pytest.mark.parametrize("text", ["x: [", MORE + "nobody: knows\n", GATEWAY.replace("OPENAI_API_KEY", "NOT_SET")])
def test_nobody_is_told_of_what_is_broken(scene: Scene, text: str, caplog: pytest.LogCaptureFixture) -> None:
    scene.reload(text)
    assert (scene.book, scene.in_force) == ([], ["openai"])
    assert "configuration not taken, 1 stays in force:\n" + str(scene.path) in caplog.text
    assert scene.reloader.status.as_dict()["configuration"] == "refused"
    assert KEY not in caplog.text + str(scene.reloader.status)


def test_workers_are_not_told_of_what_envoy_refuses(scene: Scene) -> None:
    scene.envoy.refuses = True
    scene.reload(MORE)
    assert (scene.book, scene.in_force, scene.reloader.status.refused) == ([], ["openai"], ["Envoy refuses"])
    scene.envoy.refuses = False
    scene.reload(MORE)
    assert (scene.in_force, scene.reloader.status.refused) == (["openai", "more"], [])


def test_a_bug_changes_nothing_and_quotes_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError(KEY)

    monkeypatch.setattr("extproc.gateway.gateway.load", broken)
    scene.reload(MORE)
    assert scene.reloader.status.refused == ["KeyError: see that its files can be read, and Envoy's written"]
    assert KEY not in caplog.text


def test_what_cannot_change_waits(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.reload(MORE + "listen: {address: 127.0.0.2, port: 1}\nworkers: 9\n")
    assert scene.in_force == ["openai", "more"]
    assert scene.reloader.source.config.listen.port == 8080
    assert scene.reloader.status.at_next_start == ["listen.address", "listen.port", "workers"]
    assert "these keys wait for the next start: listen.address, listen.port, workers" in caplog.text
    scene.reload(MORE)
    assert scene.reloader.status.at_next_start == []


@pytest.mark.parametrize(("text", "told"), [(MORE, True), (GATEWAY.replace("claude-*", "other-*"), False)])
def test_an_envoy_out_of_sight(tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, told: bool) -> None:
    scene = Scene(tmp_path, front=False)
    scene.reload(text)
    assert scene.book == ["worker: 2"]
    assert ("Envoy's configuration has to be rendered again" in caplog.text) == told


def test_a_worker_that_does_not_follow_is_named(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("extproc.supervisor.reload.TAKE_SECONDS", 0.01)
    monkeypatch.setattr(scene.worker, "send", lambda message: None)
    scene.reload(MORE)
    assert "not all workers have taken configuration 2: a" in caplog.text


def test_certificates_are_looked_at_before_envoy_is(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "extproc.supervisor.front.faults", lambda source: [Fault(("listen", "tls"), "expected a certificate")]
    )
    scene.reload(MORE)
    assert scene.book == []
    with pytest.raises(Invalid, match=r"gateway\.yaml:\d+: listen\.tls: expected a certificate"):
        Reloader(scene.path, ENVIRON, scene.envoy, asyncio.Event())


def test_a_file_is_read_when_it_has_come_to_rest(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen half written once, it is not read before two looks have found the same."""
    monkeypatch.setattr("extproc.supervisor.reload.LOOK_SECONDS", 0.001)
    files, looks, found = scene.reloader._files, [], []

    def current_digests() -> dict[Path, bytes]:
        looks.append(scene.path.read_bytes())
        if len(looks) == 2:
            scene.path.write_text("half: [")
        if len(looks) == 3:
            scene.path.write_text(MORE)
        return {scene.path: looks[-1]}

    monkeypatch.setattr(files, "current_digests", current_digests)
    monkeypatch.setattr(type(files), "digests", {scene.path: GATEWAY.encode()})

    async def reload() -> None:
        found.append(len(looks))
        raise asyncio.CancelledError

    monkeypatch.setattr(scene.reloader, "reload", reload)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(scene.reloader.watch())
    assert (found, looks[-2:]) == ([5], [MORE.encode()] * 2)


def test_asked_to_it_reads_at_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extproc.supervisor.reload.LOOK_SECONDS", 20)
    forgets = scene.reloader._forget

    async def enough() -> None:
        await forgets()
        raise asyncio.CancelledError

    monkeypatch.setattr(scene.reloader, "_forget", enough)
    scene.path.write_text(MORE)
    scene.reloader._now.set()
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(scene.reloader.watch())
    assert scene.in_force == ["openai", "more"]


URL = "https://idp.example/jwks"
REMOTE = f"{authenticating(jwks={'url': URL})}\n{PROVIDERS}\n{MODELS}"


class Idp:
    """Whose answer comes when it is let."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.open = asyncio.Event()

    async def fetch(self, place: JwksLocation) -> tuple[Any, float | None]:
        self.asked.set()
        await self.open.wait()
        return {"keys": [jwk()]}, None


@pytest.fixture
def idp(monkeypatch: pytest.MonkeyPatch) -> Idp:
    made = Idp()
    monkeypatch.setattr("extproc.policy.keys.fetch.fetch", made.fetch)
    return made


def test_keys_at_a_new_place_are_there_before_it_is_used(scene: Scene, idp: Idp) -> None:
    async def reload() -> None:
        scene.reloader.fetch_keys()
        scene.path.write_text(REMOTE)
        reloading = asyncio.create_task(scene.reloader.reload())
        await idp.asked.wait()
        assert scene.book == ["Envoy: openai"]
        idp.open.set()
        await reloading

    asyncio.run(reload())
    assert scene.book == ["Envoy: openai", f"worker: keys at {URL}", "worker: 2"]


def test_they_are_not_waited_for_without_end(scene: Scene, idp: Idp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extproc.policy.keys.remote_keys.WAIT_SECONDS", 0.01)

    async def reload() -> list[str]:
        scene.reloader.fetch_keys()
        scene.path.write_text(REMOTE)
        await scene.reloader.reload()
        return list(scene.book)

    assert asyncio.run(reload()) == ["Envoy: openai", "worker: 2"]
    assert idp.asked.is_set()


def test_a_worker_that_starts_again_gets_the_keys_at_hand_first(tmp_path: Path, idp: Idp) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(REMOTE)
    idp.open.set()

    async def greeting() -> list[object]:
        reloader = Reloader(path, ENVIRON, None, asyncio.Event())
        reloader.fetch_keys()
        await reloader._keys.first_fetches()
        stream = asyncio.StreamReader()
        stream.feed_data(reloader.greeting(False))
        stream.feed_eof()
        return [await orders.read(stream) for _ in range(3)]

    news, order, end = asyncio.run(greeting())
    assert isinstance(news, KeySetUpdate) and (news.name, news.jwks is None) == ((URL, ISSUER, False), False)
    assert isinstance(order, Order) and (order.number, end) == (1, None)


def test_a_key_that_one_worker_wants_is_fetched_for_all(
    scene: Scene, idp: Idp, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = asyncio.Event()
    monkeypatch.setattr(scene.reloader.crew, "tell", lambda message: told.set())
    orders.say_wanted((URL, ISSUER, False))
    wants = capsys.readouterr().out.strip()

    async def wanting() -> None:
        scene.reloader._keys.use(scene.reloader._load(Files()).fetched)
        scene.worker.says(wants)
        await idp.asked.wait()
        assert not told.is_set()
        idp.open.set()
        await told.wait()

    scene.path.write_text(REMOTE)
    asyncio.run(wanting())
