"""An upstream's answer for a Messages client, in the form that was asked for."""

from extproc.translate.for_messages.account import Account
from extproc.translate.for_messages.asked import Asked
from extproc.translate.for_messages.ending import Ending, refused
from extproc.translate.for_messages.sinks import EventSink, MessageSink, Sink, blank_message
from extproc.translate.for_messages.usage import write_usage
from extproc.translate.names import message_id
from extproc.translate.pair import Outcome, Usage
from extproc.translate.sniff import Reader
from extproc.translate.translated_reply import TranslatedReply


class MessagesReply(TranslatedReply):
    """Pairs say how events and whole answers are read into the sink."""

    def __init__(self, asked: Asked, content_type: str) -> None:
        self._asked = asked
        self._sink = _sink(asked)
        super().__init__(content_type, self._sink)

    def _whole(self) -> Reader:
        if isinstance(self._sink, EventSink):
            self._sink.live = False
        return super()._whole()


def _sink(asked: Asked) -> Sink:
    return EventSink(ping_by_delta=asked.profile.ping == "delta") if asked.stream else MessageSink()


def said(text: str, model: str, nonce: str, *, stream: bool) -> bytes:
    """An answer of our own: the text ends the turn. No upstream is asked."""
    sink: Sink = EventSink() if stream else MessageSink()
    sink.start(blank_message(message_id("", nonce), model, write_usage(Usage())))
    sink.open({"type": "text", "text": ""})
    sink.delta("text_delta", text)
    sink.stop()
    sink.end(Ending("end_turn"), Usage())
    return sink.take()


def refusal_answer(asked: Asked, explanation: str) -> bytes:
    """A filtered prompt as the answer of a model that refuses."""
    sink = _sink(asked)
    account = Account(asked, sink, Outcome())
    account.start("", "", None, None)
    sink.open({"type": "text", "text": ""})
    sink.delta("text_delta", explanation)
    sink.stop()
    account.use(Usage())
    account.end(refused(explanation))
    return sink.take()
