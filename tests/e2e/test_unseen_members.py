"""Bodies of the provider's own dialect: what no rule sees does not pass, or rules see it."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.recording_provider import RecordingProvider
from tests.e2e.stack import ONE_WORKER, SECONDS, Json, Stack, up

CONFIG = """
authentication:
  jwt:
    - {issuer: claude-code-lab, audiences: [anthropic-api], jwks: {file: keys/jwks.json}}
authorization:
  deny:
    - 'jwt.team == "sales" && llm.has_images'
    - 'jwt.team == "sales" && llm.tools.exists(tool, tool in ["web_search", "plugins", "data_sources", "pptx"])'
    - 'jwt.team == "legal" && llm.max_tokens > 1000'
providers:
  anthropic: {dialects: [messages], base_url: "${PROVIDER}", api_key: {env: MODEL_KEY}}
  openai: {dialects: [chat, responses], base_url: "${PROVIDER}/v1", api_key: {env: MODEL_KEY}}
  lenient: {dialects: [chat], base_url: "${PROVIDER}/v1", profile: {unknown_members: pass}}
  strict: {dialects: [chat], base_url: "${PROVIDER}/v1", profile: {unknown_members: refuse}}
models:
  - {name: claude-open, provider: anthropic}
  - {name: gpt-open, provider: openai, max_output_tokens: 100}
  - {name: gpt-free, provider: openai}
  - {name: local, provider: lenient}
  - {name: strict, provider: strict}
  - {name: secret, provider: openai, allow: 'false'}
