from pathlib import Path
from typing import Any

import pytest

from extproc.config import loading, schema
from extproc.config.faults import Fault
from extproc.config.files import Files
from extproc.config.loading import Invalid
from extproc.gateway import gateway
from tests.settings import faults, source

MINIMAL = """\
authentication: {mode: optional}
providers:
  openai: {dialects: [chat], base_url: https://api.openai.example/v1}
models:
  - {name: "*", provider: openai}
"""


def load(folder: Path, text: str, environ: dict[str, str] | None = None) -> schema.Config:
    return source(folder, text, environ or {}).config


def changed(old: str, new: str) -> str:
    assert MINIMAL.count(old) == 1
    return MINIMAL.replace(old, new)


def test_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path, MINIMAL)
    assert (settings.listen.address, settings.listen.port) == ("127.0.0.1", 8080)
    assert settings.authentication.mode == "optional"
    assert settings.providers["openai"].timeouts.idle == 900
    assert settings.models[0].allow == []


@pytest.mark.parametrize(("retries", "attempts"), [("off", 1), ("{}", 2), ("{attempts: 4}", 4)])
def test_attempts(tmp_path: Path, retries: str, attempts: int) -> None:
    settings = load(tmp_path, changed("example/v1}", f"example/v1, retries: {retries}}}"))
    assert settings.providers["openai"].retries.attempts == attempts


