"""A request's tokens: estimated here without asking any model, or counted by the provider (docs/mapping.md 5.6)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from extproc.errors import Rejection
from extproc.providers.profiles import Profile
from extproc.translate import checked
from extproc.translate.answer_body import Reader, Sniffer, WholeReply
from extproc.translate.checked import Warnings
from extproc.translate.dialects import chat, messages, responses
from extproc.translate.dialects.messages.read_request import read_request
from extproc.translate.dialects.messages.write_request import write_count_request
from extproc.translate.openai_errors import refused, reported
from extproc.translate.pair import Headers, Json, Pair, Refusal, Reply, Target, Translated, Usage
from extproc.translate.provider_error import failure
from extproc.translate.response_headers import for_messages_client
from extproc.translate.translated import TranslatedPair
from extproc.wire import Dialect, untrusted
from extproc.wire.lenient import Undecodable, count, loads
from extproc.wire.media_tokens import BYTES_PER_TOKEN, image_tokens, pdf_tokens

# Its role and the marks around it.
PER_MESSAGE = 4


@checked.returns_rejections
def estimate(body: Json, to: Target, dialect: Dialect = "chat") -> int:
    """Tokens of a Messages request as a provider of this dialect would get it; refuses what translation would."""
    upstream = request_to_count(body, to, dialect, Warnings(to.profile.strictness))
    return math.ceil(_tokens(upstream, len(body["messages"])) * to.profile.estimate_factor)


def request_to_count(body: Json, to: Target, dialect: Dialect, warnings: Warnings) -> Json:
    """The provider's request for a Messages client's, without what only steers the answer. Raises Refused."""
    conversation = read_request(body, to, warnings, counting=True)
    provider = responses.PROVIDER if dialect == "responses" else chat.PROVIDER
    written: Json = untrusted.decode(provider.write_request(conversation, to, warnings).body)
    return written


def _tokens(upstream: Json, messages: int) -> int:
    counted = _Count()
    counted.text(upstream.get("instructions", ""))
    for message in upstream.get("messages", ()):
        counted.message(message)
    for item in upstream.get("input", ()):
        counted.item(item)
    if functions := upstream.get("tools"):
        counted.size += len(msgspec.json.encode(functions))
    return math.ceil(counted.size / BYTES_PER_TOKEN) + counted.extra + PER_MESSAGE * messages


class _Count:
    """Bytes of text, and tokens of what is no text."""

    def __init__(self) -> None:
        self.size = 0
        self.extra = 0

    def message(self, message: Json) -> None:
        self.content(message["content"])
        for call in message.get("tool_calls", ()):
            self.text(call["function"]["name"])
            self.text(call["function"]["arguments"])
        for key in ("reasoning_content", "reasoning"):
            self.text(message.get(key, ""))

    def item(self, item: Json) -> None:
        """Adds an item of a Responses request. What is encrypted has a size of its own, which nobody here knows."""
        for member in ("content", "output", "summary"):
            self.content(item.get(member))
        for member in ("name", "arguments"):
            self.text(item.get(member, ""))

    def content(self, content: Any) -> None:
        if isinstance(content, str):
            self.text(content)
        for part in content if isinstance(content, list) else ():
            self.part(part)

    def text(self, text: str) -> None:
        self.size += len(text.encode())

    def part(self, part: Json) -> None:
        match part["type"]:
            case "text" | "input_text" | "summary_text":
                self.text(part["text"])
            case "image_url":
                self.extra += image_tokens(part["image_url"]["url"])
            case "input_image":
                self.extra += image_tokens(part["image_url"])
            case "file":
                self.extra += pdf_tokens(part["file"].get("file_data"))
            case "input_file":
                self.extra += pdf_tokens(part.get("file_data"))
            case _:  # Mistral's thinking
                self.content(part.get("thinking"))


# Counted by the provider: `count_tokens` of a profile names who is asked.

# https://platform.openai.com/docs/api-reference/responses/input-tokens
_COUNTED_BY_OPENAI = (
    "model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text",
)  # fmt: skip
_COUNTED_BY_VLLM = ("model", "messages", "tools")


def counted(input_tokens: int, body: Json) -> Json:
    """The answer to a request for a count."""
    answer: Json = {"input_tokens": input_tokens}
    # Anthropic tells what the count was before edits; here none is carried out:
    # https://platform.claude.com/docs/en/build-with-claude/token-counting.
    if body.get("context_management"):
        answer["context_management"] = {"original_input_tokens": input_tokens}
    return answer


class CountRequest(Translated, frozen=True, kw_only=True, tag="count"):
    profile: Profile
    client: Json
    """What of the client's body the answer depends on."""


