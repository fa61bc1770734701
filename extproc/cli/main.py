"""The `extproc` command. Modules load when their command runs, so that `token` and `--help` are quick."""

import argparse
import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from extproc.cli import budget, developer
from extproc.cli.arguments import USAGE, AddArgument, AddCommand, Run, address, argument, complain, positive
from extproc.cli.developer import KEYS, URL
from extproc.config import init
from extproc.printable import log_to_stderr, show

CONFIG = Path("gateway.yaml")
INSTALL = "pip install 'llm-extproc[gateway]'"


def main(argv: list[str] | None = None) -> int:
    try:
        try:
            return _run(sys.argv[1:] if argv is None else argv)
        finally:
            gc.enable()
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader has enough. What is left in the buffer must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(words: list[str]) -> int:
    ours = developer.own_words(words)
    if not developer.is_own(words):
        gc.disable()  # what modules make when they load stays; what serves turns it on again
        from extproc.gateway import plugins

        try:
            plugins.load()
        except plugins.Unusable as error:
            return complain(error, 1)
    options = parser().parse_args(words[:ours])
    options.rest = words[ours:]
    run: Run = options.run
    try:
        return run(options)
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        if missing == "extproc":
            raise
        return complain(f"extproc {words[0]} needs the gateway's half: {INSTALL} ({missing} is missing)", USAGE)