def test_the_safe_mode_is_the_default(tmp_path: Path) -> None:
    text = changed("{mode: optional}", "{jwt: [{issuer: i, audiences: [a], jwks: {file: f}}]}")
    settings = load(tmp_path, text)
    assert settings.authentication.mode == "strict"
    assert settings.authentication.jwt[0].algorithms == ["RS256"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (changed("models:", "modles:"), ["4: modles: unknown key"]),
        (changed("name:", "nmae:"), ["5: models.0.name: this key is required", "5: models.0.nmae: unknown key"]),
        (changed("optional", "lax"), ["1: authentication.mode: Input should be 'strict', 'optional' or 'permissive'"]),
        (
            MINIMAL + "metrics: {port: 9464, claims: [a.b, a-b]}\n",
            ["6: metrics: two of these claims would make the same label"],
        ),
        (MINIMAL + "health: {}\n", ["6: health.port: this key is required"]),
        (MINIMAL + "listen: {port: 70000}\n", ["6: listen.port: Input should be less than or equal to 65535"]),
        (MINIMAL + "listen:\n  port: x\n", ["7: listen.port: Input should be a valid integer"]),
        (MINIMAL + "limits: {memory_bytes: 1}", [
            "6: limits.memory_bytes: Input should be greater than or equal to 134217728"]),
        (MINIMAL + "limits: {streams: 5}", ["6: limits.streams: unknown key"]),
        (changed("example/v1}", "example/v1, retries: {attempts: 0}}"), [
            "3: providers.openai.retries.attempts: Input should be greater than or equal to 1"]),
        (changed("example/v1}", "example/v1, retries: never}"), [
            "3: providers.openai.retries: Input should be a valid dictionary or instance of Retries"]),
        (changed("example/v1}", "example/v1, timeouts: {first_byte: 0}}"), [
            "3: providers.openai.timeouts.first_byte: Input should be greater than 0"]),
        (MINIMAL + "workers: 0", ["6: workers: Input should be greater than or equal to 1"]),
        (MINIMAL + "streaming: {ping_interval: 0}", ["6: streaming.ping_interval: Input should be greater than 0"]),
        (MINIMAL + "workers: 1\nworkers: 2", ["7: workers: this key occurs twice"]),
        (MINIMAL + "  - name: a\n    name: b\n    provider: p", ["7: models.1.name: this key occurs twice"]),
        (MINIMAL + "records: {claims: [!foo x]}", [
            "6: records.claims.0: Input should be a valid string", "6: records.claims.0: YAML cannot read this value"]),
        (MINIMAL + "records: {claims: [2020-99-99]}", [
            "6: records.claims.0: Input should be a valid string", "6: records.claims.0: YAML cannot read this value"]),
        (MINIMAL + "<<: {workers: 1}", ["6: <<: unknown key"]),
        (changed("[chat]", "[]"), ["3: providers.openai.dialects: List should have at least 1 item"]),
        (changed("[chat]", "[smtp]"), [
            "3: providers.openai.dialects.0: Input should be 'messages', 'chat' or 'responses'"]),
        (changed("[chat]", "[chat], prefer: [caht]"), [
            "3: providers.openai.prefer.0: Input should be 'messages', 'chat' or 'responses'; did you mean 'chat'?"]),
        (changed("[chat]", "[chat], prefer: [chat, chat]"), [
            "3: providers.openai.prefer: the same dialect stands here twice"]),
        (changed("[chat]", "[chat], prefer: []"), ["3: providers.openai.prefer: List should have at least 1 item"]),
        (changed("{mode: optional}", "{jwt: [{issuer: '', audiences: [a], jwks: {file: f}}]}"), [
            "1: authentication.jwt.0.issuer: String should have at least 1 character"]),
        (changed("{mode: optional}", "{jwt: [{issuer: i, audiences: [], jwks: {file: f}}]}"), [
            "1: authentication.jwt.0.audiences: List should have at least 1 item"]),
        (changed("{mode: optional}", "{jwt: [{issuer: i, audiences: [a], jwks: {}}]}"), [
            "1: authentication.jwt.0.jwks: keys come from exactly one of: file, inline, url, discovery"]),
        *((changed("{mode: optional}", f"{{jwt: [{{issuer: i, audiences: [a], jwks: {jwks}}}]}}"), [
            f"1: authentication.jwt.0.jwks{says}"]) for jwks, says in (
                ("{url: 'http://idp.example/jwks'}", ".url: expected an HTTPS URL; plain HTTP is for this machine"),
                ("{url: 'http://127.0.0.1.evil.example/'}", ".url: expected an HTTPS URL"),
                ("{url: 'https://u:p@idp.example/'}", ".url: expected an HTTPS URL"),
                ("{url: 'https://idp.example:99999/'}", ".url: expected an HTTPS URL"),
                ("{url: 'https://[idp/'}", ".url: expected an HTTPS URL"),
                ("{discovery: 'ftp://idp.example'}", ".discovery: expected an HTTPS URL"),
                ("{discovery: 'https://idp.example', url: 'https://idp.example'}", ": keys come from exactly one of"),
                ("{file: f, refresh: 60, ca_file: c}", ": ca_file, refresh: only for keys that are fetched"),
                ("{url: 'https://idp.example', refresh: 0}", ".refresh: Input should be greater than or equal to 1"),
            )),
        (changed("{mode: optional}", "{jwt: [{issuer: i, audiences: [a], algorithms: [], jwks: {file: f}}]}"), [
            "1: authentication.jwt.0.algorithms: List should have at least 1 item"]),
        (changed("{mode: optional}", "{jwt: [{issuer: i, audiences: [a], algorithms: [none], jwks: {file: f}}]}"), [
            "1: authentication.jwt.0.algorithms.0: Input should be"]),
        (changed("{mode: optional}", "{jwt: [{issuer: i, audiences: [a], algorithms: [HS256], jwks: {file: f}}]}"), [
            "1: authentication.jwt.0.algorithms.0: Input should be"]),
    ],
)  # fmt: skip
def test_faults_name_line_and_key(tmp_path: Path, text: str, expected: list[str]) -> None:
    found = faults(tmp_path, text, {})
    assert len(found) == len(expected)
    assert all(line.startswith(start) for line, start in zip(sorted(found), sorted(expected), strict=True)), found


def test_all_faults_at_once(tmp_path: Path) -> None:
    text = changed("name:", "nmae:") + "workers: x\nworkers: ${NONE}\nlisten: {prot: 1}\n"
    found = faults(tmp_path, text, {})
    keys = [line.split(": ")[1] for line in found]
    assert sorted(keys) == ["listen.prot", "models.0.name", "models.0.nmae", "workers", "workers", "workers"]


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
BOMB += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))


