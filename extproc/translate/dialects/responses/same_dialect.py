"""A Responses client answered by a Responses provider."""

from extproc.translate.dialects.responses.meter import ResponsesMeter
from extproc.translate.identity import Identity, limited
from extproc.translate.identity.asked import Passed
from extproc.translate.identity.members import Edit
from extproc.translate.openai_errors import envelope
from extproc.translate.pair import Json, Target
from extproc.translate.warnings import Warnings
from extproc.wire import Dialect

PATH = "/responses"


class Responses:
    name: Dialect = "responses"
    path = PATH
    request_id = "x-request-id"
    rate_limits = "x-ratelimit-"

    def change(self, edit: Edit, body: Json, to: Target, warnings: Warnings) -> Passed:
        return Passed(
            path=PATH,
            body=b"",
            stream=body.get("stream") is True,
            model=body.get("model", ""),
            max_tokens=limited(edit, body, "max_output_tokens", to.profile.max_output_tokens, warnings),
            profile=to.profile,
        )

    def meter(self, asked: Passed) -> ResponsesMeter:
        return ResponsesMeter(asked)

    def envelope(self, body: Json) -> bytes:
        return envelope(body)


SAME = Identity(Responses())
