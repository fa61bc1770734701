"""Static keys for machines: random, kept as SHA-256 in a file, with claims attached.

The file is YAML, so JSON will do: a list of `{id, sha256, claims, expires}`.
"""

import contextlib
import datetime as dt
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import msgspec
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError

from extproc.config import loading, schema
from extproc.config.faults import Fault, Where
from extproc.config.loading import Invalid, Source
from extproc.policy.authentication.authenticator import Presented, Setup
from extproc.policy.authentication.credential import Unproven
from extproc.policy.authentication.tokens import KEY_SUBJECT
from extproc.policy.facts import Caller

PREFIX = "extproc_"
"""By which keys are told from tokens, here and by scanners for leaked secrets."""
_ID = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_TIME = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d)?)?", re.ASCII)
# Who issued a credential, to whom and until when is not for a key's owner to say.
_OURS = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "id"})


def _claims(claims: dict[str, Any]) -> dict[str, Any]:
    if taken := sorted(_OURS & claims.keys()):
        raise ValueError(f"{', '.join(taken)} cannot be set for a key")
    try:
        json.dumps(claims, allow_nan=False)
    except ValueError:
        raise ValueError("JSON knows no such number") from None
    return claims


def _time(value: Any) -> Any:
    if value is None or isinstance(value, dt.date) or (isinstance(value, str) and _TIME.fullmatch(value)):
        return value
    raise ValueError("expected a date such as 2027-01-31, or a time such as 2027-01-31T12:00:00Z")


class Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    id: str = Field(pattern=f"^{_ID}$")
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    claims: Annotated[dict[str, JsonValue], AfterValidator(_claims)] = {}
    expires: Annotated[dt.datetime | None, BeforeValidator(_time)] = None
    """UTC where it names no zone."""


class _Known(msgspec.Struct, frozen=True):
    digest: bytes
    caller: Caller
    expires: float


class ApiKeys:
    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        known = [_Known(bytes.fromhex(one.sha256), _caller(one), _until(one.expires)) for one in entries]
        self._known = {one.digest: one for one in known}

    def __len__(self) -> int:
        return len(self._known)

    async def identify(self, presented: Presented, now: float) -> Caller | None:
        """Returns the caller whose key it is; see Authenticator."""
        token = presented.token
        return self.verify(token, now) if token is not None and token.startswith(PREFIX) else None

    def verify(self, key: str, now: float) -> Caller:
        """`now`: Unix seconds. Raises Unproven."""
        digest = hashlib.sha256(key.encode()).digest()
        # The time of a look-up tells something of a digest, and nothing of a key that would have it.
        found = self._known.get(digest)
        if found is None or not hmac.compare_digest(found.digest, digest):
            raise Unproven("unknown_api_key")
        if now >= found.expires:
            raise Unproven("api_key_expired")
        return found.caller


def _caller(entry: Entry) -> Caller:
    return Caller({**entry.claims, "id": entry.id, "sub": KEY_SUBJECT + entry.id}, "key")


def _until(expires: dt.datetime | None) -> float:
    if expires is None:
        return float("inf")
    return (expires if expires.tzinfo else expires.replace(tzinfo=dt.UTC)).timestamp()


def load(setup: Setup) -> ApiKeys:
    """Returns the authenticator; where no keys are configured it knows none, and refuses what looks like one."""
    settings = setup.source.config.authentication.api_keys
    if settings is None:
        return ApiKeys()
    found: list[Entry] = []
    try:
        _read(setup.source, settings, found)
    except Invalid as error:
        setup.faults += [Fault(("authentication", "api_keys", "file"), line) for line in error.lines]
    if not found:
        setup.without_keys.append(("authentication", "api_keys"))
    return ApiKeys(found)


def _read(source: Source, settings: schema.ApiKeys, found: list[Entry]) -> None:
    """A file without an entry, be it empty or all comments, is a list without keys. Raises loading.Invalid."""
    path = source.resolve(settings.file)
    lines: dict[Where, int] = {}
    faults: list[Fault] = []
    with contextlib.suppress(OSError):  # loading.read will say so
        source.read_keys(path, settings.max_stale)
    entries = loading.read(path, source.files, lines, faults, {})
    if entries is None:
        entries = []
    if not isinstance(entries, list):
        faults.append(Fault((), "expected a list of keys, as `extproc key new` prints them"))
        entries = []
    for index, entry in enumerate(entries):
        try:
            one = Entry.model_validate(entry)
        except ValidationError as error:
            faults += [Fault((index, *e["loc"]), e["msg"].removeprefix("Value error, ")) for e in error.errors()]
            continue
        for name in ("id", "sha256"):
            if any(getattr(one, name) == getattr(other, name) for other in found):
                faults.append(Fault((index, name), "this stands in the file twice"))
        found.append(one)
    if faults:
        raise Source(path, source.config, lines).explain(faults)


def new(identifier: str, claims: Mapping[str, Any], expires: str | None = None, now: float = 0) -> tuple[str, str]:
    """A key, and the line for the file. `now`: Unix seconds. Raises ValueError."""
    if not re.fullmatch(_ID, identifier):
        raise ValueError("an id is 1 to 64 letters, digits, dots, dashes and underscores")
    # 256 random bits: a plain hash is enough, since nobody can try them all; passwords would need a slow one.
    key = PREFIX + secrets.token_urlsafe(32)
    entry = {"id": identifier, "sha256": hashlib.sha256(key.encode()).hexdigest(), "claims": dict(claims)}
    entry |= {"expires": expires} if expires else {}
    try:
        made = Entry.model_validate(entry)
    except ValidationError as error:
        raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
    if _until(made.expires) <= now:
        raise ValueError(f"{expires} is over")
    return key, "- " + json.dumps(entry)
