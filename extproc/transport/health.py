"""gRPC's health protocol, for the worker as a whole: https://github.com/grpc/grpc/blob/master/doc/health-checking.md"""

from collections.abc import Callable

from extproc.transport.calls import Call

CHECK = b"/grpc.health.v1.Health/Check"
# HealthCheckResponse{status}: so small that it needs no generated code.
_SERVING, _NOT_SERVING = b"\x08\x01", b"\x08\x02"


class Health:
    def __init__(self, ready: Callable[[], bool]) -> None:
        """`ready`: asked each time; calls could be decided now."""
        self.serving = False
        self._ready = ready

    def serves(self) -> bool:
        return self.serving and self._ready()

    def check(self, call: Call) -> "_Check":
        return _Check(self, call)


class _Check:
    def __init__(self, health: Health, call: Call) -> None:
        self._health = health
        self._call = call

    def received(self, message: bytes) -> None:
        self._call.write(_SERVING if self._health.serves() else _NOT_SERVING)
        self._call.end()

    def finished(self) -> None:
        self._call.end()

    def closed(self) -> None:
        pass
