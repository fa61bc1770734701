"""Counts what a reader follows: the calls of one translated request, and the depth of one text delta.

    python -m bench.trace [CHECKOUT ...]

For each pair of dialects one request (text, an image, a tool and its result, thinking, a JSON schema) and one streamed
answer go through a gateway without sockets, and Python reports each call of a function in `extproc/`. The second call
of its kind counts: what is made once, such as a compiled pattern or the profile of a model, is there by then.

- calls: functions, comprehensions among them, entered while the request's body is handled
- files: the files they stand in
- hops: from a function to another file that it calls into; what it calls there a second time is no further hop
- returns: hops to a file that has been entered before
- links: pairs of files of which one calls into the other; modules that everybody uses, such as validators, weigh less
- delta: frames on the stack when the deepest function handles one text delta of the stream

CHECKOUT is another working tree of this repository, also an older one; its own tests/playbook.py and tests/settings.py
drive it. Default: this tree."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Self

Json = dict[str, Any]
DIALECTS = ("messages", "chat", "responses")
PATHS = {"messages": "/v1/messages", "chat": "/v1/chat/completions", "responses": "/v1/responses"}
ROOT = Path(__file__).resolve().parent.parent
_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
_OUTPUT = {"type": "json_schema", "schema": _SCHEMA}


class Trace:
    """Counts while it is on; see the top of this file."""

    def __init__(self, package: Path) -> None:
        self._inside = f"{package}{os.sep}"
        self.calls = 0
        self.hops: list[str] = []
        self.deepest = 0
        self.links: set[tuple[str, str]] = set()
        self._edges: set[tuple[str, str, str]] = set()
        self._seen: set[str] = set()

    def __enter__(self) -> Self:
        sys.setprofile(self._report)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    @property
    def files(self) -> int:
        return len(self._seen)

    @property
    def returns(self) -> int:
        return len(self.hops) - len(set(self.hops))

    def _report(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(self._inside):
            return
        callers = list(self._below(frame))
        self.deepest = max(self.deepest, len(callers) + 1)
        self.calls += 1
        self._seen.add(code.co_filename)
        if callers and (caller := callers[0].f_code).co_filename != code.co_filename:
            self.links.add((caller.co_filename, code.co_filename))
            edge = caller.co_filename, caller.co_qualname, code.co_filename
            if edge not in self._edges:
                self._edges.add(edge)
                self.hops.append(code.co_filename)

    def _below(self, frame: FrameType) -> Any:
        at = frame.f_back
        while at is not None:
            if at.f_code.co_filename.startswith(self._inside):
                yield at
            at = at.f_back


class Row(NamedTuple):
    calls: int
    files: int
    hops: int
    returns: int
    links: int
    delta: int


def main(checkouts: list[str]) -> None:
    for checkout in map(Path, checkouts or [str(ROOT)]):
        rows = measured(checkout.resolve())
        print(f"{_commit(checkout)}\n")
        print(
            "| client | provider | calls | files | hops | returns | links | delta |\n|---|---|---|---|---|---|---|---|"
        )
        for (client, provider), row in rows.items():
            print(f"| {client} | {provider} | {' | '.join(map(str, row))} |")
        print()


def measured(checkout: Path) -> dict[tuple[str, str], Row]:
    """Returns what was counted in a tree, by client and provider. Pairs that the tree does not serve are left out."""
    environ = {**os.environ, "PYTHONPATH": str(checkout)}
    argv = [sys.executable, str(Path(__file__).resolve()), "--inside", str(checkout)]
    done = subprocess.run(argv, cwd=checkout, env=environ, stdout=subprocess.PIPE, text=True, check=True)
    return {(client, provider): Row(*row) for client, provider, row in json.loads(done.stdout)}


def _commit(checkout: Path) -> str:
    argv = ["git", "-C", str(checkout), "log", "-1", "--format=%h %cs %s"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def inside(checkout: Path) -> None:
    """Counts in the tree that Python imports from, and prints a row of JSON for each pair."""
    sys.path[0] = str(checkout)
    rows = []
    for client in DIALECTS:
        for provider in DIALECTS:
            found = _pair(checkout, client, provider)
            rows += [(client, provider, found)] if found is not None else []
    print(json.dumps(rows))


def _pair(checkout: Path, client: str, provider: str) -> Row | None:
    from tests import playbook, settings  # noqa: PLC0415 - those of the tree that is traced

    text = f"""
authentication: {{mode: permissive}}
providers:
  p: {{dialects: [{provider}], base_url: "https://models.example/v1", api_key: {{env: OPENAI_API_KEY}}}}
