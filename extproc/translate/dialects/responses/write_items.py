"""The items of an answer for a Responses client: what begins, what is added, what the end repeats
(docs/mapping.md 6.5)."""

from typing import Any, Protocol

from extproc.translate.answer_events import CallEnded, CallStarted, Compacted
from extproc.translate.openai_members import openai_citation
from extproc.translate.pair import Json
from extproc.translate.signature import seal
from extproc.translate.translated import TranslatedRequest
from extproc.wire.lenient import Undecodable, loads
from extproc.wire.responses import Frame


class Output(Protocol):
    """Where items are written (write_answer.py)."""

    suffix: str

    def emit(self, kind: str, **members: Any) -> None: ...
    def delta(self, frame: Frame, text: str) -> None: ...
    def next_place(self) -> int: ...
    def add(self, place: int, item: Json) -> None: ...
    def done(self, place: int, item: Json) -> None: ...
    def keep(self, place: int, item: Json) -> None: ...


class MessageItem:
    """A message with one part: text, or a refusal. It stays open over neighbouring texts."""

    def __init__(self, output: Output, *, is_refusal: bool) -> None:
        self.is_refusal = is_refusal
        self._output = output
        self._place = output.next_place()
        self._id = f"msg_{output.suffix}_{self._place}"
        self._where = {"item_id": self._id, "output_index": self._place, "content_index": 0}
        kind = "refusal" if is_refusal else "output_text"
        # SDKs' types require `logprobs` in the deltas of text, and not in those of a refusal.
        self._frame = Frame(f"response.{kind}.delta", self._where, {} if is_refusal else {"logprobs": []})
        self._texts: list[str] = []
        self._length = 0
        """Characters of text so far."""
        self._part_begin = 0
        """Where in the text the provider's part begins that comes now."""
        self._logprobs: list[Any] = []
        self._annotations: list[Json] = []
        output.add(self._place, self._item("in_progress", []))
        # Each text, refusal and summary is opened as a part before its first delta, and closed behind the last.
        output.emit("response.content_part.added", **self._where, part=self._part(""))

    def add(self, text: str) -> None:
        self._texts.append(text)
        self._length += len(text)
        self._output.delta(self._frame, text)

    def end_part(self) -> None:
        self._part_begin = self._length

    def add_logprobs(self, found: tuple[Any, ...]) -> None:
        self._logprobs += found

    def cite(self, found: tuple[Json, ...]) -> None:
        for citation in found:
            annotation = {"type": "url_citation", **openai_citation(citation, self._part_begin)}
            n = len(self._annotations)
            self._annotations.append(annotation)
            self._output.emit(
                "response.output_text.annotation.added", **self._where, annotation_index=n, annotation=annotation
            )

    def close(self) -> None:
        text = "".join(self._texts)
        part = self._part(text)
        if self.is_refusal:
            self._output.emit("response.refusal.done", **self._where, refusal=text)
        else:
            self._output.emit("response.output_text.done", **self._where, text=text, logprobs=self._logprobs)
        self._output.emit("response.content_part.done", **self._where, part=part)
        self._output.done(self._place, self._item("completed", [part]))

    def _part(self, text: str) -> Json:
        if self.is_refusal:
            return {"type": "refusal", "refusal": text}
        part: Json = {"type": "output_text", "text": text, "annotations": list(self._annotations)}
        return {**part, "logprobs": self._logprobs} if self._logprobs else part

    def _item(self, status: str, content: list[Json]) -> Json:
        return {"type": "message", "id": self._id, "role": "assistant", "status": status, "content": content}


class ReasoningItem:
    """Done when the provider has said what it wants back."""

    def __init__(self, output: Output, *, shown: bool) -> None:
        self._output = output
        self._shown = shown
        self._place = output.next_place()
        self._id = f"rs_{output.suffix}_{self._place}"
        self._where = {"item_id": self._id, "output_index": self._place, "summary_index": 0}
        self._frame = Frame("response.reasoning_summary_text.delta", self._where, {})
        self._texts: list[str] = []
        output.add(self._place, self._item(""))

    def add(self, text: str) -> None:
        if self._shown and not self._texts:
            self._output.emit("response.reasoning_summary_part.added", **self._where, part=_summary(""))
        self._texts.append(text)
        if self._shown:
            self._output.delta(self._frame, text)

    def end(self, carrier: str, data: Any) -> None:
        text = "".join(self._texts)
        if text and self._shown:
            self._output.emit("response.reasoning_summary_text.done", **self._where, text=text)
            self._output.emit("response.reasoning_summary_part.done", **self._where, part=_summary(text))
        item = self._item(text if self._shown else "")
        # Clients return it unread, as they do with OpenAI's own (docs/mapping.md 6.5).
        if carrier:
            item["encrypted_content"] = seal(carrier, data, text or None)
        self._output.done(self._place, item)

    def _item(self, text: str) -> Json:
        return {"type": "reasoning", "id": self._id, "summary": [_summary(text)] if text else []}


