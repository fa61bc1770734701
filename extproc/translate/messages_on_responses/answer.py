"""A whole response as a Messages answer (mapping 6.3)."""

from extproc.errors import Reason, Rejection
from extproc.providers.profiles import Profile
from extproc.translate.failures import failure
from extproc.translate.messages_on_responses import errors
from extproc.translate.messages_on_responses.answer_state import AnswerState
from extproc.translate.openai_upstream.errors import reported, unreadable
from extproc.wire import untrusted
from extproc.wire.lenient import Undecodable, decode, loads
from extproc.wire.responses import Response

_decoder = untrusted.decoder(Response)


def read_answer(body: bytes, state: AnswerState, profile: Profile) -> Rejection | None:
    """Writes the answer through `state`, or says why there is none; then nothing has been written."""
    if not body.strip():
        return failure("the upstream sent an empty answer", "empty_answer", Reason.TRUNCATED)
    try:
        response = decode(body, _decoder)
    except Undecodable:
        return unreadable(body, profile)
    match response.status or ("completed" if response.output is not None else ""):
        case "completed" | "incomplete" as status:
            state.start(response)
            state.end(response, status)
            return None
        case "failed":
            return _failed(response, state, profile)
        case "":
            return reported(loads(body), profile, "the upstream sent an answer without output")
        case _:
            return failure("the upstream's answer is not complete", "unfinished_answer")


def _failed(response: Response, state: AnswerState, profile: Profile) -> Rejection | None:
    ending = errors.refusal(response)
    if ending is None:
        return errors.failed(response, profile)
    state.start(response)
    state.refuse(response, ending)
    return None
