"""`extproc serve` beside somebody else's Envoy: one that watches the files that are kept for it, or one of its own."""

import contextlib
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

import httpx
import pytest

from extproc.providers.providers import cluster
from tests.e2e.bare import Setup, bare_envoy, configured, envoy_in, processor
from tests.e2e.refusals import never_asked
from tests.e2e.reloading import Reloads
from tests.e2e.stack import SECONDS, Model, Stack, free_port, prompt

MORE = "  more: {{dialects: [chat], base_url: {url}}}\n"
ROUTE = "routes: [{path: /files/*, serve: passthrough, provider: more}]\n"


class Halting:
    """A provider whose answer stops in the middle until `go`."""

    def __init__(self) -> None:
        self.go = threading.Event()
        halting = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("content-length", "6")
                self.end_headers()
                self.wfile.write(b"one")
                halting.go.wait(SECONDS)
                self.wfile.write(b"two")

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(SECONDS)


def known(setup: Setup) -> set[str]:
    """Providers that Envoy itself says it has."""
    admin = httpx.HTTPTransport(uds=str(setup.folder / "admin.sock"), verify=False)
    with httpx.Client(transport=admin, timeout=SECONDS) as client:
        rows = client.get("http://admin/clusters").text.splitlines()
    return {row.partition("::")[0].rpartition(":")[0] for row in rows if row.startswith("provider:")}


def test_an_envoy_that_watches_the_folder_follows(model: Model) -> None:
    with contextlib.ExitStack() as later:
        setup = later.enter_context(configured(model.url))
        more = later.enter_context(Halting())
        folder = str(setup.folder)
        process, err = later.enter_context(processor(setup, f"unix:{folder}/worker.sock", "--envoy-folder", folder))
        stack = later.enter_context(envoy_in(setup, healthy=1))
        reloads = Reloads(Stack(stack.url, setup.folder, process, stack.out, err))
        text = setup.path.read_text()
        assert stack.call(path="/files/a", method="GET").status_code == 404
        setup.path.write_text(text.replace("models:", MORE.format(url=more.url) + "models:") + ROUTE)
        reloads.now()
        assert known(setup) == {"provider:openai", "provider:more"}
        headers = {"authorization": f"Bearer {stack.good_token}"}
        client = later.enter_context(httpx.Client(verify=False, timeout=SECONDS))
        with client.stream("GET", stack.url + "/files/a", headers=headers) as answer:
            pieces = answer.iter_raw()
            found = next(pieces)
            setup.path.write_text(text)
            reloads.now()
            assert stack.call(path="/files/a", method="GET").status_code == 404
            # The processor has no part in what passes through, so the cluster goes; the answer in it does not.
            while known(setup) != {"provider:openai"}:
                assert "ERROR" not in err.text
            assert cluster("more", more.url) not in (setup.folder / "clusters.json").read_text()
            more.go.set()
            found += b"".join(pieces)
        assert (answer.status_code, found) == (200, b"onetwo")


def test_an_envoy_of_its_own_has_to_be_told(model: Model) -> None:
    with configured(model.url) as setup:
        address = f"127.0.0.1:{free_port()}"
        with processor(setup, address) as (process, err), bare_envoy(setup, [address], healthy=1) as stack:
            reloads = Reloads(Stack(stack.url, setup.folder, process, stack.out, err))
            text = setup.path.read_text()
            setup.path.write_text(text.replace("claude-*", "another-*"))
            reloads.now()
            assert stack.call(prompt("demo: say hello", model="another-one")).status_code == 200
            assert "Envoy" not in err.text
            # Rather no answer than the key at another place.
            setup.path.write_text(text.replace("${MODEL_URL}", "http://127.0.0.1:1/v1"))
            reloads.now()
            err.first(lambda line: "Envoy's configuration has to be rendered again" in line or None)
            with never_asked(model):
                assert stack.call(prompt("demo: say hello")).status_code == 529


@pytest.mark.parametrize("folder", ["/nowhere/at/all"])
def test_a_folder_that_cannot_be_written(model: Model, folder: str) -> None:
    with configured(model.url) as setup:
        argv = [sys.executable, "-m", "extproc", "serve", "--config", str(setup.path), "--envoy-folder", folder]
        ended = subprocess.run(
            argv, cwd=setup.folder, env=setup.environ, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert (ended.returncode, "Traceback" in ended.stderr) == (1, False)
        assert ended.stderr.startswith("cannot write Envoy's files to /nowhere/at/all: ")
