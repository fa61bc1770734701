"""The demo model: a server that speaks OpenAI Chat Completions on loopback and follows scripts (`script.py`).

python -m extproc.demo.model --port 0 --ready-file address.txt
"""

import argparse
import asyncio
import base64
import contextlib
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import msgspec

from extproc.demo import http1
from extproc.demo.reply import Model, Reply, refusal

Announce = Callable[[str], None]


class Server:
    def __init__(self, *, key: str = "", record: Path | None = None) -> None:
        self.model = Model(key)
        # Unbuffered: a request is on file before its answer is on its way. It holds credentials.
        self.record = None if record is None else os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.connections: set[asyncio.Task[None]] = set()

    async def run(self, host: str, port: int, announce: Announce, stop: asyncio.Event) -> None:
        server = await asyncio.start_server(self.accept, host, port, limit=http1.HEAD_LIMIT, backlog=1024)
        address, bound = server.sockets[0].getsockname()[:2]
        announce(f"http://{address}:{bound}/v1")
        await stop.wait()
        server.close()
        for task in self.connections:
            task.cancel()
        await asyncio.gather(*self.connections, return_exceptions=True)
        if self.record is not None:
            os.close(self.record)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        try:
            while await self.exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client left
        except asyncio.CancelledError:
            writer.transport.abort()  # the server stops; unread answers must not keep it
        finally:
            self.connections.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection can carry another one."""
        began, nonce = time.time(), uuid.uuid4().hex[:24]
        try:
            request = await http1.read_request(reader, writer)
        except http1.BadRequestError as error:
            reply = refusal(400, str(error))
            await send(writer, reply, headers_of(reply, nonce, began, last=True))
            return False
        if request is None:
            return False
        self.write_down(request)
        reply = self.model.reply(request, nonce, int(began))
        headers = headers_of(reply, nonce, began, last=not request.keep_alive)
        await send(writer, reply, headers, body=request.method != "HEAD")
        return request.keep_alive and not reply.cut

    def write_down(self, request: http1.Request) -> None:
        if self.record is None:
            return
        line: dict[str, object] = {"method": request.method, "path": request.target, "headers": request.headers}
        try:
            line["body"] = request.body.decode()
        except UnicodeDecodeError:
            line["body_base64"] = base64.b64encode(request.body).decode()
        data = memoryview(msgspec.json.encode(line) + b"\n")
        while data:
            data = data[os.write(self.record, data) :]


async def send(writer: asyncio.StreamWriter, reply: Reply, headers: http1.Headers, *, body: bool = True) -> None:
    await asyncio.sleep(reply.silent)
    if reply.chunked:
        return await _send_pieces(writer, reply, [*headers, ("transfer-encoding", "chunked")])
    whole = b"".join(reply.pieces)
    writer.write(http1.head(reply.status, [*headers, ("content-length", str(len(whole)))]) + (whole if body else b""))
    return await writer.drain()


async def _send_pieces(writer: asyncio.StreamWriter, reply: Reply, headers: http1.Headers) -> None:
    writer.write(http1.head(reply.status, headers))
    for number, piece in enumerate(reply.pieces):
        if number and reply.slow:
            await asyncio.sleep(reply.slow)
        writer.write(http1.chunk(piece))
        await writer.drain()
    if not reply.cut:
        writer.write(http1.LAST_CHUNK)
        await writer.drain()


def headers_of(reply: Reply, nonce: str, began: float, *, last: bool) -> http1.Headers:
    """As OpenAI's answers carry them; a gateway passes on some and must keep the rest to itself."""
    return [
        ("date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())),
        ("content-type", reply.content_type),
        *reply.headers,
        ("x-request-id", f"req_{nonce}"),
        ("openai-organization", "demo"),
        ("openai-processing-ms", str(int((time.time() - began) * 1000))),
        ("openai-version", "2020-10-01"),
        ("x-ratelimit-limit-requests", "10000"),
        ("x-ratelimit-limit-tokens", "200000"),
        ("x-ratelimit-remaining-requests", "9999"),
        ("x-ratelimit-remaining-tokens", "199000"),
        ("x-ratelimit-reset-requests", "8.64s"),
        ("x-ratelimit-reset-tokens", "300ms"),
        ("set-cookie", "__demo=1; path=/; HttpOnly"),
        *([("connection", "close")] if last else []),
    ]


def serve(
    host: str = "127.0.0.1", port: int = 0, *, key: str = "", record: Path | None = None, ready: Path | None = None
) -> None:
    """Serves until SIGTERM or SIGINT."""

    def announce(url: str) -> None:
        if ready is not None:
            write_whole(ready, url + "\n")
        print(f"demo model: {url}", flush=True)

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await Server(key=key, record=record).run(host, port, announce, stop)

    asyncio.run(run())


@contextlib.contextmanager
def running(*, key: str = "", record: Path | None = None, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """The model in a thread, for tests; gives its base URL, `http://127.0.0.1:<port>/v1`."""
    loop, stop, ready = asyncio.new_event_loop(), asyncio.Event(), Future[str]()

    def run() -> None:
        with contextlib.closing(loop):
            try:
                loop.run_until_complete(Server(key=key, record=record).run(host, port, ready.set_result, stop))
            except OSError as error:
                ready.set_exception(error)

    thread = threading.Thread(target=run, name="demo-model", daemon=True)
    thread.start()
    url = ready.result()
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def write_whole(path: Path, text: str) -> None:
    """A reader sees all of it or nothing."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text)
    partial.replace(path)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="extproc.demo.model", description="The demo model (OpenAI Chat Completions).")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--ready-file", type=Path, help="gets the base URL once the model listens")
    parser.add_argument("--record", type=Path, help="one JSON line per request, with its credentials")
    options = parser.parse_args(argv)
    key = os.environ.get("DEMO_MODEL_KEY", "")
    try:
        serve(options.host, options.port, key=key, record=options.record, ready=options.ready_file)
    except OSError as error:
        print(f"demo model: cannot listen on {options.host}:{options.port}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
