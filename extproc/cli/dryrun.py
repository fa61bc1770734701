"""`extproc translate`: a request, or a recorded answer, through the same code as a call, without any network."""

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from extproc.config import loading
from extproc.config.loading import Invalid
from extproc.errors import Rejection
from extproc.printable import printable_json, show
from extproc.providers.catalogue import Resolved
from extproc.providers.loading import load_catalogue
from extproc.translate import wrapping
from extproc.translate.dialects.registry import PAIRS
from extproc.translate.job import dialect_for
from extproc.translate.pair import Outcome, Pair, Target, Translated
from extproc.wire import Dialect, dialects, untrusted
from extproc.wire.rejections import rejection_body

NONCE = "0" * 24


class Unusable(Exception):
    """`str()` says what is missing."""


@dataclass(frozen=True)
class Options:
    config: Path
    what: str
    """request, answer or stream."""
    model: str | None
    dialect: Dialect
    request: Path | None
    """The client's request that an answer belongs to; absent: a minimal one."""


def run(options: Options, data: bytes) -> int:
    """`data`: the client's body, or the upstream's. Prints the result, and what was not carried over to stderr.
    Returns 1 for a rejection. Raises Unusable, loading.Invalid."""
    body = _body(options, data)
    resolved = _resolve(options.config, str(body.get("model", "")))
    raw = data if options.what == "request" and options.model is None else msgspec.json.encode(body)
    settings = resolved.configured(options.dialect, body)
    target = Target(
        profile=resolved.profile, model=resolved.upstream, nonce=NONCE, now=time.time(), raw=raw, settings=settings
    )
    body |= settings
    spoken = dialect_for(options.dialect, resolved.dialects, resolved.profile, body)
    pair = PAIRS[options.dialect, spoken]
    asked = pair.request(body, target)
    around = resolved.provider.wrappings.get(spoken)
    if around is not None and isinstance(asked, Translated):
        asked = wrapping.wrap(around, asked, target)
    if isinstance(asked, Rejection):
        return _refused(options.dialect, asked)
    if options.what == "request":
        _print_json(json.loads(asked.body))
        return _said(asked.warnings)
    return _answer(options, pair, asked, data)


def _answer(options: Options, pair: Pair, asked: Translated, data: bytes) -> int:
    reply = pair.reply(asked, "text/event-stream" if options.what == "stream" else "application/json")
    out = reply.feed(data) + reply.close()
    outcome: Outcome = reply.outcome
    if outcome.failure is not None and not asked.stream:
        return _refused(options.dialect, outcome.failure)
    text = out.decode()
    if not asked.stream:
        _print_json(json.loads(text))
    else:
        print(printable_json(text) if sys.stdout.isatty() else text)
    _said((*asked.warnings, *outcome.warnings))
    return 0 if outcome.complete else 1


def _body(options: Options, data: bytes) -> dict[str, Any]:
    text = data if options.what == "request" else options.request.read_bytes() if options.request else b"{}"
    try:
        body = untrusted.decode(text)
    except msgspec.DecodeError as error:
        raise Unusable(f"the request is not valid JSON: {error}") from None
    if not isinstance(body, dict):
        raise Unusable("the request is not a JSON object")
    if options.what != "request":
        body = {"model": "", **dialects.row(options.dialect).example, **body, "stream": options.what == "stream"}
    return body if options.model is None else {**body, "model": options.model}


def _resolve(path: Path, model: str) -> Resolved:
    source = loading.load(path)
    # No secret is needed here, so one that is missing is no fault.
    catalogue, _, faults = load_catalogue(source, os.environ)
    faults = [fault for fault in faults if not {"api_key", "auth"} & set(fault.where)]
    if faults:
        raise source.explain(faults)
    resolved = catalogue.resolve(model)
    if resolved is None:
        raise Unusable(f"{path} has no model that matches {model!r}; name one with --model")
    return resolved


def _refused(dialect: Dialect, rejection: Rejection) -> int:
    body = json.loads(rejection_body(dialect, rejection, f"req_{NONCE}"))
    _print_json({"status": rejection.http_status, "body": body})
    return 1


def _said(warnings: tuple[str, ...]) -> int:
    for warning in dict.fromkeys(warnings):
        show(warning, sys.stderr)
    return 0


def _print_json(value: Any) -> None:
    print(printable_json(json.dumps(value, indent=2, ensure_ascii=False)))


__all__ = ["Invalid", "Options", "Unusable", "run"]