class _Version(argparse.Action):
    """Unlike argparse's own it finds the version only when it is wanted."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from extproc.version import version

        print(f"extproc {version()}")
        parser.exit()


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    made = argparse.ArgumentParser(prog="extproc", description="Identity, policy and translation before models.")
    made.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = made.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, text: str, example: str, run: Run, *arguments: AddArgument) -> None:
        added = commands.add_parser(name, help=text, description=text, epilog=f"example: {example}")
        added.set_defaults(run=run)
        for add in arguments:
            add(added)

    config = argument("--config", type=Path, default=CONFIG, help=f"default: {CONFIG}")
    _add_init(command)
    _add_what_serves(command, config)
    _add_what_explains(command, config)
    _add_the_lab(command)
    return made


def _add_init(command: AddCommand) -> None:
    config = argument("--config", type=Path, default=CONFIG, help=f"the file to write; default: {CONFIG}")
    provider = argument("--provider", choices=tuple(init.KINDS), default="openai", help="who answers; default: openai")
    text = "Write a commented configuration to begin with."
    command("init", text, "extproc init --provider ollama", _init, config, provider)
    text = "Print the JSON Schema of the configuration, for editors."
    command("schema", text, "extproc schema > gateway.schema.json", _schema)


def _add_what_serves(command: AddCommand, config: AddArgument) -> None:
    workers = argument("--workers", type=positive, help="processor processes; default: one per core")
    bind = argument("--address", help="instead of the file's listen.address")
    port = argument("--port", type=int, help="instead of the file's listen.port")
    raw = argument("--json", action="store_true", help="print a JSON line for each call, and nothing else, to stdout")
    demo = argument("--demo", action="store_true", help="without a file: the lab's configuration and the demo model")
    shared = config, bind, port, workers, demo
    command("up", "Run everything on this machine.", "extproc up --port 9090", _up, *shared, raw)

    where = {"type": address, "default": "unix:/run/extproc/extproc.sock"}
    processor = argument("--processor", **where, help="unix:PATH or HOST:PORT; worker n adds n to it")
    folder = argument("--envoy-folder", type=Path, metavar="DIR", help="keep files here for an Envoy started in it")
    text = "Run the processor alone."
    command("serve", text, "extproc serve --workers 2", _serve, config, processor, workers, folder)
    text = "Ask a processor whether it serves; the exit status says it."
    command("health", text, "extproc health --processor 127.0.0.1:9000", _health, config, processor)
    subject = argument("--sub", required=True, metavar="SUBJECT", help="as in the log's jwt.sub")
    text = "End all tokens of a person who signed in, now and on all machines."
    command("revoke", text, "extproc revoke --sub alice", _revoke, config, subject)
    what = argument("what", choices=("list", "drain", "resume"), help="show all, take one out, or take it back")
    provider = argument("name", nargs="?", metavar="NAME", help="its key in the file's providers")
    text = "Show which providers the running gateway leaves out, and leave one out by hand."
    command("provider", text, "extproc provider drain vllm-a", _provider, what, provider, config)
    _add_usage(command, config)
    budget.add_to(command, config)
    text = "Print Envoy's configuration as one static file."
    form = argument("--format", choices=("json", "yaml"), default="json", help="default: json")
    roots = "the public authorities' certificates on the machine of that Envoy; default: this machine's"
    roots_file = argument("--ca-file", type=Path, metavar="PATH", help=roots)
    shared = config, processor, workers, form, roots_file
    command("envoy-config", text, "extproc envoy-config --format yaml > envoy.yaml", _envoy_config, *shared)


def _add_usage(command: AddCommand, config: AddArgument) -> None:
    what = argument("what", nargs="?", choices=("show", "remove"), default="show", help="default: show")
    by = argument("--by", default="", metavar="A,B", help="claims, model, provider, subject, reason, day, month, ...")
    since = argument("--since", metavar="TIME", help="for instance 2026-11-01 or 2026-11-01T08:00+01:00")
    until = argument("--until", metavar="TIME", help="not included; default: now")
    zone = argument("--timezone", default="UTC", metavar="ZONE", help="of times and days; default: UTC")
    form = argument("--format", choices=("table", "csv", "json"), default="table", help="default: table")
    person = argument("--sub", metavar="SUBJECT", help="whose calls to remove, as in the log's jwt.sub")
    text = "Show what was spent, by the ledger of calls, or remove a person's calls from it."
    example = "extproc usage --by team,model --since 2026-11-01"
    command("usage", text, example, _usage, what, config, by, since, until, zone, form, person)


def _add_what_explains(command: AddCommand, config: AddArgument) -> None:
    text = "Explain every mistake in the configuration or, asked about a call, a decision."
    probe = argument("--probe", action="store_true", help="ask each provider for its models, with its key")
    target = argument("--target", choices=("envoy-gateway",), help="also say what cannot be had there")
    example = "extproc check --token @token --model claude-x"
    command("check", text, example, _check, config, probe, target, *_decision())

    what = argument("what", choices=("request", "answer", "stream"), help="what is read from standard input")
    model = argument("--model", help="instead of the request's")
    client = argument("--client", metavar="DIALECT", help="the client's; default: that of Anthropic's Messages API")
    request = argument("--request", type=Path, help="the client's request that an answer belongs to")
    text = "Show what would be sent, or what a client would get, without any network."
    example = "extproc translate request --model claude-x < body.json"
    command("translate", text, example, _translate, what, config, model, client, request)


def _add_the_lab(command: AddCommand) -> None:
    claim = argument("--claim", action="append", default=[], metavar="K=V", help="add or replace a claim")
    developer.add(command, claim)
    _add_key(command, claim)
    keys = argument("--keys", type=Path, default=KEYS, help=f"the lab's keys, made on first use; default: {KEYS}")
    url = argument("--url", default=URL, help=f"default: {URL}")
    text = "Send three requests and a streamed tool call to the running gateway."
    command("demo", text, "extproc demo", _demo, keys, url)


def _add_key(command: AddCommand, claim: AddArgument) -> None:
    text = "Make a static key for a machine, and the line for the file of keys."
    new = argument("what", choices=("new",), help="make one, and print it this once")
    name = argument("--id", required=True, help="who uses it; its subject is key:ID")
    expires = argument("--expires", metavar="DATE", help="for instance 2027-01-31 or 2027-01-31T12:00:00Z")
    command("key", text, "extproc key new --id nightly --claim team=data-platform", _key, new, name, claim, expires)


def _decision() -> tuple[AddArgument, ...]:
    """What `check` can be asked about."""
    return (
        argument("--token", metavar="T", help="@FILE, - for standard input, or a token; default: $EXTPROC_TOKEN"),
        argument("--model", metavar="NAME", help="the model that is asked for"),
        argument("--path", metavar="P", help="where, also 'GET /v1/files'; default: that of the Messages API"),
        argument("--body", type=Path, metavar="FILE", help="what is sent; default: the least there is"),
        argument("--source", metavar="ADDRESS", help="where the call comes from"),
        argument("--header", metavar="NAME:VALUE", action="append", default=[], help="more headers; also host:NAME"),
    )


def _init(options: argparse.Namespace) -> int:
    from extproc.cli import json_schema
    from extproc.demo import idp

    try:
        init.write(options.config, options.provider)
        idp.ensure_keys(options.config.parent / "keys")  # which the file names
        (options.config.parent / json_schema.FILE).write_text(json_schema.text(), "utf-8")  # so does its first line
    except init.CannotWrite as error:
        return complain(error, USAGE)
    except OSError as error:
        return complain(f"{error.filename} cannot be written: {error.strerror}", USAGE)
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
        return complain(NO_FILE.format(options.config, ", ".join(init.KINDS)), USAGE)
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
        return complain(error, USAGE)
    except up.NotStarted as error:
        return complain(error, error.code if error.code > 0 else 1)
    except up.CannotStart as error:
        return complain(error, 1)
    return 0


def _usage(options: argparse.Namespace) -> int:
    from extproc.config.loading import Invalid

    try:
        from extproc.cli import usage
    except ModuleNotFoundError as error:
        if error.name != "sqlalchemy":
            raise
        return complain("extproc usage needs an extra: pip install 'llm-extproc[usage]'", USAGE)
    try:
        if options.what == "remove":
            if not options.sub:
                return complain("whose calls? name the person with --sub", USAGE)
            return usage.remove(options.config, options.sub)
        return usage.run(options.config, usage.query_of(options), options.format)
    except (Invalid, usage.Unusable) as error:
        return complain(error, USAGE)


def _check(options: argparse.Namespace) -> int:
    from extproc.cli import explain, reach
    from extproc.config.loading import Invalid
    from extproc.gateway import gateway
    from extproc.policy.keys.remote_keys import FetchedKeySets
    from extproc.supervisor import advice
    from extproc.supervisor.sign_in import SignInState

    deciding = any((options.token, options.model, options.path, options.body, options.source, options.header))
    own: list[SignInState] = []

    async def fetch(place: Any) -> tuple[Any, float | None]:
        """Also the gateway's own keys, from its store; nothing is fetched before there is a configuration."""
        return await own[0].fetch(place)

    remote = FetchedKeySets(fetch)
    try:
        environ, files = explain.without_keys(options.config) if deciding else (None, None)
        made = gateway.load(options.config, environ, files=files, remote=remote)
    except Invalid as error:
        return complain(error, USAGE)
    own.append(SignInState(made.source, os.environ if environ is None else environ))
    own[0].use(made.source)
    if deciding:
        return _decide(options, made, remote)
    if options.target and (faults := explain.not_at_envoy_gateway(made)):
        return complain(made.source.explain(faults), USAGE)
    for warning in advice.warnings(made):
        show(f"warning: {warning}", sys.stderr)
    changed = budget.changed_limits(made.source, os.environ)
    show("\n".join([f"{options.config}: no mistakes found", *explain.remarks(made), *changed]))
    return reach.run(made) if options.probe else 0


