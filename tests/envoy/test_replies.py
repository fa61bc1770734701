"""Envoy's refusals: each in AWS's words and in both dialects, the more special ones first."""

from typing import Any

import pytest

from extproc.envoy.replies import OVERLOADED, TIMED_OUT, UNREACHABLE, local_replies

Json = dict[str, Any]


def mappers() -> list[Json]:
    found: list[Json] = local_replies()["mappers"]
    return found


def told(condition: str) -> tuple[Json, Json]:
    """Of a CEL condition: to Chat clients, to all others but those of Bedrock's API."""
    _, chat, messages = of_all(condition)
    return chat, messages


def of_all(condition: str) -> list[Json]:
    return [mapper for mapper in mappers() if condition in str(mapper["filter"])]


@pytest.mark.parametrize(
    ("condition", "statuses", "kinds"),
    [
        (OVERLOADED, (503, 503), ("service_unavailable_error", "overloaded_error")),
        (TIMED_OUT, (504, 504), ("server_error", "timeout_error")),
        (UNREACHABLE, (503, 529), ("service_unavailable_error", "overloaded_error")),
    ],
)
def test_what_is_told_by_envoys_details(condition: str, statuses: tuple[int, int], kinds: tuple[str, str]) -> None:
    both = told(condition)
    bodies = [mapper["body_format_override"]["json_format"] for mapper in both]
    assert tuple(mapper["status_code"] for mapper in both) == statuses
    assert tuple(body["error"]["type"] for body in bodies) == kinds
    assert "request_id" not in bodies[0] and "request_id" in bodies[1]


def test_who_is_refused_for_overload_is_told_when_to_come_again() -> None:
    assert len(of_all(OVERLOADED)) == 3
    for mapper in of_all(OVERLOADED):
        assert {"header": {"key": "retry-after", "value": "1"}} in mapper["headers_to_add"]


def test_details_are_looked_at_before_statuses() -> None:
    special = [number for number, mapper in enumerate(mappers()) if "extension_filter" in str(mapper["filter"])]
    assert special == [1, 2, 3, 4, *range(special[4], special[4] + 4), *range(special[8], special[8] + 4)]


@pytest.mark.parametrize(
    ("condition", "status", "exception"),
    [
        (OVERLOADED, 503, "ServiceUnavailableException"),
        (TIMED_OUT, 408, "ModelTimeoutException"),
        (UNREACHABLE, 503, "ServiceUnavailableException"),
    ],
)
def test_what_clients_of_bedrock_are_told(condition: str, status: int, exception: str) -> None:
    first = of_all(condition)[0]
    assert first["status_code"] == status and list(first["body_format_override"]["json_format"]) == ["message"]
    assert {"header": {"key": "x-amzn-errortype", "value": exception}} in first["headers_to_add"]
    assert "'prefix': '/bedrock/'" in str(first["filter"])
