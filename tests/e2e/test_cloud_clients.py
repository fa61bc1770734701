"""The vendors' SDKs for clouds, as they come, against the gateway: any model answers in the cloud's form."""

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import boto3
import openai
import pytest
from anthropic.types import TextBlock
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

from tests.e2e.providers import Providers, Special
from tests.e2e.refusals import never_asked
from tests.e2e.stack import SECONDS, Model, Stack, ids, prompt, text_of

ON_BEDROCK = "eu.anthropic.claude-sonnet-5-20260101-v1:0"
ON_VERTEX = "claude-sonnet-5@20260101"
AWS = {"aws_access_key": "AKIDEXAMPLE", "aws_secret_key": "not-a-real-key"}
OPTIONS: dict[str, Any] = {"max_retries": 0, "timeout": SECONDS}


def bedrock(stack: Stack, token: str, **more: Any) -> anthropic.AnthropicBedrock:
    credential = more or {"api_key": token}
    return anthropic.AnthropicBedrock(base_url=f"{stack.url}/bedrock", aws_region="eu-west-1", **credential, **OPTIONS)


def vertex(stack: Stack, token: str) -> anthropic.AnthropicVertex:
    return anthropic.AnthropicVertex(
        base_url=f"{stack.url}/vertex/v1", region="europe-west1", project_id="p", access_token=token, **OPTIONS
    )


def foundry(stack: Stack, token: str) -> anthropic.AnthropicFoundry:
    return anthropic.AnthropicFoundry(base_url=f"{stack.url}/anthropic/", api_key=token, **OPTIONS)


def azure(stack: Stack, token: str, **more: Any) -> openai.AzureOpenAI:
    credential = more or {"api_key": token}
    return openai.AzureOpenAI(azure_endpoint=stack.url, api_version="2026-06-01", **credential, **OPTIONS)


def mantle(stack: Stack, token: str, **more: Any) -> anthropic.AnthropicBedrockMantle:
    credential = more or {"api_key": token}
    base_url = f"{stack.url}/bedrock-mantle/anthropic"
    return anthropic.AnthropicBedrockMantle(base_url=base_url, aws_region="eu-west-1", **credential, **OPTIONS)


CLOUDS: dict[str, tuple[Any, str]] = {
    "bedrock": (bedrock, ON_BEDROCK),
    "vertex": (vertex, ON_VERTEX),
    "foundry": (foundry, "claude-sonnet-5"),
}


