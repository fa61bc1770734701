from typing import Any

import msgspec
import pytest

from extproc.demo.claude_reply import MODELS, Claude
from extproc.demo.http1 import Headers, Request
from extproc.demo.reply import Reply

VERSION = ("anthropic-version", "2023-06-01")
TOOL = {"name": "get_weather", "input_schema": {"type": "object"}}


def request(
    text: str = "hi", *, method: str = "POST", target: str = "/v1/messages", headers: Headers | None = None, **more: Any
) -> Request:
    body = {"model": "claude-x", "max_tokens": 2000, "messages": [{"role": "user", "content": text}], **more}
    sent = [("x-api-key", "k"), VERSION] if headers is None else headers
    return Request(method, target, "HTTP/1.1", sent, msgspec.json.encode(body))


def reply(text: str = "hi", model: Claude | None = None, **more: Any) -> Reply:
    return (model or Claude("k")).reply(request(text, **more), "n", 1)


def error(said: Reply) -> tuple[int, str, str]:
    body = msgspec.json.decode(said.pieces[0])
    assert body["type"] == "error" and body["request_id"] == "req_n"
    return said.status, body["error"]["type"], body["error"]["message"]


def message(said: Reply) -> Any:
    return msgspec.json.decode(said.pieces[0])


def events(said: Reply) -> list[Any]:
    return [msgspec.json.decode(piece.split(b"data: ")[1]) for piece in said.pieces]


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ([VERSION], "x-api-key header is required"),
        ([VERSION, ("x-api-key", "no")], "invalid x-api-key"),
        ([VERSION, ("authorization", "Bearer no")], "Invalid bearer token"),
    ],
)
def test_strangers(headers: Headers, message: str) -> None:
    assert error(reply(headers=headers)) == (401, "authentication_error", message)


def test_a_bearer_is_as_good_as_a_key() -> None:
    assert reply(headers=[VERSION, ("Authorization", "Bearer k")]).status == 200
    assert Claude().reply(request(headers=[VERSION, ("x-api-key", "any")]), "n", 1).status == 200


@pytest.mark.parametrize("version", [None, "v1"])
def test_the_version_is_required(version: str | None) -> None:
    headers = [("x-api-key", "k")] + ([("anthropic-version", version)] if version else [])
    status, kind, words = error(reply(headers=headers))
    assert (status, kind) == (400, "invalid_request_error") and words.startswith("anthropic-version: ")


def test_paths_and_methods() -> None:
    assert error(reply(target="/v1/complete"))[:2] == (404, "not_found_error")
    assert error(reply(method="GET"))[0] == 405
    assert reply(target="/v1/messages?beta=true").status == 200


def test_json() -> None:
    answer = message(reply())
    assert answer["content"][0]["text"].startswith("Hello from the demo model, called as claude-x.")
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("end_turn", None)
    assert answer["usage"]["input_tokens"] == len(request().body) // 4


def test_a_stream() -> None:
    script = 'demo: think hm\ndemo: say two words and more\ndemo: call get_weather {"city": "Zürich"}'
    said = reply(script, stream=True, tools=[TOOL], thinking={"type": "enabled", "budget_tokens": 1024})
    found = events(said)
    kinds = [event["type"] for event in found]
    assert kinds[:2] == ["message_start", "ping"] and kinds[-2:] == ["message_delta", "message_stop"]
    assert all(piece.startswith(f"event: {kind}\n".encode()) for piece, kind in zip(said.pieces, kinds, strict=True))
    starts = [event["content_block"]["type"] for event in found if event["type"] == "content_block_start"]
    assert starts == ["thinking", "text", "tool_use"]
    deltas = [event["delta"] for event in found if event["type"] == "content_block_delta"]
    assert "".join(delta.get("partial_json", "") for delta in deltas) == '{"city":"Zürich"}'
    assert found[-2]["delta"]["stop_reason"] == "tool_use"
    assert found[-2]["usage"]["output_tokens_details"] == {"thinking_tokens": 0}


def test_thinking_only_when_asked_and_its_signature_comes_back() -> None:
    assert [block["type"] for block in message(reply("demo: think hm\ndemo: say x"))["content"]] == ["text"]
    for display, shown in (("summarized", "hm"), ("omitted", "")):
        thinking = {"type": "adaptive", "display": display}
        answer = message(reply("demo: think hm\ndemo: say x", thinking=thinking))
        assert answer["content"][0]["thinking"] == shown
        turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": answer["content"]}]
        assert reply(messages=[*turns, {"role": "user", "content": "more"}]).status == 200
        forged = [{**answer["content"][0], "signature": "EqQB"}]
        turns[1] = {"role": "assistant", "content": forged}
        words = "messages.1.content.0: Invalid `signature` in `thinking` block"
        assert error(reply(messages=[*turns, {"role": "user", "content": "more"}]))[2] == words


