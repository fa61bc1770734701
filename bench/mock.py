"""The cheapest possible model: `python -m bench.mock` reads a request and sends canned bytes. Prints its port.

A prompt with PACED in it is answered for PACED_SECONDS, 20 words a second, each with the time at which it was sent.
Each tenth call below /failing fails, in one of the ways of FAILURES.
"""

import asyncio
import json
import random
import re
import time

CHUNKS = 100
GAP_SECONDS = 0.002
PACED = "as a person reads"
PACED_SECONDS = 10.0
PACE_SECONDS = 0.05
FAILS_OF = 10

_USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
_HEAD = {"id": "chatcmpl-1", "created": 1, "model": "gpt-4o-mini"}


def _json() -> bytes:
    message = {"role": "assistant", "content": "word " * 40}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = json.dumps({**_HEAD, "object": "chat.completion", "choices": [choice], "usage": _USAGE}).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def _chunk(choices: list[object], **more: object) -> bytes:
    event = b"data: " + json.dumps({**_HEAD, "object": "chat.completion.chunk", "choices": choices, **more}).encode()
    return _framed(event + b"\n\n")


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


STREAMS = re.compile(rb'"stream":\s*true')
JSON = _json()
SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
WORD = _chunk([{"index": 0, "delta": {"content": "word "}, "finish_reason": None}])
END = _chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}]) + _chunk([], usage=_USAGE)
FAILURES = (
    b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>",
    SSE_HEAD + _framed(b'data: {"error": {"message": "overloaded"}}\n\n') + b"0\r\n\r\n",
    b"",
)
"""What comes instead of an answer; nothing: the connection is closed."""
DONE = END + _framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next((int(f[15:]) for f in head.lower().split(b"\r\n") if f.startswith(b"content-length:")), 0)
            body = await reader.readexactly(length)
            if b" /failing/" in head and random.randrange(FAILS_OF) == 0:
                writer.write(failure := random.choice(FAILURES))
                if not failure:
                    return
                continue
            if PACED.encode() in body:
                await _pace(writer)
            else:
                await _answer(writer, streams=STREAMS.search(body) is not None)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _answer(writer: asyncio.StreamWriter, streams: bool) -> None:
    if not streams:
        writer.write(JSON)
        return
    writer.write(SSE_HEAD)
    for _ in range(CHUNKS):
        writer.write(WORD)
        await writer.drain()  # raises when nobody listens any more
        await asyncio.sleep(GAP_SECONDS)
    writer.write(DONE)


async def _pace(writer: asyncio.StreamWriter) -> None:
    writer.write(SSE_HEAD)
    begun = time.monotonic()
    for n in range(1, int(PACED_SECONDS / PACE_SECONDS)):
        word = {"index": 0, "delta": {"content": f"@{time.monotonic_ns()}@"}, "finish_reason": None}
        writer.write(_chunk([word]))
        await writer.drain()
        await asyncio.sleep(max(0.0, begun + n * PACE_SECONDS - time.monotonic()))
    writer.write(DONE)


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**25, backlog=2000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
