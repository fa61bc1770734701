"""What a cloud puts around a dialect: the model in the path, the version in the body, answers in frames of its own.

The dialects know nothing of it: a request is wrapped after it has been written, an answer is unwrapped before it is
read. All members of a body that are not named here keep their bytes.
"""

import base64
import re
from collections.abc import Iterable
from urllib.parse import quote

import msgspec

from extproc.errors import Rejection, unknown_model
from extproc.providers.clouds import MODEL, Envelope
from extproc.providers.profiles import Profile
from extproc.providers.sigv4 import DIGEST, digest
from extproc.translate.bedrock import BedrockReader
from extproc.translate.checked import Warnings, attempt
from extproc.translate.pair import Reader, Target, Translated
from extproc.wire import untrusted

BETA, VERSION = "anthropic-beta", "anthropic-version"
_COUNTED_TOKENS = 1024
"""`max_tokens` of a request that is only counted; Bedrock requires the member."""
# Cross-region inference: https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html
_ANYWHERE = re.compile(r"(global|us|us-gov|eu|apac|jp|au|ca|sa)\.(?=\w+\.)")

_members = untrusted.decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


def counts(envelope: Envelope | None, model: str) -> bool:
    """Whether the provider counts the tokens of this model itself. An ARN hides which model it is for."""
    if envelope is None:
        return True
    return bool(envelope.count_path) and not (envelope.count_form == "bedrock" and model.startswith("arn:"))


def wrap(envelope: Envelope, request: Translated, target: Target) -> Translated | Rejection:
    """Returns the request as the cloud wants it."""
    if not target.model.strip("."):  # a segment of dots alone would be resolved as a path
        return unknown_model(target.model)
    return attempt(lambda: _wrapped(envelope, request, target))


def reader(envelope: Envelope | None, inner: Reader, max_event_bytes: int) -> Reader:
    """Returns who reads the cloud's answers. `inner`: who reads the dialect's."""
    return BedrockReader(inner, max_event_bytes) if envelope is not None and envelope.event_stream else inner


def _wrapped(envelope: Envelope, request: Translated, target: Target) -> Translated:
    warnings = Warnings(target.profile.strictness)
    betas = _betas(request.headers.get(BETA, ""), target.profile, warnings)
    headers = {name: value for name, value in request.headers.items() if name != BETA}
    if envelope.version:
        headers.pop(VERSION, None)
    if betas and not envelope.betas_in_body:
        headers[BETA] = ",".join(betas)
    body = _body(envelope, request, betas, target.profile.refused_members, warnings)
    signed = {DIGEST: digest(body)} if envelope.signed else {}
    return msgspec.structs.replace(
        request,
        path=_path(envelope, request, target.model),
        root=True,
        body=body,
        headers={**headers, **envelope.headers, **signed},
        warnings=tuple(dict.fromkeys((*request.warnings, *warnings.items))),
    )


def _path(envelope: Envelope, request: Translated, model: str) -> str:
    if request.counting:
        # Tokens are counted by a model, not by a profile that distributes its calls.
        model = _ANYWHERE.sub("", model, count=1) if envelope.count_form == "bedrock" else model
        path = envelope.count_path
    else:
        path = (request.stream and envelope.stream_path) or envelope.path
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
    envelope: Envelope, request: Translated, betas: list[str], refused: tuple[str, ...], warnings: Warnings
) -> bytes:
    """Every member that is not named here keeps its bytes."""
    if not (envelope.without or envelope.version or refused):
        return request.body
    members = _members.decode(request.body)
    for name in _present(refused, members):
        warnings.add("dropped", name, "the cloud refuses this member")
        del members[name]
    # Whoever counts on Vertex AI is told the model in the body: the path names none.
    leaves_model = request.counting and MODEL not in envelope.count_path
    for name in _present(envelope.without, members):
        if not (leaves_model and name == "model"):
            del members[name]
    if envelope.version:
        members["anthropic_version"] = msgspec.Raw(_encode(envelope.version))
    if betas and envelope.betas_in_body:
        members["anthropic_beta"] = msgspec.Raw(_encode(betas))
    if not request.counting or envelope.count_form == "same":
        return _encode(members)
    members.setdefault("max_tokens", msgspec.Raw(_encode(_COUNTED_TOKENS)))
    whole = base64.b64encode(_encode(members)).decode()
    return _encode({"input": {"invokeModel": {"body": whole}}})


def _present(names: Iterable[str], members: dict[str, msgspec.Raw]) -> list[str]:
    return [name for name in names if name in members]