"""
PATHS = {"messages": "/v1/messages", "chat": "/v1/chat/completions", "responses": "/v1/responses"}
TURNS = [{"role": "user", "content": "q"}]
LEAST: dict[str, Json] = {
    "messages": {"model": "claude-open", "max_tokens": 9, "messages": TURNS},
    "chat": {"model": "gpt-free", "messages": TURNS},
    "responses": {"model": "gpt-free", "input": "q"},
}


@pytest.fixture(scope="module")
def recording() -> Iterator[RecordingProvider]:
    with RecordingProvider().serving() as running:
        yield running


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory, recording: RecordingProvider) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("unseen")
    with up(folder, environ={"PROVIDER": recording.url}, config=CONFIG, arguments=ONE_WORKER) as running:
        yield running


def ask(gate: Stack, dialect: str, body: Json | bytes, *, query: str = "", team: str = "data") -> httpx.Response:
    headers = {"authorization": f"Bearer {gate.token(team=team)}", "content-type": "application/json"}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    url = gate.url + PATHS[dialect] + query
    return httpx.post(url, content=content, headers=headers, timeout=SECONDS, verify=False)


def sent(recording: RecordingProvider) -> Json:
    [seen] = recording.seen
    found: Json = json.loads(seen.body)
    return found


STEERING: dict[str, Any] = {
    "models": ["secret"],
    "fallbacks": [{"model": "secret"}],
    "fallback_models": ["secret"],
    "model_list": [{"model_name": "gpt-free", "litellm_params": {"model": "secret"}}],
    "route": "fallback",
    "preset": "secret",
    "engine": "secret",
    "api_base": "https://elsewhere.example",
    "base_url": "https://elsewhere.example",
    "api_key": "k",
    "extra_body": {"model": "secret"},
}


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("name", STEERING)
def test_no_member_names_another_model_or_address(
    gate: Stack, recording: RecordingProvider, dialect: str, name: str
) -> None:
    for model in [LEAST[dialect]["model"], *(["local"] if dialect == "chat" else [])]:
        recording.answer()
        answer = ask(gate, dialect, {**LEAST[dialect], "model": model, name: STEERING[name]})
        assert (answer.status_code, recording.seen) == (400, []), answer.text
        assert name in answer.json()["error"]["message"]


@pytest.mark.parametrize("dialect", PATHS)
def test_a_member_that_nobody_knows_is_dropped_and_named(
    gate: Stack, recording: RecordingProvider, dialect: str
) -> None:
    recording.answer()
    answer = ask(gate, dialect, {**LEAST[dialect], "provider": {"only": ["x"]}, "invented": 1})
    assert sent(recording) == LEAST[dialect]
    assert gate.record(answer)["warnings"] == "dropped:provider,dropped:invented"


@pytest.mark.parametrize(("model", "status"), [("local", 200), ("strict", 400)])
def test_a_profile_may_pass_or_refuse_it(gate: Stack, recording: RecordingProvider, model: str, status: int) -> None:
    recording.answer()
    body = {**LEAST["chat"], "model": model, "invented": 1}
    assert ask(gate, "chat", body).status_code == status
    assert [json.loads(seen.body) for seen in recording.seen] == ([body] if status == 200 else [])


@pytest.mark.parametrize(
    "members",
    [{"top_k": 3, "min_p": 0.5, "guided_json": {}, "chat_template_kwargs": {"enable_thinking": False}}, {"seed": 1}],
)
def test_extensions_of_well_known_servers_pass(gate: Stack, recording: RecordingProvider, members: Json) -> None:
    recording.answer()
    assert ask(gate, "chat", {**LEAST["chat"], **members}).status_code == 200
    assert sent(recording) == {**LEAST["chat"], **members}


BRINGING: list[tuple[str, Json]] = [
    ("chat", {"plugins": [{"id": "web"}]}),
    ("chat", {"search_parameters": {"mode": "on"}}),
    ("chat", {"enable_search": True}),
    ("chat", {"data_sources": [{"type": "azure_search"}]}),
    ("chat", {"web_search_options": {}}),
    ("messages", {"container": {"skills": [{"type": "anthropic", "skill_id": "pptx", "version": "latest"}]}}),
]


@pytest.mark.parametrize(("dialect", "members"), BRINGING)
def test_rules_see_tools_that_other_members_bring(
    gate: Stack, recording: RecordingProvider, dialect: str, members: Json
) -> None:
    recording.answer()
    body = {**LEAST[dialect], **members}
    answer = ask(gate, dialect, body, team="sales")
    assert (answer.status_code, recording.seen) == (403, []), answer.text
    ask(gate, dialect, body)
    assert sent(recording) == body


PNG = "data:image/png;base64,eA=="
FILES: list[tuple[str, Any]] = [
    ("chat", {"type": "file", "file": {"file_data": PNG}}),
    ("chat", {"type": "file", "file": {"file_id": "f"}}),
    ("chat", {"type": "video_url", "video_url": {"url": "https://x/v"}}),
    ("chat", {"inline_data": {"mime_type": "image/png", "data": "eA=="}}),
    ("responses", {"type": "input_file", "file_data": PNG}),
    ("responses", {"type": "input_file", "file_url": "https://x/f"}),
]


@pytest.mark.parametrize(("dialect", "part"), FILES)
def test_rules_see_images_in_files(gate: Stack, recording: RecordingProvider, dialect: str, part: Json) -> None:
    recording.answer()
    turns = [{"role": "user", "content": [part]}]
    body = {**LEAST[dialect], ("input" if dialect == "responses" else "messages"): turns}
    answer = ask(gate, dialect, body, team="sales")
    assert (answer.status_code, recording.seen) == (403, []), answer.text


def test_rules_see_images_in_the_system_prompt(gate: Stack, recording: RecordingProvider) -> None:
    recording.answer()
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "eA=="}}
    answer = ask(gate, "messages", {**LEAST["messages"], "system": [image]}, team="sales")
    assert (answer.status_code, recording.seen) == (403, []), answer.text


TWICE = [
    b'{"model":"secret","model":"gpt-free","messages":[]}',
    b'{"model":"gpt-free","messages":[],"mod\\u0065l":"secret"}',
    b'{"model":"gpt-free","messages":[],"tools":[],"tools":[]}',
]
TWICE_WITHIN = [
    b'{"model":"gpt-free","messages":[{"role":"user","content":[{"type":"image_url","type":"text","text":"q"}]}]}',
    b'{"model":"gpt-free","messages":[{"role":"user","content":[],"conten\\u0074":"q \\u003a"}]}',
]


@pytest.mark.parametrize("body", [*TWICE, *TWICE_WITHIN])
def test_a_name_that_stands_twice_is_refused(gate: Stack, recording: RecordingProvider, body: bytes) -> None:
    recording.answer()
    answer = ask(gate, "chat", body)
    assert (answer.status_code, recording.seen) == (400, []), answer.text
    assert "given twice" in answer.json()["error"]["message"]


@pytest.mark.parametrize("name", ["Tools", "TOOLS", "Max_Tokens", "tool\u017f", "Messages", "Stream", "Model"])
def test_a_name_in_other_letters_is_refused(gate: Stack, recording: RecordingProvider, name: str) -> None:
    recording.answer()
    answer = ask(gate, "chat", {**LEAST["chat"], name: []})
    assert (answer.status_code, recording.seen) == (400, []), answer.text


@pytest.mark.parametrize(
    ("member", "value", "status"),
    [
        ("max_tokens", 5000, 200),
        ("max_tokens", 5000.0, 200),
        ("max_completion_tokens", 5e3, 200),
        ("max_tokens", 1e300, 200),
        ("max_tokens", "5000", 400),
        ("max_tokens", [5000], 400),
        ("max_tokens", True, 400),
    ],
)
def test_no_form_of_a_number_passes_a_limit(
    gate: Stack, recording: RecordingProvider, member: str, value: Any, status: int
) -> None:
    recording.answer()
    answer = ask(gate, "chat", {**LEAST["chat"], "model": "gpt-open", member: value})
    assert answer.status_code == status, answer.text
    assert [json.loads(seen.body)[member] for seen in recording.seen] == ([100] if status == 200 else [])


@pytest.mark.parametrize(
    ("members", "status"),
    [
        ({"max_tokens": 900}, 200),
        ({"max_tokens": 900, "n": 1}, 200),
        ({"max_tokens": 900, "n": 2}, 403),
        ({"max_tokens": 900, "best_of": 2}, 403),
        ({"max_tokens": 9, "n": "100"}, 403),
        ({"max_tokens": 9, "n": 2.0}, 403),
    ],
)
def test_a_limit_counts_every_answer(gate: Stack, recording: RecordingProvider, members: Json, status: int) -> None:
    recording.answer()
    assert ask(gate, "chat", {**LEAST["chat"], **members}, team="legal").status_code == status


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("?beta=true", "?beta=true"),
        ("?beta=true&model=secret", "?beta=true"),
        ("?model=secret", ""),
        ("?m%6Fdel=secret&api-version=2024-10-21", "?api-version=2024-10-21"),
        ("?beta=true;model=secret", ""),
        ("?BETA=1&key=k", ""),
    ],
)
def test_of_the_query_goes_what_is_known(gate: Stack, recording: RecordingProvider, query: str, kept: str) -> None:
    for dialect, path in PATHS.items():
        recording.answer()
        ask(gate, dialect, LEAST[dialect], query=query)
        assert [seen.target for seen in recording.seen] == [path + kept]
