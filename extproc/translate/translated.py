"""A pair of two different dialects: the client's reads requests and writes answers, the provider's does the reverse."""

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec

from extproc.errors import Rejection
from extproc.providers.profiles import Profile
from extproc.translate.answer_body import MAX_ANSWER, Collected, Sniffer
from extproc.translate.answer_events import (
    AnswerEvent,
    AnswerFailed,
    AnswerFinished,
    AnswerStarted,
    ArgumentsDelta,
    Keepalive,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    TextEnded,
    UsageReported,
    Warned,
)
from extproc.translate.checked import Warnings, returns_rejections
from extproc.translate.conversation import AnswerShape, CallKind, Conversation, Tool
from extproc.translate.openai_errors import is_filtered
from extproc.translate.pair import Headers, Json, Outcome, Refusal, Reply, Target, Translated, Usage
from extproc.translate.provider_error import failure

# English text has about four bytes a token. An estimate serves where no provider counts, and while one has not yet.
_BYTES_PER_TOKEN = 4
_DELTAS = (TextDelta, ArgumentsDelta, ReasoningDelta, RefusalDelta)


class TranslatedRequest(Translated, frozen=True, kw_only=True, tag="translated"):
    """A request in the provider's dialect, and what reading and writing its answer needs."""

    profile: Profile
    nonce: str
    now: float
    shape: AnswerShape
    names: Mapping[str, str]
    """The provider's name of a tool -> the client's."""
    kinds: Mapping[str, CallKind]
    """The client's name of a tool -> its kind, for those that are no plain functions."""
    stop_sequences: tuple[str, ...] = ()
    """All that the client named, also those that the provider was not told of."""
    shown: Literal["no", "hidden", "yes"] = "no"
    """Whether the client reads the model's reasoning, or only carries it back."""
    prefill: str = ""
    """Text that the answer may repeat, to be cut from its beginning."""

    @property
    def estimated_usage(self) -> Usage:
        """The input tokens by the size of the request, where the provider may count none; else nothing."""
        estimates = self.profile.missing_usage == "estimate"
        return Usage(input_tokens=-(-self.size // _BYTES_PER_TOKEN) if estimates else 0)


class WrittenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider's dialect makes of a conversation."""

    path: str
    body: bytes
    names: Mapping[str, str]
    headers: Mapping[str, str] = {}
    max_tokens: int | None = None
    prefill: str = ""
    shown: Literal["no", "hidden", "yes"] | None = None
    """Whether the client reads the reasoning, where the provider's dialect decides; None: as the client asked."""
    answer: str = ""
    """A sentence for the model that the client gets as an answer; the provider is not asked."""


class AnswerReader(Protocol):
    """Reads a stream of the provider's."""

    def feed(self, data: bytes) -> list[AnswerEvent]: ...

    def close(self) -> list[AnswerEvent]:
        """The body is at its end; the last event is AnswerFinished or AnswerFailed, now or before."""
        ...


class AnswerWriter(Protocol):
    """Writes the client's form of an answer, as a stream or as one JSON object."""

    def write(self, event: AnswerEvent) -> None: ...

    def take(self) -> bytes:
        """What has become ready since."""
        ...

    def ping(self) -> bytes:
        """What keeps the client waiting at this moment; empty where the form allows nothing."""
        ...

    warnings: list[str]
    """What this dialect has no place for."""
    finish_reason: str
    """In the client's dialect, once the answer has finished."""


@dataclass(frozen=True)
class ClientSide:
    """The half of a dialect that serves clients."""

    members: Mapping[str, str]
    """Other dialects' names of members -> this one's, for the path in a provider's error."""
    read_request: Callable[[Json, Target, Warnings], Conversation]
    """Raises checked.Refused."""
    writer: Callable[[TranslatedRequest], AnswerWriter]
    client_headers: Callable[[Headers, float], dict[str, str]]
    """Response headers of an OpenAI-type or Anthropic provider, as this dialect's clients know them. The float: Unix
    seconds."""
    own_words: Callable[[Rejection], Rejection] = lambda rejection: rejection
    """A provider's error in the words of this dialect."""
    answers_for_filters: bool = False
    """A refusal by the provider's filter may be an answer instead of an error (profile `filter_as_refusal`)."""


@dataclass(frozen=True)
class ProviderSide:
    """The half of a dialect that asks providers."""

    write_request: Callable[[Conversation, Target, Warnings], WrittenRequest]
    """Raises checked.Refused."""
    reader: Callable[[TranslatedRequest], AnswerReader]
    read_whole: Callable[[bytes, TranslatedRequest], list[AnswerEvent]]
    """A JSON answer of status 200; ends as a reader does."""
    read_error: Callable[[int, bytes, Profile], Rejection]
    """An answer whose status says that it is an error."""
    accepts: Callable[[Json, Profile, bool], bool] = lambda _sent, _profile, _passes: True
    """Whether a model takes a client's call in this dialect; the last: the body goes on as it is."""


class TranslatedPair:
    """A Pair (pair.py)."""

    def __init__(self, client: ClientSide, provider: ProviderSide) -> None:
        self._client = client
        self._provider = provider

    @returns_rejections
    def request(self, body: Json, to: Target) -> TranslatedRequest:
        warnings = Warnings(to.profile.strictness)
        conversation = self._client.read_request(body, to, warnings)
        written = self._provider.write_request(conversation, to, warnings)
        kinds = {
            tool.name: tool.kind for tool in conversation.tools if isinstance(tool, Tool) and tool.kind != "function"
        }
        return TranslatedRequest(
            path=written.path,
            body=written.body,
            headers=written.headers,
            stream=conversation.shape.stream,
            model=conversation.model,
            warnings=warnings.items,
            max_tokens=written.max_tokens,
            profile=to.profile,
            nonce=to.nonce,
            now=to.now,
            shape=conversation.shape,
            names=written.names,
            kinds=kinds,
            stop_sequences=conversation.stop.value if conversation.stop else (),
            shown=written.shown or conversation.thinking.shown,
            prefill=written.prefill,
            answer=written.answer,
        )

    def reply(self, asked: Translated, content_type: str) -> Reply:
        return TranslatedReply(_own(asked), content_type, self._client, self._provider)

    def error(self, asked: Translated, status: int, headers: Headers, body: bytes, now: float) -> Refusal:
        request = _own(asked)
        rejection = self._provider.read_error(status, body, request.profile)
        rejection = self._client.own_words(_with_own_path(rejection, self._client.members))
        as_answer = self._client.answers_for_filters and request.profile.filter_as_refusal and is_filtered(rejection)
        return Refusal(
            rejection=rejection,
            headers=self.headers(headers, now) | dict(rejection.headers),
            answer=self._refusal(request, rejection.message) if as_answer else b"",
        )

    def _refusal(self, request: TranslatedRequest, explanation: str) -> bytes:
        """A filtered prompt as the answer of a model that declines."""
        # A filtered prompt is an error for OpenAI's clients, and an answer that ends with `refusal` for Claude's:
        # https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons.
        writer = self._client.writer(request)
        writer.write(AnswerStarted("", ""))
        writer.write(TextDelta(explanation))
        writer.write(TextEnded())
        writer.write(UsageReported(Usage()))
        writer.write(AnswerFinished("refusal", explanation=explanation))
        return writer.take()

    def headers(self, headers: Headers, now: float) -> dict[str, str]:
        return self._client.client_headers(headers, now)


def _with_own_path(rejection: Rejection, members: Mapping[str, str]) -> Rejection:
    """Below a list the places differ on both sides, but the list is the same."""
    for other, own in members.items():
        if rejection.path == other or rejection.path.startswith((f"{other}.", f"{other}[")):
            return msgspec.structs.replace(rejection, path=own)
    return rejection


def _own(asked: Translated) -> TranslatedRequest:
    assert isinstance(asked, TranslatedRequest), "a reply is read by the pair that wrote the request"
    return asked


class TranslatedReply:
    """A Reply (pair.py): reads the provider's events and writes them, and keeps the outcome for the record."""

    def __init__(
        self, request: TranslatedRequest, content_type: str, client: ClientSide, provider: ProviderSide
    ) -> None:
        self.outcome = Outcome()
        self._request = request
        self._provider = provider
        self._writer = client.writer(request)
        self._client = client
        self._meter = _UsageMeter(request)
        self._over = False
        nothing: list[AnswerEvent] = []
        self._body = Sniffer(content_type, self._stream, self._whole, nothing)

    def feed(self, data: bytes) -> bytes:
        # Runs for each piece of a stream, so that the reader is fed itself once it has been chosen.
        reader = self._body.reader
        return self._write(self._body.feed(data) if reader is None else reader.feed(data))

    def close(self) -> bytes:
        return self._write(self._body.close())

    def ping(self) -> bytes:
        return b"" if self._over else self._writer.ping()

    def _stream(self) -> AnswerReader:
        self._meter.has_begun = True  # the provider works on it
        return self._provider.reader(self._request)

    def _whole(self) -> AnswerReader:
        return Collected(lambda body: self._provider.read_whole(body, self._request), lambda: [_too_large()], [])

    def _write(self, events: list[AnswerEvent]) -> bytes:
        for event in events:
            # Nothing follows an end, whatever the provider still sends.
            if self._over:
                break
            self._handle(event)
        if not self._over and self._meter.size > MAX_ANSWER:
            self._handle(_too_large())
        for word in self._writer.warnings:
            self._warn(word)
        self.outcome.usage = self._meter.usage
        return self._writer.take()

    def _warn(self, word: str) -> None:
        if word not in self.outcome.warnings:
            self.outcome.warnings.append(word)

    def _handle(self, event: AnswerEvent) -> None:
        """Keeps for the record what an event tells, and has it written."""
        if isinstance(event, _DELTAS):
            self._meter.count(event.text)
            self._writer.write(event)
            return
        match event:
            case AnswerStarted():
                self.outcome.begun = self._meter.has_begun = True
                self.outcome.model = event.model
            case UsageReported():
                self._meter.report(event)
            case AnswerFinished():
                self._finish(event)
                return
            case AnswerFailed():
                self._fail(event)
                return
            case Warned(word):
                self._warn(word)
            case Keepalive():
                self.outcome.keepalive_seen = True
            case _:
                pass
        self._writer.write(event)

    def _fail(self, event: AnswerFailed) -> None:
        self._over = True
        rejection = self._client.own_words(_with_own_path(event.rejection, self._client.members))
        self.outcome.failure = rejection
        self._writer.write(AnswerFailed(rejection))

    def _finish(self, event: AnswerFinished) -> None:
        # Clients take the counts from the end of an answer.
        if not self._meter.has_report:
            self._handle(Warned("usage_missing"))
        if not self._meter.is_settled:
            usage = UsageReported(self._meter.usage or Usage())
            self._meter.report(usage)
            self._writer.write(usage)
        self._over = True
        self._writer.write(event)
        self.outcome.finish_reason = self._writer.finish_reason
        self.outcome.complete = True


def _too_large() -> AnswerFailed:
    return AnswerFailed(failure("the upstream's answer is too large", "answer_limit"))


class _UsageMeter:
    """Tokens as the provider counts them, or an estimate that is true at any moment: the client may leave at any."""

    def __init__(self, request: TranslatedRequest) -> None:
        self.has_begun = False
        self.has_report = False
        self.is_settled = False
        """The provider has counted the whole answer."""
        self.size = 0
        """UTF-8 bytes that the model has produced."""
        self._estimates = request.profile.missing_usage == "estimate"
        self._usage = request.estimated_usage

    def report(self, event: UsageReported) -> None:
        self.has_report = True
        self.is_settled = event.is_last
        self._usage = copy(event.usage)
        self._usage.service_tier = self._usage.service_tier or event.service_tier or ""

    def count(self, text: str) -> None:
        self.size += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))

    @property
    def usage(self) -> Usage | None:
        """None for an answer that has not begun, or of which nothing is known."""
        if self.is_settled:
            return self._usage
        if not self._estimates:
            return self._usage if self.has_report else None
        if not self.has_begun:
            return None
        self._usage.output_tokens = max(self._usage.output_tokens, -(-self.size // _BYTES_PER_TOKEN))
        self._usage.estimated, self._usage.reported = True, self.has_report
        return self._usage
