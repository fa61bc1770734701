"""A client that reads Server-Sent Events as they come, and may stop in the midst."""

import contextlib
import json
from collections.abc import Iterator

import httpx

from tests.e2e.stack import SECONDS, Json, Stack, prompt


@contextlib.contextmanager
def streaming(stack: Stack, text: str, **more: object) -> Iterator[httpx.Response]:
    headers = {"authorization": f"Bearer {stack.good_token}"}
    body = prompt(text, stream=True, **more)
    with (
        httpx.Client(verify=False, timeout=SECONDS) as client,
        client.stream("POST", f"{stack.url}/v1/messages", json=body, headers=headers) as answer,
    ):
        yield answer


def events(answer: httpx.Response) -> Iterator[Json]:
    name = ""
    for line in answer.iter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            event: Json = json.loads(value)
            assert event["type"] == name
            yield event


def kinds(found: list[Json]) -> list[str]:
    return [event["type"] for event in found]


def said(found: list[Json]) -> str:
    return "".join(event["delta"].get("text", "") for event in found if event["type"] == "content_block_delta")
