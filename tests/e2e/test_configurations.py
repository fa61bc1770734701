"""The configurations of examples/ as docs/examples.md shows them: one provider and three, every client, every route."""

import json
from collections.abc import Callable, Iterator

import anthropic
import httpx
import openai
import pytest
import yaml

from tests.e2e.providers import ANTHROPIC_KEY, EXAMPLES, VERSION, Providers, chat, example, headers_of, line_of
from tests.e2e.stack import PROVIDER_KEY, SECONDS, Json, Stack, free_port, text_of

PINNED = yaml.safe_load((EXAMPLES / "anthropic.yaml").read_text())["models"][0]["model"]
ASKED = {"messages": [{"role": "user", "content": "demo: say bonjour"}]}


@pytest.fixture(scope="module")
def as_chat(tmp_path_factory: pytest.TempPathFactory, providers: Providers) -> Iterator[Stack]:
    with example(tmp_path_factory.mktemp("as-chat"), "anthropic-as-chat", providers.environ) as running:
        yield running


def check_message(stack: Stack, answer: httpx.Response) -> None:
    message = answer.json()
    assert answer.status_code == 200, message
    assert (message["type"], message["role"], message["model"]) == ("message", "assistant", PINNED)
    assert (text_of(message), message["stop_reason"]) == ("bonjour", "end_turn")
    check_record(stack, answer, "messages", "end_turn", message["usage"]["input_tokens"])


def check_completion(stack: Stack, answer: httpx.Response) -> None:
    completion = answer.json()
    assert answer.status_code == 200, completion
    assert (completion["object"], completion["model"]) == ("chat.completion", PINNED)
    [choice] = completion["choices"]
    assert choice["message"] == {"role": "assistant", "content": "bonjour", "refusal": None}
    assert (choice["index"], choice["finish_reason"]) == (0, "stop")
    usage = completion["usage"]
    assert usage["prompt_tokens"] > 0 and usage["completion_tokens"] > 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    check_record(stack, answer, "chat", "stop", usage["prompt_tokens"])


def check_record(stack: Stack, answer: httpx.Response, endpoint: str, reason: str, tokens: int) -> None:
    line = stack.record(answer)
    assert (line["reason"], line["endpoint"], line["http.status"]) == (None, endpoint, 200)
    assert (line["gen_ai.provider.name"], line["gen_ai.response.model"]) == ("anthropic", PINNED)
    assert (line["gen_ai.usage.input_tokens"], line["gen_ai.response.finish_reasons"]) == (tokens, reason)
    assert line["jwt.sub"] == "developer@acme.example"


@pytest.mark.parametrize("path", ["/v1/messages", "/anthropic", "/anthropic/v1/messages"])
@pytest.mark.parametrize("named", [{"model": ""}, {}, {"model": "gpt-4o"}], ids=["empty", "none", "another"])
def test_messages_of_a_pinned_model(one_claude: Stack, providers: Providers, named: Json, path: str) -> None:
    with providers.asking("anthropic") as asked:
        answer = one_claude.call({**named, **ASKED}, path=path)
    check_message(one_claude, answer)
    assert json.loads(asked[0]["body"]) == {**ASKED, "model": PINNED, "max_tokens": 1024}
    assert asked[0]["path"] == "/v1/messages" and headers_of(asked[0])["x-api-key"] == ANTHROPIC_KEY


def test_who_names_a_limit_keeps_it(one_claude: Stack, providers: Providers) -> None:
    with providers.asking("anthropic") as asked:
        check_message(one_claude, one_claude.call({"model": "", "max_tokens": 77, **ASKED}))
    assert json.loads(asked[0]["body"])["max_tokens"] == 77


