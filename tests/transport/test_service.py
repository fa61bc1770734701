"""One stream of Envoy's, message by message, without a socket."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from extproc import pb
from extproc.transport.calls import Status
from extproc.transport.gateways import Gateways
from extproc.transport.observe import Observer
from extproc.transport.service import MAX_WAITING, Stream
from tests.gateway.test_answer import CHUNK, DONE, FINISH
from tests.issuing import claims, token
from tests.settings import GATEWAY, KEY
from tests.transport.test_gateways import begun

SECONDS = 20
PING_INTERVAL = 0.05
QUICK = f"{GATEWAY}\nstreaming: {{ping_interval: {PING_INTERVAL}}}\n"
DAY = 86_400.0


class Call:
    """Stands for the transport."""

    def __init__(self) -> None:
        self.ended = False
        self.status: Status | None = None
        self.written: asyncio.Queue[pb.ProcessingResponse] = asyncio.Queue()

    def write(self, message: bytes) -> None:
        assert not self.ended
        self.written.put_nowait(pb.ProcessingResponse.FromString(message))

    def end(self, status: Status = Status.OK, message: str = "") -> None:
        self.ended, self.status = True, status


class Scene:
    def __init__(self, gateways: Gateways) -> None:
        self.gateways = gateways
        self.call = Call()
        observer = Observer(gateways.current().source.config)
        self.stream = Stream(gateways, observer, self.call)

    def send(self, message: pb.ProcessingRequest) -> None:
        self.stream.received(message.SerializeToString())

    async def reply(self) -> pb.ProcessingResponse:
        return await self.call.written.get()


def headers(fields: Mapping[str, str]) -> pb.HttpHeaders:
    named = [pb.HeaderValue(key=name, raw_value=value.encode()) for name, value in fields.items()]
    return pb.HttpHeaders(headers=pb.HeaderMap(headers=named))


def request_headers() -> pb.ProcessingRequest:
    fields = {":method": "POST", ":path": "/v1/messages", "content-type": "application/json", "content-length": "100"}
    known = claims() | {"iat": int(time.time()) - 10, "nbf": int(time.time()) - 10, "exp": int(time.time()) + 3600}
    return pb.ProcessingRequest(request_headers=headers(fields | {"authorization": f"Bearer {token(known)}"}))


def request_body() -> pb.ProcessingRequest:
    asked = {"model": "claude-x", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    return pb.ProcessingRequest(request_body=pb.HttpBody(body=json.dumps(asked).encode(), end_of_stream=True))


def response_body(data: bytes, *, end: bool = False) -> pb.ProcessingRequest:
    return pb.ProcessingRequest(response_body=pb.HttpBody(body=data, end_of_stream=end))


def body_of(response: pb.ProcessingResponse) -> bytes:
    return response.response_body.response.body_mutation.streamed_response.body


def play(folder: Path, scene: Callable[[Scene], Awaitable[None]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    path = folder / "gateway.yaml"
    path.write_text(QUICK)

    async def run() -> None:
        async with asyncio.timeout(SECONDS):
            await scene(Scene(await begun(path)))

    asyncio.run(run())


async def streaming(scene: Scene) -> None:
    """To the first piece of an answer."""
    scene.send(request_headers())
    assert (await scene.reply()).WhichOneof("response") == "request_headers"
    scene.send(request_body())
    assert (await scene.reply()).WhichOneof("response") == "request_body"
    scene.send(pb.ProcessingRequest(response_headers=headers({":status": "200", "content-type": "text/event-stream"})))
    scene.send(response_body(CHUNK))
    assert (await scene.reply()).WhichOneof("response") == "response_headers"
    assert b"message_start" in body_of(await scene.reply())


@pytest.mark.parametrize("step", [DAY, -DAY], ids=["forward", "back"])
def test_a_step_of_the_clock_ends_no_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    """The deadlines go on by the time that has passed: pings come, and then the rest."""

    async def scene(scene: Scene) -> None:
        await streaming(scene)
        monkeypatch.setattr(time, "time", lambda real=time.time: real() + step)
        for _ in range(3):
            assert b"event: ping" in body_of(await scene.reply())
        scene.send(response_body(FINISH + DONE, end=True))
        while b"message_stop" not in (piece := body_of(await scene.reply())):
            assert b"event: error" not in piece
        scene.stream.finished()
        assert (scene.call.ended, scene.call.status) == (True, Status.OK)
        scene.stream.closed()

    play(tmp_path, scene, monkeypatch)


def test_messages_do_not_pile_up_before_a_decision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(scene: Scene) -> None:
        scene.send(request_headers())
        for _ in range(MAX_WAITING):
            scene.send(response_body(b"x"))
        assert not scene.call.ended
        scene.send(response_body(b"x"))
        assert scene.call.status is Status.RESOURCE_EXHAUSTED
        scene.stream.closed()

    play(tmp_path, scene, monkeypatch)


def test_a_stream_that_fails_at_its_end_gives_back_what_it_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(scene: Scene) -> None:
        admitted = scene.gateways._in_flight
        await streaming(scene)
        assert admitted.total.calls == 1
        monkeypatch.setattr(Observer, "end", None)
        with pytest.raises(TypeError):
            scene.stream.closed()
        assert admitted.total.calls == 0
        assert [one.streams for one in scene.gateways._in_use] == [0]

    play(tmp_path, scene, monkeypatch)
