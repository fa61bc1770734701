"""`make fuzz ARGS="stream -max_total_time=600"`: targets are the keys of TARGETS; the rest goes to libFuzzer.

A crash leaves its input in a file `crash-*`; what it shows becomes a test.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["extproc", "hpack"]):
    from extproc.errors import Rejection
    from extproc.translate.dialects.registry import PAIRS
    from extproc.translate.pair import Pair, Target
    from extproc.wire.sse import SseDecoder
    from fuzz import http2

import msgspec

from extproc.providers.profiles import shipped
from tests.translate import answers, chat_answers, responses_answers, responses_client

TESTS = Path(__file__).resolve().parents[1] / "tests"
PROFILES = tuple(shipped().values())
MESSAGES_ON_CHAT, CHAT_ON_MESSAGES = PAIRS["messages", "chat"], PAIRS["chat", "messages"]
MESSAGES_ON_RESPONSES, RESPONSES_ON_MESSAGES = PAIRS["messages", "responses"], PAIRS["responses", "messages"]
CHAT_ON_RESPONSES, RESPONSES_ON_CHAT = PAIRS["chat", "responses"], PAIRS["responses", "chat"]
CHAT_CLIENT = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
THINKING = {"thinking": {"type": "enabled", "budget_tokens": 2000}}
Fuzzed = Callable[[bytes], None]


def _pieces(data: bytes) -> tuple[int, list[bytes]]:
    """The first two bytes choose a profile and where to cut; the rest is what an upstream sends."""
    choice, cut, body = data[0], data[1], data[2:]
    step = cut + 1
    return choice, [body[at : at + step] for at in range(0, len(body), step)]


def sse(data: bytes) -> None:
    """However the bytes are cut, the events are the same."""
    if len(data) < 3:
        return
    _, pieces = _pieces(data)
    whole, cut = SseDecoder(1 << 20), SseDecoder(1 << 20)
    expected = whole.feed(data[2:]) + whole.close()
    found = [event for piece in pieces for event in cut.feed(piece)] + cut.close()
    assert found == expected, (found, expected)


def streams(pair: Pair, body: dict[str, Any], check: Callable[[bytes, bool], None]) -> Fuzzed:
    """Any upstream gives a stream that keeps the grammar, and ends once: complete or failed."""

    def target(data: bytes) -> None:
        if len(data) < 3:
            return
        choice, pieces = _pieces(data)
        to = Target(profile=PROFILES[choice % len(PROFILES)], model="m", nonce="n")
        asked = pair.request({**body, "stream": True}, to)
        assert not isinstance(asked, Rejection), asked
        reply = pair.reply(asked, "text/event-stream" if choice < 128 else "")
        out = b"".join(reply.feed(piece) for piece in pieces) + reply.close()
        assert reply.outcome.complete != (reply.outcome.failure is not None)
        check(out, reply.outcome.complete)

    return target


def _messages_grammar(out: bytes, complete: bool) -> None:
    found = answers.events(out)
    answers.check_grammar(found)
    assert (found[-1]["type"] == "message_stop") is complete


def _chat_grammar(out: bytes, complete: bool) -> None:
    found, done = chat_answers.chunks(out)
    assert done is complete
    chat_answers.check_grammar(found, done=done)


def _responses_grammar(out: bytes, complete: bool) -> None:
    found = responses_answers.events(out)
    responses_answers.check_grammar(found)
    assert (found[-1]["type"] != "response.failed") is complete


def requests(pair: Pair) -> Fuzzed:
    """Any JSON object gives a request for the upstream or a 4xx, the same one each time."""

    def target(data: bytes) -> None:
        if not data:
            return
        try:
            body = msgspec.json.decode(data[1:])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        if not isinstance(body, dict):
            return
        to = Target(profile=PROFILES[data[0] % len(PROFILES)], model="m", nonce="n")
        first, second = pair.request(body, to), pair.request(body, to)
        if isinstance(first, Rejection):
            assert 400 <= first.http_status < 500, first
        else:
            assert not isinstance(second, Rejection) and first.body == second.body
            json.loads(first.body)

    return target


TARGETS: dict[str, Fuzzed] = {
    "sse": sse,
    "stream": streams(MESSAGES_ON_CHAT, {**answers.MINIMAL, **THINKING}, _messages_grammar),
    "request": requests(MESSAGES_ON_CHAT),
    "responses-stream": streams(MESSAGES_ON_RESPONSES, {**answers.MINIMAL, **THINKING}, _messages_grammar),
    "responses-request": requests(MESSAGES_ON_RESPONSES),
    "chat-stream": streams(CHAT_ON_MESSAGES, answers.MINIMAL, _chat_grammar),
    "chat-request": requests(CHAT_ON_MESSAGES),
    "responses-client-stream": streams(RESPONSES_ON_MESSAGES, responses_client.MINIMAL, _responses_grammar),
    "responses-client-request": requests(RESPONSES_ON_MESSAGES),
    "chat-on-responses-stream": streams(CHAT_ON_RESPONSES, CHAT_CLIENT, _chat_grammar),
    "chat-on-responses-request": requests(CHAT_ON_RESPONSES),
    "responses-on-chat-stream": streams(RESPONSES_ON_CHAT, responses_client.MINIMAL, _responses_grammar),
    "responses-on-chat-request": requests(RESPONSES_ON_CHAT),
    **http2.TARGETS,
}
VECTORS = {
    "responses-stream": "responses_api",
    "responses-request": "responses_api",
    "sse": "stream_c2m",
    "stream": "stream_c2m",
    "request": "req_m2c",
    "chat-stream": "stream_m2c",
    "chat-request": "req_c2m",
    "responses-client-stream": "derived_r2m",
    "responses-client-request": "derived_r2m",
    "chat-on-responses-stream": "c2r",
    "chat-on-responses-request": "c2r",
    "responses-on-chat-stream": "r2c",
    "responses-on-chat-request": "r2c",
}


def _seeds(target: str) -> Iterator[bytes]:
    yield from http2.SEEDS.get(target, ())
    if target not in VECTORS:
        return
    for vector in json.loads((TESTS / f"vectors/{VECTORS[target]}.json").read_text())["vectors"]:
        given = vector["input"]
        yield b"\0\xff" + given["sse"].encode() if "sse" in given else b"\0" + json.dumps(given).encode()


def main() -> None:
    name, *options = sys.argv[1:] or ["stream", "-max_total_time=60"]
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(_seeds(name)):
            (Path(folder) / str(number)).write_bytes(seed)
        atheris.Setup([sys.argv[0], folder, "-max_len=8192", *options], TARGETS[name])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
