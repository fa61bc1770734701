"""A Messages client answered by a Messages provider."""

from extproc.translate.dialects.messages.foreign_reasoning import without_ours
from extproc.translate.dialects.messages.meter import MessagesMeter, envelope
from extproc.translate.identity import Identity, limited
from extproc.translate.identity.asked import Passed
from extproc.translate.identity.members import Edit
from extproc.translate.pair import Json, Target
from extproc.translate.warnings import Warnings
from extproc.wire import Dialect

PATH = "/v1/messages"


class Messages:
    name: Dialect = "messages"
    path = PATH
    request_id = "request-id"
    rate_limits = "anthropic-ratelimit-"

    def change(self, edit: Edit, body: Json, to: Target, warnings: Warnings) -> Passed:
        max_tokens = limited(edit, body, "max_tokens", to.profile.max_output_tokens, warnings)
        _remove_ours(edit, body, warnings)
        return Passed(
            path=PATH,
            body=b"",
            headers=_headers(to),
            stream=body.get("stream") is True,
            model=body.get("model", ""),
            max_tokens=max_tokens,
            profile=to.profile,
        )

    def meter(self, asked: Passed) -> MessagesMeter:
        return MessagesMeter(asked)

    def envelope(self, body: Json) -> bytes:
        return envelope(body)


def _headers(to: Target) -> dict[str, str]:
    """Betas and version belong together: by default both are the client's."""
    sent = to.headers.get("anthropic-version") if to.profile.version_from == "client" else ""
    headers = {"anthropic-version": sent or to.profile.anthropic_version}
    if beta := to.headers.get("anthropic-beta"):
        headers["anthropic-beta"] = beta
    return headers


def _remove_ours(edit: Edit, body: Json, warnings: Warnings) -> None:
    left, thoughtless = without_ours(edit.get("messages"))
    if left is None:
        return
    edit.set("messages", left)
    thinking = body.get("thinking")
    # With a budget Claude insists that an answer with tool calls begins with its thinking.
    if thoughtless and isinstance(thinking, dict) and thinking.get("type") == "enabled":
        warnings.add("dropped", "thinking")
        edit.drop("thinking")


SAME = Identity(Messages())
