"""A provider's answer in the vocabulary that all dialects share.

The provider's dialect reads JSON or a stream into these events, in order; the client's dialect writes them. The union
is closed: mypy's exhaustive `match` names every writer in which an event has been forgotten.

Parts do not overlap: a part ends before the next begins, whatever the order in which the provider sent its pieces. An
answer is `AnswerStarted`, parts, `AnswerFinished`; or it is cut off by one `AnswerFailed`, which nothing follows.
"""

from typing import Any, Literal

import msgspec

from extproc.errors import Rejection
from extproc.translate.conversation import CallKind
from extproc.translate.pair import Usage

# Anthropic tells a full context window from a limit that was reached; OpenAI says `length` of both (docs/mapping.md
# 2.3, 4.6).
FinishReason = Literal["stop", "stop_sequence", "length", "context_window", "tool_calls", "refusal"]


class AnswerStarted(msgspec.Struct, frozen=True):
    id: str
    """The provider's id of the answer, or empty."""
    model: str
    """The provider's own name for the model, or empty."""
    service_tier: str | None = None
    """OpenAI's word for how the call was served."""
    usage: Usage | None = None
    """Tokens that are known already."""
    is_whole: bool = False
    """The answer came in one piece, so that what follows is known."""


class TextDelta(msgspec.Struct, frozen=True, gc=False):
    text: str


class TextEnded(msgspec.Struct, frozen=True, gc=False):
    """Text that follows is a part of its own."""


class RefusalDelta(msgspec.Struct, frozen=True, gc=False):
    """Why the model declines, in its own words."""

    text: str


class ReasoningDelta(msgspec.Struct, frozen=True, gc=False):
    text: str


class ReasoningEnded(msgspec.Struct, frozen=True):
    """What the provider wants back with this reasoning on the next turn."""

    carrier: str
    """Empty: it wants nothing back."""
    data: Any = None
    is_needed: bool = True
    """The provider may refuse the next turn without it."""


class CallStarted(msgspec.Struct, frozen=True, gc=False):
    id: str
    name: str
    """As the client declared it."""
    kind: CallKind = "function"


class ArgumentsDelta(msgspec.Struct, frozen=True, gc=False):
    """More arguments of the call that started last: JSON text, or free text for a custom call."""

    text: str


class CallEnded(msgspec.Struct, frozen=True, gc=False):
    cut: bool = False
    """The arguments end in the midst of their JSON: the model has not made this call, and no client may run it."""
    withheld: str = ""
    """Arguments of a cut call that could be taken for whole, so that no piece of them was passed on."""


class Logprobs(msgspec.Struct, frozen=True):
    """Log probabilities of the tokens of the text so far, in OpenAI's form."""

    found: tuple[Any, ...]


class Citations(msgspec.Struct, frozen=True):
    """Sources of the text so far: OpenAI's `url_citation` members. Their places count from the begin of the part."""

    found: tuple[dict[str, Any], ...]


class Compacted(msgspec.Struct, frozen=True):
    """The provider has put this in the place of the conversation so far."""

    text: str
    """A summary that others can read, or empty."""
    carrier: str
    data: Any = None


# Anthropic counts at the beginning of a stream and at its end, OpenAI once at the end, some servers with each chunk.
class UsageReported(msgspec.Struct, frozen=True):
    """Counts are cumulative: the last ones win."""

    usage: Usage
    service_tier: str | None = None
    is_last: bool = True
    """False: the answer goes on, so that its own tokens are not counted yet."""


class Warned(msgspec.Struct, frozen=True, gc=False):
    """Something of the answer could not be carried over, as `action:path` or one word."""

    word: str


class Keepalive(msgspec.Struct, frozen=True, gc=False):
    """The provider has shown that it is alive."""


class AnswerFinished(msgspec.Struct, frozen=True, gc=False):
    """The answer is complete. A cut call never ends with `tool_calls`."""

    reason: FinishReason
    stop_sequence: str | None = None
    """The string that matched."""
    explanation: str | None = None
    """Why the model refused."""
    category: str | None = None
    """The category of a refusal, if the provider names one."""


class AnswerFailed(msgspec.Struct, frozen=True):
    """The answer is not complete, and the client must be told so."""

    rejection: Rejection


AnswerEvent = (
    AnswerStarted
    | TextDelta
    | TextEnded
    | RefusalDelta
    | ReasoningDelta
    | ReasoningEnded
    | CallStarted
    | ArgumentsDelta
    | CallEnded
    | Logprobs
    | Citations
    | Compacted
    | UsageReported
    | Warned
    | Keepalive
    | AnswerFinished
    | AnswerFailed
)
