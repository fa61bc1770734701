"""Files change while the gateway runs: what is good comes into force; what is not changes nothing and is named."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from extproc.demo import idp
from tests.e2e.processes import children
from tests.e2e.providers import headers_of
from tests.e2e.reloading import Load, Reloads
from tests.e2e.sse import events, kinds, streaming
from tests.e2e.stack import GATEWAY, PROVIDER_KEY, SECONDS, Json, Model, Stack, demo_model, free_port, prompt, up

FIRST, SECOND = "sk-first-provider-key-0123456789", "sk-second-provider-key-987654321"
HELLO = prompt("demo: say hello")
BY_FILE = GATEWAY.replace("{env: MODEL_KEY}", "{file: secrets/key}")
MORE = '  more: {dialects: [chat], base_url: "${MORE_URL}", api_key: {env: MODEL_KEY}}\n'
WITH_MORE = GATEWAY.replace("models:\n", MORE + "models:\n  - {name: more, provider: more}\n").replace(
    "records:", "routes: [{path: /files/*, serve: passthrough, provider: more}]\nrecords:"
)


@pytest.fixture(scope="module")
def any_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with demo_model(tmp_path_factory.mktemp("any-key"), key="") as running:
        yield running


def write_plain(folder: Path, content: str) -> None:
    (folder / "key").write_text(content)


def rename_over(folder: Path, content: str) -> None:
    (folder / "key.new").write_text(content)
    (folder / "key.new").rename(folder / "key")


def as_kubernetes(folder: Path, content: str) -> None:
    """https://kubernetes.io/docs/concepts/configuration/secret/#mounted-secrets-are-updated-automatically"""
    version = folder / f"..version-{content[3:9]}"
    version.mkdir()
    (version / "key").write_text(content)
    (folder / "..data_tmp").symlink_to(version.name)
    (folder / "..data_tmp").rename(folder / "..data")
    if not (folder / "key").is_symlink():
        (folder / "key").symlink_to("..data/key")


SWAPS = [write_plain, rename_over, as_kubernetes]


@pytest.fixture(scope="module")
def swapping(tmp_path_factory: pytest.TempPathFactory, any_key: Model) -> Iterator[Reloads]:
    """A provider, its model and the folder of its key are named as the way in which the key is swapped."""
    folder = tmp_path_factory.mktemp("swapping")
    provider = '  {0}: {{dialects: [chat], base_url: "${{MODEL_URL}}", api_key: {{file: {0}/key}}}}\n'
    model = "  - {{name: {0}, provider: {0}, model: gpt-4o-mini}}\n"
    names = [swap.__name__ for swap in SWAPS]
    entries = "".join(map(provider.format, names)) + "models:\n" + "".join(map(model.format, names))
    for swap in SWAPS:
        (folder / swap.__name__).mkdir()
        swap(folder / swap.__name__, FIRST)
    with up(folder, environ={"MODEL_URL": any_key.url}, config=GATEWAY.replace("models:\n", entries)) as stack:
        yield Reloads(stack)
    assert FIRST not in stack.printed and SECOND not in stack.printed


@pytest.mark.parametrize("swap", SWAPS)
def test_a_providers_key_is_swapped(swapping: Reloads, any_key: Model, swap: Callable[[Path, str], None]) -> None:
    stack, name = swapping.stack, swap.__name__
    started = any_key.asked()
    with Load(stack, streams=0, models=[name]) as load:
        load.await_more(5)
        first = {headers_of(request)["authorization"] for request in any_key.since(started)}
        assert first == {f"Bearer {FIRST}"}
        swap(stack.folder / name, SECOND + "\n")
        swapping.by_itself()
        # A call that ran meanwhile may have had the first one.
        load.await_more(4)
        before = any_key.asked()
        load.await_more(10)
    sent = [headers_of(request)["authorization"] for request in any_key.since(before)]
    assert set(sent) == {f"Bearer {SECOND}"}
    assert not load.failed
    assert FIRST not in stack.printed and SECOND not in stack.printed


