from pathlib import Path
from typing import Any

import pytest

from extproc.providers import profiles
from extproc.providers.catalogue import MAX_MODEL_NAME, Catalogue
from extproc.providers.loading import load_catalogue
from extproc.wire import Dialect
from tests.settings import AUTHENTICATION, GATEWAY, KEY, faults, source

PROVIDER = '{dialects: [chat], base_url: "https://api.openai.com/v1"%s}'


def text(models: str, provider: str = "", more: str = "") -> str:
    return f"{AUTHENTICATION}\nproviders:\n  openai: {PROVIDER % provider}\nmodels:\n{models}\n{more}"


def catalogue(folder: Path, models: str, provider: str = "", more: str = "") -> Catalogue:
    made, _, found = load_catalogue(source(folder, text(models, provider, more)), {})
    assert not found, [fault.problem for fault in found]
    return made


RULES = """
  - {name: "", provider: openai, model: of-none}
  - {name: exact, provider: openai}
  - {name: "a*c", provider: openai, model: between}
  - {name: "*-mini", provider: openai, model: ends}
  - {name: "a.*", provider: openai, model: dotted}
  - {name: "gpt-*", provider: openai}
"""


@pytest.mark.parametrize(
    ("name", "upstream"),
    [
        ("", "of-none"),
        ("exact", "exact"),
        ("ac", "between"),
        ("a-mini-c", "between"),
        ("a\nc", "between"),
        ("a-mini", "ends"),
        ("gpt-4o-mini", "ends"),
        ("gpt-4o", "gpt-4o"),
        ("a.b", "dotted"),
        ("ab", None),
        ("EXACT", None),
        ("exactly", None),
        ("*", None),
        ("gpt-" + "x" * (MAX_MODEL_NAME - 4), "gpt-" + "x" * (MAX_MODEL_NAME - 4)),
        ("gpt-" + "x" * MAX_MODEL_NAME, None),
    ],
)
def test_the_first_match_answers(tmp_path: Path, name: str, upstream: str | None) -> None:
    found = catalogue(tmp_path, RULES).resolve(name)
    assert (found.upstream if found else None) == upstream
    assert found is None or found.name == name


def test_names_that_can_be_listed(tmp_path: Path) -> None:
    assert catalogue(tmp_path, RULES).names() == ["exact"]


ALIASES = """
  - {name: "claude-*", provider: openai, model: gpt-4o, aliases: [claude-sonnet-5, sonnet]}
  - {name: gpt-4o, provider: openai, aliases: [fast]}
  - {name: "gpt-*", provider: openai, aliases: [gpt-5]}
"""


@pytest.mark.parametrize(
    ("name", "upstream"),
    [("claude-sonnet-5", "gpt-4o"), ("sonnet", "gpt-4o"), ("fast", "gpt-4o"), ("gpt-5", "gpt-5"), ("slow", None)],
)
def test_an_alias_is_a_name_of_its_model(tmp_path: Path, name: str, upstream: str | None) -> None:
    found = catalogue(tmp_path, ALIASES).resolve(name)
    assert (found.upstream if found else None) == upstream
    assert found is None or found.name == name


def test_aliases_are_listed(tmp_path: Path) -> None:
    assert catalogue(tmp_path, ALIASES).names() == ["claude-sonnet-5", "sonnet", "gpt-4o", "fast", "gpt-5"]


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ("  - {name: 'a*', provider: openai, aliases: [b]}", "5: models.0.aliases.0: 'b' does not fit 'a*'"),
        ("  - {name: a, provider: openai, aliases: ['b*']}", "5: models.0.aliases.0: "),
        (
            "  - {name: 'a*', provider: openai}\n  - {name: b, provider: openai, aliases: [ab]}",
            "6: models.1.aliases.0: never reached: 'a*' (models.0) matches first",
        ),
        (
            "  - {name: a, provider: openai, aliases: [b]}\n  - {name: b, provider: openai}",
            "6: models.1.name: never reached: 'a' (models.0) matches first",
        ),
    ],
)
def test_aliases_that_can_not_be(tmp_path: Path, models: str, expected: str) -> None:
    [fault] = faults(tmp_path, text(models))
    assert fault.startswith(expected)


@pytest.mark.parametrize(
    ("first", "second", "shadowed"),
    [
        ("*", "x", True),
        ("*", "", True),
        ("*", "a*", True),
        ("a*", "a*", True),
        ("a*", "ab*", True),
        ("*b", "a*b", True),
        ("a*c", "a*b*c", True),
        ("x", "x", True),
        ("ab*", "a*", False),
        ("a*", "*", False),
        ("a*b", "a*", False),
        ("", "*", False),
        ("a.b", "axb", False),
    ],
)
def test_a_rule_that_no_name_reaches(tmp_path: Path, first: str, second: str, shadowed: bool) -> None:
    models = f'  - {{name: "{first}", provider: openai}}\n  - {{name: "{second}", provider: openai}}'
    expected = [f"6: models.1.name: never reached: {first!r} (models.0) matches first"]
    assert faults(tmp_path, text(models)) == (expected if shadowed else [])