def test_tokens_are_counted_at_the_pinned_model(one_claude: Stack, providers: Providers) -> None:
    """A limit by default is for messages: the provider refuses to count with one."""
    with providers.asking("anthropic") as asked:
        answer = one_claude.call({"model": "", **ASKED}, path="/v1/messages/count_tokens")
    assert json.loads(asked[0]["body"]) == {**ASKED, "model": PINNED}
    assert answer.json() == {"input_tokens": len(asked[0]["body"]) // 4}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/anthropic/v1/chat/completions"])
def test_chat_of_a_pinned_model(one_claude: Stack, providers: Providers, path: str) -> None:
    with providers.asking("anthropic") as asked:
        check_completion(one_claude, chat(one_claude, {"model": "", **ASKED}, path=path))
    assert asked[0]["path"] == "/v1/messages"
    sent = json.loads(asked[0]["body"])
    assert (sent["model"], sent["max_tokens"]) == (PINNED, 1024)


@pytest.mark.parametrize("path", ["/anthropic", "/anthropic/v1/chat/completions", "/v1/chat/completions"])
def test_the_same_place_as_chat(as_chat: Stack, path: str) -> None:
    check_completion(as_chat, chat(as_chat, {"model": "", **ASKED}, path=path))


@pytest.mark.parametrize("path", ["/anthropic/v1/messages", "/v1/messages"])
def test_below_it_messages_are_still_served(as_chat: Stack, path: str) -> None:
    check_message(as_chat, as_chat.call({"model": "", **ASKED}, path=path))


def test_its_refusals_are_openais(as_chat: Stack) -> None:
    answer = chat(as_chat, {"model": "", **ASKED}, path="/anthropic", token=as_chat.token(team="marketing"))
    assert answer.status_code == 403
    assert set(answer.json()) == {"error"} and set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert as_chat.record(answer)["reason"] == "Authorization"


BY_MODEL = {"claude-opus-5": "anthropic", "gpt-4o-mini": "openai", "qwen3-32b": "local"}
KEYS = {"anthropic": ("x-api-key", ANTHROPIC_KEY), "openai": ("authorization", f"Bearer {PROVIDER_KEY}")}


def check_asked(request: Json, model: str) -> None:
    """The right model at the right address with the right credential, which is never the client's."""
    provider, headers = BY_MODEL[model], headers_of(request)
    assert request["path"] == ("/v1/messages" if provider == "anthropic" else "/v1/chat/completions")
    assert json.loads(request["body"])["model"] == model
    credentials = {name: headers[name] for name in ("x-api-key", "authorization") if name in headers}
    assert credentials == dict([KEYS[provider]] if provider in KEYS else [])
    assert headers.get("anthropic-version") == (VERSION if provider == "anthropic" else None)


@pytest.mark.parametrize("model", BY_MODEL)
def test_anthropics_sdk_reaches_every_provider(three: Stack, providers: Providers, model: str) -> None:
    with (
        anthropic.Anthropic(base_url=three.url, auth_token=three.good_token, max_retries=0, timeout=SECONDS) as client,
        providers.asking(BY_MODEL[model]) as asked,
    ):
        message = client.messages.create(
            model=model, max_tokens=100, messages=[{"role": "user", "content": "demo: say hi"}]
        )
    assert [block.to_dict()["text"] for block in message.content] == ["hi"]
    assert (message.model, message.stop_reason) == (model, "end_turn")
    check_asked(asked[0], model)


@pytest.mark.parametrize("model", BY_MODEL)
def test_openais_sdk_reaches_every_provider(three: Stack, providers: Providers, model: str) -> None:
    url = f"{three.url}/v1"
    with (
        openai.OpenAI(base_url=url, api_key=three.good_token, max_retries=0, timeout=SECONDS) as client,
        providers.asking(BY_MODEL[model]) as asked,
    ):
        done = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "demo: say hi"}])
    assert (done.model, done.choices[0].message.content, done.choices[0].finish_reason) == (model, "hi", "stop")
    check_asked(asked[0], model)


@pytest.mark.parametrize("ask", [Stack.call, chat], ids=["messages", "chat"])
def test_a_model_of_no_rule_is_unknown(
    three: Stack, providers: Providers, ask: Callable[[Stack, Json], httpx.Response]
) -> None:
    with providers.asking():
        answer = ask(three, {"model": "llama", "max_tokens": 9, **ASKED})
    assert answer.status_code == 404 and "llama" in answer.json()["error"]["message"]
    assert line_of(three, answer)["reason"] == "ModelNotFound"


def test_without_any_key_the_demo_models_answer(tmp_path_factory: pytest.TempPathFactory) -> None:
    nobody = {"LOCAL_UPSTREAM_URL": f"http://127.0.0.1:{free_port()}/v1"}
    with example(tmp_path_factory.mktemp("no-keys"), "three-providers", nobody) as stack:
        for name in ("ANTHROPIC", "OPENAI"):
            stack.out.says(f"  No {name}_API_KEY is set: THE DEMO MODEL ANSWERS instead of {name.lower()}.")
        for model in ("claude-opus-5", "gpt-4o-mini"):
            named = {"model": model, "max_tokens": 100, **ASKED}
            assert text_of(stack.call(named).json()) == "bonjour"
            assert chat(stack, named).json()["choices"][0]["message"]["content"] == "bonjour"
        down = chat(stack, {"model": "qwen3", **ASKED})
        assert (down.status_code, stack.record(down)["reason"]) == (503, "UpstreamUnavailable")
