"""`extproc up` starts a demo model only for providers whose key is missing, and says for which."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.recording_provider import RecordingProvider
from tests.e2e.stack import ONE_WORKER, PROVIDER_KEY, prompt, up

CONFIG = """
# With OPENAI_API_KEY in the environment the key would come from there; here it is in a file.
authentication:
  jwt:
    - {issuer: claude-code-lab, audiences: [anthropic-api], jwks: {file: keys/jwks.json}}
providers:
  ours: {dialects: [chat], base_url: "${OPENAI_UPSTREAM_URL:-PROVIDER/v1}", api_key: {file: provider.key}}
models:
  - {name: "claude-*", provider: ours}
"""


@pytest.fixture(scope="module")
def recording() -> Iterator[RecordingProvider]:
    with RecordingProvider().serving() as running:
        yield running


def test_a_comment_starts_no_demo_model(tmp_path: Path, recording: RecordingProvider) -> None:
    """It would have got the real key."""
    (tmp_path / "provider.key").write_text(PROVIDER_KEY)
    with up(tmp_path, config=CONFIG.replace("PROVIDER", recording.url), arguments=ONE_WORKER) as stack:
        answer = stack.call(prompt("hello"))
        assert "DEMO" not in stack.printed
    assert answer.status_code == 200
    [seen] = recording.seen
    assert seen.headers["authorization"] == f"Bearer {PROVIDER_KEY}"


def test_the_providers_are_named_that_it_stands_for(tmp_path: Path) -> None:
    text = CONFIG.replace("PROVIDER/v1", "https://api.openai.com/v1")
    with up(
        tmp_path, config=text.replace("{file: provider.key}", "{env: OPENAI_API_KEY}"), arguments=ONE_WORKER
    ) as stack:
        assert stack.call(prompt("demo: say bonjour")).status_code == 200
        stack.out.says("  No OPENAI_API_KEY is set: THE DEMO MODEL ANSWERS instead of ours.")
