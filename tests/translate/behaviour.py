"""What translation does, as JSON lines to compare before and after a change of it:
`python -m tests.translate.behaviour > before.jsonl`, then `python -m tests.translate.behaviour --compare before.jsonl`.

Inputs are the vectors and the recorded requests of real clients. Each goes through the public entry (translate/job.py)
for every pair of dialects and several profiles. A line is one request or one answer, named by where it comes from.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from extproc.errors import Rejection
from extproc.providers.model_settings import ModelSettings
from extproc.providers.profiles import Profile, shipped, with_overrides
from extproc.translate.job import Job, pair_of, request_for
from extproc.translate.pair import Counted, OwnAnswer, Pair, Reply, Target, Translated
from extproc.wire import Dialect
from extproc.wire.rejections import rejection_body, rejection_status

Json = dict[str, Any]
TESTS = Path(__file__).parents[1]
DIALECTS: tuple[Dialect, ...] = ("messages", "chat", "responses")
MEDIA = {"json": "application/json", "sse": "text/event-stream"}
SMALLEST: dict[str, Json] = {
    "messages": {"model": "model-x", "max_tokens": 100, "messages": [{"role": "user", "content": "q"}]},
    "chat": {"model": "model-x", "messages": [{"role": "user", "content": "q"}]},
    "responses": {"model": "model-x", "input": "q"},
}
THINKS: dict[str, Json] = {
    "messages": {"thinking": {"type": "adaptive"}},
    "chat": {"reasoning_effort": "high"},
    "responses": {"reasoning": {"effort": "high", "summary": "auto"}},
}
PROFILES: dict[str, tuple[str, ...]] = {
    "messages": ("claude-adaptive", "claude-extended", "claude-extended-unstructured", "claude-always-thinking"),
    "chat": tuple(name for name in shipped() if not name.startswith("claude")),
    "responses": ("openai-responses", "openai-responses-plain", "generic"),
}
STRATEGIES = ("estimate", "responses", "vllm", "off")
NOW = 1_793_491_200.0
HEADERS = {"x-claude-code-session-id": "s-1", "anthropic-version": "2023-06-01", "anthropic-beta": "b-1"}
PATHS = {"/v1/messages": "messages", "/v1/chat/completions": "chat", "/v1/responses": "responses"}


def profile(named: str | Json) -> Profile:
    if isinstance(named, str):
        return shipped()[named]
    return with_overrides(shipped()[named["name"]], {key: value for key, value in named.items() if key != "name"})


def job(client: str, provider: str, of: Profile, *, counting: bool = False) -> Job:
    target = Target(profile=of, model="gpt-x", nonce="n", now=NOW, headers=HEADERS)
    return Job(
        dialect=client,
        provider=(provider,),
        model="",
        settings=ModelSettings(),
        counting=counting,
        target=target,
    )


def inputs() -> Iterator[tuple[str, Json]]:
    """All vectors, each with a name."""
    for path in sorted((TESTS / "vectors").glob("*.json")):
        for vector in json.loads(path.read_text())["vectors"]:
            yield f"{path.stem}:{vector['case']}-{vector['name']}", vector


def bodies() -> Iterator[tuple[str, str, Json, str | Json]]:
    """Requests: name, the client's dialect, body, and a profile of their own or an empty string."""
    for name, vector in inputs():
        client, _, kind = vector["direction"].partition("->")[0].partition("_")
        if kind.endswith("request") and client in DIALECTS:
            yield name, client, vector["input"], vector["profile"]
    for path in sorted((TESTS / "corpus").glob("*/*.json")):
        call = json.loads(path.read_text())
        client = PATHS.get(str(call.get("path")).partition("?")[0], "")
        if client and call.get("method") == "POST" and isinstance(call.get("body"), dict):
            yield f"{path.parent.name}:{path.stem}", client, call["body"], ""


