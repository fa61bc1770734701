import pytest

from extproc.providers.providers import Credential, Provider


@pytest.mark.parametrize(
    ("url", "said", "told"),
    [
        ("http://gpu-node-7:8000/v1", "GPU-node-7:8000 and gpu-node-7 say", "[address] and [address] say"),
        ("https://llm.firma.at", "llm.firma.at/v1, not my-llm.firma.at", "[address]/v1, not my-llm.firma.at"),
        ("http://[fd00::12]:8000", "at [fd00::12]:8000", "at [address]"),
        ("http://vllm:8000", "vllm:8000: vllm has no room", "[address]: vllm has no room"),
        ("http://vllm", "vllm has no room", "vllm has no room"),
    ],
)
def test_a_providers_own_address_is_concealed(url: str, said: str, told: str) -> None:
    assert Provider("x", ("chat",), url, None).concealed(said.encode()).decode() == told


def test_a_providers_own_key_is_concealed() -> None:
    provider = Provider("x", ("chat",), "https://a.example", Credential("Zq7LkPw0mBn3"))
    assert provider.concealed(b'{"message":"no Zq7LkPw0mBn3."}') == b'{"message":"no [key]."}'