def _decide(options: argparse.Namespace, made: Any, remote: Any) -> int:
    from extproc.cli import explain

    try:
        token = explain.token(options.token)
        headers = dict(map(explain.header, options.header))
        asked = explain.Asked(token, options.model, options.path, options.body, options.source, headers)
        return explain.run(made, remote, asked)
    except explain.Unusable as error:
        return complain(error, USAGE)


def _health(options: argparse.Namespace) -> int:
    from extproc.config import loading
    from extproc.config.processor_tls import check_client, is_tcp
    from extproc.transport import health

    tls = None
    if is_tcp(options.processor) and options.config.exists():
        try:
            source = loading.load(options.config)
            check_client(source, [options.processor])
            tls = health.mutual_tls(source)
        except (loading.Invalid, OSError) as error:
            return complain(error, USAGE)
    return 0 if asyncio.run(health.serving(options.processor, tls)) else 1


def _envoy_config(options: argparse.Namespace) -> int:
    from extproc.config import loading
    from extproc.config.processor_tls import check_client
    from extproc.envoy import configuration

    try:
        source = loading.load(options.config)
        addresses = configuration.processor_addresses(options.processor, source.workers(options.workers))
        check_client(source, addresses)
        rendered = configuration.static(source, addresses, options.ca_file)
    except loading.Invalid as error:
        return complain(error, USAGE)
    print(configuration.as_yaml(rendered).rstrip() if options.format == "yaml" else json.dumps(rendered, indent=2))
    return 0


def _revoke(options: argparse.Namespace) -> int:
    from extproc.cli import revoke
    from extproc.config.loading import Invalid

    try:
        return revoke.run(options.config, options.sub)
    except (Invalid, revoke.Unusable) as error:
        return complain(error, USAGE)


def _provider(options: argparse.Namespace) -> int:
    from extproc.cli import provider
    from extproc.transport.control import Unreachable

    try:
        return provider.run(options.config, options.what, options.name)
    except (provider.Unusable, Unreachable) as error:
        return complain(error, USAGE if isinstance(error, provider.Unusable) else 1)


def _translate(options: argparse.Namespace) -> int:
    from extproc.cli import dryrun
    from extproc.wire import dialects

    client = options.client or dialects.DEFAULT
    if client not in dialects.names():
        return complain(f"--client {client!r}: expected one of {', '.join(dialects.names())}", USAGE)
    chosen = dryrun.Options(options.config, options.what, options.model, client, options.request)
    try:
        return dryrun.run(chosen, sys.stdin.buffer.read())
    except (dryrun.Invalid, dryrun.Unusable, OSError) as error:
        return complain(error, USAGE)


def _key(options: argparse.Namespace) -> int:
    from extproc.demo import idp
    from extproc.policy.authentication import api_keys

    try:
        claims = dict(idp.parse_claim(text) for text in options.claim)
        key, line = api_keys.new(options.id, claims, options.expires, time.time())
    except ValueError as error:
        return complain(error, USAGE)
    print(f"the key, shown this once:\n{key}\nthe line for the file of keys (authentication.api_keys.file):\n{line}")
    return 0


def _demo(options: argparse.Namespace) -> int:
    from extproc.demo import client

    return client.run(options.url, options.keys, sys.stdout)