def answers() -> Iterator[tuple[str, str, str, bytes, Json]]:
    """Answers: name, the provider's dialect, their form, bytes, and the vector."""
    for name, vector in inputs():
        provider, _, kind = vector["direction"].partition("->")[0].partition("_")
        if provider not in DIALECTS:
            continue
        if kind == "response":
            yield name, provider, "json", json.dumps(vector["input"]).encode(), vector
        elif kind == "stream":
            yield name, provider, "sse", vector["input"]["sse"].encode(), vector


def errors() -> Iterator[tuple[str, str, Json]]:
    for name, vector in inputs():
        source = vector["direction"].partition("->")[0]
        for provider in {"openai_error": ("chat", "responses"), "anthropic_error": ("messages",)}.get(source, ()):
            yield f"{name}/{provider}", provider, vector["input"]


def rejected(client: str, found: Rejection) -> Json:
    body = json.loads(rejection_body(client, found, "req_1"))
    headers, detail = dict(found.headers), found.detail
    return {"status": rejection_status(client, found), "body": body, "headers": headers, "detail": detail}


def written(client: str, found: Translated | Counted | OwnAnswer | Rejection) -> Json:
    """What came of a request."""
    match found:
        case Rejection():
            return {"rejected": rejected(client, found)}
        case Counted():
            return {"counted": found.answer}
        case OwnAnswer():
            return {"said": found.text, "stream": found.stream}
        case _:
            names = ("path", "root", "headers", "stream", "model", "warnings", "silent", "max_tokens", "answer")
            return {"body": json.loads(found.body), **{name: getattr(found, name) for name in names}}


def read(reply: Reply, *pieces: bytes) -> Json:
    """What came of an answer."""
    out, pings = [], []
    for piece in pieces:
        out.append(reply.feed(piece))
        pings.append(reply.ping().decode())
    out.append(reply.close())
    outcome = reply.outcome
    failure = outcome.failure and msgspec.to_builtins(outcome.failure)
    members = {
        name: getattr(outcome, name) for name in ("model", "finish_reason", "begun", "complete", "keepalive_seen")
    }
    return {
        "out": b"".join(out).decode(),
        "pings": pings if len(pieces) == 2 else [],
        "usage": outcome.usage and msgspec.to_builtins(outcome.usage),
        "warnings": sorted(outcome.warnings),
        "failure": failure,
        **members,
    }


def pair_for_test(found: Job) -> Pair:
    pair = pair_of(found, found.provider[0])
    assert pair is not None and not isinstance(pair, Rejection)
    return pair


def requests_seen() -> Iterator[tuple[str, Json]]:
    for name, client, body, own in bodies():
        for provider in DIALECTS:
            chosen: list[tuple[str, str | Json]] = [(of, of) for of in PROFILES[provider]]
            chosen += [("own", own), ("strict", {"name": chosen[0][0], "strictness": "strict"})] if own else []
            for label, of in chosen:
                found = job(client, provider, profile(of))
                yield f"{name}|{client}>{provider}|{label}", written(client, request_for(found, body))
            for strategy in STRATEGIES if client != "chat" else ():
                of = {"name": PROFILES[provider][0], "count_tokens": strategy}
                found = job(client, provider, profile(of), counting=True)
                yield f"{name}|{client}>{provider}|count-{strategy}", written(client, request_for(found, body))


def answers_seen() -> Iterator[tuple[str, Json]]:
    for name, provider, form, raw, vector in answers():
        _, _, wanted = vector["direction"].partition("->")
        for client in DIALECTS:
            own = vector.get("request") if wanted.startswith(client) else None
            asks: dict[str, Json] = {"own": own} if own else {}
            asks |= {"plain": SMALLEST[client], "thinks": {**SMALLEST[client], **THINKS[client]}}
            for label, ask in asks.items():
                for stream in (True, False):
                    line = f"{name}|{client}>{provider}|{label}-{'stream' if stream else 'json'}"
                    found = job(client, provider, profile(vector["profile"]))
                    yield from answer_seen(line, found, {**ask, "stream": stream}, MEDIA[form], raw)


