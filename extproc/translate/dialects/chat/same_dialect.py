"""A Chat Completions client answered by a Chat Completions provider."""

from extproc.translate.dialects.chat.meter import ChatMeter
from extproc.translate.identity import Identity, limited
from extproc.translate.identity.asked import Passed
from extproc.translate.identity.members import Edit
from extproc.translate.openai_errors import envelope
from extproc.translate.pair import Json, Target
from extproc.translate.warnings import Warnings
from extproc.wire import Dialect

PATH = "/chat/completions"
MAX_CHOICES = 128


class Chat:
    name: Dialect = "chat"
    path = PATH
    request_id = "x-request-id"
    rate_limits = "x-ratelimit-"

    def change(self, edit: Edit, body: Json, to: Target, warnings: Warnings) -> Passed:
        limits = [
            limited(edit, body, name, to.profile.max_output_tokens, warnings)
            for name in ("max_completion_tokens", "max_tokens")
        ]
        return Passed(
            path=PATH,
            body=b"",
            stream=body.get("stream") is True,
            model=body.get("model", ""),
            max_tokens=next((limit for limit in limits if limit is not None), None),
            profile=to.profile,
            choices=_choices(body),
            hide_usage=_ask_for_usage(edit, body, to),
        )

    def meter(self, asked: Passed) -> ChatMeter:
        return ChatMeter(asked)

    def envelope(self, body: Json) -> bytes:
        return envelope(body)


def _choices(body: Json) -> int:
    n = body.get("n")
    return n if isinstance(n, int) and 1 <= n <= MAX_CHOICES else 1


def _ask_for_usage(edit: Edit, body: Json, to: Target) -> bool:
    """Whether the client will not see it. Without it a stream's tokens are on no record."""
    options = body.get("stream_options") or {}
    wanted = to.profile.meter_usage and to.profile.stream_usage and body.get("stream") is True
    if not wanted or not isinstance(options, dict) or options.get("include_usage"):
        return False
    edit.set("stream_options", {**options, "include_usage": True})
    return True


SAME = Identity(Chat())