@pytest.mark.parametrize(("aliases", "fits"), [(3, True), (4, False)])
def test_aliases_may_repeat_so_many_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aliases: int, fits: bool
) -> None:
    """Each of these stands for a list and its two items; what is no alias does not count."""
    monkeypatch.setattr(loading, "MAX_REPEATED", 9)
    text = "a: &x [1, 2]\nb: [" + ", ".join(["*x"] * aliases) + "]\nc: [" + ", ".join("0" * 100) + "]\n"
    found = faults(tmp_path, text)
    assert any("aliases" in line for line in found) is not fits


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected a mapping with the keys listen, authentication"),
        ("- a", "expected a mapping"),
        ("just words", "expected a mapping"),
        ("a: [1", ":1: not YAML: expected ',' or ']'"),
        ("a: 1\nb: 'x", ":2: not YAML: found unexpected end of stream"),
        ("a: 1\n---\nb: 2", ":2: not YAML: but found another document"),
        ("a: \x00", "not YAML"),
        ("a: &x [*x]", "nested too deeply"),
        ("a: *nobody", "not YAML: found undefined alias"),
        (BOMB, "its aliases (`*name`) repeat more than 100000 values"),
    ],
)
def test_what_is_no_configuration(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(Invalid) as found:
        source(tmp_path, text)
    assert says in str(found.value)
    assert str(found.value).startswith(f"{tmp_path / 'gateway.yaml'}:")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"a: \xff")
    for name, says in (("none", "No such file or directory"), ("", "Is a directory"), ("latin", "is not UTF-8 text")):
        with pytest.raises(Invalid, match=f": {says}$"):
            loading.load(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        ("${A}", {"A": "x"}, "x"),
        ("${A}", {"A": ""}, ""),
        ("${A:-d}", {}, "d"),
        ("${A:-d}", {"A": "x"}, "x"),
        ("${A:-}", {}, ""),
        ("a-${A}-${B:-c d}", {"A": "1"}, "a-1-c d"),
        ("$A", {"A": "x"}, "$A"),
        ("${A}", {"A": "${B}: [x]"}, "${B}: [x]"),
    ],
)
def test_variables(tmp_path: Path, text: str, environ: dict[str, str], expected: str) -> None:
    assert load(tmp_path, f'{MINIMAL}records: {{claims: ["{text}"]}}', environ).records.claims == [expected]


def test_a_variable_may_be_a_number(tmp_path: Path) -> None:
    assert load(tmp_path, MINIMAL + "workers: ${N}", {"N": "3"}).workers == 3


def test_a_variable_that_is_not_set(tmp_path: Path) -> None:
    assert faults(tmp_path, MINIMAL + "records: {claims: ['${NONE}']}", {}) == [
        "6: records.claims.0: the environment variable NONE is not set"
    ]


SECRET = "sk-do-not-print-me-0123456789"


@pytest.mark.parametrize(
    "value",
    [
        SECRET, f"{{value: {SECRET}}}", f"{{env: {SECRET}}}", f"{{env: A, file: {SECRET}}}", f"[{SECRET}]", "{}",
        f"{{env: [{SECRET}]}}", f"{{env: A, value: {SECRET}}}", "'${KEY}'",
    ],
)  # fmt: skip
def test_a_secret_never_stands_in_the_file(tmp_path: Path, value: str) -> None:
    text = changed("/v1}", f"/v1, api_key: {value}}}")
    found = faults(tmp_path, text, {"KEY": SECRET})
    assert found
    assert all(line.startswith("3: providers.openai.api_key") for line in found)
    assert SECRET not in "".join(found)


