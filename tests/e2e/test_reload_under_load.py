"""200 reloads, five of them broken, under clients that never stop: no call fails, no connection goes."""

from collections.abc import Callable
from pathlib import Path

import psutil

from tests.e2e.processes import children
from tests.e2e.reloading import Load, Reloads
from tests.e2e.stack import GATEWAY, Model, Stack, free_port, prompt, up

RELOADS, WARM = 200, 20
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


def test_two_hundred_reloads(tmp_path: Path, model: Model) -> None:
    environ = {"MODEL_URL": model.url, "DEAD_URL": f"http://127.0.0.1:{free_port()}/v1"}
    with up(tmp_path, environ=environ, config=configuration(0), arguments=["--workers", "2"]) as stack:
        path, reloads, in_force = tmp_path / "gateway.yaml", Reloads(stack), 0
        early: dict[int, int] = {}
        with Load(stack, models=("claude-x", "several")) as load:
            for number in range(1, RELOADS + 1):
                spoil = BROKEN.get(number)
                path.write_text(spoil(configuration(number)) if spoil else configuration(number))
                reloads.now(good=spoil is None)
                was, in_force = in_force, in_force if spoil else number
                assert serves(stack, in_force)
                assert not serves(stack, number if spoil else was)
                load.await_more(calls=3)
                if number == WARM:
                    early = resident(stack)
            load.await_more(calls=10, streamed=4)
        assert not load.failed
        assert reloads.now() >= RELOADS - len(BROKEN)
        grown = {pid: resident(stack)[pid] - before for pid, before in early.items()}
        print(f"{load.calls} calls, {load.streamed} streams; {early} bytes after {WARM} reloads, then {grown} more")
        assert max(grown.values()) < LEAK
        assert any('"attempts":"dead unreachable; p' in line for line in stack.out.seen)
    assert "Traceback" not in stack.printed
