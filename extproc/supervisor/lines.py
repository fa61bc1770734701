"""What a person reads on the terminal: the banner, and a line for each call."""

import json
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from extproc.config.loading import Source
from extproc.config.processor_tls import in_plaintext
from extproc.config.schema_models import Model
from extproc.config.schema_providers import Provider
from extproc.config.schema_sign_in import SignIn
from extproc.errors import Reason
from extproc.printable import printable

URL = "http://127.0.0.1:8080"
"""Where commands look for the gateway unless they are told."""
HOUR = "or, for an hour:"
IN_PLAINTEXT = "whoever reaches such an address is handed the providers' keys"


def banner(source: Source, demo_for: Mapping[str, Sequence[str]], lab: Path | None, console: str = "") -> str:
    """Where it listens, who answers, where keys come from (never the keys), and how to point Claude Code at it.
    `demo_for`: variable of a missing key -> the providers in whose place a demo model answers. `lab`: the folder with
    the lab's keys, where the configuration trusts them. `console`: the link that opens it once."""
    settings = source.config
    host = f"[{settings.listen.address}]" if ":" in settings.listen.address else settings.listen.address
    base = f"http{'s' if settings.listen.tls else ''}://{host}:{settings.listen.port}"
    rows = [f"extproc is serving on {base}", ""]
    for key, providers in demo_for.items():
        rows.append(f"  No {key} is set: THE DEMO MODEL ANSWERS instead of {', '.join(providers)}.")
    rows += [""] if demo_for else []
    rows += [f"  model     {model.name or '(none)':24} -> {_answers(model)}" for model in settings.models]
    for name, provider in settings.providers.items():
        rows.append(f"  provider  {name:24} {provider.base_url} ({_credential(provider)})")
    rows += [f"  tokens of {issuer.issuer}" for issuer in settings.authentication.jwt]
    if settings.sign_in is not None:
        rows += ["", *_how_to_sign_in(settings.sign_in)]
    if console:
        rows += [
            "",
            f"  console   {console}",
            "            (opens once, within an hour; your browser stays in for four)",
        ]
    return "\n".join([*rows, "", *_how_to_call(base, lab), ""])


def _credential(provider: Provider) -> str:
    """Where its credential comes from, never the credential."""
    if provider.api_key is not None:
        return f"key from {provider.api_key.env or provider.api_key.file}"
    if provider.auth is None:
        return "no key"
    given = provider.auth.model_dump(exclude_defaults=True)
    found = next(f"{vendor}.{key}" for vendor in ("aws", "google", "azure") if vendor in given for key in given[vendor])
    return f"{provider.cloud}, {found}"


def _how_to_sign_in(settings: SignIn) -> list[str]:
    keys = json.dumps({"forceLoginMethod": "gateway", "forceLoginGatewayUrl": settings.public_url})
    return [
        f"  sign-in   {settings.public_url} with accounts of {settings.issuer}",
        "            Claude Code signs in by /login on machines whose managed settings (on Linux",
        f"            /etc/claude-code/managed-settings.json) are: {keys}",
    ]


def _how_to_call(base: str, lab: Path | None) -> list[str]:
    url = f"  export ANTHROPIC_BASE_URL={base}"
    if lab is None:
        return [f"{url}   # and a token of an issuer above in ANTHROPIC_AUTH_TOKEN: docs/clients.md"]
    ours, keys = command(), "" if lab == Path("keys").absolute() else f" --keys {shlex.quote(str(lab))}"
    where = "" if base == URL else f" --url {base}"
    return [
        f"  {ours} claude{keys}{where}   # Claude Code, with a token that renews itself",
        f"  {HOUR}",
        url,
        f"  export ANTHROPIC_AUTH_TOKEN=$({ours} token{keys})",
    ]


def command() -> str:
    """How to call this program from the folder we are in."""
    beside = Path(sys.executable).with_name("extproc")
    found = shutil.which("extproc")
    if found is not None and Path(found) == beside:
        return "extproc"
    return shlex.quote(str(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside))


def serve_banner(source: Source, addresses: Sequence[str]) -> str:
    """The banner of `extproc serve`: where the processor is, and what of it anybody could listen to."""
    plain = in_plaintext(source, addresses)
    warning = f"\nPLAINTEXT (processor.insecure) on {', '.join(plain)}: {IN_PLAINTEXT}" if plain else ""
    return f"extproc is serving on {', '.join(addresses)}{warning}"


def _answers(model: Model) -> str:
    if model.providers is None:
        return f"{model.provider}: {model.model or 'the same name'}"
    listed = [entry if isinstance(entry, list) else [entry] for entry in model.providers]
    return ", then ".join(" or ".join(one.provider for one in draw) for draw in listed)


def readable(line: str) -> str:
    """One JSON line of the access log in short; any other line as it is, but for what a terminal acts on."""
    try:
        call = json.loads(line)
    except ValueError:
        return printable(line)
    if not isinstance(call, dict) or "http.status" not in call:
        return printable(line)
    parts = [
        str(call.get("time", ""))[11:19],
        str(call["http.status"]),
        f"{call.get('http.method') or '-'} {call.get('http.path') or '-'}",
        _who(call),
        _what(call),
        f"{call.get('duration')} ms",
        str(call.get("reason") or ""),
        _provider_fault(call) or str(call.get("error") or ""),
        f"[{call['warnings']}]" if call.get("warnings") else "",
    ]
    return printable("  ".join(part for part in parts if part))


_CAUSE = re.compile(r".*\{(?:.*\|)?([^|}]*)\}")
_CAUSES = {"no_healthy_upstream": "no address that works (see its name and its base_url)"}


def _provider_fault(call: dict[str, Any]) -> str:
    """Which provider could not be reached, and why. Envoy's details end in `|connect_error:_Connection_refused}`."""
    if call.get("reason") not in (Reason.UPSTREAM_UNAVAILABLE, Reason.UPSTREAM_TIMEOUT):
        return ""
    details = str(call.get("details") or "")
    match = _CAUSE.fullmatch(details)
    cause = _CAUSES.get(details) or (match[1] if match else details).replace("_", " ")
    return f"{call.get('gen_ai.provider.name') or 'a provider'}: {cause}"


def _who(call: dict[str, Any]) -> str:
    claims = [str(value) for key, value in call.items() if key.startswith("caller.") and value]
    return "/".join([*([call["jwt.sub"]] if call.get("jwt.sub") else ["-"]), *claims])


def _what(call: dict[str, Any]) -> str:
    if not call.get("gen_ai.request.model"):
        return ""
    answered = call.get("gen_ai.response.model") or call.get("gen_ai.upstream.model") or "-"
    tokens = ""
    if call.get("gen_ai.usage.input_tokens") is not None:
        tokens = f" {call['gen_ai.usage.input_tokens']}+{call.get('gen_ai.usage.output_tokens') or 0} tokens"
    if isinstance(cost := call.get("gen_ai.usage.cost"), int | float):
        tokens += f", {cost:.6f} USD"
    return f"{call['gen_ai.request.model']} -> {answered}{tokens}"
