"""Refusals of the sign-in, which OAuth clients get as errors (https://www.rfc-editor.org/rfc/rfc6749#section-5.2) and
people as pages."""


class Refusal(Exception):
    """`str()` is for the client or the person: what went wrong and what to do, without a secret or a host name."""

    def __init__(self, error: str, description: str, *, status: int = 400, reason: str = "") -> None:
        """`error`: OAuth's code. `reason`: why, for the log; never a token or a code."""
        super().__init__(description)
        self.error = error
        self.status = status
        self.reason = reason or description


def unavailable(reason: str) -> Refusal:
    """The identity provider cannot be used now; a client may try again."""
    text = "the company's login cannot be reached at the moment; try again in a minute"
    return Refusal("temporarily_unavailable", text, status=503, reason=reason)
