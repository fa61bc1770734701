"""What docs/ says of the configuration is what the code does."""

import json
import re
from pathlib import Path

import pytest

from extproc import config
from extproc.gateway import Gateway
from tests.certificates import certificate
from tests.issuing import jwk
from tests.settings import ENVIRON, MODELS, PROVIDERS

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "authentication.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(authentication:.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples_of_authentication(tmp_path: Path, example: str) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/batch.json").write_text(json.dumps({"keys": [jwk("OKP")]}))
    (tmp_path / "keys/api-keys.yaml").write_text("[]")
    certificate(tmp_path, "idp.example.com")
    (tmp_path / "ca.pem").rename(tmp_path / "keys/company-ca.pem")
    (tmp_path / "gateway.yaml").write_text(f"{example}\n{PROVIDERS}\n{MODELS}")
    Gateway(config.load(tmp_path / "gateway.yaml", ENVIRON), ENVIRON)


def test_every_code_of_a_refusal_is_explained() -> None:
    explained = set(re.findall(r"^\| `([a-z]+_\w+)` \| (?:401|503) \|", TEXT, re.MULTILINE))
    policy = ROOT / "extproc" / "policy"
    source = "".join(
        (policy / f"{name}.py").read_text() for name in ("tokens", "credential", "api_keys", "authenticate")
    )
    # A code is two words or more; `return "..."` and `raise Unproven("...")` give them.
    given = re.findall(r'(?:Unproven\(|return |credential", |else |_UNAVAILABLE = )"([a-z]+(?:_[a-z]+)+)"', source)
    assert explained == set(given)
