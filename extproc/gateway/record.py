"""The fields of an exchange's record: flat dynamic metadata that Envoy's access log shows (docs/observability.md)."""

import json
import re

from extproc.config.endpoints import Operation
from extproc.errors import Rejection
from extproc.events import Record
from extproc.policy.budgets.used import BUDGETS, MAX_BUDGETS
from extproc.policy.facts import Accepted, BodyRead, Caller, Examined, Identified, Located, ModelFound
from extproc.printable import printable
from extproc.providers import prices
from extproc.providers.providers import Provider
from extproc.translate.checked import header_value
from extproc.translate.pair import Outcome, Translated, Usage
from extproc.wire.lenient import MAX_TOKENS

VERDICT, ALLOWED = "verdict", "allow"
CLUSTER = "cluster"
ANSWERED = "answered"
DIALECT = "dialect"
READ = "gen_ai.request.stream"
"""Set where the answer will be read; that it came to an end is said by ENDED."""
OPERATION = "gen_ai.operation.name"
UPSTREAM_REQUEST = "upstream_request_id"
TIME_TO_FIRST_TOKEN = "gen_ai.server.time_to_first_token"  # noqa: S105 - a field of the log
TIME_PER_OUTPUT_TOKEN = "gen_ai.server.time_per_output_token"  # noqa: S105 - a field of the log
COST = "gen_ai.usage.cost"
CURRENCY = "gen_ai.usage.cost.currency"
ESTIMATED = "gen_ai.usage.estimated"
AUTO_MODE_OUTCOME = "auto_mode.outcome"
AUTO_MODE_RULE = "auto_mode.rule"
ATTEMPTS = "attempts"
GIVEN_UP_INPUT = "attempts.input_tokens"
GIVEN_UP_OUTPUT = "attempts.output_tokens"
GIVEN_UP_COST = "attempts.cost"
MOVED_BY = "budget.moved_by"
MOVED_TO = "budget.moved_to"
MIRROR = "mirror"
"""The operation of a copy of a call."""

CALLER = "caller."
"""Before the name of a claim."""
_PLAIN = re.compile(r"[\w./@-]+", re.ASCII)
# Envoy's metadata is a protobuf Struct, whose numbers are all doubles:
# https://protobuf.dev/reference/protobuf/google.protobuf/#value.
_MAX_NUMBER = 2.0**53

MAX_COST = 1_000_000.0
"""USD. No call costs as much: such a number comes of a count that is none."""
MAX_NAME = 200
MAX_PATH = 300
_MAX_WARNINGS = 1100
# Bytes of a string in UTF-8: what a stranger may write into one line of the log stays below 4 KB.
_LIMITS = {
    "http.path": MAX_PATH,
    "warnings": _MAX_WARNINGS,
    ATTEMPTS: 1000,
    "attempt.tries": 4000,
    BUDGETS: MAX_BUDGETS,
}

# OpenTelemetry GenAI semantic conventions: https://opentelemetry.io/docs/specs/semconv/gen-ai/
_OPERATIONS = {
    Operation.GENERATE: "chat",
    Operation.COUNT_TOKENS: "count_tokens",
    Operation.LIST_MODELS: "list_models",
    Operation.SHOW_USAGE: "show_usage",
    Operation.PROBE: "probe",
    Operation.PASSTHROUGH: "passthrough",
}


def of_request(call: Located, claims: list[str]) -> Record:
    """Returns the caller and the call, as far as they are known. `claims`: names of those that go on record."""
    record: Record = {"request_id": call.request.request_id, "http.path": call.request.path, "protocol": "llm"}
    record[DIALECT] = call.dialect
    if call.endpoint is not None:
        record["endpoint"] = call.endpoint.name
        record[OPERATION] = _OPERATIONS[call.endpoint.operation]
    return record | _of_caller(call.caller, claims) if isinstance(call, Identified) else record


def _of_caller(caller: Caller, claims: list[str]) -> Record:
    if not caller.claims:
        return {}
    record: Record = {"jwt.sub": caller.subject, "jwt.iss": caller.issuer}
    for claim in claims:
        if (value := caller.claims.get(claim)) is not None:
            record[f"{CALLER}{claim}"] = _shown(value)
    return record


