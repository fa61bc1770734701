"""Forms as OAuth clients and browsers post them (application/x-www-form-urlencoded)."""

from urllib.parse import parse_qsl

from starlette.requests import Request

from extproc.sign_in.refusals import Refusal

TYPE = "application/x-www-form-urlencoded"
MAX_FIELDS = 50


async def read(request: Request) -> dict[str, str]:
    """The fields by name; a field without a value is left out. Raises Refusal where the body is no such form, or
    repeats a field (https://www.rfc-editor.org/rfc/rfc6749#section-3.2)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != TYPE:
        raise Refusal("invalid_request", f"expected a body of type {TYPE}")
    try:
        # It leaves out fields without a value, as RFC 6749, section 3.1, demands.
        pairs = parse_qsl((await request.body()).decode("ascii"), max_num_fields=MAX_FIELDS, errors="strict")
    except (ValueError, UnicodeError):
        raise Refusal("invalid_request", "the form cannot be read") from None
    if len({name for name, _ in pairs}) < len(pairs):
        raise Refusal("invalid_request", "a field is there twice")
    return dict(pairs)