@pytest.fixture(params=CLOUDS)
def cloud(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def client(cloud: str, stack: Stack) -> Iterator[Any]:
    with CLOUDS[cloud][0](stack, stack.good_token) as made:
        yield made


def asking(cloud: str, text: str, **more: Any) -> dict[str, Any]:
    return {"model": CLOUDS[cloud][1], "max_tokens": 100, "messages": [{"role": "user", "content": text}], **more}


def test_create(client: Any, cloud: str, stack: Stack) -> None:
    message = client.messages.create(**asking(cloud, "demo: say bonjour"))
    assert message.content == [TextBlock(type="text", text="bonjour", citations=None)]
    assert message.stop_reason == "end_turn" and message.usage.output_tokens > 0
    record = stack.record_where(lambda line: message._request_id in ids(line))
    assert (record["gen_ai.operation.name"], record["gen_ai.request.model"]) == ("chat", message.model)
    assert message.model == ("claude-sonnet-5" if cloud == "foundry" else "claude-sonnet-5-20260101")


def test_stream(client: Any, cloud: str) -> None:
    with client.messages.stream(**asking(cloud, "demo: say one two three four five six")) as stream:
        pieces = list(stream.text_stream)
        message = stream.get_final_message()
    assert len(pieces) > 1 and "".join(pieces) == "one two three four five six"
    assert message.stop_reason == "end_turn" and message.usage.output_tokens > 0


STATUSES: dict[str, tuple[int, int, int]] = {
    # The model's error: what Bedrock, Vertex and Foundry answer.
    "400": (400, 400, 400),
    "404": (404, 404, 404),
    "413": (413, 413, 413),
    "429 retry-after=7": (429, 429, 429),
    "500": (500, 500, 500),
    "503": (503, 503, 529),
    "504": (408, 504, 504),
}


@pytest.mark.parametrize("failure", STATUSES)
def test_a_models_error_has_the_clouds_status(client: Any, cloud: str, failure: str) -> None:
    with pytest.raises(anthropic.APIStatusError) as raised:
        client.messages.create(**asking(cloud, f"demo: fail {failure}"))
    assert raised.value.status_code == STATUSES[failure][list(CLOUDS).index(cloud)]
    assert raised.value.response.headers.get("retry-after") == ("7" if "retry" in failure else None)


REFUSED: dict[str, tuple[str, dict[str, tuple[type[anthropic.APIStatusError], str]]]] = {
    "a bad token": (
        "nonsense",
        {
            "bedrock": (anthropic.AuthenticationError, "UnrecognizedClientException"),
            "vertex": (anthropic.AuthenticationError, "UNAUTHENTICATED"),
            "foundry": (anthropic.AuthenticationError, "authentication_error"),
        },
    ),
    "another team's": (
        "",
        {
            "bedrock": (anthropic.PermissionDeniedError, "AccessDeniedException"),
            "vertex": (anthropic.PermissionDeniedError, "PERMISSION_DENIED"),
            "foundry": (anthropic.PermissionDeniedError, "permission_error"),
        },
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_in_the_clouds_words(stack: Stack, model: Model, cloud: str, name: str) -> None:
    token, expected = REFUSED[name]
    kind, word = expected[cloud]
    made = CLOUDS[cloud][0](stack, token or stack.token(team="marketing"))
    with never_asked(model), made, pytest.raises(kind) as raised:
        made.messages.create(**asking(cloud, "hello"))
    assert type(raised.value) is kind
    said = f"{raised.value.response.headers.get('x-amzn-errortype')} {raised.value.body}"
    assert word in said


def test_an_error_in_mid_stream(client: Any, cloud: str) -> None:
    with pytest.raises(anthropic.APIStatusError) as raised:
        for _event in client.messages.create(**asking(cloud, "demo: say one two\ndemo: break 429", stream=True)):
            pass
    assert raised.value.status_code == 200
    assert ("throttlingException" if cloud == "bedrock" else "rate_limit_error") in str(raised.value.body)


@pytest.mark.parametrize("made", [vertex, foundry])
def test_count_tokens(stack: Stack, model: Model, made: Any) -> None:
    with never_asked(model), made(stack, stack.good_token) as client:
        counted = client.messages.count_tokens(
            model="claude-sonnet-5", messages=[{"role": "user", "content": "word " * 100}]
        )
    assert 50 < counted.input_tokens < 300


@pytest.mark.parametrize("made", [bedrock, mantle])
def test_a_signature_of_aws_is_ignored_and_does_not_go_on(stack: Stack, model: Model, made: Any) -> None:
    with made(stack, "", **AWS, default_headers={"x-api-key": stack.good_token}) as client:
        message = client.messages.create(**asking("bedrock", "demo: say hi"))
    assert text_of(message.model_dump()) == "hi"
    assert "AWS4-HMAC" not in json.dumps(model.last()) and "x-amz-date" not in dict(model.last()["headers"])
    with made(stack, "", **AWS) as client, never_asked(model), pytest.raises(anthropic.AuthenticationError):
        client.messages.create(**asking("bedrock", "demo: say hi"))


@pytest.mark.parametrize(
    ("made", "name"), [(bedrock, "us.anthropic.claude-opus-5-v1:0"), (vertex, "claude-opus-5@default")]
)
def test_what_a_messages_provider_receives(special: Special, providers: Providers, made: Any, name: str) -> None:
    stack = special.stack
    with providers.asking("anthropic") as asked, made(stack, stack.good_token) as client:
        asked_for: dict[str, Any] = {**asking("bedrock", "demo: say hi"), "model": name}
        betas = "tool-search-tool-2025-10-19,interleaved-thinking-2025-05-14"
        message = client.messages.create(**asked_for, extra_headers={"anthropic-beta": betas})
    assert text_of(message.model_dump()) == "hi"
    headers, body = dict(asked[0]["headers"]), json.loads(asked[0]["body"])
    assert (asked[0]["path"], body["model"]) == ("/v1/messages", "claude-opus-5")
    assert not {"anthropic_version", "anthropic_beta"} & body.keys()
    assert headers["anthropic-version"] == "2023-06-01"
    assert {"advanced-tool-use-2025-11-20", "interleaved-thinking-2025-05-14"} <= set(
        headers["anthropic-beta"].split(",")
    )


@pytest.fixture
def aws(stack: Stack) -> Iterator[Callable[[str], Any]]:
    """AWS's own SDK, which sends a bearer token on TLS only: it signs, and the token is a header of its own."""

    def made(service: str) -> Any:
        client = boto3.client(
            service,
            region_name="eu-west-1",
            endpoint_url=f"{stack.url}/bedrock",
            aws_access_key_id="AKIDEXAMPLE",
            aws_secret_access_key="not-a-real-key",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=SECONDS),
        )
        client.meta.events.register("before-call", add_token)
        clients.callback(client.close)
        return client

    def add_token(params: dict[str, Any], **_: Any) -> None:
        params["headers"]["x-api-key"] = stack.good_token

    with contextlib.ExitStack() as clients:
        yield made


def invoked(text: str) -> dict[str, Any]:
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 100}
    return {"body": json.dumps({**body, "messages": [{"role": "user", "content": text}]}), "modelId": ON_BEDROCK}


def test_awss_own_sdk(aws: Callable[[str], Any]) -> None:
    client = aws("bedrock-runtime")
    answer = json.loads(client.invoke_model(**invoked("demo: say bonjour"))["body"].read())
    assert answer["content"] == [{"type": "text", "text": "bonjour"}]
    stream = client.invoke_model_with_response_stream(**invoked("demo: say one two three"))["body"]
    events = [json.loads(event["chunk"]["bytes"]) for event in stream]
    assert (events[0]["type"], events[-1]["type"]) == ("message_start", "message_stop")
    counted = client.count_tokens(
        modelId=ON_BEDROCK, input={"invokeModel": {"body": invoked("word " * 100)["body"].encode()}}
    )
    assert 50 < counted["inputTokens"] < 300


def test_awss_own_exceptions(aws: Callable[[str], Any]) -> None:
    client = aws("bedrock-runtime")
    with pytest.raises(ClientError) as refused:
        client.invoke_model(**{**invoked("hi"), "modelId": "amazon.titan"})
    assert refused.value.response["Error"] == {"Code": "ResourceNotFoundException", "Message": "model: amazon.titan"}
    with pytest.raises(client.exceptions.ThrottlingException):
        client.invoke_model(**invoked("demo: fail 429"))
    stream = client.invoke_model_with_response_stream(**invoked("demo: say one two\ndemo: break 429"))["body"]
    with contextlib.closing(stream), pytest.raises(EventStreamError, match="throttlingException"):
        list(stream)


def test_list_of_models(aws: Callable[[str], Any], special: Special) -> None:
    listed = special.stack.call(method="GET", path="/bedrock/inference-profiles?type=SYSTEM_DEFINED").json()
    ids = [profile["inferenceProfileId"] for profile in listed["inferenceProfileSummaries"]]
    assert ids == ["anthropic.claude-opus-5", "anthropic.claude-dated", "anthropic.claude-by-oauth",
                   "anthropic.claude-recorded", "gpt-4o-mini"]  # fmt: skip
    one = aws("bedrock").get_inference_profile(inferenceProfileIdentifier=ON_BEDROCK)
    assert one["inferenceProfileId"] == "anthropic.claude-sonnet-5-20260101"
    with azure(special.stack, special.stack.good_token) as client:
        assert "gpt-4o-mini" in [model.id for model in client.models.list()]


@pytest.mark.parametrize("credential", ["api_key", "azure_ad_token"])
def test_azure(stack: Stack, model: Model, credential: str) -> None:
    with azure(stack, "", **{credential: stack.good_token}) as client:
        asked: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "demo: say bonjour"}]}
        assert client.chat.completions.create(**asked).choices[0].message.content == "bonjour"
        assert model.last()["path"] == "/v1/chat/completions"
        assert "api-key" not in dict(model.last()["headers"])
        pieces = [chunk.choices[0].delta.content for chunk in client.chat.completions.create(**asked, stream=True)
                  if chunk.choices]  # fmt: skip
        assert "".join(filter(None, pieces)) == "bonjour"
        assert client.responses.create(model="gpt-4o", input="demo: say bonjour").output_text == "bonjour"


