"""A cloud for tests: it verifies signature and token as the vendor's own library computes them, and answers in the
vendor's forms."""

import base64
import contextlib
import datetime as dt
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from unittest import mock
from urllib.parse import unquote, urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from extproc.wire.event_stream import encode
from tests.e2e.serving import serving
from tests.e2e.stack import Json

KEYS = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
_SIGNED = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<id>[^/]+)/(?P<day>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, "
    r"SignedHeaders=(?P<names>[^,]+), Signature=[0-9a-f]{64}"
)

REQUEST_ID = "aaaabbbb-cccc-dddd-eeee-ffff00001111"
MESSAGE: Json = {
    "id": "msg_bdrk_01",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "Grüezi from the cloud"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 11, "output_tokens": 5},
}
EVENTS: list[Json] = [
    {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Grüezi "}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "from the cloud"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 5},
    },
    {
        "type": "message_stop",
        "amazon-bedrock-invocationMetrics": {"inputTokenCount": 11, "outputTokenCount": 5, "invocationLatency": 700},
    },
]
COMPLETION: Json = {
    "id": "c",
    "object": "chat.completion",
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
}


@dataclass
class Answer:
    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})


def answered(body: Json, status: int = 200, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(json.dumps(body).encode(), status, {"content-type": "application/json", **named})


def chunk(event: Json) -> bytes:
    """One frame of Bedrock's stream; `p` is padding, as AWS sends it."""
    payload = {"bytes": base64.b64encode(json.dumps(event).encode()).decode(), "p": "abcdefghijkl"}
    headers = {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}
    return encode(headers, json.dumps(payload).encode())


def exception(name: str, message: str) -> bytes:
    headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return encode(headers, json.dumps({"message": message}).encode())


def frames(*parts: bytes) -> Answer:
    return Answer(b"".join(parts), headers={"content-type": "application/vnd.amazon.eventstream"})


def sse(events: list[Json]) -> Answer:
    text = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    return Answer(text.encode(), headers={"content-type": "text/event-stream"})


def refused(status: int, name: str, message: str) -> Answer:
    return answered({"message": message}, status, x_amzn_errortype=f"{name}:http://internal.amazon.com/coral/")


@dataclass
class Received:
    target: str
    """As it came, percent-encoding and query included."""
    headers: dict[str, str]
    raw: bytes

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    @property
    def body(self) -> Json:
        found: Json = json.loads(self.raw)
        return found


class Cloud:
    """Answers what `answer` says, after `verify` has found no fault with the request."""

    def __init__(self, verify: Callable[["Received", str], str | None]) -> None:
        """`verify`: returns what is wrong with a request. The string: its method."""
        self._verify = verify
        self.url = ""
        self.received: list[Received] = []
        self._answers: list[Answer] = []

    def answer(self, *answers: Answer) -> None:
        """What the next requests get, one each; the last stays."""
        self.received.clear()
        self._answers = list(answers)

    @property
    def last(self) -> Received:
        return self.received[-1]

    @contextlib.contextmanager
    def serving(self) -> Iterator["Cloud"]:
        with serving(self._handler()) as self.url:
            yield self

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *arguments: object) -> None:
                pass

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers.get("content-length", "0")))
                headers = {name.lower(): value for name, value in self.headers.items()}
                received = Received(self.path, headers, raw)
                cloud.received.append(received)
                problem = cloud._verify(received, self.command)
                if problem is not None:
                    answer = refused(403, "InvalidSignatureException", problem)
                else:
                    answer = cloud._answers.pop(0) if len(cloud._answers) > 1 else cloud._answers[0]
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("x-amzn-requestid", REQUEST_ID)
                self.send_header("content-length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

        return Handler


def signed(
    region: str, service: str, keys: Callable[[], Credentials] = lambda: KEYS
) -> Callable[[Received, str], str | None]:
    """A `verify` for Cloud: botocore signs the same request at the same moment, and must come to the same."""

    def verify(received: Received, method: str) -> str | None:
        found = _SIGNED.fullmatch(received.headers.get("authorization", ""))
        if found is None:
            return "not signed"
        known = keys()
        if (found["region"], found["service"], found["id"]) != (region, service, known.access_key):
            return "signed for something else, or by somebody else"
        names = found["names"].split(";")
        if not {"host", "x-amz-date", "x-amz-content-sha256"} <= set(names):
            return "too little is signed"
        moment = dt.datetime.strptime(received.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
        if abs((dt.datetime.now(dt.UTC) - moment).total_seconds()) > 300:
            return "the clock is wrong"
        kept = {name: received.headers[name] for name in names if name not in ("x-amz-date", "x-amz-content-sha256")}
        url = f"http://{received.headers['host']}{received.target}"
        request = AWSRequest(method=method, url=url, headers=kept, data=received.raw)
        request.headers["X-Amz-Content-SHA256"] = SigV4Auth(known, service, region).payload(request)
        with mock.patch("botocore.auth.get_current_datetime", return_value=moment):
            SigV4Auth(known, service, region).add_auth(request)
        same = request.headers["Authorization"] == received.headers["authorization"]
        return None if same else "the signature does not match"

    return verify
