"""`make fuzz ARGS="stream -max_total_time=600"`: targets are sse, stream and request; the rest goes to libFuzzer.

A crash leaves its input in a file `crash-*`; what it shows becomes a test.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["extproc"]):
    from extproc.errors import Rejection
    from extproc.translate.messages_on_chat import messages_on_chat
    from extproc.translate.pair import Target
    from extproc.wire.sse import SseDecoder

import msgspec

from extproc.profiles import shipped
from tests.translate.answers import MINIMAL, check_grammar, events

TESTS = Path(__file__).resolve().parents[1] / "tests"
PROFILES = tuple(shipped().values())


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


def stream(data: bytes) -> None:
    """Any upstream gives a stream that keeps the grammar, and ends once: complete or failed."""
    if len(data) < 3:
        return
    choice, pieces = _pieces(data)
    body = {**MINIMAL, "stream": True, "thinking": {"type": "enabled", "budget_tokens": 2000}}
    to = Target(profile=PROFILES[choice % len(PROFILES)], model="m", nonce="n")
    asked = messages_on_chat.request(body, to)
    assert not isinstance(asked, Rejection), asked
    reply = messages_on_chat.reply(asked, "text/event-stream" if choice < 128 else "")
    out = b"".join(reply.feed(piece) for piece in pieces) + reply.close()
    assert reply.outcome.complete != (reply.outcome.failure is not None)
    check_grammar(events(out))


def request(data: bytes) -> None:
    """Any JSON object gives a request for the upstream or a 4xx, the same one each time."""
    if not data:
        return
    try:
        body = msgspec.json.decode(data[1:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    if not isinstance(body, dict):
        return
    to = Target(profile=PROFILES[data[0] % len(PROFILES)], model="m", nonce="n")
    first, second = messages_on_chat.request(body, to), messages_on_chat.request(body, to)
    if isinstance(first, Rejection):
        assert 400 <= first.http_status < 500, first
    else:
        assert not isinstance(second, Rejection) and first.body == second.body
        json.loads(first.body)


TARGETS: dict[str, Callable[[bytes], None]] = {"sse": sse, "stream": stream, "request": request}


def _seeds(target: str) -> Iterator[bytes]:
    if target == "request":
        for path in sorted((TESTS / "corpus").glob("*/*.json")):
            body = json.loads(path.read_text()).get("body")
            if isinstance(body, dict) and len(text := json.dumps(body)) < 5000:
                yield b"\0" + text.encode()
        for vector in json.loads((TESTS / "vectors/req_m2c.json").read_text())["vectors"]:
            yield b"\0" + json.dumps(vector["input"]).encode()
        return
    for vector in json.loads((TESTS / "vectors/stream_c2m.json").read_text())["vectors"]:
        yield b"\0\xff" + vector["input"]["sse"].encode()


def main() -> None:
    name, *options = sys.argv[1:] or ["stream", "-max_total_time=60"]
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(_seeds(name)):
            (Path(folder) / str(number)).write_bytes(seed)
        atheris.Setup([sys.argv[0], folder, "-max_len=8192", *options], TARGETS[name])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
