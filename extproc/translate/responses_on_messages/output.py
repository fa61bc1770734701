"""Where a response is written: its events out at once, or the response itself, whole or not at all."""

from typing import Any

import msgspec

from extproc.errors import Rejection
from extproc.translate.names import made_id
from extproc.translate.pair import Json
from extproc.translate.responses_on_messages.asked import Asked
from extproc.translate.responses_on_messages.finish import COMPLETED, INCOMPLETE
from extproc.wire import response_events as wire


class Output:
    """Items get their place when they begin, and are part of the response when they are done."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._streams = asked.stream
        self._out: list[bytes] = []
        self._sequence = 0
        self._head: Json = {}
        self._items: dict[int, Json] = {}
        self._places = 0
        self._over = False

    def begin(self, id: str, model: str) -> None:
        self._head = {"id": id, "object": "response", "created_at": int(self._asked.now), "model": model}
        response = self._response("in_progress")
        self.emit("response.created", response=response)
        self.emit("response.in_progress", response=response)

    def emit(self, kind: str, **members: Any) -> None:
        if self._streams:
            self._out.append(wire.event(kind, self._sequence, members))
            self._sequence += 1

    def said(self, frame: wire.Frame, text: str) -> None:
        if self._streams:
            self._out.append(frame.said(self._sequence, text))
            self._sequence += 1

    def place(self) -> int:
        """Of the next item."""
        self._places += 1
        return self._places - 1

    def add(self, place: int, item: Json) -> None:
        self.emit("response.output_item.added", output_index=place, item=item)

    def done(self, place: int, item: Json) -> None:
        self._items[place] = item
        self.emit("response.output_item.done", output_index=place, item=item)

    def incomplete(self, place: int, item: Json, *, ends: bool) -> None:
        """Part of the response, although the model has not finished it. `ends`: the client is sent its end."""
        if ends:
            self.done(place, item)
        self._items[place] = item

    def end(self, incomplete: str, usage: Json) -> None:
        self._over = True
        response = self._response(INCOMPLETE if incomplete else COMPLETED)
        response["incomplete_details"] = {"reason": incomplete} if incomplete else None
        response["usage"] = usage
        self.emit(f"response.{response['status']}", response=response)
        if not self._streams:
            self._out.append(msgspec.json.encode(response))

    def fail(self, rejection: Rejection) -> None:
        """A response that has not begun begins, since clients want to know what failed."""
        self._over = True
        if not self._streams:
            return
        if not self._head:
            self.begin(made_id("resp_", self._asked.nonce, 0), self._asked.model)
        self._out.append(wire.failed(rejection, self._sequence, self._response("failed")))

    def beat(self) -> None:
        """The upstream shows that it is alive; what is no event must be a comment."""
        if self._streams:
            self._out.append(wire.PING)

    def take(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out

    def ping(self) -> bytes:
        return wire.PING if self._streams and not self._over else b""

    def _response(self, status: str) -> Json:
        return {
            **self._head,
            "status": status,
            "error": None,
            "incomplete_details": None,
            **{name: msgspec.Raw(value) for name, value in self._asked.echo.items()},
            "store": False,
            "output": [self._items[place] for place in sorted(self._items)],
            "usage": None,
        }
