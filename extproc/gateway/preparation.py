"""What is made of a request's body in one go: read, examined for the rules, translated for the provider.

Pure, so that a heavy body can be prepared by another process (transport/translator.py), which knows no secret.
"""

from collections.abc import Awaitable, Callable

import msgspec

from extproc.config.endpoints import Operation
from extproc.errors import Rejection, invalid
from extproc.events import Record
from extproc.policy.admit import CallerId, caller_id
from extproc.policy.authorization import agents
from extproc.policy.authorization.body import Bounds, Json, ambiguity, is_heavy, read
from extproc.policy.authorization.features import read_features
from extproc.policy.facts import Accepted, Examined, HeavyBody, Identified, LightBody, ModelFound, Planned, PreparedBody
from extproc.providers.catalogue import Resolved
from extproc.translate.count import CountRequest
from extproc.translate.dialects.messages.write_answer import own_answer
from extproc.translate.job import Job, request_for
from extproc.translate.pair import Counted, OwnAnswer, RequestOutcome, Target, Translated
from extproc.translate.same_dialect.reply import EVENTS, Passed
from extproc.translate.translated import TranslatedRequest

Request = CountRequest | Passed | TranslatedRequest
"""Every kind of translated request."""
_NO_SEARCH = "emulated:tools"


class Task(msgspec.Struct, frozen=True):
    job: Job
    bounds: Bounds
    seconds: float
    """CPU time that it may take."""
    every_depth: bool = True
    """See `body.ambiguity`."""
    translates: bool = True
    """False: it is translated later, for each provider that is asked."""


class Prepared(msgspec.Struct, frozen=True):
    """One of the first four is there, where the body was to be translated."""

    request: Request | None = None
    counted: Counted | None = None
    said: OwnAnswer | None = None
    rejection: Rejection | None = None
    features: Json | None = None
    """What the body asks of the model; None: it could not be read."""

    @property
    def outcome(self) -> RequestOutcome | None:
        return self.request or self.counted or self.said or self.rejection


Prepare = Callable[[bytes, Task, str], Awaitable[Prepared]]
"""Carries out a task for a caller, wherever that is."""
ReadsBody = Callable[[Identified, Resolved], bool]
"""Whether some rule reads more of a call's body than its model."""


def prepare(raw: bytes, task: Task) -> Prepared:
    """`raw`: the body; the task itself comes without."""
    job = msgspec.structs.replace(task.job, target=msgspec.structs.replace(task.job.target, raw=raw))
    body = read(raw, job.dialect, task.bounds)
    if isinstance(body, Rejection):
        return Prepared(rejection=body)
    if refused := ambiguity(raw, body, job.dialect, every_depth=task.every_depth):
        return Prepared(rejection=refused)
    features = read_features(job.dialect, {**body, **job.settings.for_body(body)}, len(raw))
    if (session := agents.session_in(body)) is not None:
        features["session"] = session
    if not task.translates:
        return Prepared(features=features)
    match request_for(job, body):
        case Rejection() as rejection:
            return Prepared(rejection=rejection, features=features)
        case Counted() as counted:
            return Prepared(counted=counted, features=features)
        case OwnAnswer() as said:
            return Prepared(said=said, features=features)
        case Translated() as request:
            assert isinstance(request, Request)
            return Prepared(request=request, features=features)


async def prepare_here(raw: bytes, task: Task, _caller: str) -> Prepared:
    """Where nothing else waits."""
    return prepare(raw, task)


