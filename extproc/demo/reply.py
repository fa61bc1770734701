"""Answers of the demo model: from a request to the pieces of its reply and how they end. Pure except for a count."""

from collections import Counter
from collections.abc import Callable

import msgspec

from extproc.demo import forms, rules
from extproc.demo.http1 import Headers, Request
from extproc.demo.plan import plan
from extproc.demo.script import Fault, Step, step

MODELS = ("gpt-4o-mini", "gpt-4o", "demo-model")
HTML = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Sign in to continue.</body></html>"


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    status: int = 200
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    pieces: tuple[bytes, ...]
    chunked: bool = False
    """Sent piece by piece; otherwise whole, with a length."""
    cut: bool = False
    """The connection ends after the last piece, without the end of the body."""
    silent: float = 0.0
    """Seconds before the first byte."""
    slow: float = 0.0
    """Seconds between pieces."""


class Faults:
    """Counts how often each fault of a script has occurred, by its line, for `times=K`."""

    def __init__(self) -> None:
        self.struck: Counter[str] = Counter()

    def next(self, played: Step | None) -> Fault | None:
        """Returns the first fault that has not occurred as often as it shall, or None."""
        for fault in played.faults if played else ():
            if fault.times is None or self.struck[fault.line] < fault.times:
                self.struck[fault.line] += 1
                return fault
        return None


class Model:
    """The demo model. Stateless except for the faults that it counts."""

    root = "/v1"

    def __init__(self, key: str = "") -> None:
        self.key = key
        self.faults = Faults()

    def refusal(self, status: int, message: str) -> Reply:
        return refusal(status, message)

    def headers(self, nonce: str, milliseconds: int) -> Headers:
        """Returns the headers of OpenAI's answers. A gateway passes on some of them and must hold back the others."""
        return [
            ("x-request-id", f"req_{nonce}"),
            ("openai-organization", "demo"),
            ("openai-processing-ms", str(milliseconds)),
            ("openai-version", "2020-10-01"),
            ("x-ratelimit-limit-requests", "10000"),
            ("x-ratelimit-limit-tokens", "200000"),
            ("x-ratelimit-remaining-requests", "9999"),
            ("x-ratelimit-remaining-tokens", "199000"),
            ("x-ratelimit-reset-requests", "8.64s"),
            ("x-ratelimit-reset-tokens", "300ms"),
        ]

    def reply(self, request: Request, nonce: str, now: int) -> Reply:
        if self.key and request.header("authorization") != f"Bearer {self.key}":
            return refusal(401, "Incorrect API key provided.", code="invalid_api_key")
        method, path = request.method, request.path
        if path == "/v1/chat/completions":
            return self._complete(request, nonce, now) if method == "POST" else _not_allowed(request)
        if path == "/v1/models":
            return Reply(pieces=(forms.models(MODELS),)) if method == "GET" else _not_allowed(request)
        return refusal(404, f"Invalid URL ({method} {path})")

    def _complete(self, request: Request, nonce: str, now: int) -> Reply:
        body = rules.decode(request.body)
        if isinstance(body, rules.Problem):
            return refusal(400, body.message, param=body.param, code=body.code)
        played = step(body["messages"])
        answer = forms.Answer(
            plan=plan(body, played), model=body["model"], nonce=nonce, created=now, request_bytes=len(request.body)
        )
        stream = body.get("stream") is True
        fault = self.faults.next(played)
        if fault is not None and fault.kind == "json":
            stream, fault = False, None
        usage = bool((body.get("stream_options") or {}).get("include_usage"))
        reply = streamed(forms.frames(answer, include_usage=usage)) if stream else Reply(pieces=(forms.whole(answer),))
        return timed(spoilt(reply, fault, failing, broken) if fault else reply, played)


def streamed(frames: list[bytes]) -> Reply:
    return Reply(content_type="text/event-stream; charset=utf-8", pieces=tuple(frames), chunked=True)


def timed(reply: Reply, played: Step | None) -> Reply:
    return msgspec.structs.replace(reply, silent=played.silent, slow=played.slow) if played else reply


def spoilt(reply: Reply, fault: Fault, failing: Callable[[Fault], Reply], broken: Callable[[Fault], bytes]) -> Reply:
    """Returns the reply with a fault in it. `failing`: the dialect's error answer; `broken`: its error in a stream."""
    if fault.kind == "fail" or (fault.kind == "break" and not reply.chunked):
        return failing(fault)
    if fault.kind == "html":
        return Reply(content_type="text/html; charset=utf-8", pieces=(HTML,))
    half = forms.half(list(reply.pieces)) if reply.chunked else [reply.pieces[0][: len(reply.pieces[0]) // 2]]
    if fault.kind == "break":
        half.append(broken(fault))
    return msgspec.structs.replace(reply, pieces=tuple(half), chunked=True, cut=fault.kind == "reset")


def message_of(fault: Fault) -> str:
    return fault.message or f"The demo model fails with {fault.status}, as the script says."


def failing(fault: Fault) -> Reply:
    headers: Headers = [("retry-after", fault.retry_after)] if fault.retry_after else []
    return refusal(fault.status, message_of(fault), code=fault.code or forms.CODES.get(fault.status), headers=headers)


def broken(fault: Fault) -> bytes:
    error = forms.error(fault.status, message_of(fault), code=fault.code or forms.CODES.get(fault.status))
    return b"data: %s\n\n" % error


def refusal(
    status: int, message: str, *, param: str | None = None, code: str | None = None, headers: Headers | None = None
) -> Reply:
    body = forms.error(status, message, param=param, code=code)
    return Reply(status=status, headers=tuple(headers or ()), pieces=(body,))


def _not_allowed(request: Request) -> Reply:
    hint = "(HINT: Perhaps you meant to make your HTTP request using a different http method?)"
    return refusal(405, f"Not allowed to {request.method} on {request.path}. {hint}", code="method_not_supported")
