"""A client of a provider of its own dialect: what it sends passes as it is, and so does the answer.

Only some top-level members of the body change; the bytes of all others stay.
"""

import re
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from extproc.errors import STATUS, Kind, Reason, Rejection, invalid
from extproc.providers.profiles import Profile
from extproc.translate import openai_errors
from extproc.translate.checked import Refused, Warnings, refused
from extproc.translate.pair import Headers, Json, Refusal, Reply, Target, Translated
from extproc.translate.provider_error import MAX_CHARS, hidden, is_overflow, parse_error
from extproc.translate.same_dialect.reply import Meter, Passed, PassedReply
from extproc.wire import Dialect as DialectName
from extproc.wire import dialects, untrusted
from extproc.wire.chat import error_body
from extproc.wire.duplicates import at_top
from extproc.wire.lenient import Undecodable, loads
from extproc.wire.members import steers

Members = dict[str, msgspec.Raw]

_decoder = untrusted.decoder(Members)
_encode = msgspec.json.Encoder().encode
_BLANKS = b" \t\r\n"


class Edit:
    """Raises msgspec.DecodeError when the body is no object, Refused when one of its names stands there twice."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._members = _decoder.decode(raw)
        self._changed = not self._same(_encode(self._members))
        if self._changed and (name := at_top(raw)) is not None:
            raise refused(name[:64], "this name is given twice in one object")

    def get(self, name: str) -> msgspec.Raw:
        return self._members.get(name, msgspec.Raw(b"null"))

    def set(self, name: str, value: Any) -> None:
        """Bytes of a member that has the value already stay."""
        written = value if isinstance(value, msgspec.Raw) else msgspec.Raw(_encode(value))
        if self.get(name) != written or name not in self._members:
            self._members[name] = written
            self._changed = True

    def drop(self, name: str) -> None:
        self._changed = self._members.pop(name, None) is not None or self._changed

    # The provider's prompt cache and thinking that is bound to its conversation depend on every byte.
    def body(self) -> bytes:
        """What came, where nothing was changed. A name with escapes is written without, as policy has read it."""
        return _encode(self._members) if self._changed else self._raw

    def _same(self, written: bytes) -> bool:
        """Whether only blanks differ; else a name came twice or with escapes."""
        raw = self._raw
        return len(raw) == len(written) or raw.translate(None, _BLANKS) == written.translate(None, _BLANKS)


_MAX_NAME = 64
_REFUSED = "Extra inputs are not permitted"


def check_members(edit: Edit, body: Json, dialect: DialectName, to: Target, warnings: Warnings) -> None:
    """Drops or refuses them, as the profile says; those that the configuration sets stay. Raises Refused."""
    known, mode = dialects.row(dialect).members, to.profile.unknown_members
    # What the operator has configured is meant, however unknown.
    ours = to.settings.keys() | to.profile.extra.keys()
    unknown = [name for name in body if name not in known and name not in ours]
    for name in unknown:
        # Some servers take `Model` for `model`, and then it is theirs that counts.
        if mode == "refuse" or steers(name, body[name]) or name.casefold() in known:
            raise refused(name[:_MAX_NAME], _REFUSED)
    if not unknown or mode == "pass":
        return
    warnings.unknown({name: body[name] for name in unknown}, frozenset(), "")
    for name in unknown:
        edit.drop(name)


def limited(edit: Edit, body: Json, name: str, limit: int | None, warnings: Warnings) -> int | None:
    """The number of tokens an answer may have, as sent upstream."""
    value = body.get(name)
    if limit is None or value is None:
        return value if type(value) is int and 0 <= value < 1 << 53 else None
    # A lenient server may take "5000", 5000.0 or true for a number.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refused(name, "Input should be a valid integer")
    if value > limit:
        warnings.add("clamped", name)
        edit.set(name, limit)
        return limit
    return value if isinstance(value, int) and value >= 0 else None


_KEPT = ("retry-after", "retry-after-ms", "x-should-retry")


class Dialect(Protocol):
    """What the dialects differ in."""

    name: DialectName
    path: str
    request_id: str
    """Its response header for the id."""
    rate_limits: str
    """What its rate limit headers begin with."""

    def change(self, edit: Edit, body: Json, to: Target, warnings: Warnings) -> Passed:
        """Makes the few changes; gives what is to be known of the request, without its bytes."""
        ...

    def meter(self, asked: Passed) -> Meter: ...

    def envelope(self, body: Json) -> bytes: ...


class SameDialectPair:
    """A Pair (translate/pair.py)."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    def request(self, body: Json, to: Target) -> Translated | Rejection:
        warnings = Warnings(to.profile.strictness)
        try:
            edit = Edit(to.raw or msgspec.json.encode(body))
            check_members(edit, body, self._dialect.name, to, warnings)
            passed = self._dialect.change(edit, body, to, warnings)
            _configured(edit, body, to)
            return msgspec.structs.replace(passed, body=edit.body(), warnings=warnings.items)
        except Refused as stop:
            return stop.rejection
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return invalid("", "the body is not valid JSON")

    def reply(self, asked: Translated, content_type: str) -> Reply:
        own = _own(asked)
        return PassedReply(own, content_type, self._dialect.meter(own), self._dialect.name)

    def error(self, asked: Translated, status: int, headers: Headers, body: bytes, now: float) -> Refusal:
        rejection, passing = refusal(status, body, _own(asked).profile, self._dialect.envelope)
        return Refusal(rejection=rejection, headers=self.headers(headers, now) | dict(rejection.headers), body=passing)

    def headers(self, headers: Headers, now: float) -> dict[str, str]:
        found = {name: value for name in _KEPT if (value := headers.get(name))}
        found |= {name: value for name, value in headers.items() if name.startswith(self._dialect.rate_limits)}
        if identifier := headers.get(self._dialect.request_id) or headers.get("x-request-id"):
            # Anthropic's name and OpenAI's: whichever a client's support asks for is there.
            found |= {"request-id": identifier, "x-request-id": identifier}
        return found


