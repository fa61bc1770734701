import stat
from importlib.util import find_spec
from pathlib import Path

import pytest

from extproc.usage import opening
from extproc.usage.calls import call_of
from extproc.usage.ledger import LedgerDown
from extproc.usage.opening import FILE, open_ledger
from tests.certificates import Authority
from tests.postgresql_server import PASSWORD, postgresql_server
from tests.settings import ENVIRON, GATEWAY, faults, source
from tests.usage_lines import LINE

SECRETS = {**ENVIRON, "PG": PASSWORD}


def in_postgresql(url: str, more: str = "") -> str:
    return f"{GATEWAY}\nusage: {{postgresql: {{url: '{url}', password: {{env: PG}}{more}}}}}\n"


@pytest.mark.parametrize(
    ("section", "where", "said"),
    [
        ("{retention: 400}", "usage.retention", ""),
        ("{retention: 0d}", "usage.retention", ""),
        ("{retention: -1d}", "usage.retention", ""),
        ("{postgresql: {url: 'postgresql://u:secret@h/d'}}", "usage.postgresql.url", "without a password"),
        ("{postgresql: {url: 'mysql://u@h/d'}}", "usage.postgresql.url", "postgresql://USER@HOST"),
        ("{postgresql: {url: 'postgresql://h/d'}}", "usage.postgresql.url", "postgresql://USER@HOST"),
        ("{postgresql: {url: 'postgresql://u@h'}}", "usage.postgresql.url", "postgresql://USER@HOST"),
        ("{postgresql: {url: 'postgresql://u@h/d?sslmode=maybe'}}", "usage.postgresql.url", "verify-full"),
        ("{postgresql: {url: 'postgresql://u@h/d?options=-c'}}", "usage.postgresql.url", "nothing but sslmode"),
        ("{postgresql: {url: 'postgresql://u@h/d', password: {env: NONE}}}", "usage.postgresql.password", "NONE"),
        ("{postgresql: {url: 'postgresql://u@h/d', ca_file: no.pem}}", "usage.postgresql.ca_file", "no.pem is no file"),
        ("{sqlite: {}}", "usage.sqlite", ""),
    ],
)
def test_mistakes_are_named(tmp_path: Path, section: str, where: str, said: str) -> None:
    [fault] = faults(tmp_path, f"{GATEWAY}\nusage: {section}\n")
    assert where in fault and said in fault
    assert "secret" not in fault


@pytest.mark.parametrize(
    ("section", "missing", "extra"),
    [
        ("{}", "sqlalchemy", "[usage]"),
        ("{postgresql: {url: 'postgresql://u@h/d'}}", "psycopg", "[postgresql]"),
    ],
)
def test_an_extra_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str, missing: str, extra: str
) -> None:
    text = f"{GATEWAY}\nusage: {section}\n"
    assert not faults(tmp_path, text)
    monkeypatch.setattr(opening, "find_spec", lambda name: None if name == missing else find_spec(name))
    [fault] = faults(tmp_path, text)
    assert f"pip install 'llm-extproc{extra}'" in fault


def test_others_cannot_read_the_file(tmp_path: Path) -> None:
    ledger = open_ledger(source(tmp_path, f"{GATEWAY}\nusage: {{}}\nstore: {{folder: kept}}\n"), ENVIRON)
    ledger.add([call_of(LINE, "a")])
    files = list((tmp_path / "kept").glob(f"{FILE}*"))
    assert len(files) >= 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o700
    ledger.close()


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        (in_postgresql("postgresql://u@db.example/d"), "verify-full"),
        (in_postgresql("postgresql://u@db.example/d?sslmode=require"), "require"),
        (in_postgresql("postgresql://u@localhost/d"), "prefer"),
        (in_postgresql("postgresql://u@127.0.0.1/d", ", ca_file: gateway.yaml"), "verify-full"),
    ],
)
def test_certificates_of_other_machines_are_verified(tmp_path: Path, text: str, mode: str) -> None:
    made = source(tmp_path, text, SECRETS)
    assert made.config.usage is not None and made.config.usage.postgresql is not None
    assert opening.tls(made, made.config.usage.postgresql)["sslmode"] == mode


def test_a_database_is_known_by_its_certificate(tmp_path: Path) -> None:
    right, wrong = Authority(tmp_path / "right"), Authority(tmp_path / "wrong")
    right.issue("db", "localhost")
    with postgresql_server(right.folder / "db.pem") as server:
        for authority, error in ((right, ""), (wrong, "SSL error")):
            text = in_postgresql(server.url, f", ca_file: {authority.folder / 'ca.pem'}")
            ledger = open_ledger(source(tmp_path, text, SECRETS), SECRETS)
            if error:
                with pytest.raises(LedgerDown, match=error):
                    ledger.add([call_of(LINE, "b")])
            else:
                ledger.add([call_of(LINE, "a")])
                assert ledger.sums([])[0]["calls"] == 1
            ledger.close()
