from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.wire.paths import canonical, routed


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/v1/messages", "/v1/messages"),
        ("//v1//messages?a=//b", "/v1/messages?a=//b"),
        ("/v1/./messages", "/v1/messages"),
        ("/v1/x/../messages", "/v1/messages"),
        ("/v1/messages/..", "/v1/"),
        ("/../v1/messages/", "/v1/messages/"),
        ("/v1/mess%61ges", "/v1/messages"),
        ("/v1%2Fmessages%2f..%5cx", "/v1/x"),
        ("/v1/messages%20", "/v1/messages%20"),
        ("/", "/"),
    ],
)
def test_paths(target: str, path: str) -> None:
    assert routed(target) == path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "/"),
        ("", "/"),
        ("/v1/models/a:b@c", "/v1/models/a:b@c"),
        ("/v1/%6d%3A%3a%40%2B", "/v1/m::@+"),
        ("/v1/a%20b%7e%ff", "/v1/a%20b~%FF"),
        ("/v1/caf\xc3\xa9", "/v1/caf%C3%A9"),
        ('/v1/"<|>^`{}[]', "/v1/%22%3C%7C%3E%5E%60%7B%7D%5B%5D"),
        ("/v1/100%", "/v1/100%25"),
        ("/v1/%2", "/v1/%252"),
        ("/v1/%2541%252f", "/v1/%2541%252f"),
        ("/v1/a%3fb%23c%00", "/v1/a%3Fb%23c%00"),
        ("/v1/.%2e/x%2f%2e%2e%5cy/./z/", "/y/z/"),
        ("//v1//x", "/v1/x"),
        ("/.well-known", "/.well-known"),
    ],
)
def test_one_spelling(path: str, expected: str) -> None:
    assert canonical(path) == expected


@given(st.text(st.characters(max_codepoint=255), max_size=12).map(lambda text: f"/{text}"))
def test_the_one_spelling_stays(path: str) -> None:
    found = canonical(path)
    assert canonical(found) == found and found.isascii() and found.isprintable() and " " not in found
    assert unquote_to_bytes(found) == unquote_to_bytes(routed(found))