def test_an_issuers_keys_are_swapped(tmp_path: Path, model: Model) -> None:
    idp.ensure_keys(tmp_path / "others")
    with up(tmp_path, environ={"MODEL_URL": model.url}) as stack:
        theirs = idp.mint(tmp_path / "others")
        assert [stack.call(HELLO, token=token).status_code for token in ("", theirs)] == [200, 401]
        (tmp_path / "others" / "jwks.json").replace(tmp_path / "keys" / "jwks.json")
        Reloads(stack).by_itself()
        assert [stack.call(HELLO, token=token).status_code for token in ("", theirs)] == [401, 200]


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory, model: Model, any_key: Model) -> Iterator[Reloads]:
    environ = {"MODEL_URL": model.url, "MORE_URL": any_key.url}
    with up(tmp_path_factory.mktemp("growing"), environ=environ, arguments=["--workers", "2"]) as stack:
        yield Reloads(stack)


@pytest.fixture
def growing(two_workers: Reloads) -> Iterator[tuple[Stack, Reloads]]:
    """What it started with is in force again after each test."""
    yield two_workers.stack, two_workers
    (two_workers.stack.folder / "gateway.yaml").write_text(GATEWAY)
    two_workers.now()


def test_a_provider_comes_and_goes(growing: tuple[Stack, Reloads]) -> None:
    stack, reloads = growing
    path = stack.folder / "gateway.yaml"
    ask = prompt("demo: say hello", model="more")
    with Load(stack) as load:
        assert stack.call(ask).status_code == 404
        path.write_text(WITH_MORE)
        reloads.now()
        assert [stack.call(ask).status_code for _ in range(20)] == [200] * 20
        with streaming(stack, "demo: say " + "word " * 40 + "\ndemo: slow 50", model="more") as answer:
            found = [next(coming := events(answer))]
            path.write_text(GATEWAY)
            reloads.now()
            assert stack.call(ask).status_code == 404
            # What runs finishes with the provider that is gone.
            found.extend(coming)
        assert kinds(found)[-1] == "message_stop"
        load.await_more(5, streamed=2)


def test_a_provider_that_moves_never_sees_another_ones_key(tmp_path: Path) -> None:
    """Each place takes its own key only, so a call with the wrong one would fail."""
    with contextlib.ExitStack() as open_ones:
        places = []
        for key in (FIRST, SECOND):
            (tmp_path / key).mkdir()
            places.append((key, open_ones.enter_context(demo_model(tmp_path / key, key=key))))
        (tmp_path / "secrets").mkdir()

        def move(to: int) -> str:
            key, model = places[to]
            write_plain(tmp_path / "secrets", key)
            return BY_FILE.replace("${MODEL_URL}", model.url)

        stack = open_ones.enter_context(up(tmp_path, config=move(0), arguments=["--workers", "2"]))
        reloads = Reloads(stack)
        with Load(stack) as load:
            for turn in range(1, 9):
                (tmp_path / "gateway.yaml").write_text(move(turn % 2))
                reloads.now()
                load.await_more(10)
        assert not load.failed
        for key, model in places:
            assert {headers_of(request)["authorization"] for request in model.requests()} == {f"Bearer {key}"}


BROKEN: dict[str, tuple[Callable[[str], str], str]] = {
    "YAML": (lambda text: text + "x: [", "not YAML"),
    "an unknown key": (lambda text: text + "modles: []\n", "modles: unknown key"),
    "CEL": (lambda text: text.replace('== "acme"', "=="), "authorization.allow.0: not a valid CEL expression"),
    "a missing secret": (
        lambda text: text.replace("env: MODEL_KEY", "env: NOT_THERE"),
        "providers.openai.api_key: the environment variable NOT_THERE is not set or empty",
    ),
    "no issuer's keys": (
        lambda text: text.replace("keys/jwks", "keys/gone"),
        "authentication.jwt.0.jwks.file: keys/gone.json cannot be read: No such file or directory",
    ),
    "a secret in the wrong place": (lambda text: text.replace("{env: MODEL_KEY}", FIRST), "never the value itself"),
}


def complains(place: str, complaint: str, line: str) -> bool | None:
    return (place in line and complaint in line) or None