def _shown(value: object) -> str | float | bool:
    """A claim that is a list or an object is written as JSON; what no number of Envoy's can hold, as a word."""
    if isinstance(value, str | bool):
        return value
    if isinstance(value, int | float):
        return value if abs(value) < _MAX_NUMBER else str(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def presentable(record: Record) -> Record:
    """The record with its strings cut and made printable, as it may be logged."""
    return {
        name: printable(cut(value, _LIMITS.get(name, MAX_NAME))) if isinstance(value, str) else value
        for name, value in record.items()
    }


def cut(text: str, limit: int) -> str:
    """At most so many bytes of UTF-8."""
    if len(text) <= limit and text.isascii():
        return text
    return text[:limit].encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")


def metadata_key(name: str) -> str:
    """Envoy's log format has meanings of its own for `:` and `%`, which claims are free to use."""
    return name if _PLAIN.fullmatch(name) else CALLER + name.encode().hex()


def of_model(asked: BodyRead | ModelFound | Examined) -> Record:
    """Returns the model that is asked for and its provider, as far as they are known."""
    name = asked.model[:MAX_NAME] if isinstance(asked.model, str) else ""
    record: Record = {"gen_ai.request.model": name} if name else {}
    # Which of several providers it is shows later.
    if not isinstance(asked, BodyRead) and asked.resolved.rule.pool is None:
        record |= of_provider(asked.resolved.provider)
        record |= of_upstream(asked.resolved.upstream)
    if isinstance(asked, Examined) and asked.moved:
        record[MOVED_BY] = ", ".join(one.budget for one in asked.moved)
        record[MOVED_TO] = asked.resolved.name[:MAX_NAME]
    return record


def of_copy(call: Accepted, model: str) -> Record:
    """Returns what is on record of a copy of a call, which is no call of anybody's. `model`: as the client named it."""
    return {"request_id": call.request.request_id, OPERATION: MIRROR, "gen_ai.request.model": model[:MAX_NAME]}


def of_provider(provider: Provider) -> Record:
    return {"gen_ai.provider.name": provider.name}


def of_upstream(model: str) -> Record:
    """`model`: its name at the provider."""
    return {"gen_ai.upstream.model": model[:MAX_NAME]}


def of_upstream_request(identifier: str) -> Record:
    """What the provider calls the request; `request_id` is ours, whatever it says."""
    return {UPSTREAM_REQUEST: identifier[:MAX_NAME]} if identifier else {}


def verdict(cluster: str) -> Record:
    """What the guard wants to see, and where the request goes; set once, with the last word on the request."""
    return {VERDICT: ALLOWED, CLUSTER: cluster}


def of_translation(asked: Translated) -> Record:
    record: Record = {READ: asked.stream}
    if asked.max_tokens is not None:
        record["gen_ai.request.max_tokens"] = asked.max_tokens
    if asked.warnings:
        record["warnings"] = header_value(asked.warnings)
    return record


def of_outcome(outcome: Outcome) -> Record:
    """What is known of the answer so far; later calls replace earlier ones key by key."""
    record: Record = {}
    if outcome.model:
        record["gen_ai.response.model"] = outcome.model[:MAX_NAME]
    if outcome.finish_reason:
        record["gen_ai.response.finish_reasons"] = outcome.finish_reason
    if outcome.usage is not None:
        record |= _of_usage(outcome.usage)
    if outcome.failure is not None:
        record |= of_rejection(outcome.failure)
    if outcome.complete:
        record[ENDED] = True
    return record


def _of_usage(usage: Usage) -> Record:
    """`input_tokens` is all of the input, as OpenTelemetry's conventions mean it; Anthropic's leaves out the cache.
    Budgets and bills are made of these counts, so what no model can have used is left out."""
    read, created = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    parts = (usage.input_tokens, read, created)
    counts = {
        "gen_ai.usage.input_tokens": sum(parts) if min(parts) >= 0 else -1,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": read,
        "gen_ai.usage.cache_creation.input_tokens": created,
    }
    record: Record = {name: count for name, count in counts.items() if 0 <= count <= MAX_TOKENS}
    return record | ({ESTIMATED: True} if usage.estimated else {})


def of_cost(usd: float | None) -> Record:
    """None: the model is unpriced, and nothing is said. Tokens without a cost are those of an unpriced model."""
    return {COST: usd, CURRENCY: prices.CURRENCY} if usd is not None and 0 <= usd <= MAX_COST else {}


def of_rejection(rejection: Rejection) -> Record:
    return {"reason": str(rejection.reason), "error": rejection.detail or str(rejection.kind), ENDED: True}


def reason(record: Record) -> str:
    """Why the call did not succeed; empty when it did. `record` is all that was put on record of the call."""
    # What passes through is not watched to its end.
    ended = ENDED in record or record.get(OPERATION) == _OPERATIONS[Operation.PASSTHROUGH]
    return str(record.get("reason", "")) if ended else ABORTED


ABORTED = "Aborted"
"""Instead of a Reason where Envoy ended the call, for its log alone knows why: the client left (ClientClosed), or the
provider's connection broke (Truncated). Both look the same from here."""

# Set when the answer is over, whatever it was. Without it Envoy knows better why the call ended (envoy_listener).
ENDED = "ended"

LEFT_OUT = "left_out"
"""Set on a refusal that is counted and not logged."""
