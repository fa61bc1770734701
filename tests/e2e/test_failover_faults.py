"""Each fault of a first provider, through the real Envoy: the client gets the whole answer of the second one in its own
dialect, and the second provider gets nothing of the first one's."""

import asyncio
import contextlib
import itertools
import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import anthropic.types
import httpx
import openai.types.chat
import openai.types.responses
import pytest
import yaml
from pydantic import TypeAdapter

from tests.anthropic_types import check_messages_request
from tests.e2e import failing_providers as faults
from tests.e2e.dialect_answers import DIALECTS, NAMES
from tests.e2e.failing_providers import SECONDS_TOKENS, SECRET, FailingProviders, Play, Received, another
from tests.e2e.prometheus import Scrape, scraped
from tests.e2e.stack import SECONDS, Json, Line, Stack, free_port, up
from tests.openai_types import check_chat_request, check_responses_request


@dataclass(frozen=True)
class Fault:
    """What the first provider does."""

    play: Play
    on_record: str
    """A regular expression for what is on record of it."""
    on: str = ""
    """What `failover.on` has beside its default."""


PLAIN = "500 Internal Server Error"
FAULTS: dict[str, Fault] = {
    # Envoy begins the attempt's stage while it connects, unless the connection is refused at once.
    "refused": Fault(faults.works, "(unreachable|no_answer)"),
    "reset": Fault(faults.resets, "no_answer"),
    "closed": Fault(faults.closes, "no_answer"),
    "reset-after-headers": Fault(faults.resets_after_headers, "no_answer"),
    "no-headers": Fault(faults.says_nothing, "no_answer"),
    "silent": Fault(faults.falls_silent, "no_answer"),
    "429": Fault(faults.answers("429 Too Many Requests"), "429"),
    "429-retry-after": Fault(faults.answers("429 Too Many Requests", "retry-after: 30"), "429"),
    "500": Fault(faults.answers(PLAIN), "500"),
    "529": Fault(faults.answers("529 Overloaded"), "529"),
    "401": Fault(faults.answers("401 Unauthorized"), "401", on="401"),
    "403": Fault(faults.answers("403 Forbidden"), "403", on="403"),
    "404": Fault(faults.answers("404 Not Found"), "404", on="404"),
    "html": Fault(faults.html, "200 false_success"),
    "empty": Fault(faults.empty, "200 false_success"),
    "truncated": Fault(faults.truncated, "200 false_success"),
    "cut": Fault(faults.cut, "no_answer"),
    "error-event": Fault(faults.error_event, "200 false_success"),
    "overflow": Fault(faults.overflows, "400 context_overflow", on="context_overflow"),
    "refusal": Fault(faults.refuses, "200 refusal", on="refusal"),
    "worded-refusal": Fault(faults.refuses_in_words, "200 refusal", on="refusal"),
}
FORMS = ("whole", "stream")
SILENT = ("no-headers", "silent")
DEFAULT_ON = ["connect", "reset", "timeout", "429", "5xx", "529", "false_success"]
MODEL_HEADERS = {
    "host", "content-type", "content-length", "accept", "accept-encoding", "user-agent", "x-request-id",
}  # fmt: skip
# None of these reaches a provider, nor has a say in who is asked.
CLIENTS_HEADERS = {
    "anthropic-version": "2023-06-01",
    "cookie": "a=b",
    "x-app": "cli",
    "x-envoy-max-retries": "0",
    "x-envoy-upstream-rq-per-try-timeout-ms": "1",
    "x-envoy-attempt-count": "7",
    "x-extproc-attempt": "2",
    "x-extproc-handover": "AAAA",
    "x-extproc-move-on": "yes",
}


@dataclass(frozen=True)
class Case:
    fault: str
    first: str
    client: str
    form: str

    def __str__(self) -> str:
        return f"{self.fault}.{self.first}.{self.client}.{self.form}"

    @property
    def first_provider(self) -> str:
        if self.fault == "refused":
            return f"refused-{self.first}"
        # A 429 that says how long leaves the provider out of other calls, too.
        own = f"{self.client}-{self.form}-" if self.fault == "429-retry-after" else ""
        return f"first-{own}{self.first}"

    @property
    def second_provider(self) -> str:
        return f"second-{another(self.first)}"

    @property
    def body(self) -> Json:
        model, stream = str(self), self.form == "stream"
        if self.client == "responses":
            return {"model": model, "input": "hello", "stream": stream}
        asked: Json = {"model": model, "messages": [{"role": "user", "content": "hello"}], "stream": stream}
        return asked | ({"max_tokens": 100} if self.client == "messages" else {})


CASES = [Case(*one) for one in itertools.product(FAULTS, NAMES, NAMES, FORMS)]


