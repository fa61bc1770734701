"""The `extproc` command. Modules load when their command runs, so that `token` and `--help` are quick."""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from extproc.config import init
from extproc.gateway import plugins
from extproc.printable import log_to_stderr, show
from extproc.wire import dialects

Run = Callable[[argparse.Namespace], int]

CONFIG, KEYS, URL = Path("gateway.yaml"), Path("keys"), "http://127.0.0.1:8080"
CLAUDE_OPTIONS = ("--keys", "--url")
CLAUDE_FLAGS = ("--skip-web-fetch-preflight",)
USAGE = 2


def main(argv: list[str] | None = None) -> int:
    try:
        try:
            return _run(sys.argv[1:] if argv is None else argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader has enough. What is left in the buffer must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(words: list[str]) -> int:
    try:
        plugins.load()
    except plugins.Unusable as error:
        show(error, sys.stderr)
        return 1
    ours = _before_claudes(words)
    options = _parser().parse_args(words[:ours])
    options.rest = words[ours:]
    run: Run = options.run
    return run(options)


def _before_claudes(words: list[str]) -> int:
    """How many words are ours: behind `claude` and our own options for it, all is Claude Code's."""
    if words[:1] != ["claude"]:
        return len(words)
    count = 1
    while count < len(words) and words[count].partition("=")[0] in CLAUDE_OPTIONS + CLAUDE_FLAGS:
        count += 2 if words[count] in CLAUDE_OPTIONS else 1
    return count


class _Version(argparse.Action):
    """Unlike argparse's own it finds the version only when it is wanted."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from extproc.version import version

        print(f"extproc {version()}")
        parser.exit()


Command = Callable[..., None]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="extproc", description="Identity, policy and translation before models.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, text: str, example: str, run: Run, *arguments: Callable[[Any], object]) -> None:
        added = commands.add_parser(name, help=text, description=text, epilog=f"example: {example}")
        added.set_defaults(run=run)
        for add in arguments:
            add(added)

    config = _argument("--config", type=Path, default=CONFIG, help=f"default: {CONFIG}")
    _add_init(command)
    _add_what_serves(command, config)
    _add_what_explains(command, config)
    _add_the_lab(command)
    return parser


def _add_init(command: Command) -> None:
    config = _argument("--config", type=Path, default=CONFIG, help=f"the file to write; default: {CONFIG}")
    provider = _argument("--provider", choices=tuple(init.KINDS), default="openai", help="who answers; default: openai")
    text = "Write a commented configuration to begin with."
    command("init", text, "extproc init --provider ollama", _init, config, provider)
    text = "Print the JSON Schema of the configuration, for editors."
    command("schema", text, "extproc schema > gateway.schema.json", _schema)


def _add_what_serves(command: Command, config: Callable[[Any], object]) -> None:
    workers = _argument("--workers", type=_positive, help="processor processes; default: one per core")
    address = _argument("--address", help="instead of the file's listen.address")
    port = _argument("--port", type=int, help="instead of the file's listen.port")
    raw = _argument("--json", action="store_true", help="print a JSON line for each call, and nothing else, to stdout")
    demo = _argument("--demo", action="store_true", help="without a file: the lab's configuration and the demo model")
    shared = config, address, port, workers, demo
    command("up", "Run everything on this machine.", "extproc up --port 9090", _up, *shared, raw)

    where = {"type": _address, "default": "unix:/run/extproc/extproc.sock"}
    processor = _argument("--processor", **where, help="unix:PATH or HOST:PORT; worker n adds n to it")
    folder = _argument("--envoy-folder", type=Path, metavar="DIR", help="keep files here for an Envoy started in it")
    text = "Run the processor alone."
    command("serve", text, "extproc serve --workers 2", _serve, config, processor, workers, folder)
    text = "Ask a processor whether it serves; the exit status says it."
    command("health", text, "extproc health --processor 127.0.0.1:9000", _health, config, processor)
    text = "Print Envoy's configuration as one static file."
    form = _argument("--format", choices=("json", "yaml"), default="json", help="default: json")
    roots = "the public authorities' certificates on the machine of that Envoy; default: this machine's"
    roots_file = _argument("--ca-file", type=Path, metavar="PATH", help=roots)
    shared = config, processor, workers, form, roots_file
    command("envoy-config", text, "extproc envoy-config --format yaml > envoy.yaml", _envoy_config, *shared)


def _add_what_explains(command: Command, config: Callable[[Any], object]) -> None:
    text = "Explain every mistake in the configuration or, asked about a call, a decision."
    probe = _argument("--probe", action="store_true", help="ask each provider for its models, with its key")
    command("check", text, "extproc check --token @token --model claude-x", _check, config, probe, *_decision())

    what = _argument("what", choices=("request", "answer", "stream"), help="what is read from standard input")
    model = _argument("--model", help="instead of the request's")
    client = _argument(
        "--client", choices=dialects.names(), default=dialects.DEFAULT, help=f"default: {dialects.DEFAULT}"
    )
    request = _argument("--request", type=Path, help="the client's request that an answer belongs to")
    text = "Show what would be sent, or what a client would get, without any network."
    example = "extproc translate request --model claude-x < body.json"
    command("translate", text, example, _translate, what, config, model, client, request)


def _add_the_lab(command: Command) -> None:
    keys = _argument("--keys", type=Path, default=KEYS, help=f"the lab's keys, made on first use; default: {KEYS}")
    url = _argument("--url", default=URL, help=f"default: {URL}")
    team = _argument("--team", default="data-platform")
    claim = _argument("--claim", action="append", default=[], metavar="K=V", help="add or replace a claim")
    ttl = _argument("--ttl", type=int, default=3600, help="seconds; default: 3600")
    text = "Mint a token of the lab's identity provider."
    command("token", text, "extproc token --team marketing", _token, keys, team, claim, ttl)
    _add_key(command, claim)
    text = "Send three requests and a streamed tool call to the running gateway."
    command("demo", text, "extproc demo", _demo, keys, url)
    text = "Start Claude Code on the gateway, with a token that renews itself."
    skip = "for networks without claude.ai: WebFetch does not ask it whether a domain is safe"
    preflight = _argument(CLAUDE_FLAGS[0], action="store_true", help=skip)
    command("claude", text, 'extproc claude -p "hello"', _claude, keys, url, preflight)


def _add_key(command: Command, claim: Callable[[Any], object]) -> None:
    text = "Make a static key for a machine, and the line for the file of keys."
    new = _argument("what", choices=("new",), help="make one, and print it this once")
    name = _argument("--id", required=True, help="who uses it; its subject is key:ID")
    expires = _argument("--expires", metavar="DATE", help="for instance 2027-01-31 or 2027-01-31T12:00:00Z")
    example = "extproc key new --id nightly --claim team=data-platform"
    command("key", text, example, _key, new, name, claim, expires)


def _decision() -> tuple[Callable[[argparse.ArgumentParser], object], ...]:
    """What `check` can be asked about."""
    return (
        _argument("--token", metavar="T", help="@FILE, - for standard input, or a token; default: $EXTPROC_TOKEN"),
        _argument("--model", metavar="NAME", help="the model that is asked for"),
        _argument(
            "--path", metavar="P", help=f"where, also 'GET /v1/files'; default: {dialects.row(dialects.DEFAULT).path}"
        ),
        _argument("--body", type=Path, metavar="FILE", help="what is sent; default: the least there is"),
        _argument("--source", metavar="ADDRESS", help="where the call comes from"),
        _argument("--header", metavar="NAME:VALUE", action="append", default=[], help="more headers; also host:NAME"),
    )


def _argument(*names: str, **settings: Any) -> Callable[[argparse.ArgumentParser], object]:
    return lambda parser: parser.add_argument(*names, **settings)


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError("expected a number from 1")
    return int(text)


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not (text.startswith("unix:/") or (host and port.isdecimal() and 0 < int(port) < 65536)):
        raise argparse.ArgumentTypeError("expected unix:/PATH or HOST:PORT")
    return text


def _init(options: argparse.Namespace) -> int:
    from extproc.cli import json_schema
    from extproc.demo import idp

    try:
        init.write(options.config, options.provider)
        idp.ensure_keys(options.config.parent / "keys")  # which the file names
        (options.config.parent / json_schema.FILE).write_text(json_schema.text(), "utf-8")  # so does its first line
    except init.CannotWrite as error:
        return _complain(error, USAGE)
    except OSError as error:
        return _complain(f"{error.filename} cannot be written: {error.strerror}", USAGE)
    print(init.next_steps(options.config, options.provider), end="")
    return 0


def _schema(_options: argparse.Namespace) -> int:
    from extproc.cli import json_schema

    print(json_schema.text(), end="")
    return 0


NO_FILE = """\
there is no {} here. What you can do:
  extproc init --provider NAME   writes one: {}
  extproc up --config FILE       serves another
  extproc up --demo              needs none: a demo model answers, for tokens of a lab's identity provider"""


def _up(options: argparse.Namespace) -> int:
    from extproc.supervisor import up

    if not options.demo and not options.config.exists():
        return _complain(NO_FILE.format(options.config, ", ".join(init.KINDS)), USAGE)
    chosen = up.Options(
        options.config, options.address, options.port, options.workers, json=options.json, demo=options.demo
    )
    return _supervised(lambda: up.run(chosen))


def _serve(options: argparse.Namespace) -> int:
    from extproc.supervisor import up

    chosen = up.Options(options.config, workers=options.workers)
    return _supervised(lambda: up.serve(chosen, options.processor, options.envoy_folder))


def _supervised(run: Callable[[], Coroutine[Any, Any, None]]) -> int:
    from extproc.supervisor import up

    log_to_stderr()
    try:
        asyncio.run(run())
    except up.Invalid as error:
        return _complain(error, USAGE)
    except up.NotStarted as error:
        return _complain(error, error.code if error.code > 0 else 1)
    except up.CannotStart as error:
        return _complain(error, 1)
    return 0


def _check(options: argparse.Namespace) -> int:
    from extproc.cli import explain, reach
    from extproc.config.loading import Invalid
    from extproc.gateway import gateway
    from extproc.policy.keys.remote_keys import RemoteKeys
    from extproc.supervisor import advice

    words = options.token, options.model, options.path, options.body, options.source, options.header
    deciding, remote = any(words), RemoteKeys()
    try:
        environ, files = explain.without_keys(options.config) if deciding else (None, None)
        made = gateway.load(options.config, environ, files=files, remote=remote)
    except Invalid as error:
        return _complain(error, USAGE)
    if deciding:
        return _decide(options, made, remote)
    for warning in advice.warnings(made):
        show(f"warning: {warning}", sys.stderr)
    show("\n".join([f"{options.config}: no mistakes found", *explain.remarks(made)]))
    return reach.run(made) if options.probe else 0


def _decide(options: argparse.Namespace, made: Any, remote: Any) -> int:
    from extproc.cli import explain

    try:
        token = explain.token(options.token)
        headers = dict(map(explain.header, options.header))
        asked = explain.Asked(token, options.model, options.path, options.body, options.source, headers)
        return explain.run(made, remote, asked)
    except explain.Unusable as error:
        return _complain(error, USAGE)


def _health(options: argparse.Namespace) -> int:
    from extproc.config import loading
    from extproc.config.processor_tls import check_client, is_tcp
    from extproc.transport import probe

    tls = None
    if is_tcp(options.processor) and options.config.exists():
        try:
            source = loading.load(options.config)
            check_client(source, [options.processor])
            tls = probe.mutual_tls(source)
        except (loading.Invalid, OSError) as error:
            return _complain(error, USAGE)
    return 0 if asyncio.run(probe.serving(options.processor, tls)) else 1


def _envoy_config(options: argparse.Namespace) -> int:
    from extproc.config import loading
    from extproc.config.processor_tls import check_client
    from extproc.envoy import configuration

    try:
        source = loading.load(options.config)
        addresses = configuration.processor_addresses(options.processor, source.workers(options.workers))
        check_client(source, addresses)
    except loading.Invalid as error:
        return _complain(error, USAGE)
    made = configuration.static(source, addresses, options.ca_file)
    print(configuration.as_yaml(made).rstrip() if options.format == "yaml" else json.dumps(made, indent=2))
    return 0


def _translate(options: argparse.Namespace) -> int:
    from extproc.cli import dryrun

    chosen = dryrun.Options(options.config, options.what, options.model, options.client, options.request)
    try:
        return dryrun.run(chosen, sys.stdin.buffer.read())
    except (dryrun.Invalid, dryrun.Unusable, OSError) as error:
        return _complain(error, USAGE)


def _token(options: argparse.Namespace) -> int:
    from extproc.demo import idp

    try:
        claims = dict(idp.parse_claim(text) for text in options.claim)
    except ValueError as error:
        return _complain(error, USAGE)
    idp.ensure_keys(options.keys)
    print(idp.mint(options.keys, team=options.team, claims=claims, ttl=options.ttl))
    return 0


def _key(options: argparse.Namespace) -> int:
    from extproc.demo import idp
    from extproc.policy.authentication import api_keys

    try:
        claims = dict(idp.parse_claim(text) for text in options.claim)
        key, line = api_keys.new(options.id, claims, options.expires, time.time())
    except ValueError as error:
        return _complain(error, USAGE)
    print(f"the key, shown this once:\n{key}\nthe line for the file of keys (authentication.api_keys.file):\n{line}")
    return 0


def _demo(options: argparse.Namespace) -> int:
    from extproc.demo import client

    return client.run(options.url, options.keys, sys.stdout)


def _claude(options: argparse.Namespace) -> int:
    from extproc.cli import claude

    return claude.run(options.rest, options.url, options.keys, skip_preflight=options.skip_web_fetch_preflight)


def _complain(error: Exception | str, status: int) -> int:
    show(error, sys.stderr)
    return status
