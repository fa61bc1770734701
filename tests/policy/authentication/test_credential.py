import json
from collections.abc import Sequence
from typing import Any

import pytest

from extproc.config.schema import CookieLocation, HeaderLocation, Location
from extproc.events import Headers
from extproc.policy.authentication.credential import Unproven, credential
from tests.settings import authenticating, faults

T = "abc"
BOTH: Sequence[Location] = ["authorization", "x-api-key"]
ALL: Sequence[Location] = [*BOTH, HeaderLocation(header="x-company-token"), CookieLocation(cookie="session")]
REST = "providers: {p: {dialects: [chat], base_url: 'https://p.example'}}\nmodels: [{name: m, provider: p}]"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], None),
        ([("authorization", f"Bearer {T}")], T),
        ([("authorization", f"bearer   {T} ")], T),
        ([("x-api-key", T)], T),
        ([("authorization", f"Bearer {T}"), ("x-api-key", T)], T),
        ([("cookie", T), ("proxy-authorization", T), ("x-company-token", T)], None),
    ],
)
def test_the_credential(fields: list[tuple[str, str]], expected: str | None) -> None:
    assert credential(Headers(fields), BOTH, 100) == expected


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ([("authorization", "Bearer a"), ("x-api-key", "b")], "two_credentials"),
        ([("authorization", "Bearer a,Bearer b")], "two_credentials"),
        ([("authorization", "Bearer a"), ("authorization", "Bearer b")], "two_credentials"),
        ([("x-api-key", "a"), ("x-api-key", "b")], "two_credentials"),
        ([("x-api-key", "a"), ("x-api-key", "")], "two_credentials"),
        ([("x-api-key", "a,a")], "two_credentials"),
        ([("authorization", "Basic a")], "not_a_bearer_token"),
        ([("authorization", "Basic a"), ("x-api-key", "b")], "not_a_bearer_token"),
        ([("authorization", "")], "not_a_bearer_token"),
        ([("authorization", "Bearer ")], "token_malformed"),
        ([("x-api-key", "")], "token_malformed"),
        ([("x-api-key", "\u00e4")], "token_malformed"),
        ([("x-api-key", "x" * 101)], "token_too_large"),
        ([("x-api-key", "a"), ("x-company-token", "b")], "two_credentials"),
        ([("x-company-token", "a"), ("x-company-token", "b")], "two_credentials"),
        ([("cookie", "session=a; session=b")], "two_credentials"),
        ([("cookie", "session=a"), ("cookie", "session=b")], "two_credentials"),
        ([("cookie", "session=a"), ("x-api-key", "b")], "two_credentials"),
        ([("cookie", "session=")], "token_malformed"),
    ],
)
def test_no_telling_which_credential_is_meant(fields: list[tuple[str, str]], problem: str) -> None:
    with pytest.raises(Unproven, match=f"^{problem}$"):
        credential(Headers(fields), ALL, 100)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([("x-company-token", T)], T),
        ([("cookie", f"session={T}")], T),
        ([("cookie", f'a=b; session="{T}" ; c')], T),
        ([("cookie", "a=b"), ("cookie", f"session={T}")], T),
        ([("cookie", f"Session={T}; xsession={T}; session2={T}")], None),
        ([("cookie", f"session={T}=="), ("x-api-key", f"{T}==")], f"{T}=="),
        ([("x-company-token", T), ("authorization", f"Bearer {T}")], T),
    ],
)
def test_a_header_and_a_cookie_of_ones_own(fields: list[tuple[str, str]], expected: str | None) -> None:
    assert credential(Headers(fields), ALL, 100) == expected


def test_only_the_places_that_are_configured_are_looked_at() -> None:
    fields = Headers([("authorization", "Basic x"), ("x-api-key", "y"), ("cookie", f"session={T}")])
    assert credential(fields, [CookieLocation(cookie="session")], 100) == T


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ({"header": "x-app"}, "0.header: x-app is passed on to providers; choose another header"),
        ({"header": "anthropic-beta"}, "0.header: anthropic-beta is passed on to providers; choose another header"),
        ({"header": "traceparent"}, "0.header: traceparent is passed on to providers; choose another header"),
        ({"header": "cookie"}, "0.header: cookie has a meaning of its own; choose another header"),
        ({"header": "x-envoy-token"}, "0.header: x-envoy-token has a meaning of its own; choose another header"),
        ({"header": "X-Token"}, "0.header: String should match pattern"),
        ({"cookie": "a b"}, "0.cookie: String should match pattern"),
        ("bearer", "locations.0: Input should be 'authorization' or 'x-api-key'"),
    ],
)
def test_a_header_that_goes_on_carries_no_credential(tmp_path: Any, location: Any, says: str) -> None:
    text = authenticating().replace('{"mode"', f'{{"locations": [{json.dumps(location)}], "mode"')
    found = faults(tmp_path, f"{text}\n{REST}")
    assert len(found) == 1 and says in found[0]