@pytest.mark.parametrize(
    "url",
    [
        f"https://user:{SECRET}@host/v1", f"https://:{SECRET}@host/v1", f"https://host:{SECRET}/v1",
        f"https://host/v1?key={SECRET}", f"https://host/v1#{SECRET}", "ftp://host", "host/v1", "https://", "https://[::1",
        "https://host:0", "https://host:99999", "https://host/a b", "https://höst/", r"https://host/\\r\\nx: y", "",
    ],
)  # fmt: skip
def test_base_urls_that_are_none(tmp_path: Path, url: str) -> None:
    [fault] = faults(tmp_path, changed("https://api.openai.example/v1", f'"{url}"'), {})
    assert fault.startswith("3: providers.openai.base_url: ")
    assert SECRET not in fault


@pytest.mark.parametrize("url", ["http://127.0.0.1:11434/v1", "https://[::1]:8443", "https://host/v1/"])
def test_base_urls(tmp_path: Path, url: str) -> None:
    text = changed("https://api.openai.example/v1", f'"{url}"')
    assert load(tmp_path, text).providers["openai"].base_url == url.rstrip("/")


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (("models", 0, "provider"), "5: models.0.provider: x"),
        (("models", 0, "allow", 3), "5: models.0.allow.3: x"),
        (("nowhere",), "1: nowhere: x"),
        ((), "1: x"),
    ],
)
def test_later_faults_are_placed_too(tmp_path: Path, where: Any, expected: str) -> None:
    explained = source(tmp_path, MINIMAL, {}).explain([Fault(where, "x")])
    assert str(explained) == f"{tmp_path / 'gateway.yaml'}:{expected}"


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    made = source(tmp_path, MINIMAL, {})
    assert made.resolve(Path("keys/a")) == tmp_path / "keys/a"
    assert made.resolve(Path("/run/a")) == Path("/run/a")


def test_the_shipped_configuration_is_sound() -> None:
    shipped = Path(loading.__file__).parents[2] / "gateway.yaml"
    settings = loading.load(shipped, {}).config
    assert settings.authentication.mode == "strict"
    assert settings.providers["openai"].base_url == "https://api.openai.com/v1"


def test_faults_of_form_and_of_meaning_at_once(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(
        "listen: {port: 99999}\n"
        "authentication:\n  jwt:\n    - {issuer: a, audiences: [x], jwks: {file: nope.json}}\n"
        "authorization: {allow: ['jwt.org ==']}\n"
        "providers:\n  p: {dialects: [chat], base_url: http://x, colour: red}\n"
        "models:\n  - {name: a, provider: p, size: 1}\n  - {name: b, provider: q}\n"
        "wat: 1\n"
    )
    with pytest.raises(Invalid) as found:
        gateway.load(path, {})
    places = [line.removeprefix(f"{path}:").split(": ")[:2] for line in str(found.value).splitlines()]
    assert sorted(places) == [
        ["1", "listen.port"],
        ["10", "models.1.provider"],
        ["11", "wat"],
        ["4", "authentication.jwt.0.jwks.file"],
        ["5", "authorization.allow.0"],
        ["7", "providers.p.colour"],
        ["9", "models.0.size"],
    ]


MANY = """\
authentication: {}
authorization: {allow: ['org == "acme"']}
providers:
  p: {dialects: [chat], base_url: http://x, profile: telex}
models:
  - {name: a, provider: q}
  - {name: b, provider: p, allow: 'model in'}
"""
SAYS = ["authorization.allow.0", "models.0.provider", "models.1.allow.0", "models.1.profile"]


@pytest.mark.parametrize(
    ("old", "new", "faulty", "unseen"),
    [
        ("authentication: {}\n", "", "authentication", ""),
        ("authentication: {}", "authentication: [x]", "authentication", ""),
        ("authentication: {}", "authentication: {jwt: [{issuer: a}]}", "authentication.jwt.0.jwks", ""),
        ("authorization: {", "authorization: [{", "not YAML", "all"),
        ("['org == \"acme\"']", "5", "authorization.allow", "authorization.allow.0"),
        ("dialects: [chat], ", "", "providers.p.dialects", ""),
        ("base_url: http://x", "base_url: x", "providers.p.base_url", ""),
        ("models:", "modles:", "modles", "models"),
        ("name: a, ", "", "models.0.name", ""),
        ("name: a, provider: q", "name: a", "models.0", "models.0.provider"),
        ("models:", "routes: {}\nmodels:", "routes", ""),
        ("models:", "metrics: {}\nmodels:", "metrics.port", ""),
    ],
)
def test_one_malformed_section_hides_no_other_mistake(
    tmp_path: Path, old: str, new: str, faulty: str, unseen: str
) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(MANY.replace(old, new))
    with pytest.raises(Invalid) as found:
        gateway.load(path, {})
    told = str(found.value)
    assert f": {faulty}: " in told
    for key in SAYS:
        seen = f": {key}" in told or (key == "models.1.profile" and ": providers.p.profile" in told)
        assert seen is not (unseen == "all" or (bool(unseen and key.startswith(unseen)) and key != faulty)), told
    assert "placeholder" not in told


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        ("models:", "modles:", "modles: unknown key; did you mean 'models'?"),
        ("name:", "nmae:", "models.0.nmae: unknown key; did you mean 'name'?"),
        (
            "/v1}",
            "/v1, timeouts: {conect: 1}}",
            "providers.openai.timeouts.conect: unknown key; did you mean 'connect'?",
        ),
        (
            "{mode: optional}",
            "{mode: optional, location: []}",
            "authentication.location: unknown key; did you mean 'locations'?",
        ),
        ("models:", "wat: 1\nmodels:", "wat: unknown key"),
    ],
)
def test_the_key_that_was_meant(tmp_path: Path, old: str, new: str, hint: str) -> None:
    assert hint in [line.partition(": ")[2] for line in faults(tmp_path, changed(old, new), {})]


