"""A request to the demo model -> what goes over the wire, in which pieces, and how it ends. Pure but for the count."""

from collections import Counter

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


class Model:
    """Stateless but for `times=K`: how often each fault has struck, by its line."""

    def __init__(self, key: str = "") -> None:
        self.key = key
        self.struck: Counter[str] = Counter()

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
            plan=plan(body, played), model=body["model"], nonce=nonce, created=now, asked=len(request.body)
        )
        stream = body.get("stream") is True
        fault = self._fault(played)
        if fault is not None and fault.kind == "json":
            stream, fault = False, None
        usage = bool((body.get("stream_options") or {}).get("include_usage"))
        reply = _stream(forms.frames(answer, include_usage=usage)) if stream else Reply(pieces=(forms.whole(answer),))
        reply = _spoilt(reply, fault) if fault else reply
        return msgspec.structs.replace(reply, silent=played.silent, slow=played.slow) if played else reply

    def _fault(self, played: Step | None) -> Fault | None:
        """The first fault that is not used up."""
        for fault in played.faults if played else ():
            if fault.times is None or self.struck[fault.line] < fault.times:
                self.struck[fault.line] += 1
                return fault
        return None


def _stream(frames: list[bytes]) -> Reply:
    return Reply(content_type="text/event-stream; charset=utf-8", pieces=tuple(frames), chunked=True)


def _spoilt(reply: Reply, fault: Fault) -> Reply:
    if fault.kind == "fail":
        headers: Headers = [("retry-after", fault.retry_after)] if fault.retry_after else []
        message = fault.message or f"The demo model fails with {fault.status}, as the script says."
        return refusal(fault.status, message, code=fault.code or forms.CODES.get(fault.status), headers=headers)
    if fault.kind == "html":
        return Reply(content_type="text/html; charset=utf-8", pieces=(HTML,))
    half = forms.half(list(reply.pieces)) if reply.chunked else [reply.pieces[0][: len(reply.pieces[0]) // 2]]
    return msgspec.structs.replace(reply, pieces=tuple(half), chunked=True, cut=fault.kind == "reset")


def refusal(
    status: int, message: str, *, param: str | None = None, code: str | None = None, headers: Headers | None = None
) -> Reply:
    body = forms.error(status, message, param=param, code=code)
    return Reply(status=status, headers=tuple(headers or ()), pieces=(body,))


def _not_allowed(request: Request) -> Reply:
    hint = "(HINT: Perhaps you meant to make your HTTP request using a different http method?)"
    return refusal(405, f"Not allowed to {request.method} on {request.path}. {hint}", code="method_not_supported")
