"""One call as the ledger keeps it, made of the fields of its record. Pure: no clock, no database."""

import itertools
import secrets
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

NANO = 10**9
"""Costs are kept in billionths of a USD, as whole numbers, so that their sums are exact."""
OPERATIONS = frozenset({"chat", "count_tokens", "passthrough"})
"""What uses a model, or may. Lists of models and probes are left out."""
_GENERATES = "chat"
_CALLER = "caller."
_MOST = 2**53
ATTEMPT_SEPARATOR = "; "

Fields = Mapping[str, Any]
"""By the names of docs/observability.md."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the ledger. What is not known is None, and a text is empty."""

    id: str
    """Unique: a call that is stored twice is one call."""
    time: int
    """When the request came, in milliseconds since 1970."""
    request_id: str
    operation: str
    endpoint: str
    subject: str
    issuer: str
    claims: dict[str, Any]
    model: str
    """As the client asked for it."""
    upstream_model: str
    response_model: str
    provider: str
    input_tokens: int | None
    """All of the input; the two of the cache are part of it. It and the next and the cost have what attempts used that
    were given up."""
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    cost: int | None
    """In billionths of a USD; None where there are tokens: unpriced."""
    estimated: bool
    reason: str
    """Why the call did not succeed; empty when it did."""
    error: str
    warnings: str
    duration: int | None
    """Milliseconds."""
    first_token: int | None
    """Milliseconds to the first piece of the answer."""
    attempts: str = ""
    """Providers that were asked, where the model has several; separated by ATTEMPT_SEPARATOR, each with its status, why
    it was left, and seconds."""
    moved_by: str = ""
    """The budgets that moved the call from `model` to another one; empty: none did."""


class Counts(NamedTuple):
    """What has become of calls for the ledger."""

    stored: int
    dropped: int
    waiting: int


def ids() -> Iterator[str]:
    """Ids that no other process gives."""
    run = secrets.token_hex(8)
    return (f"{run}-{number:x}" for number in itertools.count())


def is_kept(fields: Fields) -> bool:
    """Whether a call belongs into the ledger: somebody used a model, or was refused one. Refusals of strangers are
    nobody's usage, and could fill it."""
    known = fields.get("jwt.sub") or fields.get("gen_ai.provider.name")
    return bool(known) and fields.get("gen_ai.operation.name") in OPERATIONS


def call_of(fields: Fields, id: str) -> Call:
    """`fields`: of a line of the log, or of a worker's record with `time` and `duration` as the log has them. Whatever
    is not as it should be counts as not known."""
    operation = _text(fields, "gen_ai.operation.name")
    used = fields if operation == _GENERATES else {}  # what a count of tokens says was not used
    return Call(
        id=id,
        time=milliseconds(fields.get("time")),
        request_id=_text(fields, "request_id"),
        operation=operation,
        endpoint=_text(fields, "endpoint"),
        subject=_text(fields, "jwt.sub"),
        issuer=_text(fields, "jwt.iss"),
        claims={name.removeprefix(_CALLER): _clean(value) for name, value in fields.items() if _is_claim(name, value)},
        model=_text(fields, "gen_ai.request.model"),
        upstream_model=_text(fields, "gen_ai.upstream.model"),
        response_model=_text(fields, "gen_ai.response.model"),
        provider=_text(fields, "gen_ai.provider.name"),
        input_tokens=_with_attempts(used, "input_tokens"),
        output_tokens=_with_attempts(used, "output_tokens"),
        cache_read_tokens=_whole(used.get("gen_ai.usage.cache_read.input_tokens")),
        cache_write_tokens=_whole(used.get("gen_ai.usage.cache_creation.input_tokens")),
        cost=_with_attempts(used, "cost", NANO),
        estimated=used.get("gen_ai.usage.estimated") is True,
        reason=_text(fields, "reason"),
        error=_text(fields, "error"),
        warnings=_text(fields, "warnings"),
        duration=_whole(fields.get("duration")),
        first_token=_whole(fields.get("gen_ai.server.time_to_first_token"), 1000),
        attempts=_text(fields, "attempts"),
        moved_by=_text(fields, "budget.moved_by"),
    )


def _text(fields: Fields, name: str) -> str:
    value = fields.get(name)
    return _clean(value) if isinstance(value, str) else ""


def _clean(value: Any) -> Any:
    """PostgreSQL's texts hold any character but this one."""
    return value.replace("\0", "") if isinstance(value, str) else value


def _is_claim(name: str, value: object) -> bool:
    return name.startswith(_CALLER) and isinstance(value, str | int | float | bool)


def _whole(value: object, factor: int = 1) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value * factor <= _MOST:
        return None
    return round(value * factor)


def _with_attempts(used: Fields, name: str, factor: int = 1) -> int | None:
    """The call's own, and that of attempts that were given up. A call whose answer is unpriced stays so."""
    own, given_up = (_whole(used.get(f"{of}.{name}"), factor) for of in ("gen_ai.usage", "attempts"))
    if own is None and "gen_ai.usage.input_tokens" in used:
        return None
    return (own or 0) + (given_up or 0) if own is not None or given_up is not None else None


def milliseconds(time: object) -> int:
    """Returns Unix milliseconds of a time as the log has it; 0: it is none."""
    try:
        return round(datetime.fromisoformat(str(time)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return 0