def _configured(edit: Edit, body: Json, to: Target) -> None:
    for name, value in {**to.profile.extra, **to.settings}.items():
        edit.set(name, value)
    edit.set("model", to.model or body.get("model"))


def _own(asked: Translated) -> Passed:
    assert isinstance(asked, Passed), "a reply is read by the pair that wrote the request"
    return asked


# A provider's error, in its own words as far as they may pass

Envelope = Callable[[Json], bytes]
"""Writes a decoded error body again, without its secrets; empty when there is nothing to be read."""

# The vendors' own pages tell a client what to do; the addresses of their APIs are as private as any.
_PUBLIC = re.compile(
    r"(https://(?:(?:www|docs|platform|console|support|help)\.)?(?:anthropic|claude|openai)\.com[^\s\"'<>)\]}\\]*)"
)
CREDENTIAL = "upstream_credential_rejected"
_KINDS: dict[str, Kind] = {str(kind): kind for kind in Kind}


def refusal(status: int, body: bytes, profile: Profile, envelope: Envelope) -> tuple[Rejection, bytes]:
    """For the record, and what to send with its status; no bytes: the rejection has to be worded."""
    rejection = openai_errors.refused(status, body, profile)
    told = object_of(body)
    rebuilt = envelope(told)
    if is_concealed(rejection) or not rebuilt or not 400 <= status < 600:
        return rejection, b""
    as_it_is = isinstance(told.get("error"), dict)
    return msgspec.structs.replace(rejection, status=status), passing(body, rebuilt) if as_it_is else rebuilt


def is_concealed(rejection: Rejection) -> bool:
    """The gateway's own credential was refused: not one of the provider's words passes (`hide_upstream_auth`)."""
    return rejection.detail == CREDENTIAL


def passing(original: bytes, rebuilt: bytes) -> bytes:
    """Addresses may stand in any member, such as OpenRouter's `metadata.raw`."""
    text = original.decode("utf-8", "replace")
    return original if len(text) <= MAX_CHARS and clean(text) == text else rebuilt


def clean(message: str) -> str:
    """Keys and private addresses are taken out."""
    parts = _PUBLIC.split(message[: 2 * MAX_CHARS])
    return "".join(part if at % 2 else hidden(part) for at, part in enumerate(parts))[:MAX_CHARS]


def object_of(body: bytes) -> Json:
    """Empty when it is none."""
    try:
        found = loads(body)
    except Undecodable:
        return {}
    return found if isinstance(found, dict) else {}


def by_type(error: Any, profile: Profile) -> Rejection:
    """Anthropic's error object, as it comes without a status of its own."""
    members = error if isinstance(error, dict) else {}
    word, message = members.get("type"), members.get("message")
    kind = _KINDS.get(word, Kind.API) if isinstance(word, str) else Kind.API
    if kind is Kind.AUTHENTICATION and profile.hide_upstream_auth:
        return Rejection(
            kind=Kind.API, message="gateway credential rejected", reason=Reason.UPSTREAM, detail=CREDENTIAL
        )
    return Rejection(
        kind=kind,
        message=clean(message) if isinstance(message, str) and message else "the upstream reported an error",
        reason=Reason.UPSTREAM_TIMEOUT if kind is Kind.TIMEOUT else Reason.UPSTREAM,
        detail=f"upstream_{STATUS[kind]}:{kind}",
    )


def openai_envelope(body: Json) -> bytes:
    """An Envelope: the vendors' other forms are put into OpenAI's."""
    told = parse_error(body)
    message = clean(told.message)
    if not message:
        return b""
    # Clients shorten the conversation on this code, and few servers but OpenAI's send it.
    code = "context_length_exceeded" if is_overflow(told, 400) else told.code
    return error_body(message, told.type or "invalid_request_error", told.param or None, code or None)
