"""Turns as input items, in the order of their blocks (mapping 6.2)."""

from extproc.translate.for_messages import pairing
from extproc.translate.for_messages.draft import Draft, Part
from extproc.translate.for_messages.results import Result
from extproc.translate.for_messages.turns import SEAM, AssistantTurn, SystemTurn, Thinking, Turn, UserTurn
from extproc.translate.messages_on_responses import reasoning
from extproc.translate.messages_on_responses.draft import ResponsesDraft
from extproc.translate.want import Json


def items(draft: ResponsesDraft, turns: list[Turn]) -> list[Json]:
    out: list[Json] = [draft.compaction] if draft.compaction else []
    for n, turn in enumerate(turns):
        match turn:
            case SystemTurn():
                out.append(_message(draft.profile.system_role, turn.parts))
            case UserTurn():
                results = pairing.paired(turns, n)
                out += [_output(result) for result in results]
                if parts := [part for result in results for part in result.attached] + turn.parts:
                    out.append(_message("user", parts))
            case AssistantTurn():
                pairing.check_answered(turns, n)
                out += _assistant(draft, turn)
    return out


def prefill(draft: Draft, turns: list[Turn], out: list[Json]) -> str:
    """Applies the profile's rule to a conversation that ends with the model's own words; returns an echo to cut."""
    last = turns[-1]
    if draft.counting or not isinstance(last, AssistantTurn):
        return ""
    match draft.profile.prefill:
        case "append_user":
            draft.warnings.add("emulated", "prefill", pairing.NO_PREFILL)
            out.append(_message("user", [{"type": "text", "text": "Continue."}]))
            return ""
        case "pass":
            return last.text
        case _:
            raise pairing.no_prefill()


def _message(role: str, parts: list[Part]) -> Json:
    return {"type": "message", "role": role, "content": [_input(part) for part in parts]}


def _input(part: Part) -> Json:
    hint = {key: part[key] for key in ("prompt_cache_breakpoint",) if key in part}
    match part["type"]:
        case "image_url":
            return {"type": "input_image", "image_url": part["image_url"]["url"], "detail": "auto", **hint}
        case "file":
            return {"type": "input_file", **part["file"], **hint}
        case _:
            return {"type": "input_text", "text": part["text"], **hint}


def _output(result: Result) -> Json:
    content = result.content
    output = content if isinstance(content, str) else [_input(part) for part in content]
    return {"type": "function_call_output", "call_id": result.upstream_id, "output": output}


def _assistant(draft: Draft, turn: AssistantTurn) -> list[Json]:
    run = _Run()
    for message in turn.messages:
        run.seam()
        for item in message:
            if isinstance(item, Thinking):
                run.add(reasoning.item(item))
            elif item["type"] == "text":
                run.say(item["text"])
            else:
                function = item["function"]
                run.add({"type": "function_call", "call_id": draft.history_id(item["id"]), **function})
    out = run.end()
    if draft.profile.phase:
        _mark_phases(out)
    return out


class _Run:
    """The items of one turn; texts that follow each other are one."""

    def __init__(self) -> None:
        self._out: list[Json] = []
        self._texts: list[str] = []
        self._seam = ""

    def seam(self) -> None:
        """Another of the client's messages begins."""
        self._seam = SEAM if self._texts else ""

    def say(self, text: str) -> None:
        self._texts.append(self._seam + text)
        self._seam = ""

    def add(self, item: Json | None) -> None:
        if item is not None:
            self._flush()
            self._out.append(item)

    def end(self) -> list[Json]:
        self._flush()
        # OpenAI refuses reasoning that nothing follows.
        while self._out and self._out[-1]["type"] == "reasoning":
            self._out.pop()
        return self._out

    def _flush(self) -> None:
        if self._texts:
            self._out.append({"type": "message", "role": "assistant", "content": "".join(self._texts)})
        self._texts, self._seam = [], ""


def _mark_phases(out: list[Json]) -> None:
    """What is said before a call is commentary."""
    phase = "final_answer"
    for item in reversed(out):
        if item["type"] == "function_call":
            phase = "commentary"
        elif item["type"] == "message":
            item["phase"] = phase
