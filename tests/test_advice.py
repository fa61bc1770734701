from pathlib import Path

import pytest

from extproc import advice
from tests.settings import GATEWAY, source

URL = "https://api.openai.example/v1"
TWICE = "ends in an endpoint, and {} would be added once more; probably "


@pytest.mark.parametrize(
    ("url", "dialects", "said"),
    [
        (URL, "[chat]", ""),
        ("http://127.0.0.1:8000", "[chat]", "most servers serve below /v1; probably http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/", "[responses]", "most servers serve below /v1; probably http://127.0.0.1:8000/v1"),
        ("https://api.anthropic.example", "[messages]", ""),
        ("https://host.example/company/openai", "[chat]", ""),
        (f"{URL}/chat/completions", "[chat]", f"{TWICE.format('/chat/completions')}{URL}"),
        ("https://a.example/v1/messages", "[messages]", f"{TWICE.format('/messages')}https://a.example/v1"),
    ],
)
def test_base_urls(tmp_path: Path, url: str, dialects: str, said: str) -> None:
    made = source(tmp_path, GATEWAY.replace(URL, url).replace("[chat]", dialects))
    where = f"{tmp_path / 'gateway.yaml'}:4: providers.openai.base_url: "
    assert advice.warnings(made) == ([where + said] if said else [])
