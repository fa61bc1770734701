"""Tokens counted by the upstream: `count_tokens` of a profile names who is asked (mapping 5.6)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from extproc.errors import Rejection
from extproc.providers.profiles import Profile
from extproc.translate import want
from extproc.translate.count import request_to_count
from extproc.translate.dialects import messages, responses
from extproc.translate.dialects.messages.write_request import write_count_request
from extproc.translate.openai_error_kinds import refused, reported
from extproc.translate.pair import Headers, Json, Outcome, Pair, Refusal, Reply, Target, Translated, Usage
from extproc.translate.provider_error import failure
from extproc.translate.response_headers import for_messages_client
from extproc.translate.sniff import Collected, Reader, Sniffer
from extproc.translate.translated import TranslatedPair
from extproc.translate.warnings import Warnings
from extproc.wire import Dialect
from extproc.wire.lenient import Undecodable, count, loads

_COUNTED_BY_OPENAI = (
    "model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text",
)  # fmt: skip
_COUNTED_BY_VLLM = ("model", "messages", "tools")


def counted(input_tokens: int, body: Json) -> Json:
    """The answer to a request for a count."""
    answer: Json = {"input_tokens": input_tokens}
    if body.get("context_management"):
        answer["context_management"] = {"original_input_tokens": input_tokens}
    return answer


class CountRequest(Translated, frozen=True, kw_only=True, tag="count"):
    profile: Profile
    client: Json
    """What of the client's body the answer depends on."""


class CountReply:
    """The answer of a provider that counted: a number, which each dialect names in its own way. A Reply (pair.py)."""

    def __init__(
        self, content_type: str, member: str, write: Callable[[int], Json], refuse: Callable[[Any], Rejection]
    ) -> None:
        """`member`: of the provider's answer. `write`: the client's answer. `refuse`: JSON without a count."""
        self.outcome = Outcome()
        self._member = member
        self._write = write
        self._refuse = refuse
        self._body = Sniffer(content_type, self._whole, self._whole)

    def feed(self, data: bytes) -> bytes:
        return self._body.feed(data)

    def close(self) -> bytes:
        return self._body.close()

    def ping(self) -> bytes:
        return b""

    def _whole(self) -> Reader:
        too_large = failure("the upstream's answer is too large", "answer_limit")
        return Collected(self._read, lambda: self._fail(too_large))

    def _read(self, body: bytes) -> bytes:
        try:
            value = loads(body)
        except Undecodable:
            return self._fail(failure("the upstream's answer cannot be read", "unreadable_answer"))
        tokens = count(value.get(self._member)) if isinstance(value, dict) else None
        if tokens is None:
            return self._fail(self._refuse(value))
        self.outcome.usage = Usage(input_tokens=tokens)
        self.outcome.complete = True
        return msgspec.json.encode(self._write(tokens))

    def _fail(self, rejection: Rejection) -> bytes:
        """Nothing has gone out, so that the status says it."""
        self.outcome.failure = rejection
        return b""


@dataclass(frozen=True, kw_only=True)
class Counter:
    """A Pair (pair.py) whose provider counts."""

    path: str
    root: bool = False
    """The path is beside the base URL's `/v1`, not below it."""
    dialect: Dialect
    """Of the request that is counted."""
    members: tuple[str, ...]
    """Those that are sent."""
    more: Json = field(default_factory=dict)
    """Members that are sent besides."""
    count: str
    """The member of the answer."""

    def request(self, body: Json, to: Target) -> Translated | Rejection:
        return want.attempt(lambda: self._translate(body, to))

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

    def _translate(self, body: Json, to: Target) -> CountRequest:
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
    """Who counts where the provider does not speak the client's dialect; `strategy`: of the profile. None: nobody."""
    if client == "responses":
        return input_tokens_on_messages if "messages" in provider else None
    return COUNTERS.get(strategy)
