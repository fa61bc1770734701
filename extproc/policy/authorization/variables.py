"""What rules can name. docs/authorization.md shows this table (`python -m tests.write_docs`)."""

import re
from datetime import UTC, datetime
from typing import NamedTuple

from extproc.config.endpoints import Operation
from extproc.events import Headers
from extproc.policy.authorization import agents
from extproc.policy.authorization.cel import Language, Part, Values, Variable
from extproc.policy.authorization.features import read_features
from extproc.policy.facts import Caller, Identified, LightBody, PreparedBody
from extproc.providers import model_paths
from extproc.providers.catalogue import Resolved

AT_HEADERS = frozenset({Part.CALLER, Part.REQUEST, Part.SOURCE})
EVERYTHING = frozenset(Part) - {Part.ANSWER}
"""All that is known when a call is admitted."""
OF_BODY = frozenset({Part.LLM, Part.AGENT})
WITHOUT_BODY = EVERYTHING - OF_BODY


VARIABLES = (
    Variable(
        "jwt", "map<string, dyn>", Part.CALLER,
        "the claims of the token, key or certificate; empty for an anonymous caller",
    ),
    Variable(
        "caller.id", "string", Part.CALLER,
        'the subject (`sub`); `""` for an anonymous caller; two issuers may give the same: compare `jwt.iss`, too',
    ),
    Variable("caller.kind", "string", Part.CALLER, "`jwt`, `key`, `certificate` or `anonymous`"),
    Variable("request.method", "string", Part.REQUEST, "`POST`"),
    Variable("request.path", "string", Part.REQUEST, "the path that is routed, without its query"),
    Variable(
        "request.operation", "string", Part.REQUEST,
        "`generate`, `count_tokens`, `list_models` or `show_usage`; for a call that passes through, which kind of API "
        "it reaches",
    ),
    Variable("request.host", "string", Part.REQUEST, "as the client named it: lower case, without the port"),
    Variable(
        "request.headers", "map<string, string>", Part.REQUEST,
        "names in lower case; one that came twice is joined by a comma; no credentials, no cookies",
    ),
    Variable("request.time", "timestamp", Part.REQUEST, "when the request came"),
    Variable("source.address", "string", Part.SOURCE, "the IP address of the peer that is connected to Envoy"),
    Variable("provider", "string", Part.PROVIDER, "its name in `providers`"),
    Variable("model", "string", Part.MODEL, "the name the client asked for"),
    Variable("upstream_model", "string", Part.MODEL, "the name the provider knows it by"),
    Variable("llm.stream", "bool", Part.LLM, "the answer is to be streamed"),
    Variable("llm.max_tokens", "int", Part.LLM, "limit of the answer; where none is set, a rule that reads it fails"),
    Variable("llm.tools", "list<string>", Part.LLM, "names of all tools that are offered, the provider's own included"),
    Variable("llm.has_images", "bool", Part.LLM, "an image is in some message, or in the result of a tool"),
    Variable("llm.has_pdf", "bool", Part.LLM, "a PDF is in some message, or in the result of a tool"),
    Variable("llm.thinking", "bool", Part.LLM, "the body asks for thinking (reasoning)"),
    Variable("llm.messages", "int", Part.LLM, "how many messages"),
    Variable("llm.size", "int", Part.LLM, "bytes of the body as it came"),
    Variable("llm.bytes", "int", Part.LLM, "the same, by its older name"),
    Variable("llm.estimated_tokens", "int", Part.LLM, "tokens of the input, estimated from the body"),
    Variable(
        "llm.background", "bool", Part.AGENT,
        "Claude Code or Codex asks for itself, not for its user: a session's title, a summary, a check of a command",
    ),
    Variable("llm.session", "string", Part.AGENT, 'the session of the client; `""` where it names none'),
    Variable(
        "llm.agent", "string", Part.AGENT,
        'the kind of subagent that asks: `Explore`, `review`, ...; `""` for a main conversation and other clients',
    ),
)  # fmt: skip

_LANGUAGE = Language(VARIABLES)
activation, compile_rule, compile_text = _LANGUAGE.activation, _LANGUAGE.compile, _LANGUAGE.compile_text

