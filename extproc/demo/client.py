"""`make demo`: three calls and a streamed tool call to a running gateway, each explained."""

import http.client
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

import msgspec

from extproc.demo import checks, idp

MODEL = "claude-sonnet-5"
TIMEOUT = 120
SHOWN_LINES, SHOWN_WIDTH = 32, 160

WEATHER = {
    "name": "get_weather",
    "description": "Current weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
# A real model has to call the tool because of tool_choice; the demo model follows the directive.
QUESTION = 'What is the weather in Zurich?\n\ndemo: call get_weather {"city": "Zurich"}'


class Case(msgspec.Struct, frozen=True, kw_only=True):
    title: str
    team: str | None
    """Team of the token that is sent; None: no token."""
    body: dict[str, Any]
    check: checks.Check
    why: str


def cases(model: str) -> list[Case]:
    hello = {"model": model, "max_tokens": 200, "messages": [{"role": "user", "content": "Say hello in one sentence."}]}
    tool = {
        **hello,
        "stream": True,
        "messages": [{"role": "user", "content": QUESTION}],
        "tools": [WEATHER],
        "tool_choice": {"type": "tool", "name": "get_weather"},
    }
    return [
        Case(
            title="No token",
            team=None,
            body=hello,
            check=checks.unauthenticated,
            why="Nobody passes unchecked: without a verified token no model is called.",
        ),
        Case(
            title="A valid token of the wrong team",
            team="marketing",
            body=hello,
            check=checks.forbidden,
            why="The signature is good, but the policy admits team data-platform of acme alone.",
        ),
        Case(
            title="The right token",
            team="data-platform",
            body=hello,
            check=checks.message,
            why="Verified, admitted, translated: a Chat Completions model answered, the client reads a Message.",
        ),
        Case(
            title="A streamed tool call",
            team="data-platform",
            body=tool,
            check=checks.tool_stream("get_weather"),
            why="The model's fragments became one tool_use block; a client can run the tool now.",
        ),
    ]


def run(base_url: str, keys_folder: Path, out: TextIO, *, model: str = MODEL) -> int:
    """Returns the exit status: 0 if all is as expected, 1 if something differs or the gateway does not answer."""
    idp.ensure_keys(keys_folder)
    failed = []
    for number, case in enumerate(cases(model), 1):
        token = "" if case.team is None else idp.mint(keys_folder, team=case.team)
        print(f"\n{number}. {case.title}\n{_request(base_url, case, token)}", file=out)
        try:
            answer = post(base_url, case.body, token)
        except ConnectionRefusedError:
            print(f"No gateway listens at {base_url}. Start one in another shell: make up", file=out)
            return 1
        except (OSError, http.client.HTTPException) as error:
            print(f"   NOT AS EXPECTED: no answer ({type(error).__name__}: {error})", file=out)
            failed.append(case.title)
            continue
        differences = case.check(answer)
        print(_result(answer), file=out)
        print(f"   NOT AS EXPECTED: {'; '.join(differences)}" if differences else f"   {case.why}", file=out)
        failed += [case.title] if differences else []
    print(f"\nNot as expected: {', '.join(failed)}." if failed else "\nAll as expected.", file=out)
    return 1 if failed else 0


def post(base_url: str, body: dict[str, Any], token: str) -> checks.Answer:
    where = urlsplit(base_url)
    kind = http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
    connection = kind(where.hostname or "", where.port, timeout=TIMEOUT)
    headers = {"content-type": "application/json", "anthropic-version": "2023-06-01"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    try:
        connection.request("POST", f"{where.path.rstrip('/')}/v1/messages", msgspec.json.encode(body), headers)
        response = connection.getresponse()
        named = {name.lower(): value for name, value in response.getheaders()}
        return checks.Answer(response.status, named, response.read())
    finally:
        connection.close()


def _request(base_url: str, case: Case, token: str) -> str:
    lines = [f"POST {base_url.rstrip('/')}/v1/messages"]
    if token:
        lines.append(f"authorization: Bearer {token[:12]}...  (team {case.team})")
    return _indented([*lines, msgspec.json.encode(case.body).decode()])


def _result(answer: checks.Answer) -> str:
    shown = ("www-authenticate", "x-translation-warnings")
    lines = [f"-> {answer.status}", *(f"{name}: {answer.headers[name]}" for name in shown if name in answer.headers)]
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        return _indented(lines + [line for line in _text(answer).splitlines() if line.startswith("data:")])
    return _indented(lines + (_pretty(answer) or _text(answer)).splitlines())


def _text(answer: checks.Answer) -> str:
    return answer.body.decode("utf-8", "replace")


def _pretty(answer: checks.Answer) -> str:
    body = answer.json()
    return msgspec.json.format(msgspec.json.encode(body), indent=2).decode() if body else ""


def _indented(lines: list[str]) -> str:
    if len(lines) > SHOWN_LINES:
        half = SHOWN_LINES // 2
        lines = [*lines[:half], f"... {len(lines) - 2 * half} more lines", *lines[-half:]]
    cut = [line if len(line) <= SHOWN_WIDTH else f"{line[:SHOWN_WIDTH]}..." for line in lines]
    return "\n".join(f"   {line}" for line in cut)
