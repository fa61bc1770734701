"""Providers in one process, of which some fail. How they fail is said by the name of the model that is asked for,
`FAULT.REST` or `FAULT+FAULT_OF_THE_SECOND_REQUEST.REST`, and so is which call a request belongs to."""

import asyncio
import contextlib
import json
import socket
import struct
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field

from tests.e2e.dialect_answers import DIALECTS, NAMES, Dialect, Json
from tests.e2e.stack import SECONDS

FIRSTS_TOKENS, SECONDS_TOKENS = (1000, 500), (11, 7)
WORDS = "words of the first"
SECRET = "told-by-the-first-provider"
"""Stands in everything that a failing provider says."""


@dataclass(frozen=True)
class Received:
    """A request as a provider got it."""

    provider: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def model(self) -> str:
        return str(self.json["model"])

    @property
    def json(self) -> Json:
        found: Json = json.loads(self.body)
        return found


@dataclass
class Talk:
    """One request and the connection that it came by."""

    request: Received
    dialect: Dialect
    heard: threading.Event
    """The client has got the first content."""
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def streams(self) -> bool:
        return bool(self.request.json.get("stream"))

    def head(self, status: str = "200 OK", media: str = "", *fields: str) -> None:
        """Of an answer that ends where the connection ends."""
        media = media or ("text/event-stream" if self.streams else "application/json")
        known = [f"content-type: {media}", f"x-secret: {SECRET}", "x-extproc-move-on: yes", "connection: close"]
        self.writer.write("\r\n".join([f"HTTP/1.1 {status}", *known, *fields, "", ""]).encode())

    def whole(self, body: bytes, status: str = "200 OK", media: str = "application/json", *fields: str) -> None:
        self.head(status, media, f"content-length: {len(body)}", *fields)
        self.writer.write(body)

    def beginning(self) -> bytes:
        """What comes before a stream's first content, or half of a JSON answer."""
        if self.streams:
            return self.dialect.events(SECRET, FIRSTS_TOKENS)[0]
        return self.dialect.whole(SECRET, FIRSTS_TOKENS)[:-20]

    async def left(self) -> None:
        """Returns when the other side has gone."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(1 << 16):
                pass

    async def reset(self) -> None:
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()
        found: socket.socket = self.writer.get_extra_info("socket")
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Play = Callable[[Talk], Awaitable[None]]


def answers(status: str, *fields: str) -> Play:
    async def play(talk: Talk) -> None:
        talk.whole(talk.dialect.error(SECRET), status, "application/json", *fields)

    return play


async def resets(talk: Talk) -> None:
    await talk.reset()


async def closes(talk: Talk) -> None:
    """Before it has said anything."""


async def resets_after_headers(talk: Talk) -> None:
    talk.head("200 OK", "", "transfer-encoding: chunked")
    await talk.reset()


async def says_nothing(talk: Talk) -> None:
    await talk.left()


async def falls_silent(talk: Talk) -> None:
    talk.head()
    talk.writer.write(talk.beginning())
    await talk.left()


async def html(talk: Talk) -> None:
    talk.whole(f"<html>{SECRET}</html>".encode(), media="text/html")


async def empty(talk: Talk) -> None:
    talk.whole(b"", media="text/event-stream" if talk.streams else "application/json")


async def truncated(talk: Talk) -> None:
    """A clean end of HTTP's, in the midst of the JSON or before the stream's first content."""
    talk.whole(talk.beginning(), media="text/event-stream" if talk.streams else "application/json")


async def cut(talk: Talk) -> None:
    """As `truncated`, and HTTP's end is missing, too."""
    talk.head("200 OK", "", "content-length: 9999")
    talk.writer.write(talk.beginning())


async def error_event(talk: Talk) -> None:
    if talk.streams:
        talk.head()
        talk.writer.write(talk.beginning() + talk.dialect.error_event(SECRET))
    else:
        talk.whole(talk.dialect.error(SECRET))


def after_content(then: Play) -> Play:
    """The client has got something of the model's own by then."""

    async def play(talk: Talk) -> None:
        talk.head("200 OK", "", "transfer-encoding: chunked")
        events = talk.dialect.events(WORDS, FIRSTS_TOKENS)
        begun = b"".join(events[: next(n for n, event in enumerate(events) if WORDS.encode() in event) + 1])
        talk.writer.write(b"%x\r\n%b\r\n" % (len(begun), begun))
        await talk.writer.drain()
        await asyncio.to_thread(talk.heard.wait, SECONDS)
        await then(talk)

    return play


