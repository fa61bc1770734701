"""An answer in the form of the cloud whose API the client speaks, made from the dialect's: its status, headers, errors
and framing. Calls in no such form do not come here."""

from urllib.parse import quote

import msgspec

from extproc.errors import Rejection
from extproc.events import Action, AnswerBody, BeginAnswer, Respond
from extproc.policy.facts import Listing
from extproc.translate import model_lists
from extproc.wire import untrusted
from extproc.wire.cloud_api import CloudCall, CloudError, DialectError, StreamWriter
from extproc.wire.dialects import LIST_PATH

_EVENTS = "text/event-stream"
_ALL = "limit=1000"
"""Asks for all models at once: a cloud's query is none of the dialect's."""


class _ErrorBody(msgspec.Struct):
    error: DialectError = DialectError()


_error = untrusted.decoder(_ErrorBody)


def cloud_list(call: Listing, cloud: CloudCall, *, merged: bool) -> bytes | Rejection:
    """Returns the models that the caller may use, in the cloud's shape. `merged`: see model_lists.listing."""
    names = [model.name for model in call.models]
    path = f"{LIST_PATH}/{quote(names[0] if names else cloud.model)}" if cloud.model else LIST_PATH
    listed = model_lists.listing(call.models, call.dialect, path, _ALL, merged)
    if isinstance(listed, Rejection) or cloud.api.list_answer is None:
        return listed
    return cloud.api.list_answer(names, call.request.path.rstrip("/"))


class CloudAnswer:
    """Changes the actions of one answer, in their order."""

    def __init__(self, cloud: CloudCall, request_id: str) -> None:
        self._cloud = cloud
        self._headers = cloud.api.headers(request_id)
        self._stream: StreamWriter | None = None

    def changed(self, actions: list[Action]) -> list[Action]:
        found: list[Action] = []
        for at, action in enumerate(actions):
            match action:
                case Respond():
                    found.append(self._respond(action))
                case BeginAnswer() if action.status >= 400:
                    # An error comes whole: its body is the rest of the list.
                    body = b"".join(part.body for part in actions[at + 1 :] if isinstance(part, AnswerBody))
                    error = self._as_error(action.status, body)
                    return [*found, self._begin(action, error), AnswerBody(error.body, True, {})]
                case BeginAnswer():
                    found.append(self._begin(action, None))
                case AnswerBody():
                    body = self._written(action.body, end=action.end)
                    # Half an event is no frame yet, since a frame of AWS begins with its length (wire/event_stream.py).
                    if body or action.end or action.record:
                        found.append(msgspec.structs.replace(action, body=body))
                case _:
                    found.append(action)
        return found

    def _respond(self, action: Respond) -> Respond:
        if action.status >= 400:
            error = self._as_error(action.status, action.body)
            headers = {**action.headers, **self._headers, **error.headers}
            return msgspec.structs.replace(action, status=error.status, headers=headers, body=error.body)
        headers = self._media({**action.headers, **self._headers})
        body = self._written(action.body, end=True)
        return msgspec.structs.replace(action, headers=headers, body=body)

    def _begin(self, action: BeginAnswer, error: CloudError | None) -> BeginAnswer:
        headers = {**action.set_headers, **self._headers}
        if error is None:
            return msgspec.structs.replace(action, set_headers=self._media(headers))
        return msgspec.structs.replace(action, status=error.status, set_headers={**headers, **error.headers})

    def _written(self, body: bytes, *, end: bool) -> bytes:
        if self._stream is not None:
            return self._stream.write(body, end=end)
        return self._cloud.api.count_answer(body) if self._cloud.counts and body else body

    def _media(self, headers: dict[str, str]) -> dict[str, str]:
        """Chooses the framing by the dialect's media type."""
        new = self._cloud.api.stream
        if new is None or not headers.get("content-type", "").startswith(_EVENTS):
            return headers
        self._stream = new()
        return {**headers, "content-type": self._cloud.api.stream_media}

    def _as_error(self, status: int, body: bytes) -> CloudError:
        try:
            error = _error.decode(body).error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            error = DialectError()
        return self._cloud.api.error(status, error, body)
