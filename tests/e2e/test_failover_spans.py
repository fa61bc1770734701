"""Each attempt of a call is a span within that of the call."""

from pathlib import Path

from tests.e2e.otlp import attributes, collector
from tests.e2e.raw_provider import RawProvider, whole
from tests.e2e.stack import GATEWAY, Model, prompt, up

FAILS = whole(b'{"error": {"message": "no"}}', status="500 Internal Server Error")


def test_each_attempt_is_a_span(tmp_path: Path, model: Model, provider: RawProvider) -> None:
    with collector() as spans:
        config = (
            GATEWAY.partition("models:")[0]
            + f"""
  first: {{dialects: [chat], base_url: "{provider.url}"}}
  nobody: {{dialects: [chat], base_url: "http://127.0.0.1:1"}}
models:
  - name: "claude-*"
    providers: [{{provider: nobody}}, {{provider: first}}, {{provider: openai, model: gpt-4o-mini}}]
tracing: {{endpoint: "{spans.url}"}}
"""
        )
        provider.plays(FAILS)
        with up(tmp_path, environ={"MODEL_URL": model.url}, config=config) as stack:
            assert stack.call(prompt("demo: say hi")).status_code == 200
        # The processor sends what it still has when it leaves.
        found = {span.name: span for span in spans.spans(3)}
    call = next(span for name, span in found.items() if not name.startswith("attempt"))
    failed, answered = found["attempt first"], found["attempt openai"]
    assert {span.parent_span_id for span in (failed, answered)} == {call.span_id}
    assert attributes(failed)["http.response.status_code"] == 500 and attributes(failed)["error.type"] == "500"
    assert attributes(answered)["http.response.status_code"] == 200 and "error.type" not in attributes(answered)
    assert call.start_time_unix_nano <= failed.start_time_unix_nano <= answered.start_time_unix_nano
    assert answered.end_time_unix_nano <= call.end_time_unix_nano
    assert attributes(call)["gen_ai.provider.name"] == "openai"
