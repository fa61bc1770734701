"""Common parts of the demo models: an HTTP server on loopback, the record of its requests, a command line."""

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
from typing import Protocol

import msgspec

from extproc.demo import http1
from extproc.demo.reply import Reply

Announce = Callable[[str], None]


class Model(Protocol):
    """A dialect of the demo models: its answers, and the headers that its vendor sends with each."""

    root: str
    """Path of its base URL."""

    def reply(self, request: http1.Request, nonce: str, now: int) -> Reply: ...
    def refusal(self, status: int, message: str) -> Reply: ...
    def headers(self, nonce: str, milliseconds: int) -> http1.Headers: ...


class Server:
    def __init__(self, model: Model, *, record: Path | None = None) -> None:
        self.model = model
        # Unbuffered, so that a request is in the file before its answer is sent. The file holds credentials.
        self.record = None if record is None else os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.connections: set[asyncio.Task[None]] = set()
        self.answering: set[asyncio.Task[None]] = set()
        self.leaving = False

    async def run(self, host: str, port: int, announce: Announce, stop: asyncio.Event, grace: float = 0) -> None:
        """Serves until `stop`. `grace`: seconds that answers in progress then have to end."""
        server = await asyncio.start_server(self.accept, host, port, limit=http1.HEAD_LIMIT, backlog=1024)
        address, bound = server.sockets[0].getsockname()[:2]
        announce(f"http://{address}:{bound}{self.model.root}")
        await stop.wait()
        server.close()
        self.leaving = True
        if grace and self.answering:
            await asyncio.wait(self.answering, timeout=grace)
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
            while await self.exchange(reader, writer, task):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client left
        except asyncio.CancelledError:
            writer.transport.abort()  # the server stops, and unread answers must not delay it
        finally:
            self.connections.discard(task)
            self.answering.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, task: asyncio.Task[None]
    ) -> bool:
        """Returns whether the connection can carry another request."""
        began, nonce = time.time(), uuid.uuid4().hex[:24]
        try:
            request = await http1.read_request(reader, writer)
        except http1.BadRequestError as error:
            reply = self.model.refusal(400, str(error))
            await send(writer, reply, self.headers_of(reply, nonce, began, last=True))
            return False
        if request is None:
            return False
        self.write_down(request)
        reply = self.model.reply(request, nonce, int(began))
        headers = self.headers_of(reply, nonce, began, last=not request.keep_alive)
        self.answering.add(task)
        await send(writer, reply, headers, body=request.method != "HEAD")
        self.answering.discard(task)
        return request.keep_alive and not (reply.cut or self.leaving)

    def headers_of(self, reply: Reply, nonce: str, began: float, *, last: bool) -> http1.Headers:
        return [
            ("date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())),
            ("content-type", reply.content_type),
            *reply.headers,
            *self.model.headers(nonce, int((time.time() - began) * 1000)),
            ("set-cookie", "__demo=1; path=/; HttpOnly"),
            *([("connection", "close")] if last else []),
        ]

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


def serve(  # noqa: PLR0913 - named, and all but three have a default
    model: Model, host: str, port: int, *, record: Path | None = None, ready: Path | None = None, grace: float = 0
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
        await Server(model, record=record).run(host, port, announce, stop, grace)

    asyncio.run(run())


@contextlib.contextmanager
def running(model: Model, *, record: Path | None = None, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """The model in a thread, for tests; gives its base URL."""
    loop, stop, ready = asyncio.new_event_loop(), asyncio.Event(), Future[str]()

    def run() -> None:
        with contextlib.closing(loop):
            try:
                loop.run_until_complete(Server(model, record=record).run(host, port, ready.set_result, stop))
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
    """Writes a file so that a reader sees all of it or nothing."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text)
    partial.replace(path)


def main(make: Callable[[str], Model], prog: str, description: str, argv: Sequence[str] | None) -> int:
    """Runs a demo model by its command line. DEMO_MODEL_KEY holds the key that it requires; without it any is
    accepted."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--ready-file", type=Path, help="gets the base URL once the model listens")
    parser.add_argument("--record", type=Path, help="one JSON line per request, with its credentials")
    parser.add_argument(
        "--grace", type=float, default=0, help="seconds that a running answer has when it is told to stop"
    )
    options = parser.parse_args(argv)
    model = make(os.environ.get("DEMO_MODEL_KEY", ""))
    try:
        serve(model, options.host, options.port, record=options.record, ready=options.ready_file, grace=options.grace)
    except OSError as error:
        print(f"demo model: cannot listen on {options.host}:{options.port}: {error.strerror}", file=sys.stderr)
        return 1
    return 0
