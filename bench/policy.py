"""What it costs to know a caller and to decide, in one process and without Envoy: `python -m bench.policy`, part of
`make bench`."""

import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bench import bodies
from extproc.config import loading
from extproc.demo import idp
from extproc.errors import Rejection
from extproc.events import Headers, RequestHeaders
from extproc.gateway.exchange import Exchange
from extproc.gateway.gateway import Gateway
from extproc.gateway.preparation import Examine, prepare_here
from extproc.policy.authorization.body import Bounds
from extproc.policy.authorization.rules import AuthorizeModel
from extproc.policy.facts import BodyRead, ModelFound
from extproc.policy.route import FindModel, ReadBody

T = TypeVar("T")

CONFIG = """
authentication:
  jwt: [{{issuer: claude-code-lab, audiences: [anthropic-api], jwks: {{file: keys/jwks.json}}}}]
authorization: {rules}
providers: {{mock: {{dialects: [chat], base_url: "http://127.0.0.1:1/v1"}}}}
models: [{{name: "*", provider: mock}}]
"""
LAB = 'jwt.org == "acme" && jwt.team == "data-platform"'
CLAIMS = [f'jwt.team != "team-{n}" && model != "model-{n}" || "gpt-4o-mini" in jwt.llms.openai' for n in range(20)]
REQUEST = [f'request.headers["x-{n}"] != "" || request.path != "/{n}" || source.address != "::1"' for n in range(20)]
BODY = ['llm.tools.all(tool, tool.startsWith("tool_")) && !llm.has_images && llm.max_tokens < 100000']
ROWS: list[tuple[str, list[str], bytes]] = [
    ("one rule for claims, 1 KB", [LAB], bodies.small()),
    ("20 rules for claims and model, 1 KB", CLAIMS, bodies.small()),
    ("20 rules for headers and address, 1 KB", REQUEST, bodies.small()),
    ("a rule for tools, images and limit, 1 KB", BODY, bodies.small()),
    ("a rule for tools, images and limit, 61 KB", BODY, bodies.large()),
]
FIELDS = {f"x-{n}": "value" for n in range(20)} | {"content-type": "application/json", ":authority": "gateway"}


def measure(name: str, rules: list[str], body: bytes, calls: int, token: str, folder: Path) -> str:
    """A line of the table, in microseconds of CPU."""
    (folder / "gateway.yaml").write_text(CONFIG.format(rules=msgspec.json.encode({"require": rules}).decode()))
    gateway = Gateway(loading.load(folder / "gateway.yaml"))
    fields = {":method": "POST", ":path": "/v1/messages", "authorization": f"Bearer {token}", **FIELDS}
    headers = RequestHeaders(Headers(fields.items()), end=False, source="10.0.0.1:4711")

    def call() -> Exchange:
        exchange = gateway.exchange(0)
        done(gateway.at_headers(exchange, headers, time.time()))
        gateway.ended(exchange)
        return exchange

    exchange = call()
    read = ReadBody()(exchange.body_arrived(), body)
    assert isinstance(read, BodyRead)
    found = FindModel(gateway.catalogue)(read)
    assert isinstance(found, ModelFound)
    examine, authorize = Examine(gateway.rules.read_body, Bounds(), 2.0, prepare_here), AuthorizeModel(gateway.rules)

    def decide() -> None:
        refused = authorize(done(examine(found)))
        assert refused is None, refused

    costs = [cpu_us(call, calls), cpu_us(decide, calls)]
    return f"| {name} | {costs[0]:.0f} | {costs[1]:.0f} | {sum(costs):.0f} |"


def cpu_us(call: Callable[[], object], calls: int) -> float:
    """Microseconds of CPU for one call."""
    call()
    began = time.process_time()
    for _ in range(calls):
        call()
    return (time.process_time() - began) * 1e6 / calls


def done(step: Coroutine[Any, Any, T | Rejection]) -> T:
    """Returns what a step gives that does not wait."""
    try:
        step.send(None)
    except StopIteration as stop:
        reached: T | Rejection = stop.value
    else:
        raise AssertionError("a step waited")
    if isinstance(reached, Rejection):
        raise TypeError(reached)
    return reached


CALLS = 20_000


def main(calls: int = CALLS) -> None:
    print("| warm token, CPU us | at the headers | at the body | both |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        idp.ensure_keys(folder / "keys")
        token = idp.mint(folder / "keys")
        for row in ROWS:
            print(measure(*row, calls, token, folder), flush=True)


if __name__ == "__main__":
    main()
