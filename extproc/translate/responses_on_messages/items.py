"""Items of a response but for calls: what begins, what is added, what its end says (mapping 6.5)."""

from typing import Any, ClassVar

from extproc.translate.pair import Json
from extproc.translate.responses_on_messages import thought
from extproc.translate.responses_on_messages.output import Output
from extproc.wire.message_events import Block, Delta
from extproc.wire.response_events import Frame


class Said:
    """A message: one part, of text or of a refusal. It stays open over neighbouring blocks of text."""

    def __init__(self, output: Output, suffix: str) -> None:
        self._output = output
        self._place = output.place()
        self._id = f"msg_{suffix}_{self._place}"
        self._where = {"item_id": self._id, "output_index": self._place, "content_index": 0}
        self._frame = Frame("response.output_text.delta", self._where, {"logprobs": []})
        self._texts: list[str] = []
        self._annotations: list[Json] = []
        self.length = 0
        output.add(self._place, self._item("in_progress", []))

    def text(self, text: str) -> None:
        if not self._texts:
            self._begin({"type": "output_text", "text": "", "annotations": []})
        self._texts.append(text)
        self.length += len(text)
        self._output.said(self._frame, text)

    def cite(self, found: list[Json]) -> None:
        for citation in found:
            annotation = {"type": "url_citation", **citation}
            n = len(self._annotations)
            self._annotations.append(annotation)
            self._output.emit(
                "response.output_text.annotation.added", **self._where, annotation_index=n, annotation=annotation
            )

    def close(self) -> None:
        text = "".join(self._texts)
        self._output.emit("response.output_text.done", **self._where, text=text, logprobs=[])
        self._end({"type": "output_text", "text": text, "annotations": self._annotations})

    def refuse(self, text: str) -> None:
        """The whole of it."""
        self._begin({"type": "refusal", "refusal": ""})
        self._output.emit("response.refusal.delta", **self._where, delta=text)
        self._output.emit("response.refusal.done", **self._where, refusal=text)
        self._end({"type": "refusal", "refusal": text})

    def _begin(self, part: Json) -> None:
        self._output.emit("response.content_part.added", **self._where, part=part)

    def _end(self, part: Json) -> None:
        self._output.emit("response.content_part.done", **self._where, part=part)
        self._output.done(self._place, self._item("completed", [part]))

    def _item(self, status: str, content: list[Json]) -> Json:
        return {"type": "message", "id": self._id, "role": "assistant", "status": status, "content": content}


class Reasoning:
    """Done when its block is: only then its signature is known."""

    is_call: ClassVar[bool] = False

    def __init__(self, output: Output, suffix: str, *, shown: bool) -> None:
        self._output = output
        self._shown = shown
        self._place = output.place()
        self._id = f"rs_{suffix}_{self._place}"
        self._where = {"item_id": self._id, "output_index": self._place, "summary_index": 0}
        self._frame = Frame("response.reasoning_summary_text.delta", self._where, {})
        self._texts: list[str] = []
        self._signature = ""
        output.add(self._place, self._item(""))

    def begin(self, block: Block) -> int:
        self._signature += block.signature or ""
        return self._think(block.thinking)

    def add(self, delta: Delta) -> int:
        self._signature += delta.signature or ""
        return self._think(delta.thinking)

    def close(self) -> None:
        text = "".join(self._texts)
        if text and self._shown:
            self._output.emit("response.reasoning_summary_text.done", **self._where, text=text)
            self._output.emit("response.reasoning_summary_part.done", **self._where, part=_summary(text))
        item = self._item(text if self._shown else "")
        if self._signature:
            item["encrypted_content"] = thought.sealed(text, self._signature)
        self._output.done(self._place, item)

    def hidden(self, data: str) -> None:
        """Thinking that Anthropic itself hides comes at once."""
        self._output.done(self._place, {**self._item(""), "encrypted_content": thought.sealed_data(data)})

    def _think(self, text: str | None) -> int:
        if not text:
            return 0
        if self._shown and not self._texts:
            self._output.emit("response.reasoning_summary_part.added", **self._where, part=_summary(""))
        self._texts.append(text)
        if self._shown:
            self._output.said(self._frame, text)
        return len(text)

    def _item(self, text: str) -> Json:
        return {"type": "reasoning", "id": self._id, "summary": [_summary(text)] if text else []}


class Compaction:
    """What Claude keeps of a long conversation: opaque to the client, who returns it."""

    is_call: ClassVar[bool] = False

    def __init__(self, output: Output, suffix: str) -> None:
        self._output = output
        self._place = output.place()
        self._id = f"cmp_{suffix}_{self._place}"
        self._texts: list[str] = []
        output.add(self._place, self._item())

    def keep(self, text: Any) -> int:
        if not isinstance(text, str):
            return 0
        self._texts.append(text)
        return len(text)

    def add(self, delta: Delta) -> int:
        return self.keep(delta.content)

    def close(self) -> None:
        self._output.done(self._place, self._item())

    def _item(self) -> Json:
        return {"type": "compaction", "id": self._id, "encrypted_content": thought.sealed_summary("".join(self._texts))}


def _summary(text: str) -> Json:
    return {"type": "summary_text", "text": text}
