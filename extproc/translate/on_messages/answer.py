"""A whole Messages answer, read (mapping 4.6)."""

from extproc.errors import Reason, Rejection
from extproc.providers.profiles import Profile
from extproc.translate.failures import failure
from extproc.translate.on_messages.answer_state import AnswerState
from extproc.translate.on_messages.errors import reported
from extproc.wire import untrusted
from extproc.wire.lenient import Undecodable, decode, loads
from extproc.wire.message_events import Message

_decoder = untrusted.decoder(Message)


def read_answer(body: bytes, state: AnswerState, profile: Profile) -> Rejection | None:
    """Writes the answer through `state`, or says why there is none; then nothing has been written."""
    if not body.strip():
        return failure("the upstream sent an empty answer", "empty_answer", Reason.TRUNCATED)
    try:
        message = decode(body, _decoder)
    except Undecodable:
        return failure("the upstream's answer cannot be read", "unreadable_answer")
    if message.type == "error" or message.error:
        return reported(loads(body), profile)
    if message.content is None:
        return failure("the upstream's answer cannot be read", "no_message")
    _write(message, state)
    return None


def _write(message: Message, state: AnswerState) -> None:
    state.start(message)
    for index, block in enumerate(message.content or ()):
        state.open(index, block)
        state.close(index)
    state.use(message.usage)
    state.finish(message.stop_reason, message.stop_details)
    state.end()
