"""What a cloud puts around a dialect: the model in the path, the version in the body, answers in frames of its own.

The dialects know nothing of it: a request is wrapped after it has been written, an answer is unwrapped before it is
read. All members of a body that are not named here keep their bytes.
"""

import base64
import re
from collections.abc import Iterable
from urllib.parse import quote

import msgspec

from extproc.errors import unknown_model
from extproc.providers.clouds import MODEL, Wrapping
from extproc.providers.profiles import Profile
from extproc.providers.sigv4 import DIGEST, digest
from extproc.translate.bedrock import BedrockReader
from extproc.translate.checked import Refused, Warnings, returns_rejections
from extproc.translate.pair import Reader, Target, Translated
from extproc.wire import untrusted

BETA, VERSION = "anthropic-beta", "anthropic-version"
_COUNTED_TOKENS = 1024
"""`max_tokens` of a request that is only counted; Bedrock requires the member."""
# Cross-region inference: https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html
_ANYWHERE = re.compile(r"(global|us|us-gov|eu|apac|jp|au|ca|sa)\.(?=\w+\.)")

_members = untrusted.decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


def counts(wrapping: Wrapping | None, model: str) -> bool:
    """Whether the provider counts the tokens of this model itself. An ARN hides which model it is for."""
    if wrapping is None:
        return True
    return bool(wrapping.count_path) and not (wrapping.count_form == "bedrock" and model.startswith("arn:"))


@returns_rejections
def wrap(wrapping: Wrapping, request: Translated, target: Target) -> Translated:
    """Returns the request as the cloud wants it."""
    if not target.model.strip("."):  # a segment of dots alone would be resolved as a path
        raise Refused(unknown_model(target.model))
    warnings = Warnings(target.profile.strictness)
    betas = _betas(request.headers.get(BETA, ""), target.profile, warnings)
    headers = {name: value for name, value in request.headers.items() if name != BETA}
    if wrapping.version:
        # The cloud has a version of its own, in the body.
        headers.pop(VERSION, None)
    if betas and not wrapping.betas_in_body:
        headers[BETA] = ",".join(betas)
    body = _body(wrapping, request, betas, target.profile.refused_members, warnings)
    signed = {DIGEST: digest(body)} if wrapping.signed else {}
    return msgspec.structs.replace(
        request,
        path=_path(wrapping, request, target.model),
        root=True,
        body=body,
        headers={**headers, **wrapping.headers, **signed},
        warnings=tuple(dict.fromkeys((*request.warnings, *warnings.items))),
    )


def reader(wrapping: Wrapping, inner: Reader, max_event_bytes: int) -> Reader:
    """Returns who reads the cloud's answers. `inner`: who reads the dialect's."""
    return BedrockReader(inner, max_event_bytes) if wrapping.event_stream else inner


def _path(wrapping: Wrapping, request: Translated, model: str) -> str:
    if request.counting:
        # Tokens are counted by a model, not by a profile that distributes its calls.
        model = _ANYWHERE.sub("", model, count=1) if wrapping.count_form == "bedrock" else model
        path = wrapping.count_path
    else:
        path = (request.stream and wrapping.stream_path) or wrapping.path
    # The slashes of an ARN belong to the name; `@` stands before the date of Vertex AI's models.
    return path.replace(MODEL, quote(model, safe="@"))


def _betas(sent: str, profile: Profile, warnings: Warnings) -> list[str]:
    """Returns those that the cloud accepts, by its names. It answers others with a 400, and Claude Code sends some with
    each request, so even `strict` only leaves them out."""
    accepted = profile.accepted_betas
    names = [name for part in sent.split(",") if (name := part.strip())]
    if accepted is None:
        return names
    kept: list[str] = []
    for name in names:
        known = profile.renamed_betas.get(name, name)
        if known in accepted or known in profile.betas:
            kept.append(known)
        else:
            warnings.word(f"dropped:betas.{name}")
    return list(dict.fromkeys(kept))


def _body(
    wrapping: Wrapping, request: Translated, betas: list[str], refused: tuple[str, ...], warnings: Warnings
) -> bytes:
    """Every member that is not named here keeps its bytes."""
    if not (wrapping.without or wrapping.version or refused):
        return request.body
    members = _members.decode(request.body)
    for name in _present(refused, members):
        warnings.add("dropped", name, "the cloud refuses this member")
        del members[name]
    # Vertex AI's path for counting names no model, so the body does.
    leaves_model = request.counting and MODEL not in wrapping.count_path
    for name in _present(wrapping.without, members):
        if not (leaves_model and name == "model"):
            del members[name]
    if wrapping.version:
        members["anthropic_version"] = msgspec.Raw(_encode(wrapping.version))
    if betas and wrapping.betas_in_body:
        members["anthropic_beta"] = msgspec.Raw(_encode(betas))
    if not request.counting or wrapping.count_form == "same":
        return _encode(members)
    members.setdefault("max_tokens", msgspec.Raw(_encode(_COUNTED_TOKENS)))
    # https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelTokensRequest.html: the body that
    # InvokeModel would get, in Base64.
    whole = base64.b64encode(_encode(members)).decode()
    return _encode({"input": {"invokeModel": {"body": whole}}})


def _present(names: Iterable[str], members: dict[str, msgspec.Raw]) -> list[str]:
    return [name for name in names if name in members]
