"""One stream of Envoy's, message by message, without a socket."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from extproc import pb
from extproc.events import Judged, Verdict, VerdictOutcome
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


def request_body(**members: object) -> pb.ProcessingRequest:
    turns = [{"role": "user", "content": "hi"}]
    asked = {"model": "claude-x", "max_tokens": 9, "stream": True, "messages": turns, **members}
    return pb.ProcessingRequest(request_body=pb.HttpBody(body=json.dumps(asked).encode(), end_of_stream=True))


def response_body(data: bytes, *, end: bool = False) -> pb.ProcessingRequest:
    return pb.ProcessingRequest(response_body=pb.HttpBody(body=data, end_of_stream=end))


def body_of(response: pb.ProcessingResponse) -> bytes:
    return response.response_body.response.body_mutation.streamed_response.body


def play(
    folder: Path, scene: Callable[[Scene], Awaitable[None]], monkeypatch: pytest.MonkeyPatch, config: str = QUICK
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    path = folder / "gateway.yaml"
    path.write_text(config)

    async def run() -> None:
        async with asyncio.timeout(SECONDS):
            await scene(Scene(await begun(path)))

    asyncio.run(run())


async def streaming(scene: Scene, **members: object) -> None:
    """To the first piece of an answer."""
    scene.send(request_headers())
    assert (await scene.reply()).WhichOneof("response") == "request_headers"
    scene.send(request_body(**members))
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
        admitted = scene.gateways.current().in_flight
        await streaming(scene)
        assert admitted.total.calls == 1
        monkeypatch.setattr(Observer, "end", None)
        with pytest.raises(TypeError):
            scene.stream.closed()
        assert admitted.total.calls == 0
        assert scene.gateways.acquire().streams == 1, "the next one is alone"

    play(tmp_path, scene, monkeypatch)


CALLS = (
    b'data: {"id":"c","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":'
)
CALLS += b'{"name":"Bash","arguments":"{}"}}]}}]}\n\n'
JUDGED = f"{QUICK}\nauto_mode: {{judge: {{model: claude-judge}}}}\n"


@pytest.mark.parametrize("bug", [False, True])
def test_what_envoy_sends_while_the_judge_is_asked_waits_for_the_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bug: bool
) -> None:
    """The reply to trailers ends the body, so it must come last."""

    async def scene(scene: Scene) -> None:
        asked, answer = asyncio.Event(), asyncio.Event()

        async def judge(_call: object, _verdicts: object) -> Judged:
            asked.set()
            await answer.wait()
            if bug:
                raise ValueError
            return Judged({"a": Verdict(VerdictOutcome.ALLOW)})

        monkeypatch.setattr(scene.gateways.current(), "judge", judge)
        await streaming(
            scene, safeguards=[{"type": "dangerous_tool_use"}], tools=[{"name": "Bash", "input_schema": {}}]
        )
        scene.send(response_body(CALLS + FINISH.replace(b"stop", b"tool_calls") + DONE))
        scene.send(pb.ProcessingRequest(response_trailers=pb.HttpTrailers()))
        await asked.wait()
        assert b"tool_use" in body_of(await scene.reply())
        assert b"event: ping" in body_of(await scene.reply())
        scene.stream.finished()
        answer.set()
        while b"event: ping" in (end := body_of(await scene.reply())):
            pass
        assert (b"event: error" if bug else b"not_flagged") in end
        while (last := await scene.reply()).WhichOneof("response") == "response_body":
            pass
        assert last.WhichOneof("response") == "response_trailers" and scene.call.status is Status.OK
        scene.stream.closed()

    play(tmp_path, scene, monkeypatch, JUDGED)


def test_a_client_that_leaves_ends_the_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(scene: Scene) -> None:
        over = asyncio.Event()

        async def judge(_call: object, _verdicts: object) -> Judged:
            try:
                await asyncio.Event().wait()
            finally:
                over.set()
            return Judged({})

        monkeypatch.setattr(scene.gateways.current(), "judge", judge)
        await streaming(
            scene, safeguards=[{"type": "dangerous_tool_use"}], tools=[{"name": "Bash", "input_schema": {}}]
        )
        scene.send(response_body(CALLS + FINISH.replace(b"stop", b"tool_calls") + DONE))
        await scene.reply()
        await asyncio.sleep(0)
        scene.stream.closed()
        await over.wait()

    play(tmp_path, scene, monkeypatch, JUDGED)
