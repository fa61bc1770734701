"""A client of a provider of its own dialect: what it sends passes as it is, and so does the answer."""

from typing import Protocol

import msgspec

from extproc.errors import Rejection, invalid
from extproc.translate.pair import Headers, Json, Refusal, Reply, Target, Translated
from extproc.translate.same_dialect.edit import Edit, check_members
from extproc.translate.same_dialect.errors import refusal
from extproc.translate.same_dialect.passed import Meter, Passed
from extproc.translate.same_dialect.reply import PassedReply
from extproc.translate.want import Refused
from extproc.translate.warnings import Warnings
from extproc.wire import Dialect as DialectName

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
            found |= {"request-id": identifier, "x-request-id": identifier}
        return found


def _configured(edit: Edit, body: Json, to: Target) -> None:
    for name, value in {**to.profile.extra, **to.settings}.items():
        edit.set(name, value)
    edit.set("model", to.model or body.get("model"))


def _own(asked: Translated) -> Passed:
    assert isinstance(asked, Passed), "a reply is read by the pair that wrote the request"
    return asked
