# `make up` needs Python 3.11 or newer and make. ARGS goes to the command behind a target: make up ARGS="--port 9090"
.PHONY: setup up demo test test-compose check lint types floors protos lock bench bench-peers soak fuzz canary clean

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
  $$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
py := .venv/bin/python
pip := $(py) -m pip --disable-pip-version-check --quiet install
runtime := .venv/.runtime
dev := .venv/.dev
fuzz := .venv/.fuzz

setup: $(runtime)

up: $(runtime)
	@.venv/bin/extproc up $(ARGS)

demo: $(runtime)
	@.venv/bin/extproc demo $(ARGS)

test: $(dev)  # what is compiled is kept: each of the processes reads all tests
	PYTHONDONTWRITEBYTECODE= $(py) -m pytest -n $$(( $$($(py) -c 'import os; print(os.cpu_count())') + 2 )) --dist loadfile $(ARGS)

canary: $(dev)  # the clients' tests on the newest Claude Code and Codex, and what differs from the pinned ones
	$(py) -m tests.canary

test-compose: $(dev)  # on a Docker engine; starts one if none runs and this is root
	$(py) -m pytest tests/compose $(ARGS)

check: lint types floors test

lint: $(dev)
	$(py) -m ruff check .
	$(py) -m ruff format --check .

types: $(dev)
	$(py) -m mypy

floors: $(dev)
	$(py) -m pytest --quiet -rP tests/test_floors.py tests/test_sizes.py tests/test_tracked.py

protos: $(dev)
	protos/generate.sh

bench: $(dev)
	$(py) -m bench $(ARGS)

bench-peers: $(dev)  # the same work through LiteLLM and claude-code-router, installed under .cache; needs npm
	$(py) -m bench.peers $(ARGS)

soak: $(dev)  # ARGS=30: minutes of mixed load, with clients that leave, workers that are killed, and attackers
	$(py) -m bench.soak $(ARGS)

fuzz: $(fuzz)  # ARGS="stream -max_total_time=600"; Linux
	$(py) -m fuzz $(ARGS)

uv = PYTHONPATH= "$$tmp"/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-header $(ARGS)
lock: $(runtime)  # ARGS=--upgrade takes new versions
	tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && $(pip) --target "$$tmp" uv && \
	$(uv) pyproject.toml --extra gateway --group build -o requirements.txt && \
	$(uv) pyproject.toml --extra gateway --extra postgresql --extra traces --group dev -c requirements.txt -o requirements-dev.txt && \
	$(uv) pyproject.toml --extra gateway --extra postgresql --extra traces --group fuzz -c requirements-dev.txt -o requirements-fuzz.txt && \
	$(uv) --group postgresql -c requirements-dev.txt -o requirements-postgresql.txt && \
	$(uv) --group peers -o requirements-peers.txt

clean:
	rm -rf .venv build dist tests/e2e/*/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +

$(py):
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, with its venv module (Debian: apt install python3-venv)." \
	  "Found none as python3 or python3.11 to python3.14; name one with: make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv

$(runtime): requirements.txt pyproject.toml | $(py)
	$(pip) --require-hashes -r requirements.txt
	$(pip) --no-deps --no-build-isolation --editable .
	@touch $@

$(dev): requirements-dev.txt $(runtime)
	$(pip) --require-hashes -r requirements-dev.txt
	@touch $@

$(fuzz): requirements-fuzz.txt $(dev)
	$(pip) --require-hashes -r requirements-fuzz.txt
	@touch $@
