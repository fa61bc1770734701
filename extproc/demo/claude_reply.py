"""Answers of the demo Claude: from a request to the bytes of its reply."""

import re
from typing import Any
from urllib.parse import parse_qs

import msgspec

from extproc.demo import claude_forms as forms
from extproc.demo import claude_rules as rules
from extproc.demo.http1 import Headers, Request
from extproc.demo.plan import plan
from extproc.demo.reply import Faults, Reply, message_of, spoilt, streamed, timed
from extproc.demo.script import Fault, step, text_of

MODELS = ("claude-opus-5", "claude-sonnet-5", "claude-haiku-4-5", "demo-claude")
VERSION = re.compile(r"20\d\d-\d\d-\d\d")


class Claude:
    """The demo Claude. Stateless except for the faults that it counts."""

    root = ""

    def __init__(self, key: str = "") -> None:
        self.key = key
        self.faults = Faults()

    def reply(self, request: Request, nonce: str, now: int) -> Reply:
        problem = self._stranger(request)
        if problem:
            return refusal(401, problem, nonce)
        method, path = request.method, request.path
        if path not in ("/v1/messages", "/v1/messages/count_tokens", "/v1/models") and not path.startswith(
            "/v1/models/"
        ):
            return refusal(404, "Not found", nonce)
        if method != ("GET" if path.startswith("/v1/models") else "POST"):
            return refusal(405, "Method Not Allowed", nonce)
        if not VERSION.fullmatch(request.header("anthropic-version")):
            missing = not request.header("anthropic-version")
            return refusal(400, f"anthropic-version: {'header is required' if missing else 'is not valid'}", nonce)
        if path.startswith("/v1/models"):
            return _models(request, nonce)
        return self._count(request, nonce) if path.endswith("count_tokens") else self._message(request, nonce)

    def refusal(self, status: int, message: str) -> Reply:
        return refusal(status, message, "unread")

    def headers(self, nonce: str, milliseconds: int) -> Headers:
        """Returns the headers of Anthropic's answers. A gateway passes on some of them and must hold back the
        others."""
        limits = {"requests": (4000, 3999), "input-tokens": (2000000, 1999000), "output-tokens": (400000, 399000)}
        return [
            ("request-id", f"req_{nonce}"),
            ("anthropic-organization-id", "00000000-demo-0000-0000-000000000000"),
            *((f"anthropic-ratelimit-{name}-limit", str(most)) for name, (most, _) in limits.items()),
            *((f"anthropic-ratelimit-{name}-remaining", str(left)) for name, (_, left) in limits.items()),
            *((f"anthropic-ratelimit-{name}-reset", "2030-01-01T00:00:00Z") for name in limits),
            ("x-envoy-upstream-service-time", str(milliseconds)),
            ("cf-ray", "demo"),
        ]

    def _stranger(self, request: Request) -> str:
        key, bearer = request.header("x-api-key"), request.header("authorization")
        if not key and not bearer:
            return "x-api-key header is required"
        if not self.key or key == self.key or (not key and bearer == f"Bearer {self.key}"):
            return ""
        return "invalid x-api-key" if key else "Invalid bearer token"

    def _count(self, request: Request, nonce: str) -> Reply:
        body = rules.decode(request.body, counting=True)
        if isinstance(body, str):
            return refusal(400, body, nonce)
        return Reply(pieces=(b'{"input_tokens":%d}' % max(1, len(request.body) // 4),))

    def _message(self, request: Request, nonce: str) -> Reply:
        body = rules.decode(request.body)
        if isinstance(body, str):
            return refusal(400, body, nonce)
        played = step(body["messages"])
        fault = self.faults.next(played)
        stream = body.get("stream") is True and not (fault and fault.kind == "json")
        document = cited(body)
        answer = forms.Answer(
            plan=plan(view(body), played),
            model=body["model"],
            nonce=nonce,
            request_bytes=len(request.body),
            thinking=thinking(body),
            cited=None if document is None else document_text(document),
        )
        reply = streamed(forms.events(answer)) if stream else Reply(pieces=(forms.whole(answer),))
        spoils = fault is not None and fault.kind != "json"
        return timed(spoilt(reply, fault, lambda f: _failing(f, nonce), _broken) if fault and spoils else reply, played)


def refusal(status: int, message: str, nonce: str, *, code: str = "", headers: Headers | None = None) -> Reply:
    return Reply(status=status, headers=tuple(headers or ()), pieces=(forms.error(status, message, nonce, code=code),))


def _failing(fault: Fault, nonce: str) -> Reply:
    headers: Headers = [("retry-after", fault.retry_after)] if fault.retry_after else []
    headers += [("x-should-retry", "true")] if fault.status in (429, 529) else []
    return refusal(fault.status, message_of(fault), nonce, code=fault.code, headers=headers)


def _broken(fault: Fault) -> bytes:
    return forms.error_event(fault.status, message_of(fault), code=fault.code)


def _models(request: Request, nonce: str) -> Reply:
    name = request.path.removeprefix("/v1/models").strip("/")
    if name:
        known = Reply(pieces=(msgspec.json.encode(forms.model(name)),))
        return known if name in MODELS else refusal(404, f"model: {name}", nonce)
    query = {key: values[-1] for key, values in parse_qs(request.target.partition("?")[2]).items()}
    limit = query.get("limit", "20")
    if not limit.isdecimal() or not 1 <= int(limit) <= 1000:
        return refusal(400, "limit: Input should be between 1 and 1000", nonce)
    names, more = page(list(MODELS), int(limit), query)
    return Reply(pieces=(forms.models(names, more=more),))


def page(names: list[str], limit: int, query: dict[str, str]) -> tuple[list[str], bool]:
    """Returns the names after or before one, and whether there are more in that direction."""
    if (before := query.get("before_id")) in names:
        rest = names[: names.index(before)]
        return rest[-limit:], len(rest) > limit
    after = query.get("after_id")
    rest = names[names.index(after) + 1 :] if after in names else names
    return rest[:limit], len(rest) > limit


Json = dict[str, Any]
CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def view(body: Json) -> Json:
    """Returns a Messages request in the form that `plan.py` reads: turns, tools and formats as in Chat Completions."""
    output_format = (body.get("output_config") or {}).get("format") or {}
    schema = {"schema": output_format.get("schema")}
    return {
        "model": body["model"],
        "messages": [turn for message in body["messages"] for turn in _turns(message)],
        "tools": [_function(tool) for tool in body.get("tools") or [] if "input_schema" in tool],
        "tool_choice": _choice(body.get("tool_choice") or {"type": "auto"}),
        "response_format": {"type": "json_schema", "json_schema": schema} if output_format else {},
    }


def _turns(message: Json) -> list[Json]:
    content = message["content"]
    if isinstance(content, str):
        return [message]
    results = [block for block in content if block["type"] == "tool_result"]
    rest = [block for block in content if block["type"] != "tool_result"]
    turns: list[Json] = [{"role": "tool", "content": _result(block)} for block in results]
    return turns + ([{"role": message["role"], "content": rest}] if rest or not results else [])


def _result(block: Json) -> str:
    return text_of(block.get("content"))


def _function(tool: Json) -> Json:
    return {"type": "function", "function": {"name": tool["name"], "parameters": tool["input_schema"]}}


def _choice(choice: Json) -> Any:
    if choice["type"] == "tool":
        return {"type": "function", "function": {"name": choice.get("name")}}
    return CHOICES[choice["type"]]


def cited(body: Json) -> Json | None:
    """Returns the first document with citations enabled."""
    blocks = [b for m in body["messages"] if isinstance(m["content"], list) for b in m["content"]]
    return next((block for block in blocks if block["type"] == "document" and _wants_citations(block)), None)


def _wants_citations(document: Json) -> bool:
    citations = document.get("citations")
    return isinstance(citations, dict) and citations.get("enabled") is True


def document_text(document: Json) -> str:
    source = document.get("source")
    return str(source.get("data", "")) if isinstance(source, dict) and source.get("type") == "text" else ""


def thinking(body: Json) -> str:
    """Returns whether thinking is to be `shown` or `omitted`; an empty string without thinking."""
    setting = body.get("thinking") or {}
    if setting.get("type") not in ("enabled", "adaptive"):
        return ""
    return "omitted" if setting.get("display") == "omitted" else "shown"


def size(body: Json) -> int:
    """Returns the bytes of a request."""
    return len(msgspec.json.encode(body))
