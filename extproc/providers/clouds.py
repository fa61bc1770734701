"""What each cloud makes of a dialect: the paths, what is left out of a body and added to it, and the form of answers.

Sources: the vendors' SDKs (anthropic 2.12, openai 3.54) and botocore's model of Bedrock. docs/clouds.md has the links.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from extproc.config.schema_clouds import CloudKeys
from extproc.providers.sigv4 import Scope
from extproc.wire import Dialect

MODEL = "{model}"
BEDROCK_VERSION, VERTEX_VERSION = "bedrock-2023-05-31", "vertex-2023-10-16"


class Wrapping(msgspec.Struct, frozen=True, kw_only=True):
    """How a cloud wants the requests of one dialect, and how it answers. MODEL in a path stands for the model's id."""

    path: str
    """Below the provider's base URL, with a query if there is one."""
    stream_path: str = ""
    """The path of a call whose answer is streamed; empty: the same as `path`."""
    count_path: str = ""
    """Where tokens are counted; empty: nowhere."""
    count_form: Literal["same", "bedrock"] = "same"
    """`bedrock`: the request is a member of another object, in Base64."""
    version: str = ""
    """`anthropic_version`, where it is a member of the body instead of a header."""
    betas_in_body: bool = False
    """`anthropic_beta` is a member of the body, too."""
    without: tuple[str, ...] = ()
    """Members that the path says."""
    event_stream: bool = False
    """Answers are streamed in frames of AWS's, and errors are AWS's."""
    signed: bool = False
    """The digest of the body is sent along, for the signature."""
    headers: Mapping[str, str] = {}
    """More request headers."""


Wrappings = dict[Dialect, Wrapping]


def wrappings(settings: CloudKeys) -> Wrappings:
    """By dialect; empty for a provider that is no cloud."""
    match settings.cloud:
        case "aws-bedrock":
            return _BEDROCK
        case "aws-bedrock-mantle":
            return {"messages": _messages("/anthropic", signed=True)}
        case "aws-claude-platform":
            workspace = {"anthropic-workspace-id": settings.workspace or ""}
            return {"messages": _messages("", signed=True, headers=workspace)}
        case "google-vertex":
            return _vertex(f"/v1/projects/{settings.project}/locations/{settings.location}")
        case "azure-openai":
            return _azure(settings.api_version)
        case "azure-foundry":
            return {"messages": _messages("/anthropic")}
        case None:
            return {}


def scope(settings: CloudKeys) -> Scope | None:
    """What a signature for the provider is good for; None: calls are not signed."""
    service = {
        "aws-bedrock": "bedrock",
        "aws-bedrock-mantle": "bedrock-mantle",
        "aws-claude-platform": "aws-external-anthropic",
    }.get(settings.cloud or "")
    return Scope(settings.region or "", service) if service else None


# Bedrock names the model and whether to stream in the path, and the version in the body:
# https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html.
_BEDROCK: Wrappings = {
    "messages": Wrapping(
        path=f"/model/{MODEL}/invoke",
        stream_path=f"/model/{MODEL}/invoke-with-response-stream",
        count_path=f"/model/{MODEL}/count-tokens",
        count_form="bedrock",
        version=BEDROCK_VERSION,
        betas_in_body=True,
        without=("model", "stream"),
        event_stream=True,
        signed=True,
    ),
    "chat": Wrapping(path="/openai/v1/chat/completions", signed=True),
    "responses": Wrapping(path="/openai/v1/responses", signed=True),
}


def _messages(prefix: str, *, signed: bool = False, headers: Mapping[str, str] | None = None) -> Wrapping:
    path = f"{prefix}/v1/messages"
    return Wrapping(path=path, count_path=f"{path}/count_tokens", signed=signed, headers=headers or {})


def _vertex(place: str) -> Wrappings:
    claude = f"{place}/publishers/anthropic/models"
    return {
        "messages": Wrapping(
            path=f"{claude}/{MODEL}:rawPredict",
            # Beside this path Vertex wants `stream` in the body, too, so that member stays:
            # https://cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/use-claude
            stream_path=f"{claude}/{MODEL}:streamRawPredict",
            count_path=f"{claude}/count-tokens:rawPredict",
            version=VERTEX_VERSION,
            without=("model",),
        ),
        "chat": Wrapping(path=f"{place}/endpoints/openapi/chat/completions"),
    }


def _azure(api_version: str | None) -> Wrappings:
    if api_version is None:
        return {
            "chat": Wrapping(path="/openai/v1/chat/completions"),
            "responses": Wrapping(path="/openai/v1/responses"),
        }
    # The older API wants a version in each call; v1 has none:
    # https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle.
    query = f"?api-version={api_version}"
    return {
        "chat": Wrapping(path=f"/openai/deployments/{MODEL}/chat/completions{query}"),
        "responses": Wrapping(path=f"/openai/responses{query}"),
    }