# Credentials prove who calls, and that has been seen to; rules need not touch them.
_HIDDEN = frozenset({"authorization", "proxy-authorization", "x-api-key", "api-key", "x-amz-security-token", "cookie"})
_PORT = re.compile(r":\d*$")


class Subject(NamedTuple):
    """The call that rules decide about, with its model and body where they are known."""

    call: Identified
    model: Resolved | None = None
    body: LightBody | PreparedBody | None = None


def values(part: Part, subject: Subject, hidden: frozenset[str] = frozenset()) -> Values:
    """What is not known is not there: a rule that needs it fails. `hidden`: names of headers that may hold a
    credential, besides the usual ones."""
    call, model, body = subject
    match part:
        case Part.CALLER:
            return _caller(call.caller)
        case Part.REQUEST:
            return _request(call, hidden)
        case Part.SOURCE:
            return {"source.address": call.request.source} if call.request.source else {}
        case Part.PROVIDER:
            provider = model.provider if model else call.provider
            return {"provider": provider.name} if provider else {}
        case Part.MODEL:
            return {"model": model.name, "upstream_model": model.upstream} if model else {}
        case Part.LLM:
            return _llm(call, model, body) if model and body else {}
        case Part.AGENT:
            return _agent(call, model, body) if model and body else {}
        case Part.ANSWER:
            return {}


def _caller(caller: Caller) -> Values:
    return {"jwt": caller.claims, "caller.id": caller.subject, "caller.kind": caller.kind}


def _request(call: Identified, hidden: frozenset[str]) -> Values:
    request = call.request
    return {
        "request.method": request.method,
        "request.path": request.path,
        "request.operation": model_paths.operation(call.endpoint, request.path),
        "request.host": _PORT.sub("", request.headers.get(":authority")).lower(),
        "request.headers": _headers(request.headers, _HIDDEN | hidden),
        # A timestamp in CEL, so that rules can ask for its hour in a time zone:
        # https://github.com/google/cel-spec/blob/master/doc/langdef.md#list-of-standard-definitions.
        "request.time": datetime.fromtimestamp(request.started, UTC),
    }


def _llm(call: Identified, model: Resolved, body: LightBody | PreparedBody) -> Values:
    """The body as the provider gets it: with what the configuration fills in and replaces."""
    size = len(body.raw)
    if isinstance(body, PreparedBody):
        features = dict(body.features)
        features.pop("session", None)
    else:
        settings = model.configured(call.dialect, body.members)
        features = read_features(call.dialect, {**body.members, **settings}, size)
    if call.endpoint is not None and call.endpoint.operation is Operation.COUNT_TOKENS:
        features["max_tokens"] = 0  # nothing is written
    return {f"llm.{name}": value for name, value in features.items()} | {"llm.size": size, "llm.bytes": size}


def _agent(call: Identified, model: Resolved, body: LightBody | PreparedBody) -> Values:
    headers = call.request.headers
    known = {"llm.agent": agents.agent(headers), "llm.background": agents.is_background(headers, model.name)}
    session: str | None = agents.session(headers)
    if not session:
        session = body.features.get("session") if isinstance(body, PreparedBody) else agents.session_in(body.members)
    return known if session is None else known | {"llm.session": session}


def _headers(headers: Headers, hidden: frozenset[str]) -> dict[str, str]:
    """A field that came more than once is one list, so that no rule sees only the last of it."""
    seen: dict[str, str] = {}
    for name, value in headers:
        if name[:1] != ":" and name not in hidden:
            seen[name] = f"{seen[name]},{value}" if name in seen else value
    return seen


def table() -> str:
    """For docs/authorization.md."""
    rows = [f"| `{one.name}` | `{one.type}` | {_KNOWN[one.part]} | {one.meaning} |" for one in VARIABLES]
    return "\n".join(["| variable | type | known | meaning |", "|---|---|---|---|", *rows])


_KNOWN = {
    **dict.fromkeys(AT_HEADERS, "at the headers"),
    Part.PROVIDER: "with the model; on a passthrough route always",
    Part.MODEL: "with the body",
    **dict.fromkeys(OF_BODY, "with the body"),
}
