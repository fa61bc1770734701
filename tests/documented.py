"""The tables of docs/observability.md, made from the code."""

import re
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import Counter, Histogram

from extproc.config.loading import Source
from extproc.envoy import listener
from extproc.supervisor import metrics as supervisor
from extproc.transport import metrics as workers
from extproc.transport.metrics import CLAIMS, Metric
from tests.settings import GATEWAY, source

PAGE = Path(__file__).resolve().parent.parent / "docs" / "observability.md"

# What each field of the log says; the list itself is the code's.
METRICS = (*workers.METRICS, *supervisor.METRICS)
FIELDS = {
    "time": "when the request came",
    "request_id": "the gateway's own; as in the answer's `request-id`, unless the provider has given one",
    "upstream_request_id": "the provider's, as in the answer's `request-id`",
    "x-request-id": "Envoy's own, for a call the processor never saw",
    "route": "not used yet",
    "endpoint": "`messages`, `chat`, `responses`, `count_tokens`, `input_tokens`, `models`, `probe`, `passthrough`;"
    " of a cloud's API `bedrock`, `bedrock-mantle`, `vertex`, `azure-openai`",
    "protocol": "`llm`",
    "http.method": "of the request",
    "http.path": "of the request, without its query",
    "http.status": "as the client got it",
    "duration": "milliseconds, to the last byte to the client",
    "details": "Envoy's response code details",
    "flags": "Envoy's response flags",
    "reason": "why the call did not succeed; left out when it did",
    "error": "a short code that says more than `reason`",
    "warnings": "what was not carried over, comma-separated",
    "gen_ai.operation.name": "`chat`, `count_tokens`, `list_models`, `probe`, `passthrough`",
    "gen_ai.provider.name": "its key in `providers`",
    "gen_ai.request.model": "as the client named it",
    "gen_ai.upstream.model": "as the provider was asked for it",
    "attempts": "each provider that was asked, where a model has several, with status, why it was left, and seconds",
    "attempts.input_tokens": "of attempts that were given up, as far as their providers have counted; budgets and the "
    "ledger add these three to the call's own",
    "attempts.output_tokens": "the same",
    "attempts.cost": "what these tokens cost, in USD",
    "gen_ai.response.model": "as the provider named it",
    "gen_ai.request.max_tokens": "as sent to the provider",
    "gen_ai.request.stream": "whether a stream was asked for",
    "gen_ai.response.finish_reasons": "why the model stopped",
    "gen_ai.usage.input_tokens": "all of the input, those read from or written to a cache included",
    "gen_ai.usage.output_tokens": "thinking included",
    "gen_ai.usage.cache_read.input_tokens": "of these, read from the provider's cache",
    "gen_ai.usage.cache_creation.input_tokens": "of these, written to it",
    "gen_ai.usage.cost": "what the call cost; tokens without a cost are those of a model without a known price",
    "gen_ai.usage.cost.currency": "`USD`",
    "gen_ai.usage.estimated": "true: the answer broke off before the provider had counted, so tokens and cost are "
    "estimates",
    "gen_ai.server.time_to_first_token": "seconds, to the first piece of the answer",
    "gen_ai.server.time_per_output_token": "seconds, on the average of a stream, after the first piece",
    "jwt.sub": "who called",
    "jwt.iss": "who vouches for that",
    "auto_mode.outcome": "the strictest verdict on the answer's calls of tools, where the client asked for verdicts: "
    "`allow`, `unavailable`, `deny`",
    "auto_mode.rule": "who gave it: `auto_mode.rules.N`, `judge`, `provider`, `otherwise`",
    "budget.moved_by": "the budgets that had no room and moved the call to another model, in order",
    "budget.moved_to": "the model that they moved it to, while `gen_ai.request.model` is the one that the client asked "
    "for",
    "budget.keys": "the budgets that the call counts in, each with its key: pairs in a JSON text of at most 2000 "
    "characters",
    "caller.<claim>": "each claim of `records.claims`; a list or an object as JSON in a string",
}


def samples(metric: Metric) -> list[str]:
    """The names its series have."""
    if metric.kind is Histogram:
        return [f"{metric.name}_{suffix}" for suffix in ("bucket", "sum", "count")]
    return [f"{metric.name}_total" if metric.kind is Counter else metric.name]


def labels(metric: Metric) -> list[str]:
    return [*metric.labels, *([CLAIMS] if metric.claims else [])]


def logged(where: Source) -> list[str]:
    log, _ = listener.listener(where)["filter_chains"][0]["filters"][0]["typed_config"]["access_log"]
    return list(log["typed_config"]["log_format"]["json_format"])


def metrics_table() -> Iterator[str]:
    yield "| name | type | labels | meaning |"
    yield "|---|---|---|---|"
    for metric in METRICS:
        name = metric.name if metric.kind is Histogram else samples(metric)[0]
        named = ", ".join(f"`{label}`" for label in labels(metric))
        yield f"| `{name}` | {metric.kind.__name__.lower()} | {named} | {metric.meaning} |"


def fields_table(names: list[str]) -> Iterator[str]:
    yield "| field | meaning |"
    yield "|---|---|"
    for name in sorted(names, key=lambda name: list(FIELDS).index(name)):
        yield f"| `{name}` | {FIELDS[name]} |"


def page(text: str, folder: Path) -> str:
    """With its tables as they must be. `folder`: for a configuration."""
    names = logged(source(folder, f"{GATEWAY}\nrecords: {{claims: [<claim>]}}\n"))
    for mark, rows in {"metrics": metrics_table(), "fields": fields_table(names)}.items():
        table = "\n".join(rows)
        begin, end = f"<!-- {mark}: generated -->", f"<!-- end of {mark} -->"
        text = re.sub(f"{begin}.*?{end}", lambda _, b=begin, t=table, e=end: f"{b}\n{t}\n{e}", text, flags=re.DOTALL)  # type: ignore[misc]
    return text
