"""What the clouds' own SDKs make of a request is what an wrapping makes of it."""

import json
from typing import Any

import msgspec
import pytest
from anthropic._models import FinalRequestOptions
from anthropic.lib.bedrock import _client as bedrock_sdk
from anthropic.lib.vertex import _client as vertex_sdk

from extproc.config.schema_providers import Provider
from extproc.errors import Rejection
from extproc.providers import clouds, profiles
from extproc.providers.model_settings import ModelSettings
from extproc.providers.profiles import Profile
from extproc.translate.job import Job, request_for
from extproc.translate.pair import Target, Translated

BODY: dict[str, Any] = {
    "model": "claude-x",
    "max_tokens": 5,
    "messages": [{"role": "user", "content": "hi"}],
    "metadata": {"user_id": "u"},
}
BEDROCK = Provider.model_validate({"cloud": "aws-bedrock", "region": "eu-central-1", "dialects": ["messages"]})
VERTEX = Provider.model_validate(
    {"cloud": "google-vertex", "project": "p", "location": "global", "dialects": ["messages", "chat"]}
)


def made(
    provider: Provider, body: dict[str, Any], model: str = "m", betas: str = "", *, counting: bool = False
) -> Translated:
    found = outcome(provider, body, model, betas, counting=counting)
    assert isinstance(found, Translated)
    return found


def outcome(
    provider: Provider, body: dict[str, Any], model: str = "m", betas: str = "", *, counting: bool = False
) -> object:
    profile = profiles.with_overrides(Profile(), profiles.of_cloud(provider.cloud, "messages"))
    headers = {"anthropic-beta": betas} if betas else {}
    target = Target(profile=profile, model=model, nonce="n", headers=headers, raw=json.dumps(body).encode())
    job = Job(
        dialect="messages",
        provider=tuple(provider.dialects),
        model="claude-x",
        settings=ModelSettings(),
        counting=counting,
        wrappings=clouds.wrappings(provider),
        target=target,
    )
    return request_for(job, body)


def options(body: dict[str, Any], model: str, path: str = "/v1/messages") -> FinalRequestOptions:
    return FinalRequestOptions.construct(method="post", url=path, json_data={**body, "model": model})


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "model", ["anthropic.claude-sonnet-4-5-20250929-v1:0", "arn:aws:bedrock:eu-central-1:111122223333:x/y", "a b;c?d#e"]
)
def test_bedrock_is_asked_as_anthropics_sdk_asks(stream: bool, model: str) -> None:
    body = {**BODY, "stream": stream}
    ours = made(BEDROCK, body, model)
    theirs = bedrock_sdk._prepare_options(options(body, model), {})
    # The SDK leaves `:` and `;` in the path, botocore encodes them; both mean the same.
    assert ours.path == theirs.url.replace(":", "%3A").replace(";", "%3B")
    assert isinstance(theirs.json_data, dict)
    expected = {**theirs.json_data, "anthropic_version": clouds.BEDROCK_VERSION}
    assert msgspec.json.decode(ours.body) == expected


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("model", ["claude-sonnet-4-5@20250929", "a;b"])
def test_vertex_is_asked_as_anthropics_sdk_asks(stream: bool, model: str) -> None:
    body = {**BODY, "stream": stream}
    ours = made(VERTEX, body, model)
    theirs = vertex_sdk._prepare_options(options(body, model), project_id="p", region="global")
    assert ours.path == "/v1" + theirs.url
    assert isinstance(theirs.json_data, dict)
    assert msgspec.json.decode(ours.body) == {**theirs.json_data, "anthropic_version": clouds.VERTEX_VERSION}


def test_vertex_counts_as_anthropics_sdk_asks() -> None:
    body = {"model": "claude-x", "messages": BODY["messages"]}
    ours = made(VERTEX, body, "m", counting=True)
    theirs = vertex_sdk._prepare_options(
        options(body, "m", "/v1/messages/count_tokens"), project_id="p", region="global"
    )
    assert ours.path == "/v1" + theirs.url and ours.counting
    assert isinstance(theirs.json_data, dict)
    assert msgspec.json.decode(ours.body) == {**theirs.json_data, "anthropic_version": clouds.VERTEX_VERSION}


def test_bytes_of_other_members_stay() -> None:
    raw = b'{"max_tokens": 5, "messages":[ {"role":"user","content":"h\\u0069  "}], "model":"x","stream":true}'
    body = json.loads(raw)
    profile = Profile()
    job = Job(
        dialect="messages",
        provider=("messages",),
        model="claude-x",
        settings=ModelSettings(),
        wrappings=clouds.wrappings(BEDROCK),
        target=Target(profile=profile, model="m", nonce="n", raw=raw),
    )
    found = request_for(job, body)
    assert isinstance(found, Translated)
    version = b'"anthropic_version":"bedrock-2023-05-31"'
    assert found.body == b'{"max_tokens":5,"messages":[ {"role":"user","content":"h\\u0069  "}],%b}' % version


def test_betas_that_the_configuration_sets_are_sent_whatever_the_cloud_is_known_to_accept() -> None:
    profile = Profile(betas=("new-2027-01-01",), accepted_betas=())
    job = Job(
        dialect="messages",
        provider=("messages",),
        model="claude-x",
        settings=ModelSettings(),
        wrappings=clouds.wrappings(BEDROCK),
        target=Target(profile=profile, model="m", nonce="n", headers={"anthropic-beta": "new-2027-01-01,x"}),
    )
    found = request_for(job, BODY)
    assert isinstance(found, Translated)
    assert msgspec.json.decode(found.body)["anthropic_beta"] == ["new-2027-01-01"]
    assert found.warnings == ("dropped:betas.x",)


@pytest.mark.parametrize("model", [".", "..", "..."])
def test_a_model_of_dots_is_unknown(model: str) -> None:
    found = outcome(BEDROCK, BODY, model)
    assert isinstance(found, Rejection) and found.http_status == 404


def test_strict_refuses_members_that_would_be_left_out() -> None:
    profile = Profile(strictness="strict", refused_members=("service_tier",))
    job = Job(
        dialect="messages",
        provider=("messages",),
        model="claude-x",
        settings=ModelSettings(),
        wrappings=clouds.wrappings(BEDROCK),
        target=Target(profile=profile, model="m", nonce="n"),
    )
    found = request_for(job, {**BODY, "service_tier": "auto"})
    assert isinstance(found, Rejection) and found.path == "service_tier"


@pytest.mark.parametrize(
    ("model", "counted_as"),
    [
        ("eu.anthropic.claude-x-v1:0", "anthropic.claude-x-v1%3A0"),
        ("global.anthropic.claude-x", "anthropic.claude-x"),
        ("us-gov.anthropic.claude-x", "anthropic.claude-x"),
        ("anthropic.claude-x", "anthropic.claude-x"),
    ],
)
def test_bedrock_counts_for_a_model_and_not_for_a_profile(model: str, counted_as: str) -> None:
    body = {"model": "claude-x", "messages": BODY["messages"]}
    assert made(BEDROCK, body, model, counting=True).path == f"/model/{counted_as}/count-tokens"
