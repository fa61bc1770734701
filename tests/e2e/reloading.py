"""A running gateway, its files, and what it says when they change."""

import http.client
import json
import re
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Self
from urllib.parse import urlsplit

from tests.e2e.sse import events, kinds, streaming
from tests.e2e.stack import SECONDS, Stack, prompt

TAKEN = re.compile(r"configuration (\d+) is in force")
# Between two calls of a client, so that most of the machine's time goes to what is tested, and not to clients.
PAUSE = 0.05
REFUSED = re.compile(r"configuration not taken, (\d+) stays in force:")


@dataclass
class Reloads:
    """`now` reloads and gives the number of the configuration in force; `by_itself` waits for its being seen."""

    stack: Stack
    said: int = 0

    def now(self, *, good: bool = True) -> int:
        self.stack.process.send_signal(signal.SIGHUP)
        return self.by_itself(good=good)

    def by_itself(self, *, good: bool = True) -> int:
        """The next word on a reload, which must be of the expected kind."""
        self.said += 1
        found = self.stack.err.nth(self.said, lambda line: TAKEN.search(line) or REFUSED.search(line))
        assert (found.re is TAKEN) == good, self.stack.err.text
        return int(found[1])


@dataclass
class Load:
    """Clients that never stop asking: plain calls on connections that must stay, and streams that must end well."""

    stack: Stack
    callers: int = 3
    streams: int = 2
    models: Sequence[str] = ("claude-x",)
    """Each client asks for them in turn."""
    calls: int = 0
    streamed: int = 0
    failed: list[str] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _counted: threading.Condition = field(default_factory=threading.Condition)

    def __enter__(self) -> Self:
        kinds_of_client = [self._call] * self.callers + [self._stream] * self.streams
        self._threads = [threading.Thread(target=self._guarded, args=(client,)) for client in kinds_of_client]
        assert self.stack.good_token
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(SECONDS)

    def await_more(self, calls: int, streamed: int = 0) -> None:
        with self._counted:
            wanted = self.calls + calls, self.streamed + streamed
            done = self._counted.wait_for(
                lambda: (self.calls >= wanted[0] and self.streamed >= wanted[1]) or bool(self.failed), SECONDS
            )
        assert done and not self.failed, self.failed

    def _guarded(self, client: Callable[[], None]) -> None:
        try:
            client()
        except Exception as error:  # noqa: BLE001 - whatever a client runs into is the test's finding
            with self._counted:
                self.failed.append(repr(error))
                self._counted.notify_all()

    def _call(self) -> None:
        at = urlsplit(self.stack.url)
        connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=SECONDS)
        connection.connect()
        socket = connection.sock
        headers = {"authorization": f"Bearer {self.stack.good_token}", "content-type": "application/json"}
        bodies = cycle(json.dumps(prompt("demo: say hello", model=name)) for name in self.models)
        while not self._over.wait(PAUSE):
            connection.request("POST", "/v1/messages", next(bodies), headers)
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status == 200, text
            assert connection.sock is socket, "the connection was closed"
            with self._counted:
                self.calls += 1
                self._counted.notify_all()
        connection.close()

    def _stream(self) -> None:
        names = cycle(self.models)
        while not self._over.is_set():
            with streaming(self.stack, "demo: say " + "word " * 20 + "\ndemo: slow 20", model=next(names)) as answer:
                found = kinds(list(events(answer)))
            assert answer.status_code == 200
            assert found[-1] == "message_stop", found
            with self._counted:
                self.streamed += 1
                self._counted.notify_all()
