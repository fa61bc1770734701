"""`extproc init`: a commented gateway.yaml to begin with, for one of the usual providers."""

from pathlib import Path
from typing import NamedTuple


class Kind(NamedTuple):
    """A provider people begin with. `model`: what it is asked for; None: the name that the client sent."""

    base_url: str
    key: str | None
    profile: str | None
    model: str | None
    dialect: str = "chat"
    max_output_tokens: int | None = None


KINDS = {
    "openai": Kind(
        "${OPENAI_UPSTREAM_URL:-https://api.openai.com/v1}",
        "OPENAI_API_KEY",
        None,
        "gpt-4o-mini",
        max_output_tokens=16384,
    ),
    "anthropic": Kind(
        "${ANTHROPIC_UPSTREAM_URL:-https://api.anthropic.com}", "ANTHROPIC_API_KEY", None, None, "messages"
    ),
    "vllm": Kind("http://127.0.0.1:8000/v1", None, "vllm", "qwen3-coder"),
    "ollama": Kind("http://127.0.0.1:11434/v1", None, "ollama", "qwen3-coder"),
    "azure": Kind("https://RESOURCE.openai.azure.com/openai/v1", "AZURE_OPENAI_API_KEY", "azure", "DEPLOYMENT"),
    "deepseek": Kind("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY", "deepseek", "deepseek-chat"),
    "gemini": Kind(
        "https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY", "gemini", "gemini-2.5-pro"
    ),
    "groq": Kind("https://api.groq.com/openai/v1", "GROQ_API_KEY", "groq", "openai/gpt-oss-120b"),
    "mistral": Kind("https://api.mistral.ai/v1", "MISTRAL_API_KEY", "mistral", "devstral-medium-latest"),
    "openrouter": Kind("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", "openrouter", "qwen/qwen3-coder"),
}

_HEAD = """\
# This file says who may call which model. `extproc check` explains every mistake in it, `extproc up` serves, and
# `extproc claude` starts Claude Code. Changes take effect while the gateway runs.
listen: {address: 127.0.0.1, port: 8080}

"""
Row = tuple[str, str]


class CannotWrite(Exception):
    """`str()` says why."""


def text(name: str, jwks: str = "keys/jwks.json") -> str:
    """The file for one of KINDS. `jwks`: where the lab's public keys are."""
    kind = KINDS[name]
    rows = [*_callers(jwks), *_provider(name, kind), *_models(name, kind), ("", "")]
    rows += [("records:", ""), ("  claims: [org, team]", "logged with every call")]
    return _HEAD + "".join(f"{code:<39} # {why}".rstrip(" #" if not why else "") + "\n" for code, why in rows)


def _callers(jwks: str) -> list[Row]:
    return [
        ("authentication:", ""),
        ("  mode: strict", "every call needs a valid token"),
        ("  jwt:", ""),
        ("    - issuer: claude-code-lab", "to try things with: `extproc token` mints. Yours instead:"),
        ("      audiences: [anthropic-api]", "  - issuer: https://idp.example.com"),
        (f"      jwks: {{file: {jwks}}}", "    audiences: [llm-gateway]"),
        ("", "    jwks: {discovery: https://idp.example.com}"),
        ("", ""),
        ("authorization:", "CEL over the token's claims and the request; any `deny` wins"),
        ("""  allow: ['jwt.org == "acme" && jwt.team == "data-platform"']""", ""),
        ("", ""),
    ]


def _provider(name: str, kind: Kind) -> list[Row]:
    key = [(f"    api_key: {{env: {kind.key}}}", f"or {{file: /run/secrets/{name}}}")] if kind.key else []
    profile = [(f"    profile: {kind.profile}", "the quirks of the server")] if kind.profile else []
    return [
        ("providers:", ""),
        (f"  {name}:", ""),
        (f"    dialects: [{kind.dialect}]", "what it speaks: chat, messages, responses"),
        (f"    base_url: {kind.base_url}", ""),
        *key,
        *profile,
        ("", ""),
    ]


def _models(name: str, kind: Kind) -> list[Row]:
    model = [(f"    model: {kind.model}", "its name there")] if kind.model else []
    most = f"max_output_tokens: {kind.max_output_tokens or 16384}"
    return [
        ("models:", "the first match answers; * stands for any text"),
        ('  - name: "*"', ""),
        (f"    provider: {name}", ""),
        *model,
        (f"    {most}" if kind.max_output_tokens else f"    # {most}", "a client that asks for more gets as much"),
        ("    # context_window: 131072", "tokens; `extproc claude` tells the client"),
        ("    # require: '\"llm-users\" in jwt.groups'", ""),
    ]


def write(path: Path, name: str) -> None:
    """Raises CannotWrite; a file that is there stays as it is."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text(name))
    except FileExistsError:
        raise CannotWrite(f"{path} is there already; name another with --config") from None
    except OSError as error:
        raise CannotWrite(f"{path} cannot be written: {error.strerror}") from None


def next_steps(path: Path, name: str) -> str:
    """What a person does with the file."""
    kind = KINDS[name]
    edits = [word for word in ("RESOURCE", "DEPLOYMENT") if word in f"{kind.base_url} {kind.model}"]
    rows = [f"{path} is written: clients talk to {name}. {path.parent / 'keys'}/ holds a lab's keys to try it with."]
    rows += [f"Put your own in the place of {' and '.join(edits)} there."] if edits else []
    rows += [f"export {kind.key}=...   # its key"] if kind.key else []
    named = "" if path == Path("gateway.yaml") else f" --config {path}"
    return "\n".join([*rows, f"extproc check{named}", f"extproc up{named}", ""])