async def ends(talk: Talk) -> None:
    talk.writer.write(b"0\r\n\r\n")


async def fails_in_the_stream(talk: Talk) -> None:
    event = talk.dialect.error_event(SECRET)
    talk.writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(event), event))


async def overflows(talk: Talk) -> None:
    talk.whole(talk.dialect.overflow, "400 Bad Request")


async def refuses(talk: Talk) -> None:
    if talk.streams:
        talk.head()
        talk.writer.write(b"".join(talk.dialect.refusal_events()))
    else:
        talk.whole(talk.dialect.refusal())


async def refuses_in_words(talk: Talk) -> None:
    if talk.streams:
        talk.head()
        for event in talk.dialect.worded_refusal_events():
            talk.writer.write(event)
            await talk.writer.drain()
    else:
        talk.whole(talk.dialect.worded_refusal())


async def works(talk: Talk) -> None:
    text, tokens = f"said by {talk.request.provider}", SECONDS_TOKENS
    if talk.streams:
        talk.head()
        for event in talk.dialect.events(text, tokens):
            talk.writer.write(event)
            await talk.writer.drain()
    else:
        talk.whole(talk.dialect.whole(text, tokens))


@dataclass
class FailingProviders:
    """Names of providers end with their dialect. A request beyond those that have a fault is answered well."""

    plays: Mapping[str, Play]
    """By the fault in the model's name."""
    ports: dict[str, int] = field(default_factory=dict)
    """By the provider's name."""
    received: dict[str, list[Received]] = field(default_factory=lambda: defaultdict(list))
    """By the model's name, in the order in which they came."""
    heard: dict[str, threading.Event] = field(default_factory=lambda: defaultdict(threading.Event))
    """By the model's name: to be set when the client has got the first content."""
    over: dict[tuple[str, str], threading.Event] = field(default_factory=lambda: defaultdict(threading.Event))
    """By provider and model: a call has come to its end, whoever ended it."""

    def url(self, provider: str) -> str:
        return f"http://127.0.0.1:{self.ports[provider]}/at-{provider}/v1"

    def key(self, provider: str) -> str:
        return f"sk-key-of-{provider}-0123456789abcdef"

    @contextlib.contextmanager
    def serving(self, *providers: str) -> Iterator["FailingProviders"]:
        begun, loops = threading.Event(), list[asyncio.AbstractEventLoop]()
        over = asyncio.Event()

        async def serve() -> None:
            loops.append(asyncio.get_running_loop())
            async with contextlib.AsyncExitStack() as servers:
                for name in providers:
                    server = await asyncio.start_server(self._answering(name), "127.0.0.1", 0, backlog=512)
                    self.ports[name] = server.sockets[0].getsockname()[1]
                    servers.callback(server.close)
                begun.set()
                await over.wait()

        # Calls that are left open are cancelled at the end.
        thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
        thread.start()
        assert begun.wait(SECONDS)
        try:
            yield self
        finally:
            loops[0].call_soon_threadsafe(over.set)
            thread.join(SECONDS)

    def _answering(self, provider: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        dialect = DIALECTS[provider.rpartition("-")[2]]

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                request = await _read(provider, reader)
                self.received[request.model].append(request)
                await self._play(request)(Talk(request, dialect, self.heard[request.model], reader, writer))
                await writer.drain()
                self.over[provider, request.model].set()
            writer.close()

        return answer

    def _play(self, request: Received) -> Play:
        faults = request.model.partition(".")[0].split("+")
        number = len(self.received[request.model])
        return self.plays[faults[number - 1]] if number <= len(faults) else works


async def _read(provider: str, reader: asyncio.StreamReader) -> Received:
    top = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *fields = top.strip().split("\r\n")
    headers = [(name.lower(), value.strip()) for name, _, value in (one.partition(":") for one in fields)]
    body = await reader.readexactly(int(dict(headers)["content-length"]))
    return Received(provider, line.split(" ")[1], headers, body)


def another(dialect: str) -> str:
    return NAMES[(NAMES.index(dialect) + 1) % len(NAMES)]