def configuration(providers: FailingProviders, metrics_port: int, gone: int) -> str:
    """`gone`: a port that nothing listens on."""
    urls = {name: providers.url(name) for name in providers.ports}
    urls |= {f"refused-{dialect}": f"http://127.0.0.1:{gone}/v1" for dialect in NAMES}
    written = {
        name: {
            "dialects": [name.rpartition("-")[2]],
            "base_url": url,
            "api_key": {"env": variable(name)},
            "outliers": {"failures": 1_000_000},
        }
        for name, url in urls.items()
    }
    # One that says how long it is busy comes first, for the first entry that fits counts.
    models: dict[str, Json] = {}
    for case in CASES:
        alone = case.fault == "429-retry-after"
        name = str(case) if alone else f"{case.fault}.{case.first}.*"
        models[name] = {
            "name": name,
            "providers": [{"provider": case.first_provider}, {"provider": case.second_provider}],
            "failover": {
                "per_try_timeout": 2 if case.fault in SILENT else 20,
                "on": DEFAULT_ON + list(filter(None, [FAULTS[case.fault].on])),
            },
        }
    rest: Json = {
        "authentication": {
            "jwt": [{"issuer": "claude-code-lab", "audiences": ["anthropic-api"], "jwks": {"file": "keys/jwks.json"}}]
        },
        "metrics": {"port": metrics_port},
        "workers": 2,
    }
    return yaml.safe_dump(rest | {"providers": written, "models": list(models.values())}, sort_keys=False)


def variable(provider: str) -> str:
    return "KEY_" + provider.replace("-", "_").upper()


@dataclass(frozen=True)
class Matrix:
    """All calls, made."""

    stack: Stack
    metrics: str
    answers: dict[Case, httpx.Response]
    received: dict[str, list[Received]]
    providers: FailingProviders

    def lines(self, case: Case) -> list[Json]:
        """The call's lines of the access log, once there is one."""
        self.stack.record_where(lambda line: line["gen_ai.request.model"] == str(case))
        logged = (Line(json.loads(line)) for line in self.stack.out.seen if line.startswith("{"))
        return [line for line in logged if line["gen_ai.request.model"] == str(case)]


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    names = {case.first_provider for case in CASES if case.fault != "refused"} | {c.second_provider for c in CASES}
    failing = FailingProviders({name: fault.play for name, fault in FAULTS.items()})
    with failing.serving(*sorted(names)) as providers, socket.socket() as bound:
        # It is bound, so that nobody else takes it, and does not listen.
        bound.bind(("127.0.0.1", 0))
        port = free_port()
        config = configuration(providers, port, bound.getsockname()[1])
        keys = {variable(name): providers.key(name) for name in [*names, *(f"refused-{d}" for d in NAMES)]}
        with up(tmp_path_factory.mktemp("failover"), environ=keys, config=config) as stack:
            answers = asyncio.run(all_calls(stack))
            yield Matrix(stack, f"http://127.0.0.1:{port}/metrics", answers, providers.received, providers)


async def all_calls(stack: Stack) -> dict[Case, httpx.Response]:
    headers = CLIENTS_HEADERS | {"authorization": f"Bearer {stack.good_token}"}
    room = asyncio.Semaphore(24)

    async def made(case: Case) -> httpx.Response:
        async with room if case.fault not in SILENT else contextlib.nullcontext():
            return await client.post(stack.url + DIALECTS[case.client].path, json=case.body, headers=headers)

    async with httpx.AsyncClient(timeout=SECONDS, verify=False) as client:
        return dict(zip(CASES, await asyncio.gather(*map(made, CASES)), strict=True))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_second_provider_answers(matrix: Matrix, case: Case) -> None:
    answer = matrix.answers[case]
    assert answer.status_code == 200, answer.text
    found = read_whole(case.client, answer.json()) if case.form == "whole" else read_stream(case.client, answer.text)
    assert found == (f"said by {case.second_provider}", SECONDS_TOKENS)
    assert SECRET not in f"{answer.headers}{answer.text}"
    assert answer.headers["content-type"].startswith("application/json" if case.form == "whole" else "text/event-")
    assert not {name for name in answer.headers if name.startswith(("x-envoy", "x-extproc", "x-secret"))}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_gets_nothing_of_the_first_ones(matrix: Matrix, case: Case) -> None:
    asked = matrix.received[str(case)]
    expected = [case.second_provider] if case.fault == "refused" else [case.first_provider, case.second_provider]
    assert [request.provider for request in asked] == expected
    for request in asked:
        is_own(matrix.providers, request, case)


def is_own(providers: FailingProviders, request: Received, case: Case) -> None:
    name = request.provider
    dialect = name.rpartition("-")[2]
    key_header = DIALECTS[dialect].key_header
    headers = dict(request.headers)
    assert len(headers) == len(request.headers)
    allowed = MODEL_HEADERS | {key_header} | ({"anthropic-version"} if dialect == "messages" else set())
    assert set(headers) == allowed
    assert headers[key_header] == ("Bearer " if key_header == "authorization" else "") + providers.key(name)
    assert headers["host"] == f"127.0.0.1:{providers.ports[name]}"
    assert headers["accept"] == ("text/event-stream" if case.form == "stream" else "application/json")
    assert request.path == f"/at-{name}" + DIALECTS[dialect].path
    CHECKS[dialect](request.json)


