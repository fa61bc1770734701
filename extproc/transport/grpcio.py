"""gRPC over TCP, by grpcio (https://grpc.github.io/grpc/python/grpc_asyncio.html): the methods of
builtin/grpc.py.

The built-in server has one peer, our own Envoy on a Unix socket. On a network anybody can connect, so the server there
is one that has been exposed to attacks for years, and it requires a certificate of each peer.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TypeAlias, cast

import grpc
from grpc.aio import ServicerContext

from extproc.config.processor_tls import ServerTls
from extproc.config.schema import Config
from extproc.transport.calls import MESSAGE_MARGIN_BYTES, Method, Receiver, Status

log = logging.getLogger("extproc")

UNSENT_MESSAGES = 64
"""Most replies that wait for a slow peer; while there are as many, no further message of that call is read."""
HANDSHAKE_MILLISECONDS = 10_000
CONNECTION_MILLISECONDS = 600_000
CONNECTIONS = 1_000
"""An Envoy has one or two."""
_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}
Context: TypeAlias = "ServicerContext[bytes, bytes]"


class Call:
    """Queues what a service writes; `serve` sends it in order."""

    def __init__(self) -> None:
        self.ended = False
        self.status, self.message = Status.OK, ""
        self._unsent: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = asyncio.Event()
        self._room.set()

    def write(self, message: bytes) -> None:
        if not self.ended:
            self._unsent.put_nowait(message)
            if self._unsent.qsize() >= UNSENT_MESSAGES:
                self._room.clear()

    def end(self, status: Status = Status.OK, message: str = "") -> None:
        if not self.ended:
            self.ended = True
            self.status, self.message = status, message
            self._unsent.put_nowait(None)
            self._room.set()

    async def room(self) -> None:
        """Returns when the peer has taken enough for another message to be read."""
        await self._room.wait()

    async def next(self) -> bytes | None:
        """The next message to send; None at the end."""
        message = await self._unsent.get()
        if self._unsent.qsize() < UNSENT_MESSAGES:
            self._room.set()
        return message


async def serve(method: Method, context: Context) -> None:
    """Serves one call. No exception leaves here: grpcio would send its text to the peer and log its traceback."""
    call = Call()
    receiver: Receiver | None = None
    reading: asyncio.Task[None] | None = None
    try:
        receiver = method(call)
        reading = asyncio.create_task(_read(context, call, receiver))
        while (message := await call.next()) is not None:
            await context.write(message)
    except Exception as error:  # noqa: BLE001 - a bug, or a peer that has gone: the call ends, and no other
        _failed(call, error)
    finally:
        call.ended = True
        if reading is not None:
            reading.cancel()
        if receiver is not None:
            _close(receiver)
    # Outside the `try`, because `abort` raises: https://grpc.github.io/grpc/python/grpc_asyncio.html.
    if call.status is not Status.OK:
        await context.abort(_STATUS_CODES[call.status], call.message)


async def _read(context: Context, call: Call, receiver: Receiver) -> None:
    try:
        while not call.ended:
            # At the half-close grpcio gives grpc.aio.EOF, which is no bytes.
            message = cast(object, await context.read())
            if not isinstance(message, bytes):
                receiver.finished()
                return
            receiver.received(message)
            await call.room()
    except Exception as error:  # noqa: BLE001 - as in `serve`
        _failed(call, error)


def _failed(call: Call, error: Exception) -> None:
    if not call.ended:
        log.error("call failed: %s", type(error).__name__)
    call.end(Status.INTERNAL, "processor failed")
    call.status, call.message = Status.INTERNAL, "processor failed"


def _close(receiver: Receiver) -> None:
    try:
        receiver.closed()
    except Exception as error:  # noqa: BLE001 - as in `serve`
        log.error("call not closed: %s", type(error).__name__)


class _Methods(grpc.GenericRpcHandler):
    """Messages stay bytes: only the service knows protobuf. A method of one message is a stream of one on the wire."""

    def __init__(self, methods: Mapping[bytes, Method]) -> None:
        self._methods = {path.decode(): method for path, method in methods.items()}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        method = self._methods.get(handler_call_details.method)
        if method is None:
            return None

        async def behaviour(_: object, context: Context) -> None:
            await serve(method, context)

        return grpc.stream_stream_rpc_method_handler(behaviour)


class GrpcioServer:
    """Methods by their path, `b"/package.Service/Method"`, as in transport/builtin/grpc.py."""

    def __init__(self, methods: Mapping[bytes, Method], current: Callable[[], tuple[Config, ServerTls | None]]) -> None:
        """`current`: the configuration and certificates in force; called again for each connection."""
        self._current = current
        settings, tls = current()
        calls = 2 * settings.limits.calls  # twice what policy admits, which refuses in the client's dialect
        self._server = grpc.aio.server(
            handlers=[_Methods(methods)],
            options=_options(settings.max_body_bytes + MESSAGE_MARGIN_BYTES, calls),
            maximum_concurrent_rpcs=calls,
        )
        self._tls = tls

    async def listen(self, address: str) -> int:
        """Listens on `HOST:PORT`, with mutual TLS where there are certificates. Returns the port. Raises OSError."""
        try:
            if self._tls is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, self._credentials(self._tls))
        # grpcio's error for an address that is in use.
        except RuntimeError:
            raise OSError(f"no server can be started on {address}") from None
        finally:
            # grpcio reports an error when a server is garbage-collected that was never started.
            await self._server.start()
        return port

    async def stop(self, grace: float) -> None:
        """Takes no new calls; those in progress have `grace` seconds to end."""
        await self._server.stop(grace)

    def _credentials(self, first: ServerTls) -> grpc.ServerCredentials:
        seen = first

        def renewed() -> grpc.ServerCertificateConfiguration | None:
            nonlocal seen
            _, tls = self._current()
            if tls is None or tls == seen:
                return None
            seen = tls
            return _certificates(tls)

        # The stubs lack None, which means that the certificates have not changed.
        fetch = cast("Callable[[], grpc.ServerCertificateConfiguration]", renewed)
        return grpc.dynamic_ssl_server_credentials(_certificates(first), fetch, require_client_authentication=True)


def _certificates(tls: ServerTls) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(tls.key, tls.certificate)], tls.client_ca)


def _options(message_bytes: int, calls: int) -> list[tuple[str, int]]:
    """https://github.com/grpc/grpc/blob/master/include/grpc/impl/channel_arg_names.h"""
    return [
        # By default 4 MB, less than a body may have.
        ("grpc.max_receive_message_length", message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", calls),
        ("grpc.compression_enabled_algorithms_bitset", 1),  # none: a small message cannot become a large one
        # On by default: a second server would get a part of the connections, instead of an error.
        ("grpc.so_reuseport", 0),
        # Bounds how long a peer may take to present a certificate, and how many connections there are.
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MILLISECONDS),
        ("grpc.max_allowed_incoming_connections", CONNECTIONS),
        # If the machine of an Envoy is gone, its calls end within a minute and a half.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # An Envoy may ping every ten seconds; the default takes more than one in five minutes for an attack.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        # Each peer has to present its certificate again, so a withdrawn one stops working. Calls run to their end.
        ("grpc.max_connection_age_ms", CONNECTION_MILLISECONDS),
    ]