def test_azures_refusals(stack: Stack, model: Model) -> None:
    with never_asked(model), azure(stack, "nonsense") as client, pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])
    with never_asked(model), azure(stack, stack.good_token) as client, pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="unknown", messages=[{"role": "user", "content": "hi"}])


def test_the_path_names_the_model(stack: Stack, model: Model) -> None:
    """Rules must see the model that is asked."""
    body = {**prompt("demo: say hi"), "model": "gpt-secret"}
    answer = stack.call(body, path=f"/bedrock/model/{ON_BEDROCK}/invoke")
    assert answer.status_code == 200 and stack.record(answer)["gen_ai.request.model"] == "claude-sonnet-5-20260101"
    for path in ("/bedrock/model//invoke", "/bedrock/model/x/converse", "/vertex/v1/projects/p/models/x:rawPredict"):
        with never_asked(model):
            assert stack.call(body, path=path).status_code == 404


NO_BODIES = [
    (b"{", "invoke"),
    (b"[]", "invoke-with-response-stream"),
    (b'{"anthropic_beta":["a,\\r\\nb"]}', "invoke"),
    (b'{"input":{"invokeModel":{"body":"W10="}}}', "count-tokens"),
    (b'{"input":{"invokeModel":{"body":"?"}}}', "count-tokens"),
    (b'{"input":{"converse":{}}}', "count-tokens"),
]


@pytest.mark.parametrize(("raw", "operation"), NO_BODIES)
def test_a_body_that_is_none(stack: Stack, model: Model, raw: bytes, operation: str) -> None:
    with never_asked(model):
        answer = stack.call(raw, path=f"/bedrock/model/{ON_BEDROCK}/{operation}")
    assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (400, "ValidationException")
    assert list(answer.json()) == ["message"]
