"""A whole ChatCompletion as a Messages answer (mapping 2)."""

from extproc.errors import Reason, Rejection
from extproc.providers.profiles import Profile
from extproc.translate.arguments import tool_input
from extproc.translate.failures import failure, truncated
from extproc.translate.messages_on_chat.answer_state import AnswerState
from extproc.translate.messages_on_chat.finish import choice_failure, is_filtered
from extproc.translate.openai_upstream.errors import reported, unreadable
from extproc.wire import untrusted
from extproc.wire.chat import Choice, Completion, Said
from extproc.wire.lenient import Undecodable, decode, loads

_decoder = untrusted.decoder(Completion)


def read_answer(body: bytes, state: AnswerState, profile: Profile) -> Rejection | None:
    """Writes the answer through `state`, or says why there is none; then nothing has been written."""
    if not body.strip():
        return failure("the upstream sent an empty answer", "empty_answer", Reason.TRUNCATED)
    try:
        completion = decode(body, _decoder)
    except Undecodable:
        return unreadable(body, profile)
    if completion.error or completion.object == "error":
        return reported(loads(body), profile)
    choices = _first_choices(completion)
    if not choices:
        return reported(loads(body), profile, "the upstream sent an answer without a choice")
    for choice in choices:
        if failed := choice_failure(choice, profile):
            return failed
    if not any(choice.finish_reason for choice in choices) and any(map(_has_cut_call, choices)):
        return truncated("the upstream's answer ended before completion")
    _write(completion, choices, state)
    return None


def _first_choices(completion: Completion) -> list[Choice]:
    """Those of the lowest index. Some proxies split text and calls over choices without one."""
    usable = [choice for choice in completion.choices or () if _said(choice) is not None]
    lowest = min((choice.index or 0 for choice in usable), default=0)
    return [choice for choice in usable if (choice.index or 0) == lowest]


def _has_cut_call(choice: Choice) -> bool:
    """A call is not finished, should nobody say why the answer ended."""
    said = _said(choice) or Said()
    given = [call.given for call in said.tool_calls or () if not call.is_custom]
    if said.function_call is not None:
        given.append(said.function_call.arguments)
    return any(tool_input(arguments, at_limit=True).cut for arguments in given)


def _said(choice: Choice) -> Said | None:
    """Azure leaves the message out where its filter stopped the model."""
    return choice.message or choice.delta or (Said() if is_filtered(choice.finish_reason) else None)


def _write(completion: Completion, choices: list[Choice], state: AnswerState) -> None:
    said = [found for choice in choices if (found := _said(choice)) is not None]
    whole = said[0] if len(said) == 1 else _joined(said)
    state.start(completion)
    state.use(completion.counts)
    for choice in choices:
        state.match(choice)
        state.finish = choice.finish_reason or state.finish
    state.hear_whole(whole)
    state.account.measure()
    state.end(keep_blank=not whole.tool_calls and whole.function_call is None)


def _joined(said: list[Said]) -> Said:
    first = Said()
    for one in said:
        for name in Said.__struct_fields__:
            mine, its = getattr(first, name), getattr(one, name)
            both = mine and its and type(mine) is type(its) and isinstance(its, str | list)
            setattr(first, name, mine + its if both else mine or its)
    return first
