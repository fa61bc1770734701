"""Reads an upstream's answer in the form it came in, writes it in the form that was asked for."""

from abc import ABC, abstractmethod
from typing import Protocol

from extproc.errors import Rejection
from extproc.translate.failures import failure
from extproc.translate.pair import Outcome
from extproc.translate.sniff import Collected, Reader, Sniffer


class Sink(Protocol):
    """Writes the client's form."""

    def take(self) -> bytes: ...
    def fail(self, rejection: Rejection) -> None: ...
    def ping(self) -> bytes: ...


class TranslatedReply(ABC):
    """A Reply (pair.py) between two dialects; pairs say how events and whole answers are read."""

    def __init__(self, content_type: str, sink: Sink) -> None:
        self.outcome = Outcome()
        self._output = sink
        self._reader = Sniffer(content_type, self._events, self._whole)

    def feed(self, data: bytes) -> bytes:
        return self._reader.feed(data)

    def close(self) -> bytes:
        return self._reader.close()

    def ping(self) -> bytes:
        return self._output.ping()

    @abstractmethod
    def _events(self) -> Reader: ...

    @abstractmethod
    def _answer(self, body: bytes) -> Rejection | None:
        """Writes the whole answer to the sink, or says why there is none."""

    def _whole(self) -> Reader:
        return Collected(self._read, self._too_large)

    def _read(self, body: bytes) -> bytes:
        failed = self._answer(body)
        return self._output.take() if failed is None else self._fail(failed)

    def _too_large(self) -> bytes:
        return self._fail(failure("the upstream's answer is too large", "answer_limit"))

    def _fail(self, rejection: Rejection) -> bytes:
        self.outcome.failure = rejection
        self._output.fail(rejection)
        return self._output.take()