class CountReply(WholeReply):
    """The answer of a provider that counted: a number, which each dialect names in its own way."""

    def __init__(
        self, content_type: str, member: str, write: Callable[[int], Json], refuse: Callable[[Any], Rejection]
    ) -> None:
        """`member`: of the provider's answer. `write`: the client's answer. `refuse`: JSON without a count."""
        super().__init__(Sniffer(content_type, self._whole, self._whole, b""))
        self._member = member
        self._write = write
        self._refuse = refuse

    def _whole(self) -> Reader[bytes]:
        return self.collected(self._read, "the upstream's answer is too large")

    def _read(self, body: bytes) -> bytes:
        try:
            value = loads(body)
        except Undecodable:
            return self.fail(failure("the upstream's answer cannot be read", "unreadable_answer"))
        tokens = count(value.get(self._member)) if isinstance(value, dict) else None
        if tokens is None:
            return self.fail(self._refuse(value))
        self.outcome.usage = Usage(input_tokens=tokens)
        self.outcome.complete = True
        return msgspec.json.encode(self._write(tokens))


@dataclass(frozen=True, kw_only=True)
class Counter:
    """A Pair (pair.py) whose provider counts."""

    path: str
    root: bool = False
    """The path is beside the base URL's `/v1`, not below it."""
    dialect: Dialect
    """What the request that is counted asks for."""
    members: tuple[str, ...]
    """Those that are sent."""
    more: Json = field(default_factory=dict)
    """Members that are sent besides."""
    count: str
    """The member of the answer."""

    @checked.returns_rejections
    def request(self, body: Json, to: Target) -> CountRequest:
        warnings = Warnings(to.profile.strictness)
        upstream = request_to_count(body, to, self.dialect, warnings)
        kept = {name: upstream[name] for name in self.members if name in upstream}
        return CountRequest(
            path=self.path,
            root=self.root,
            body=msgspec.json.encode({**kept, **self.more}),
            stream=False,
            model=body["model"],
            warnings=warnings.items,
            profile=to.profile,
            client={"context_management": bool(body.get("context_management"))},
        )

    def reply(self, asked: Translated, content_type: str) -> Reply:
        request = _own(asked)
        return CountReply(
            content_type,
            self.count,
            lambda tokens: counted(tokens, request.client),
            lambda value: reported(value, request.profile, "the upstream did not count the tokens"),
        )

    def error(self, asked: Translated, status: int, headers: Headers, body: bytes, now: float) -> Refusal:
        rejection = refused(status, body, _own(asked).profile)
        return Refusal(rejection=rejection, headers=self.headers(headers, now) | dict(rejection.headers))

    def headers(self, headers: Headers, now: float) -> dict[str, str]:
        return for_messages_client(headers, now)


def _own(asked: Translated) -> CountRequest:
    assert isinstance(asked, CountRequest), "a reply is read by the pair that wrote the request"
    return asked


COUNTERS: dict[str, Counter] = {
    "responses": Counter(
        path="/responses/input_tokens", dialect="responses", members=_COUNTED_BY_OPENAI, count="input_tokens"
    ),
    # vLLM serves it beside `/v1`: https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
    "vllm": Counter(
        path="/tokenize",
        root=True,
        dialect="chat",
        members=_COUNTED_BY_VLLM,
        # What the chat template writes before an answer is part of the prompt, too.
        more={"add_generation_prompt": True},
        count="count",
    ),
}


class InputTokensOnMessages(TranslatedPair):
    """`/v1/responses/input_tokens` answered by Anthropic's count of tokens."""

    def __init__(self) -> None:
        super().__init__(responses.CLIENT, replace(messages.PROVIDER, write_request=write_count_request))

    def reply(self, asked: Translated, content_type: str) -> Reply:
        return CountReply(content_type, "input_tokens", _input_tokens, _uncounted)


def _input_tokens(tokens: int) -> Json:
    return {"object": "response.input_tokens", "input_tokens": tokens}


def _uncounted(_: Any) -> Rejection:
    return failure("the upstream did not count the tokens", "unreadable_answer")


input_tokens_on_messages = InputTokensOnMessages()


def counter_for(client: str, strategy: str, provider: Sequence[str]) -> Pair | None:
    """Returns the pair that has tokens counted where the provider does not speak the client's dialect, or None.
    `strategy`: the profile's `count_tokens`."""
    if client == "responses":
        return input_tokens_on_messages if "messages" in provider else None
    return COUNTERS.get(strategy)