CHECKS = {"messages": check_messages_request, "chat": check_chat_request, "responses": check_responses_request}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_call_is_on_record_once(matrix: Matrix, case: Case) -> None:
    [line] = matrix.lines(case)
    assert line["gen_ai.provider.name"] == case.second_provider
    assert (line["http.status"], line["reason"], line["gen_ai.upstream.model"]) == (200, None, str(case))
    first, second = line["attempts"].split("; ")
    assert re.match(f"{case.first_provider} {FAULTS[case.fault].on_record}", first)
    assert second.startswith(f"{case.second_provider} 200")
    assert (line["gen_ai.usage.input_tokens"], line["gen_ai.usage.output_tokens"]) == SECONDS_TOKENS
    assert SECRET not in json.dumps(line)


def test_no_call_is_counted_twice(matrix: Matrix) -> None:
    def all_counted(scrape: Scrape) -> bool:
        return scrape.total("gen_ai_server_request_duration_seconds_count") >= len(CASES)

    scrape = scraped(matrix.metrics, all_counted)
    assert scrape.total("gen_ai_server_request_duration_seconds_count") == len(CASES)
    tokens = "gen_ai_client_token_usage_sum"
    assert scrape.total(tokens, gen_ai_token_type="input") == SECONDS_TOKENS[0] * len(CASES)
    assert scrape.total(tokens, gen_ai_token_type="output") == SECONDS_TOKENS[1] * len(CASES)


def test_no_key_is_told(matrix: Matrix) -> None:
    told = matrix.stack.printed + "".join(answer.text for answer in matrix.answers.values())
    assert "sk-key-of-" not in told and SECRET not in told and matrix.stack.good_token not in told


# The vendors' own types. They take unknown members, and what they require must be there.
_MESSAGE = TypeAdapter(anthropic.types.Message)
_MESSAGE_EVENT: TypeAdapter[object] = TypeAdapter(anthropic.types.RawMessageStreamEvent)
_COMPLETION = TypeAdapter(openai.types.chat.ChatCompletion)
_CHUNK = TypeAdapter(openai.types.chat.ChatCompletionChunk)
_RESPONSE = TypeAdapter(openai.types.responses.Response)
_RESPONSE_EVENT: TypeAdapter[object] = TypeAdapter(openai.types.responses.ResponseStreamEvent)


def read_whole(client: str, body: Json) -> tuple[str, tuple[int, int]]:
    """Text and tokens of an answer. Raises pydantic.ValidationError for one that is not of the client's dialect."""
    match client:
        case "messages":
            message = _MESSAGE.validate_python(body)
            assert message.stop_reason == "end_turn"
            [block] = message.content
            assert isinstance(block, anthropic.types.TextBlock)
            return block.text, (message.usage.input_tokens, message.usage.output_tokens)
        case "chat":
            completion = _COMPLETION.validate_python(body)
            [choice] = completion.choices
            assert choice.finish_reason == "stop" and completion.usage is not None
            return choice.message.content or "", (completion.usage.prompt_tokens, completion.usage.completion_tokens)
        case _:
            response = _RESPONSE.validate_python(_with_every_count(body))
            assert response.status == "completed" and response.usage is not None
            return response.output_text, (response.usage.input_tokens, response.usage.output_tokens)


def read_stream(client: str, text: str) -> tuple[str, tuple[int, int]]:
    """As `read_whole`, for events; the tokens of a Chat client that has not asked for them are those it would get."""
    data = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    if client == "chat":
        assert data.pop() == "[DONE]"
        chunks = [_CHUNK.validate_json(one) for one in data]
        choices = [choice for chunk in chunks for choice in chunk.choices]
        assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["stop"]
        return "".join(choice.delta.content or "" for choice in choices), SECONDS_TOKENS
    events: list[Json] = [json.loads(one) for one in data]
    if client == "messages":
        for event in events:
            _MESSAGE_EVENT.validate_python(event)
        assert [events[0]["type"], events[-1]["type"]] == ["message_start", "message_stop"]
        assert [event["type"] for event in events].count("message_start") == 1
        deltas = [event["delta"]["text"] for event in events if event["type"] == "content_block_delta"]
        usage = events[0]["message"]["usage"]
        usage |= next(event["usage"] for event in events if event["type"] == "message_delta")
        return "".join(deltas), (usage["input_tokens"], usage["output_tokens"])
    for event in events:
        _with_every_count(event.get("response", {}))
        _RESPONSE_EVENT.validate_python(event)
    assert [events[0]["type"], events[-1]["type"]] == ["response.created", "response.completed"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    deltas = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
    usage = events[-1]["response"]["usage"]
    return "".join(deltas), (usage["input_tokens"], usage["output_tokens"])


def _with_every_count(response: Json) -> Json:
    """OpenAI's newest types want a count that servers leave out, and its clients do without."""
    if response.get("usage"):
        response["usage"]["input_tokens_details"].setdefault("cache_write_tokens", 0)
    return response