@pytest.mark.parametrize(
    ("models", "provider", "expected"),
    [
        ("  - {name: a, provider: opnai}", "", "5: models.0.provider: no provider is named 'opnai'; there are: openai"),
        (
            "  - {name: a, provider: openai, profile: vlm}",
            "",
            "5: models.0.profile: no profile is named 'vlm'; there are:",
        ),
        ("  - {name: a, provider: openai}", ", profile: vlm", "3: providers.openai.profile: no profile is named 'vlm'"),
        # Once for the provider, however many models it serves.
        (
            "  - {name: a, provider: openai}\n  - {name: b, provider: openai}",
            ", profile: vlm",
            "3: providers.openai.profile: no profile is named 'vlm'",
        ),
        (
            "  - {name: a, provider: openai, profile: {base: [x]}}",
            "",
            "5: models.0.profile: no profile has such a name",
        ),
        (
            "  - {name: a, provider: openai, profile: {stops: 1}}",
            "",
            "5: models.0.profile: Object contains unknown field",
        ),
        ("  - {name: a, provider: openai, profile: {stop_max: x}}", "", "5: models.0.profile: Expected `int`"),
    ],
)
def test_faults(tmp_path: Path, models: str, provider: str, expected: str) -> None:
    [fault] = faults(tmp_path, text(models, provider))
    assert fault.startswith(expected)


