"""Tokens counted by the upstream: `count_tokens` of a profile names who is asked (mapping 5.6)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from extproc.errors import Rejection
from extproc.translate import want
from extproc.translate.count_reply import CountReply
from extproc.translate.dialects import messages
from extproc.translate.dialects import responses as responses_dialect
from extproc.translate.dialects.messages.write_request import write_count_request
from extproc.translate.failures import failure
from extproc.translate.for_messages.asked import Asked
from extproc.translate.for_messages.draft import Draft
from extproc.translate.for_messages.pairs import MessagesPair
from extproc.translate.messages_on_chat import request as chat
from extproc.translate.messages_on_chat.draft import ChatDraft
from extproc.translate.messages_on_responses import request as responses
from extproc.translate.messages_on_responses.draft import ResponsesDraft
from extproc.translate.openai_upstream.errors import reported
from extproc.translate.pair import Json, Pair, Reply, Target, Translated
from extproc.translate.translated import TranslatedPair

_COUNTED_BY_OPENAI = (
    "model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text",
)  # fmt: skip


def counted(input_tokens: int, body: Json) -> Json:
    """The answer to a request for a count."""
    answer: Json = {"input_tokens": input_tokens}
    if body.get("context_management"):
        answer["context_management"] = {"original_input_tokens": input_tokens}
    return answer


Make = Callable[[Json, Target], tuple[Draft, Json]]


class AskedForCount(Asked, frozen=True, kw_only=True, tag="count"):
    client: Json
    """What of the client's body the answer depends on."""


class Counter(MessagesPair):
    """`make`: the upstream's body. `member`: of the upstream's answer."""

    def __init__(self, path: str, make: Make, member: str, *, root: bool) -> None:
        self._path = path
        self._make = make
        self._member = member
        self._root = root

    def request(self, body: Json, to: Target) -> Translated | Rejection:
        return want.attempt(lambda: self._asked(body, to))

    def read(self, asked: Asked, content_type: str) -> Reply:
        assert isinstance(asked, AskedForCount)
        return CountReply(
            content_type,
            self._member,
            lambda tokens: counted(tokens, asked.client),
            lambda value: reported(value, asked.profile, "the upstream did not count the tokens"),
        )

    def _asked(self, body: Json, to: Target) -> AskedForCount:
        draft, upstream = self._make(body, to)
        return AskedForCount(
            path=self._path,
            root=self._root,
            body=msgspec.json.encode(upstream),
            stream=False,
            model=body["model"],
            warnings=draft.warnings.items,
            profile=draft.profile,
            nonce=to.nonce,
            original_names={},
            toolsets={},
            client={"context_management": bool(body.get("context_management"))},
        )


def _for_openai(body: Json, to: Target) -> tuple[Draft, Json]:
    draft = ResponsesDraft(body, to, counting=True)
    responses.compose(draft)
    return draft, {name: draft.upstream[name] for name in _COUNTED_BY_OPENAI if name in draft.upstream}


def _for_vllm(body: Json, to: Target) -> tuple[Draft, Json]:
    draft = ChatDraft(body, to, counting=True)
    chat.compose(draft)
    kept: Json = {name: draft.upstream[name] for name in ("model", "messages", "tools") if name in draft.upstream}
    return draft, {**kept, "add_generation_prompt": True}


COUNTERS: dict[str, Counter] = {
    "responses": Counter("/responses/input_tokens", _for_openai, "input_tokens", root=False),
    # vLLM serves it beside `/v1`: https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
    "vllm": Counter("/tokenize", _for_vllm, "count", root=True),
}


class InputTokensOnMessages(TranslatedPair):
    """`/v1/responses/input_tokens` answered by Anthropic's count of tokens."""

    def __init__(self) -> None:
        super().__init__(responses_dialect.CLIENT, replace(messages.PROVIDER, write_request=write_count_request))

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
