"""HTTP/2 header by header, for what no HTTP library would send (https://www.rfc-editor.org/rfc/rfc9113#section-8)."""

from collections.abc import Sequence

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import httpx

from tests.e2e import wire

Fields = Sequence[tuple[str, str]]


def send(url: str, fields: Fields, body: bytes | None, trailers: Fields = ()) -> httpx.Response | None:
    """`body`: None for no DATA frame at all; then trailers end the request. Returns None if the stream was reset, or
    the connection with it."""
    config = h2.config.H2Configuration(
        validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding="utf-8"
    )
    protocol = h2.connection.H2Connection(config)
    protocol.initiate_connection()
    protocol.send_headers(1, fields)
    if body is not None:
        protocol.send_data(1, body, end_stream=not trailers)
    if trailers:
        protocol.send_headers(1, trailers, end_stream=True)
    with wire.connect(url) as connection:
        connection.sendall(protocol.data_to_send())
        status, headers, content = 0, list[tuple[str, str]](), b""
        while data := connection.recv(65536):
            for event in protocol.receive_data(data):
                match event:
                    case h2.events.ResponseReceived():
                        headers = [(str(name), str(value)) for name, value in event.headers]
                        status = int(dict(headers)[":status"])
                    case h2.events.DataReceived():
                        content += event.data
                    case h2.events.StreamEnded():
                        return httpx.Response(status, headers=headers[1:], content=content)
                    case h2.events.StreamReset() | h2.events.ConnectionTerminated():
                        return None
                    case _:
                        pass
    return None
