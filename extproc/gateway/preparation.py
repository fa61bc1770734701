"""What is made of a request's body in one go: read, examined for the rules, translated for the provider.

Pure, so that a heavy body can be prepared by another process (transport/translator.py), which knows no secret.
"""

from collections.abc import Awaitable, Callable

import msgspec

from extproc.errors import Rejection
from extproc.policy.authorization import asked, body_checks
from extproc.policy.authorization.body import Bounds, Json, read
from extproc.translate.chat_on_messages.asked import Asked as ChatAsked
from extproc.translate.counters import AskedForCount
from extproc.translate.for_messages.asked import Asked
from extproc.translate.identity.asked import Passed
from extproc.translate.job import Counted, Job, Outcome, Said, request_for
from extproc.translate.pair import Translated
from extproc.translate.responses_on_messages.asked import Asked as ResponsesAsked
from extproc.translate.translated import TranslatedRequest

Request = Asked | AskedForCount | Passed | ChatAsked | ResponsesAsked | TranslatedRequest
"""Every kind of translated request."""


class Task(msgspec.Struct, frozen=True):
    job: Job
    bounds: Bounds
    seconds: float
    """CPU time that it may take."""
    every_depth: bool = True
    """See `body_checks.refusal`."""


class Prepared(msgspec.Struct, frozen=True):
    """Exactly one of the first four is there."""

    request: Request | None = None
    counted: Counted | None = None
    said: Said | None = None
    rejection: Rejection | None = None
    features: Json | None = None
    """What the body asks of the model; None: it could not be read."""

    @property
    def outcome(self) -> Outcome:
        found = self.request or self.counted or self.said or self.rejection
        assert found is not None
        return found


Prepare = Callable[[bytes, Task, str], Awaitable[Prepared]]
"""Carries out a task for a caller, wherever that is."""


def prepare(raw: bytes, task: Task) -> Prepared:
    """`raw`: the body; the task itself comes without."""
    job = msgspec.structs.replace(task.job, target=msgspec.structs.replace(task.job.target, raw=raw))
    body = read(raw, job.dialect, task.bounds)
    if isinstance(body, Rejection):
        return Prepared(rejection=body)
    if refused := body_checks.refusal(raw, body, job.dialect, every_depth=task.every_depth):
        return Prepared(rejection=refused)
    features = asked.read(job.dialect, {**body, **job.settings.for_body(body)})
    match request_for(job, body):
        case Rejection() as rejection:
            return Prepared(rejection=rejection, features=features)
        case Counted() as counted:
            return Prepared(counted=counted, features=features)
        case Said() as said:
            return Prepared(said=said, features=features)
        case Translated() as request:
            assert isinstance(request, Request)
            return Prepared(request=request, features=features)


async def prepare_here(raw: bytes, task: Task, _caller: str) -> Prepared:
    """Where nothing else waits."""
    return prepare(raw, task)