def test_citations() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "The grass is green."}
    document = {"type": "document", "source": source, "citations": {"enabled": True}}
    turns = [{"role": "user", "content": [document, {"type": "text", "text": "demo: say green"}]}]
    text = message(reply(messages=turns))["content"][0]
    assert text["citations"][0]["cited_text"] == "The grass is green."
    kinds = [
        e["delta"]["type"] for e in events(reply(messages=turns, stream=True)) if e["type"] == "content_block_delta"
    ]
    assert kinds == ["text_delta", "citations_delta"]


def test_a_tool_loop_moves_on() -> None:
    asked = {"role": "user", "content": "demo: call get_weather {}\ndemo: then\ndemo: say done"}
    call = message(reply(messages=[asked], tools=[TOOL]))["content"][0]
    assert (call["type"], call["input"]) == ("tool_use", {})
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": "sunny"}
    turns = [asked, {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    assert message(reply(messages=turns, tools=[TOOL]))["content"][0]["text"] == "done"
    turns[0] = {"role": "user", "content": "q"}
    assert message(reply(messages=turns, tools=[TOOL]))["content"][0]["text"] == "Tool result: sunny"


def test_a_forced_tool_and_a_format() -> None:
    forced = message(reply(tools=[TOOL], tool_choice={"type": "any"}))
    assert (forced["stop_reason"], forced["content"][0]["name"]) == ("tool_use", "get_weather")
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    formatted = message(reply(output_config={"format": {"type": "json_schema", "schema": schema}}))
    assert formatted["content"][0]["text"] == '{"a":1}'


def test_length() -> None:
    assert message(reply("demo: say x\ndemo: length"))["stop_reason"] == "max_tokens"


@pytest.mark.parametrize("stream", [True, False])
def test_faults(stream: bool) -> None:
    failed = reply("demo: fail 529 retry-after=3", stream=stream)
    assert error(failed)[:2] == (529, "overloaded_error")
    assert ("retry-after", "3") in failed.headers and ("x-should-retry", "true") in failed.headers
    assert reply("demo: html", stream=stream).content_type.startswith("text/html")
    whole = b"".join(reply("demo: say something long enough", stream=stream).pieces)
    for fault in ("truncate", "reset"):
        cut = reply(f"demo: say something long enough\ndemo: {fault}", stream=stream)
        assert 0 < len(b"".join(cut.pieces)) < len(whole) and cut.cut == (fault == "reset")
    assert msgspec.json.decode(reply("demo: json", stream=stream).pieces[0])["type"] == "message"


def test_an_error_in_the_middle() -> None:
    found = events(reply("demo: say something long enough\ndemo: break 529", stream=True))
    assert found[0]["type"] == "message_start"
    assert found[-1] == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "The demo model fails with 529, as the script says."},
    }
    assert error(reply("demo: break 529"))[0] == 529


def test_faults_are_used_up() -> None:
    model = Claude("k")
    assert [reply("demo: fail 500 times=1", model).status for _ in range(2)] == [500, 200]


def test_counting() -> None:
    body = msgspec.json.encode({"model": "claude-x", "messages": [{"role": "user", "content": "hi"}]})
    asked = Request("POST", "/v1/messages/count_tokens", "HTTP/1.1", [("x-api-key", "k"), VERSION], body)
    assert message(Claude("k").reply(asked, "n", 1))["input_tokens"] > 10
    assert error(reply(target="/v1/messages/count_tokens"))[0] == 400  # it names a limit


def models(query: str) -> Any:
    return message(reply(method="GET", target=f"/v1/models{query}"))


def test_models() -> None:
    first = models("?limit=2")
    assert [entry["id"] for entry in first["data"]] == list(MODELS[:2])
    assert (first["has_more"], first["first_id"], first["last_id"]) == (True, MODELS[0], MODELS[1])
    after = models(f"?after_id={MODELS[1]}")
    assert [entry["id"] for entry in after["data"]] == list(MODELS[2:]) and not after["has_more"]
    assert [entry["id"] for entry in models(f"?before_id={MODELS[2]}&limit=1")["data"]] == [MODELS[1]]
    assert models(f"/{MODELS[0]}")["type"] == "model"
    assert error(reply(method="GET", target="/v1/models/none")) == (404, "not_found_error", "model: none")
    assert error(reply(method="GET", target="/v1/models?limit=0"))[0] == 400