def _summary(text: str) -> Json:
    return {"type": "summary_text", "text": text}


class CallItem:
    """A call of a function, of a custom tool, or of the client's own shell."""

    def __init__(self, output: Output, request: TranslatedRequest, call: CallStarted) -> None:
        self._output = output
        self._call = call
        self._namespace, self._name = request.shape.namespaces.get(call.name, ("", call.name))
        self._place = output.next_place()
        self._id = f"{_PREFIXES[call.kind]}_{output.suffix}_{self._place}"
        self._where = {"item_id": self._id, "output_index": self._place}
        kind = "custom_tool_call_input" if call.kind == "custom" else "function_call_arguments"
        self._events = f"response.{kind}"
        self._frame = Frame(f"{self._events}.delta", self._where, {})
        self._arguments: list[str] = []
        output.add(self._place, self._item("", "in_progress"))

    def add(self, text: str) -> None:
        self._arguments.append(text)
        if self._call.kind != "shell":  # OpenAI's shell has no events but its beginning and its end
            self._output.delta(self._frame, text)

    def close(self, event: CallEnded) -> None:
        """Clients parse the arguments, so a call without any still has an object."""
        if not self._arguments and not event.cut and self._call.kind == "function":
            self.add("{}")
        text = "".join(self._arguments)
        if event.cut:
            self._cut_off(self._item(text or event.withheld, "incomplete"))
            return
        if self._call.kind == "custom":
            self._output.emit(f"{self._events}.done", **self._where, input=text)
        elif self._call.kind == "function":
            self._output.emit(f"{self._events}.done", **self._where, arguments=text)
        self._output.done(self._place, self._item(text, "completed"))

    def _cut_off(self, item: Json) -> None:
        """Codex runs an item when its end comes, whatever its status. So an item ends only if nobody can take it for
        whole: by arguments that end in the midst of their JSON."""
        if self._arguments and self._call.kind == "function":
            self._output.done(self._place, item)
        else:
            self._output.keep(self._place, item)

    def _item(self, arguments: str, status: str) -> Json:
        call = self._call
        if call.kind == "shell":
            action = _shell_action(arguments)
            return {"type": "local_shell_call", "id": self._id, "call_id": call.id, "action": action, "status": status}
        kind = "custom_tool_call" if call.kind == "custom" else "function_call"
        item: Json = {"type": kind, "id": self._id, "call_id": call.id, "name": self._name}
        if self._namespace:
            item["namespace"] = self._namespace
        if call.kind == "custom":
            # OpenAI's custom calls have no status; a cut one needs a word that tells it.
            return {**item, "input": arguments, **({"status": status} if status == "incomplete" else {})}
        return {**item, "arguments": arguments, "status": status}


_PREFIXES = {"function": "fc", "custom": "ctc", "shell": "lsh"}


def _shell_action(arguments: str) -> Json:
    try:
        found = loads(arguments)
    except Undecodable:
        found = {}
    members = found if isinstance(found, dict) else {}
    command = members.get("command")
    words = command if isinstance(command, list) else [command]
    # SDKs' types require `env`, of which another model says nothing.
    action: Json = {"type": "exec", "command": [word for word in words if isinstance(word, str)], "env": {}}
    if isinstance(members.get("workdir"), str):
        action["working_directory"] = members["workdir"]
    if type(members.get("timeout_ms")) is int:
        action["timeout_ms"] = members["timeout_ms"]
    return action


def compaction_item(output: Output, compacted: Compacted) -> None:
    """What the provider keeps of a long conversation: opaque to the client, who returns it."""
    place = output.next_place()
    envelope = seal(compacted.carrier, compacted.data, compacted.text or None)
    item = {"type": "compaction", "id": f"cmp_{output.suffix}_{place}", "encrypted_content": envelope}
    output.add(place, item)
    output.done(place, item)
