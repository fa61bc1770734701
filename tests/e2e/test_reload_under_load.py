"""200 reloads, five of them broken, under clients that never stop: no call fails, no connection goes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.e2e.processes import children
from tests.e2e.reloading import Load, Reloads
from tests.e2e.stack import GATEWAY, Model, Stack, free_port, prompt, up

RELOADS, WARM, TOGETHER = 200, 20, 8
# A worker that kept what it no longer uses would grow by more.
LEAK = 4 << 20
BROKEN: dict[int, Callable[[str], str]] = {
    23: lambda text: text + "\nmodels: [",
    61: lambda text: text.replace('== "acme"', "=="),
    99: lambda text: text.replace("env: MODEL_KEY", "env: NOT_THERE"),
    142: lambda text: text.replace("keys/jwks.json", "keys/gone.json"),
    187: lambda text: text + "\nunknown_key: 1\n",
}
# With every tenth a provider comes or goes, so that Envoy's clusters and routes change, too.
MORE = '  more: {dialects: [chat], base_url: "${MODEL_URL}", api_key: {env: MODEL_KEY}}\n'


def configuration(number: int) -> str:
    """In it the model `turn-<number>` can be asked for, and no other turn's."""
    more = number // 10 % 2
    provider = "more" if more else "openai"
    text = with_several(number).replace("models:\n", f"models:\n  - {{name: turn-{number}, provider: {provider}}}\n")
    return text.replace("models:\n", MORE + "models:\n", 1) if more else text


def with_several(number: int) -> str:
    """Providers of the model `several` come, go and change places with each. In each second configuration the first of
    them refuses connections, so that calls move on while the configuration changes."""
    alive = [f"p{(number // 3 + n) % 5}" for n in range(1 + number % 3)]
    urls = {"dead": "DEAD_URL"} if number % 2 else {}
    urls |= dict.fromkeys(alive, "MODEL_URL")
    rest = "api_key: {env: MODEL_KEY}, outliers: {failures: 1000000}"
    providers = "".join(
        f'  {name}: {{dialects: [chat], base_url: "${{{url}}}", {rest}}}\n' for name, url in urls.items()
    )
    candidates = ", ".join(f"{{provider: {name}, model: gpt-4o-mini}}" for name in urls)
    return GATEWAY.replace("models:\n", f"{providers}models:\n  - {{name: several, providers: [{candidates}]}}\n")


def serves(stack: Stack, number: int) -> bool:
    status = stack.call(prompt("demo: say hello", model=f"turn-{number}")).status_code
    assert status in (200, 404)
    return status == 200


def resident(stack: Stack) -> dict[int, int]:
    """Bytes of the supervisor and of each worker."""
    workers = [pid for pid, command in children(stack.process.pid).items() if "extproc.transport.worker" in command]
    return {pid: psutil.Process(pid).memory_info().rss for pid in (stack.process.pid, *workers)}


@dataclass
class Running:
    """A gateway under load, from the first reload to the last."""

    stack: Stack
    path: Path
    reloads: Reloads
    load: Load
    in_force: int = 0
    early: dict[int, int] = field(default_factory=dict)

    def reload(self, number: int) -> None:
        spoil = BROKEN.get(number)
        self.path.write_text(spoil(configuration(number)) if spoil else configuration(number))
        self.reloads.now(good=spoil is None)
        was, self.in_force = self.in_force, self.in_force if spoil else number
        assert serves(self.stack, self.in_force)
        assert not serves(self.stack, number if spoil else was)
        self.load.await_more(calls=3)
        if number == WARM:
            self.early = resident(self.stack)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("reloads")
    environ = {"MODEL_URL": model.url, "DEAD_URL": f"http://127.0.0.1:{free_port()}/v1"}
    with (
        up(folder, environ=environ, config=configuration(0), arguments=["--workers", "2"]) as stack,
        Load(stack, models=("claude-x", "several")) as load,
    ):
        yield Running(stack, folder / "gateway.yaml", Reloads(stack), load)


@pytest.mark.parametrize("first", range(1, RELOADS + 1, TOGETHER))
def test_no_call_fails(running: Running, first: int) -> None:
    for number in range(first, first + TOGETHER):
        running.reload(number)


def test_after_all_reloads(running: Running) -> None:
    stack, load = running.stack, running.load
    load.await_more(calls=10, streamed=4)
    load.end()
    assert not load.failed
    assert running.reloads.now() >= RELOADS - len(BROKEN)
    grown = {pid: resident(stack)[pid] - before for pid, before in running.early.items()}
    print(f"{load.calls} calls, {load.streamed} streams; {running.early} bytes after {WARM} reloads, then {grown} more")
    assert max(grown.values()) < LEAK
    assert any('"attempts":"dead unreachable; p' in line for line in stack.out.seen)
    assert "Traceback" not in stack.printed