def answer_seen(line: str, found: Job, ask: Json, media: str, raw: bytes) -> Iterator[tuple[str, Json]]:
    asked = request_for(found, ask)
    if not isinstance(asked, Translated):
        return
    pair, asked = pair_for_test(found), asked.without_body()
    whole = read(pair.reply(asked, media), raw)
    yield line, whole
    for part in (1, 2, 3):
        at = len(raw) * part // 4
        cut = read(pair.reply(asked, media), raw[:at], raw[at:])
        short = read(pair.reply(asked, media), raw[:at])
        if {**cut, "pings": []} != whole:
            yield f"{line}|cut-{part}", cut
        yield f"{line}|pings-{part}", {"pings": cut["pings"]}
        yield f"{line}|ends-{part}", short


def errors_seen() -> Iterator[tuple[str, Json]]:
    for name, provider, given in errors():
        body = json.dumps(given["body"]).encode() if "body" in given else given["raw_body"].encode()
        for client in DIALECTS:
            for label in (PROFILES[provider][0], "filtered", "hidden"):
                changes = {"filtered": {"filter_as_refusal": True}, "hidden": {"hide_upstream_auth": True}}
                of = profile({"name": PROFILES[provider][0], **changes.get(label, {})})
                found = job(client, provider, of)
                for stream in (True, False):
                    asked = request_for(found, {**SMALLEST[client], "stream": stream})
                    assert isinstance(asked, Translated)
                    refusal = pair_for_test(found).error(asked, given["status"], given["headers"], body, NOW)
                    yield (
                        f"{name}|{client}|{label}|{stream}",
                        {
                            "rejected": rejected(client, refusal.rejection),
                            "headers": refusal.headers,
                            "answer": refusal.answer.decode(),
                            "body": refusal.body.decode(),
                        },
                    )


def lines() -> Iterator[str]:
    for part in (requests_seen, answers_seen, errors_seen):
        for name, found in part():
            yield json.dumps({"name": name, **found}, sort_keys=True, default=list)


def _events(out: str) -> Any:
    """Events whose neighbouring deltas of one kind are one, or the JSON, so that only meaning is compared."""
    try:
        return json.loads(out)
    except ValueError:
        pass
    found: list[Any] = []
    for event in out.split("\n\n"):
        data = event.partition("data: ")[2]
        try:
            found.append(json.loads(data))
        except ValueError:
            found.append(event)
    return _merged(found)


def _merged(found: list[Any]) -> list[Any]:
    out: list[Any] = []
    for event in found:
        delta = event.get("delta") if isinstance(event, dict) else None
        if isinstance(delta, dict) and out and isinstance(out[-1], dict) and isinstance(out[-1].get("delta"), dict):
            last = out[-1]["delta"]
            texts = [key for key, value in delta.items() if isinstance(value, str) and key != "type"]
            same = last.get("type") == delta.get("type") and out[-1].get("index") == event.get("index")
            if same and len(texts) == 1 and isinstance(last.get(texts[0]), str):
                last[texts[0]] += delta[texts[0]]
                continue
        out.append(event)
    return out


def meaning(line: str) -> tuple[str, Json]:
    found = json.loads(line)
    if "out" in found:
        found["out"] = _events(found["out"])
    if isinstance(found.get("warnings"), list):
        found["warnings"] = sorted(found["warnings"])
    return found.pop("name"), found


def differences(before: Path, only: str) -> Iterator[str]:
    known = dict(meaning(line) for line in before.read_text().splitlines())
    now = dict(meaning(line) for line in lines())
    for name in sorted(known.keys() | now.keys()):
        if only in name and known.get(name) != now.get(name):
            yield json.dumps({"name": name, "before": known.get(name), "now": now.get(name)}, sort_keys=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compare", type=Path, help="lines of an earlier run; prints what differs")
    parser.add_argument("--only", default="", help="a part of the names to compare, such as 'messages>chat'")
    given = parser.parse_args()
    for line in differences(given.compare, given.only) if given.compare else lines():
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