models: [{{name: "*", provider: p, model: {"claude-sonnet-5" if provider == "messages" else "gpt-5.1"}}}]
"""
    with tempfile.TemporaryDirectory() as folder:
        gateway = settings.gateway(Path(folder), text)

    def call() -> Row | None:
        exchange = gateway.exchange(playbook.START)

        def send(event: Any) -> list[Any]:
            return list(playbook.done(gateway.handle(exchange, event, playbook.START)))

        send(playbook.request_headers(PATHS[client]))
        request, delta = Trace(checkout / "extproc"), Trace(checkout / "extproc")
        with request:
            done = send(playbook.request_body(REQUESTS[client]))
        if [type(action).__name__ for action in done] != ["Forward"]:
            return None
        send(playbook.response_headers(content_type="text/event-stream"))
        before, piece = ANSWERS[provider]
        send(playbook.response_body(before))
        with delta:
            assert send(playbook.response_body(piece)), "a delta is written at once"
        return Row(request.calls, request.files, len(request.hops), request.returns, len(request.links), delta.deepest)

    call()
    return call()


def _events(*events: Json, named: bool) -> bytes:
    names = [f"event: {one['type']}\n" if named else "" for one in events]
    return "".join(f"{name}data: {json.dumps(one)}\n\n" for name, one in zip(names, events, strict=True)).encode()


REQUESTS: dict[str, Json] = {
    "messages": {
        "model": "claude-sonnet-5",
        "max_tokens": 4096,
        "stream": True,
        "system": "You are brief.",
        "thinking": {"type": "adaptive"},
        "output_config": {"format": _OUTPUT},
        "tools": [{"name": "weather", "description": "Says the weather.", "input_schema": _SCHEMA}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Where is this, and what is the weather?"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": _PIXEL}},
                ],
            },
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}}],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain"}]},
        ],
    },
    "chat": {
        "model": "gpt-5.1",
        "max_completion_tokens": 4096,
        "stream": True,
        "reasoning_effort": "medium",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "output", "schema": _SCHEMA, "strict": True},
        },
        "tools": [
            {
                "type": "function",
                "function": {"name": "weather", "description": "Says the weather.", "parameters": _SCHEMA},
            }
        ],
        "messages": [
            {"role": "system", "content": "You are brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Where is this, and what is the weather?"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_PIXEL}"}},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
        ],
    },
    "responses": {
        "model": "gpt-5.1",
        "max_output_tokens": 4096,
        "stream": True,
        "store": False,
        "instructions": "You are brief.",
        "reasoning": {"effort": "medium"},
        "text": {"format": {"name": "output", "strict": True, **_OUTPUT}},
        "tools": [
            {
                "type": "function",
                "name": "weather",
                "description": "Says the weather.",
                "parameters": _SCHEMA,
                "strict": True,
            }
        ],
        "input": [
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "Where is this, and what is the weather?"},
                    {"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{_PIXEL}"},
                ],
            },
            {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city": "Oslo"}'},
            {"type": "function_call_output", "call_id": "call_1", "output": "rain"},
        ],
    },
}
_USAGE = {"input_tokens": 9, "output_tokens": 1}
_ITEM = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
_RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "gpt-5.1",
    "status": "in_progress",
    "output": [],
}
_PART = {"type": "output_text", "text": "", "annotations": []}


def _chunk(text: str) -> bytes:
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
    made = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5.1", "choices": [choice]}
    return _events(made, named=False)


def _text_delta(text: str) -> Json:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}


def _output_delta(text: str) -> Json:
    return {
        "type": "response.output_text.delta",
        "item_id": "msg_1",
        "output_index": 0,
        "content_index": 0,
        "delta": text,
    }


_MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-5",
    "content": [],
    "usage": _USAGE,
}
# What came before, and the delta that is traced.
ANSWERS: dict[str, tuple[bytes, bytes]] = {
    "messages": (
        _events(
            {"type": "message_start", "message": _MESSAGE},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            _text_delta("It "),
            named=True,
        ),
        _events(_text_delta("rains"), named=True),
    ),
    "chat": (_chunk("It "), _chunk("rains")),
    "responses": (
        _events(
            {"type": "response.created", "response": _RESPONSE},
            {"type": "response.output_item.added", "output_index": 0, "item": _ITEM},
            {
                "type": "response.content_part.added",
                "item_id": "msg_1",
                "output_index": 0,
                "content_index": 0,
                "part": _PART,
            },
            _output_delta("It "),
            named=True,
        ),
        _events(_output_delta("rains"), named=True),
    ),
}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside(Path(sys.argv[2]))
    else:
        main(sys.argv[1:])
