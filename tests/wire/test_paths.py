import pytest

from extproc.wire.paths import routed


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