def test_what_is_broken_changes_nothing_and_is_complained_of(tmp_path: Path, model: Model) -> None:
    port = free_port()
    config = GATEWAY + f"metrics: {{port: {port}}}\n"

    def told() -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{port}/status", verify=False, timeout=SECONDS)

    with up(tmp_path, environ={"MODEL_URL": model.url}, config=config, arguments=["--workers", "1"]) as stack:
        reloads = Reloads(stack)
        status: Json = {}
        for spoil, complaint in BROKEN.values():
            (tmp_path / "gateway.yaml").write_text(spoil(config))
            assert reloads.now(good=False) == 1
            stack.err.first(partial(complains, str(tmp_path / "gateway.yaml:"), complaint))
            status = told().json()
            assert (status["configuration"], status["generation"]) == ("refused", 1)
            assert any(complaint in line for line in status["refused"])
            assert stack.call(HELLO).status_code == 200
        scraped = httpx.get(f"http://127.0.0.1:{port}/metrics", verify=False, timeout=SECONDS).text
        assert "extproc_config_last_reload_successful 0.0" in scraped
        assert f'extproc_config_reloads_total{{result="refused"}} {len(BROKEN)}.0' in scraped
        # A worker that crashes now starts with what is in force.
        [worker] = [
            pid for pid, command in children(stack.process.pid).items() if "extproc.transport.worker" in command
        ]
        os.kill(worker, signal.SIGKILL)
        stack.err.first(lambda line: "starting it again" in line or None)
        while stack.call(HELLO).status_code == 503:
            pass
        assert stack.call(HELLO).status_code == 200
        (tmp_path / "gateway.yaml").write_text(config)
        reloads.now()
        assert (told().json()["configuration"], told().json()["refused"]) == ("in force", [])
    for secret in (FIRST, PROVIDER_KEY, stack.good_token):
        assert secret not in stack.err.text + str(status) + scraped


def test_what_needs_a_restart_is_named_and_the_rest_taken(growing: tuple[Stack, Reloads]) -> None:
    stack, reloads = growing
    text = WITH_MORE + f"workers: 1\nlisten: {{port: {free_port()}}}\n"
    (stack.folder / "gateway.yaml").write_text(text)
    reloads.now()
    stack.err.first(lambda line: "these keys wait for the next start: listen.port, workers" in line or None)
    assert stack.call(prompt("demo: say hello", model="more")).status_code == 200
    assert len([one for one in children(stack.process.pid).values() if "extproc.transport.worker" in one]) == 2


def test_what_envoy_refuses_is_not_taken_by_the_workers_either(growing: tuple[Stack, Reloads]) -> None:
    stack, reloads = growing
    in_force = reloads.now()
    hopeless = "timeouts: {connect: 1.0e+13}, " + MORE.partition("{")[2]
    text = WITH_MORE.replace(MORE.partition("{")[2], hopeless)
    with Load(stack) as load:
        (stack.folder / "gateway.yaml").write_text(text)
        assert reloads.now(good=False) == in_force
        stack.err.first(lambda line: "Envoy refuses what this configuration would have it do" in line or None)
        assert stack.call(prompt("demo: say hello", model="more")).status_code == 404
        load.await_more(10)
        (stack.folder / "gateway.yaml").write_text(WITH_MORE)
        reloads.now()
        assert stack.call(prompt("demo: say hello", model="more")).status_code == 200


def test_what_the_log_holds_replaces_the_listener_and_no_stream_is_cut(growing: tuple[Stack, Reloads]) -> None:
    """Envoy lets the old listener's connections close with their next answer; new ones see the new fields."""
    stack, reloads = growing
    headers = {"authorization": f"Bearer {stack.good_token}"}
    with (
        httpx.Client(base_url=stack.url, headers=headers, verify=False, timeout=SECONDS) as kept,
        streaming(stack, "demo: say " + "word " * 40 + "\ndemo: slow 50") as answer,
    ):
        assert "connection" not in kept.post("/v1/messages", json=HELLO).headers
        found = [next(coming := events(answer))]
        (stack.folder / "gateway.yaml").write_text(GATEWAY.replace("[org, team]", "[org, team, sub]"))
        reloads.now()
        last = kept.post("/v1/messages", json=HELLO)
        assert (last.status_code, last.headers["connection"]) == (200, "close")
        assert stack.record(stack.call(HELLO))["caller.sub"] == "developer@acme.example"
        found.extend(coming)
    assert kinds(found)[-1] == "message_stop"