@pytest.mark.parametrize("key", ["defaults", "overrides"])
@pytest.mark.parametrize(
    ("member", "problem"),
    [
        ("max_tokens: many", "max_tokens: expected a whole number"),
        ("max_tokens: true", "max_tokens: expected a whole number"),
        ("temperature: warm", "temperature: expected a number"),
        ("stop_sequences: [1]", "stop_sequences: expected a text or a list of texts"),
        ("stream: 'yes'", "stream: expected true or false"),
        ("thinking: on", "thinking: expected a mapping"),
        ("reasoning_effort: 3", "reasoning_effort: expected a text"),
    ],
)
def test_members_of_the_wrong_type(tmp_path: Path, key: str, member: str, problem: str) -> None:
    text = changed("provider: openai}", f"provider: openai, {key}: {{{member}}}}}")
    assert faults(tmp_path, text, {}) == [f"5: models.0.{key}: {problem}"]


def test_members_of_the_right_type(tmp_path: Path) -> None:
    sets = (
        "{max_tokens: '${N}', temperature: 0.5, top_p: 1, stop: x, stream: true, thinking: {type: disabled}, own: []}"
    )
    text = changed("provider: openai}", f"provider: openai, defaults: {sets}}}")
    assert load(tmp_path, text, {"N": "4096"}).models[0].defaults == {
        "max_tokens": 4096, "temperature": 0.5, "top_p": 1, "stop": "x", "stream": True,
        "thinking": {"type": "disabled"}, "own": [],
    }  # fmt: skip


def test_files_that_the_configuration_names_are_remembered(tmp_path: Path) -> None:
    made = source(tmp_path, MINIMAL, {})
    made.resolve(Path("keys/a.json"))
    (tmp_path / "b").write_text("b")
    assert made.read(Path("b")) == b"b"
    assert set(made.files.digests) == {tmp_path / name for name in ("gateway.yaml", "keys/a.json", "b")}
    assert set(made.files.contents) == {tmp_path / name for name in ("gateway.yaml", "b")}
    assert made.replaced(made.config).files is made.files


def test_files_are_remembered_when_there_are_faults(tmp_path: Path) -> None:
    path, files = tmp_path / "gateway.yaml", Files()
    path.write_text(changed("/v1}", "/v1, api_key: {file: key}}"))
    with pytest.raises(Invalid):
        gateway.load(path, {}, files=files)
    assert set(files.digests) == {path, tmp_path / "key"}
