"""Bodies that are costly to read: they are answered or refused, and hold up nobody else's call."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import httpx
import msgspec
import pytest

from tests.body_shapes import Shape, shapes
from tests.e2e.processes import children
from tests.e2e.refusals import never_asked, refused
from tests.e2e.stack import GATEWAY, Json, Model, Stack, prompt, text_of, up

MB = 1024 * 1024
WORKERS = 2
# Seconds for the worst of the honest calls: more than a quiet machine needs, less than a body would take.
PATIENCE = 3.0
PATHS = {"messages": "/v1/messages", "chat": "/v1/chat/completions"}
BOMBS = (
    "pairs", "tools", "turns", "schema_properties", "schema_references", "schema_any_references", "schema_empty_arrays",
    "schema_nested_arrays", "same_ids", "members", "texts", "legacy_pairs", "input_arrays",
)  # fmt: skip
RULED = GATEWAY.replace("providers:", "  deny: ['\"forbidden\" in llm.tools']\nproviders:", 1)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Stack]:
    folder, arguments = tmp_path_factory.mktemp("heavy"), ["--workers", str(WORKERS)]
    with up(folder, environ={"MODEL_URL": model.url}, config=RULED, arguments=arguments) as running:
        yield running


def bomb(shape: Shape) -> bytes:
    base = {"model": "claude-x" if shape.dialect == "messages" else "gpt-x"}
    hundred, more = (len(msgspec.json.encode(shape.build(n))) for n in (100, 200))
    return msgspec.json.encode({**shape.build(100 * 4 * MB // (more - hundred)), **base})


def conversation(turns: int, **more: object) -> Json:
    said = [{"role": role, "content": f"turn {n}"} for n in range(turns) for role in ("user", "assistant")]
    return prompt("demo: say good", **more) | {"messages": [*said, {"role": "user", "content": "demo: say good"}]}


def test_a_long_conversation_is_translated(gateway: Stack, model: Model) -> None:
    sent = conversation(8000)
    assert len(json.dumps(sent)) > MB // 2
    answer = gateway.call(sent)
    assert answer.status_code == 200 and text_of(answer.json()) == "good"
    asked = json.loads(model.last()["body"])
    assert [message["content"] for message in asked["messages"]] == [turn["content"] for turn in sent["messages"]]
    assert gateway.record(answer)["gen_ai.request.model"] == "claude-x"
    processes = children(gateway.process.pid).values()
    assert 1 <= sum("extproc.transport.translator" in command for command in processes) <= WORKERS


def test_rules_see_what_a_heavy_body_asks_for(gateway: Stack, model: Model) -> None:
    tools = [{"name": "forbidden", "input_schema": {"type": "object"}}]
    with never_asked(model):
        refused(gateway, gateway.call(conversation(8000, tools=tools)), 403, "permission_error")


def test_a_name_that_stands_twice_in_a_heavy_body_is_refused(gateway: Stack, model: Model) -> None:
    body = json.dumps(conversation(8000, tools=[]))
    hidden = body[:-1] + ', "tools": [{"name": "forbidden", "input_schema": {"type": "object"}}]}'
    with never_asked(model):
        refused(gateway, gateway.call(hidden.encode()), 400, "invalid_request_error")


def test_what_is_wrong_with_a_heavy_body_is_said_by_its_path(gateway: Stack, model: Model) -> None:
    tools = [{"name": f"t{n}", "input_schema": {}} for n in range(20_000)]
    turns = [{"role": "user", "content": 1}]
    with never_asked(model):
        for sent, problem in ((prompt("hi", tools=tools), "tools: List should have"),
                              (conversation(8000) | {"messages": conversation(8000)["messages"] + turns},
                               "messages.16001.content: Input should be a valid list")):  # fmt: skip
            message, record = refused(gateway, gateway.call(sent), 400, "invalid_request_error")
            assert message.startswith(problem) and record["reason"] == "InvalidRequest"
        _, record = refused(gateway, gateway.call(conversation(8000, model="nobodys")), 404, "not_found_error")
        assert record["reason"] == "ModelNotFound"


def test_what_takes_too_long_is_refused(tmp_path: Path, model: Model) -> None:
    config = GATEWAY + "limits: {body: {seconds: 0.01}}\n"
    with up(tmp_path, environ={"MODEL_URL": model.url}, config=config) as hasty:
        for _ in range(2):
            with never_asked(model):
                refused(hasty, hasty.call(conversation(8000)), 413, "request_too_large")
        assert hasty.call(conversation(10)).status_code == 200


def test_tokens_of_a_heavy_body_are_counted(gateway: Stack) -> None:
    sent = conversation(8000)
    del sent["max_tokens"]
    answer = gateway.call(sent, path="/v1/messages/count_tokens")
    assert answer.status_code == 200 and answer.json()["input_tokens"] > 50_000


class Attack:
    """Sends costly bodies, more at once than there are workers, until the block ends."""

    def __init__(self, gateway: Stack) -> None:
        self._gateway = gateway
        self._bombs = [(PATHS[shape.dialect], bomb(shape)) for shape in chosen()]
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(2 * WORKERS + 1)
        self._token = gateway.token(claims={"sub": "mallory"})
        self.statuses: list[int] = []

    def __enter__(self) -> Self:
        self._working = [self._pool.submit(self._send, n) for n in range(2 * WORKERS + 1)]
        return self

    def _send(self, first: int) -> None:
        number = first
        while not self._over.is_set():
            path, body = self._bombs[number % len(self._bombs)]
            try:
                self.statuses.append(self._gateway.call(body, path=path, token=self._token).status_code)
            except httpx.TransportError:  # refused before all of it was sent
                self.statuses.append(0)
            number += 2 * WORKERS + 1

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._pool.shutdown()
        for work in self._working:
            work.result()


def chosen() -> list[Shape]:
    return [shape for shape in shapes() if shape.name in BOMBS and shape.dialect in PATHS]


def test_honest_calls_beside_the_worst_bodies(gateway: Stack) -> None:
    gateway.call(conversation(8000))  # the other process is up
    statuses: list[int] = []
    latencies: list[float] = []
    with Attack(gateway) as attack:
        while len(attack.statuses) < len(chosen()) or len(statuses) < 50:
            began = time.monotonic()
            statuses.append(gateway.call(prompt("demo: say hi")).status_code)
            latencies.append(time.monotonic() - began)
    latencies.sort()
    print(f"{len(latencies)} honest calls, median {latencies[len(latencies) // 2]:.3f} s, worst {latencies[-1]:.3f} s")
    print(f"{len(attack.statuses)} bodies of 4 MB: {attack.statuses}")
    assert set(statuses) == {200}
    assert latencies[-1] < PATIENCE