@pytest.mark.parametrize(
    ("model", "provider", "translation", "expected"),
    [
        # Later wins: base, `translation`, the provider's, the model's, the limits.
        ("", "", "", {"name": "openai-chat", "max_tokens_field": "max_completion_tokens", "tool_name_max": 64}),
        ("", "", "tool_name_max: 1", {"tool_name_max": 1}),
        ("", ", profile: vllm", "top_k: false", {"name": "vllm", "max_tokens_field": "max_tokens", "top_k": False}),
        ("", ", profile: {tool_name_max: 2}", "tool_name_max: 1", {"tool_name_max": 2, "name": "openai-chat"}),
        (", profile: {tool_name_max: 3}", ", profile: {tool_name_max: 2}", "", {"tool_name_max": 3}),
        (", profile: {stop_max: 3}", ", profile: {tool_name_max: 2}", "", {"tool_name_max": 2, "stop_max": 3}),
        (", profile: {base: vllm}", ", profile: {base: ollama, stop_max: 2}", "", {"name": "vllm", "stop_max": 2}),
        (", profile: {name: vllm, stop_max: 2}", "", "", {"name": "vllm", "stop_max": 2}),
        (", profile: groq", ", profile: {name: ollama}", "", {"name": "groq"}),
        (", profile: {max_output_tokens: 5}, max_output_tokens: 6", "", "", {"max_output_tokens": 6}),
        (", context_window: 7", ", profile: {context_window: 8}", "context_window: 9", {"context_window": 7}),
    ],
)  # fmt: skip
def test_profiles(tmp_path: Path, model: str, provider: str, translation: str, expected: dict[str, Any]) -> None:
    rules = f"  - {{name: a, provider: openai{model}}}"
    found = catalogue(tmp_path, rules, provider, f"translation: {{{translation}}}").resolve("a")
    assert found
    assert {key: getattr(found.profile, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("model", "url", "profile"),
    [
        ("gpt-4o", "https://api.openai.com/v1", "openai-chat"),
        ("gpt-5.1", "https://api.openai.com/v1", "openai-reasoning"),
        ("o3", "https://eu.api.openai.com/v1", "openai-reasoning"),
        ("gpt-4o", "http://127.0.0.1:8000", "generic"),
        ("gpt-4o", "https://api.notopenai.com/v1", "generic"),
    ],
)
def test_the_profile_follows_from_url_and_model(tmp_path: Path, model: str, url: str, profile: str) -> None:
    provider = f"p: {{dialects: [chat], base_url: '{url}'}}"
    raw = f"{AUTHENTICATION}\nproviders: {{{provider}}}\nmodels: [{{name: '*', provider: p}}]"
    made, _, _ = load_catalogue(source(tmp_path, raw), {})
    found = made.resolve(model)
    assert found
    assert found.profile.name == profile


@pytest.mark.parametrize(
    ("model", "profile"),
    [
        ("gpt-5.4", "openai-responses"),
        ("o3", "openai-responses"),
        ("gpt-oss-120b", "openai-responses"),
        ("gpt-4.1-mini", "openai-responses-plain"),
        ("gpt-5-chat-latest", "openai-responses-plain"),
    ],
)
def test_the_profile_of_a_model_behind_the_responses_api(model: str, profile: str) -> None:
    assert profiles.for_responses(model) == profile and profiles.shipped()[profile].dialect == "responses"


def test_the_profile_of_a_routes_provider_is_checked_too(tmp_path: Path) -> None:
    raw = text("[]", ", profile: vlm", "routes: [{path: /a, serve: messages, provider: openai}]").replace("\n[]", " []")
    [fault] = faults(tmp_path, raw)
    assert fault.startswith("3: providers.openai.profile: no profile is named 'vlm'")


def test_a_credential_never_shows(tmp_path: Path) -> None:
    models = "  - {name: a, provider: openai}"
    made, providers, _ = load_catalogue(source(tmp_path, text(models, ", api_key: {env: K}")), {"K": KEY})
    credential = providers["openai"].credential
    assert credential
    assert credential.reveal() == KEY
    shown = [str(credential), repr(credential), f"{credential}", f"{credential!r:>40}", "%s" % credential]  # noqa: UP031
    shown += [repr(providers), repr(made.resolve("a")), str(made.rules)]
    assert KEY not in "".join(shown)
    assert not hasattr(credential, "__dict__")


def test_no_key_at_all(tmp_path: Path) -> None:
    _, providers, found = load_catalogue(source(tmp_path, text("  - {name: a, provider: openai}")), {})
    assert (found, providers["openai"].credential, providers["openai"].credential_headers("chat")) == ([], None, {})


@pytest.mark.parametrize(
    ("dialects", "key", "call", "expected"),
    [
        ("chat", "sk-1", "chat", {"authorization": "Bearer sk-1"}),
        ("chat", "sk-1", "messages", {"authorization": "Bearer sk-1"}),
        ("messages", "sk-ant-api-1", "messages", {"x-api-key": "sk-ant-api-1"}),
        ("messages", "sk-ant-api-1", "chat", {"x-api-key": "sk-ant-api-1"}),
        ("messages", "sk-ant-oat-1", "messages", {"authorization": "Bearer sk-ant-oat-1"}),
        ("messages, chat", "k", "chat", {"authorization": "Bearer k"}),
        ("messages, chat", "k", "responses", {"authorization": "Bearer k"}),
        ("chat, messages", "k", "messages", {"x-api-key": "k"}),
        ("messages, chat", "sk-ant-oat-1", "messages", {"authorization": "Bearer sk-ant-oat-1"}),
        ("responses", "k", "responses", {"authorization": "Bearer k"}),
    ],
)
def test_how_a_key_is_sent(tmp_path: Path, dialects: str, key: str, call: Any, expected: dict[str, str]) -> None:
    raw = text("  - {name: a, provider: openai}", ", api_key: {env: K}").replace("[chat]", f"[{dialects}]")
    _, providers, _ = load_catalogue(source(tmp_path, raw), {"K": key})
    assert providers["openai"].credential_headers(call) == expected


@pytest.mark.parametrize(
    ("header", "expected"), [("authorization", {"authorization": "Bearer k"}), ("x-api-key", {"x-api-key": "k"})]
)
@pytest.mark.parametrize("dialect", ["messages", "chat"])
def test_a_header_for_the_key_can_be_chosen(
    tmp_path: Path, header: str, expected: dict[str, str], dialect: Dialect
) -> None:
    """Some servers speak Messages and read `authorization` alone."""
    raw = text("  - {name: a, provider: openai}", f", api_key: {{env: K}}, key_header: {header}")
    _, providers, _ = load_catalogue(source(tmp_path, raw), {"K": "k"})
    assert providers["openai"].credential_headers(dialect) == expected


@pytest.mark.parametrize(
    ("base", "below", "expected"),
    [
        ("https://h/v1", "/chat/completions", "/v1/chat/completions"),
        ("https://h/v1", "/v1/messages", "/v1/messages"),
        ("https://h", "/v1/messages", "/v1/messages"),
        ("https://h/openai/v1", "/v1/x", "/openai/v1/x"),
        ("https://h/v1", "/v1x", "/v1/v1x"),
    ],
)
def test_the_path_upstream(tmp_path: Path, base: str, below: str, expected: str) -> None:
    raw = text("  - {name: a, provider: openai}").replace("https://api.openai.com/v1", base)
    _, providers, _ = load_catalogue(source(tmp_path, raw), {})
    assert providers["openai"].path(below) == expected


@pytest.mark.parametrize("base", ["https://h/v1", "https://h"])
def test_a_path_beside_v1(tmp_path: Path, base: str) -> None:
    raw = text("  - {name: a, provider: openai}").replace("https://api.openai.com/v1", base)
    _, providers, _ = load_catalogue(source(tmp_path, raw), {})
    assert providers["openai"].path("/tokenize", root=True) == "/tokenize"


@pytest.mark.parametrize(
    ("dialect", "name"),
    [("messages", "max_tokens"), ("chat", "max_tokens"), ("responses", "max_output_tokens")],
)
def test_a_limit_is_spelled_as_the_provider_reads_it(tmp_path: Path, dialect: Dialect, name: str) -> None:
    models = "  - {name: a, provider: openai, profile: vllm, defaults: {max_tokens: 5}}"
    found = catalogue(tmp_path, models).resolve("a")
    assert found is not None and found.configured(dialect, {}) == {name: 5}


def test_the_key_of_a_profile_that_was_meant(tmp_path: Path) -> None:
    [fault] = faults(tmp_path, GATEWAY.replace("model: gpt-4o-mini", "profile: {max_output_token: 5}"))
    assert fault.startswith("8: models.0.profile: ") and fault.endswith("; did you mean 'max_output_tokens'?")