class Examine:
    """Refuses a body that rules might read otherwise than the provider does; has a heavy one prepared."""

    def __init__(self, reads_body: ReadsBody, bounds: Bounds, seconds: float, prepare: Prepare) -> None:
        """`seconds`: CPU time that preparing a body may take; `prepare`: who does it."""
        self._reads_body = reads_body
        self._bounds = bounds
        self._seconds = seconds
        self._prepare = prepare

    async def __call__(self, found: ModelFound) -> Examined | Rejection:
        call, model, resolved = found.call, found.model, found.resolved
        every_depth = self._reads_body(call, resolved)
        body = found.body
        if isinstance(body, HeavyBody):
            alone = resolved.rule.pool is None
            task = Task(job_of(call, model, resolved), self._bounds, self._seconds, every_depth, alone)
            prepared = await self._prepared(body.raw, task, caller_id(call))
            return prepared if isinstance(prepared, Rejection) else Examined(call, prepared, model, resolved)
        if refused := ambiguity(body.raw, body.members, call.dialect, every_depth=every_depth):
            return refused
        return Examined(call, body, model, resolved)

    async def again(self, raw: bytes, job: Job, caller: str) -> LightBody | PreparedBody | Rejection:
        """Reads a body that has been examined, and has a heavy one translated for the provider of this attempt."""
        if not is_heavy(raw):
            found = read(raw, job.dialect, self._bounds)
            return found if isinstance(found, Rejection) else LightBody(raw, found)
        prepared = await self._prepare(raw, Task(job, self._bounds, self._seconds), caller)
        return PreparedBody(raw, {}, prepared.outcome)

    async def _prepared(self, raw: bytes, task: Task, caller: CallerId) -> PreparedBody | Rejection:
        done = await self._prepare(raw, task, " ".join(caller))
        if done.features is None:
            return done.rejection or invalid("", "the body cannot be read")
        return PreparedBody(raw, done.features, done.outcome)


def job_of(call: Accepted, model: str, resolved: Resolved, raw: bytes = b"") -> Job:
    """Returns what the provider's request is made from. `raw`: the body, where it is translated here."""
    request = call.request
    target = Target(
        profile=resolved.profile,
        model=resolved.upstream,
        nonce=request.request_id,
        now=request.started,
        headers=request.headers.as_dict(),
        raw=raw,
    )
    return Job(
        dialect=call.dialect,
        provider=resolved.dialects,
        model=model,
        settings=resolved.settings(call.dialect),
        counting=call.endpoint.operation is Operation.COUNT_TOKENS,
        wrappings=resolved.provider.wrappings,
        target=target,
    )


def translated(
    call: Accepted, model: str, resolved: Resolved, body: LightBody | PreparedBody
) -> tuple[Job, RequestOutcome]:
    """Returns what the provider's request is made from, and what comes of it. `model`: as the client asked for it."""
    match body:
        case LightBody(raw, members):
            job = job_of(call, model, resolved, raw)
            return job, request_for(job, members)
        case PreparedBody(outcome=outcome):
            assert outcome is not None, "a body that is sent has been translated"
            return job_of(call, model, resolved), outcome


def own(found: Counted | OwnAnswer, job: Job) -> tuple[bytes, dict[str, str], Record]:
    """Returns an answer that no provider is asked for, with its headers and what is put on record of it."""
    silent = job.target.profile.strictness == "silent"
    if isinstance(found, Counted):
        headers = {} if silent else {"x-translation-warnings": "approx:input_tokens"}
        return msgspec.json.encode(found.answer), headers, {"gen_ai.usage.input_tokens": found.tokens}
    answer = own_answer(found.text, job.model, job.target.nonce, stream=found.stream)
    headers = {"content-type": EVENTS} if found.stream else {}
    headers |= {} if silent else {"x-translation-warnings": _NO_SEARCH}
    return answer, headers, {"warnings": _NO_SEARCH}


def counted_here(asked: Planned) -> tuple[bytes, dict[str, str], Record] | None:
    """Returns the answer to a call that wants its tokens counted, where the first candidate's provider is not asked to
    do so, and no connection to it is needed."""
    first, body = asked.examined, asked.examined.body
    if first.call.endpoint.operation is not Operation.COUNT_TOKENS or isinstance(body, PreparedBody):
        return None
    job, outcome = translated(first.call, first.model, asked.candidates[0], body)
    return own(outcome, job) if isinstance(outcome, Counted) else None
