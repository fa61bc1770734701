"""A client's body as the provider's request: which translator makes it, and from what.

A job holds no secret and can be carried out in another process, which knows nothing else of the call.
"""

from collections.abc import Sequence

import msgspec

from extproc.errors import Kind, Reason, Rejection
from extproc.providers.clouds import Wrapping
from extproc.providers.model_settings import ModelSettings
from extproc.providers.profiles import Profile
from extproc.translate import count, wrapping
from extproc.translate.count import counted, counter_for
from extproc.translate.dialects.messages.write_request import COUNTED
from extproc.translate.dialects.registry import PAIRS, halves
from extproc.translate.pair import Counted, Json, OwnAnswer, Pair, Reader, RequestOutcome, Target
from extproc.wire import Dialect, dialects

# A 404 tells Claude Code that nothing is counted here, and it goes on without a count.
_NO_COUNT = Rejection(
    kind=Kind.NOT_FOUND,
    message="tokens are not counted for this model",
    reason=Reason.INVALID_REQUEST,
    detail="count_tokens_off",
)
# What can be counted, in either API that counts. Anthropic refuses to count beside a limit, for instance.
_COUNTED = COUNTED | {"input", "instructions", "parallel_tool_calls", "reasoning", "text"}


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a provider's request is made from, besides the decoded body."""

    dialect: Dialect
    """The client's."""
    provider: tuple[Dialect, ...]
    """The provider's, the preferred first."""
    model: str
    """The name the client asked for."""
    settings: ModelSettings
    counting: bool = False
    """The client wants its tokens counted."""
    wrappings: dict[Dialect, Wrapping] = {}
    """What the provider's cloud puts around a dialect, if it is one."""
    target: Target


def dialect_for(client: Dialect, spoken: Sequence[Dialect], profile: Profile, sent: Json) -> Dialect:
    """The client's own dialect, if the provider speaks it and the model does in it what is asked; else the first that
    it does. `spoken`: the provider's, the preferred first; `sent`: the client's body."""
    if len(spoken) == 1:
        return spoken[0]
    able = [name for name in spoken if halves(name).provider.accepts(sent, profile, name == client)] or spoken
    return client if client in able else able[0]


def pair_of(job: Job, dialect: Dialect) -> Pair | Rejection | None:
    """The translator of request and answer. None: the tokens are estimated here. `dialect`: what is spoken with the
    provider."""
    strategy = job.target.profile.count_tokens
    if job.counting and strategy == "off":
        return _NO_COUNT
    if job.counting and not _counts(job, dialect):
        counter = counter_for(job.dialect, strategy, job.provider)
        return counter or (None if dialects.row(job.dialect).estimates_tokens else _NO_COUNT)
    return PAIRS[job.dialect, dialect]


def _counts(job: Job, dialect: Dialect) -> bool:
    """The provider counts tokens itself, in the client's dialect."""
    return job.dialect in job.provider and wrapping.counts(job.wrappings.get(dialect), job.target.model)


def reader_of(job: Job, dialect: Dialect) -> Reader:
    """Who reads the answer to a request that has been written in this dialect."""
    pair = pair_of(job, dialect)
    assert pair is not None and not isinstance(pair, Rejection), "what is translated has a translator"
    around = job.wrappings.get(dialect)
    return pair if around is None else wrapping.reader(around, pair, job.target.profile.max_event_bytes)


def request_for(job: Job, sent: Json) -> RequestOutcome:
    """`sent`: the client's body."""
    settings = job.settings.for_body(sent)
    if job.counting:
        settings = {name: value for name, value in settings.items() if name in _COUNTED}
    # What the configuration sets is part of the body before it is read, so that rules, translation and count see the
    # same request.
    body = {**sent, **settings, "model": job.model or job.target.model}
    target = msgspec.structs.replace(job.target, settings=settings) if settings else job.target
    dialect = dialect_for(job.dialect, job.provider, job.target.profile, body)
    pair = pair_of(job, dialect)
    if isinstance(pair, Rejection):
        return pair
    if pair is None:
        tokens = count.estimate(body, target, dialect)
        return tokens if isinstance(tokens, Rejection) else Counted(tokens, counted(tokens, body))
    asked = pair.request(body, target)
    if asked.answer and not job.counting:
        return OwnAnswer(asked.answer, sent.get("stream") is True)
    if isinstance(asked, Rejection):
        return asked
    counted_there = job.counting and _counts(job, dialect)
    below = dialects.row(dialect).count_path if counted_there else ""
    silent = target.profile.strictness == "silent"
    path = asked.path + below
    asked = msgspec.structs.replace(asked, path=path, dialect=dialect, silent=silent, counting=counted_there)
    around = job.wrappings.get(dialect)
    return asked if around is None else wrapping.wrap(around, asked, target)
