# Two commands are enough on a fresh machine: `make up` and `make test`.
# Each makes the environment that it needs in .venv, from lock files with hashes.

PYTHON ?= python3
VENV := .venv
VLLM_VENV := .venv-vllm
BIN := $(VENV)/bin
PACKAGES := baseline bench cli common dashboard dispatcher gateway lab monitor scaler simulator
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help up test test-compose test-vllm chaos peers check fix lock clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

up: $(VENV)/run.stamp  ## start everything on this machine; ARGS="--help" shows the options
	@exec $(BIN)/adasplit up $(ARGS)

test: $(VENV)/dev.stamp  ## run the tests; ARGS="-k claim" selects some
	$(BIN)/python -m pytest $(ARGS)

chaos: $(VENV)/dev.stamp  ## hurt a fleet of real processes; ARGS="--seed 1 --seconds 300"
	$(BIN)/python -m tests.chaos $(ARGS)

test-vllm: $(VENV)/dev.stamp $(VLLM_VENV)/run.stamp  ## drive two real vLLM servers on this machine's CPU; 3.5 GB
	VLLM_PYTHON=$(CURDIR)/$(VLLM_VENV)/bin/python $(BIN)/python -m pytest tests/vllm $(ARGS)

test-compose: $(VENV)/dev.stamp  ## drive the composed system, where there is a Docker engine
	TEST_COMPOSE=1 $(BIN)/python -m pytest --log-cli-level=INFO tests/compose $(ARGS)

fuzz: $(VENV)/dev.stamp  ## throw odd requests at a running system; ARGS="--minutes 10 --seed 1"
	$(BIN)/python -m tests.fuzz $(ARGS)

test-clients: $(VENV)/dev.stamp $(VENV)-clients/stamp  ## clients that others wrote; npm, if there is one
	@! command -v npm >/dev/null || npm ci --prefix tests/clients --silent --no-audit --no-fund
	$(BIN)/python -m pytest tests/clients $(ARGS)

$(VENV)-clients/stamp: requirements/clients.txt
	@requirements/make-venv $(PYTHON) $(VENV)-clients
	$(VENV)-clients/bin/python -m pip install --quiet --require-hashes -r requirements/clients.txt
	@touch $@

PEERS := $(VENV)-peers
peers: $(VENV)/run.stamp $(PEERS)/routers/stamp $(PEERS)/litellm/stamp $(PEERS)/ray/stamp  ## other routers, to measure beside: 1.1 GB; apt-get has haproxy

$(PEERS)/%/stamp: requirements/peers-%.txt
	@mkdir -p $(PEERS)
	@requirements/make-venv $(PYTHON) $(PEERS)/$*
	$(PEERS)/$*/bin/python -m pip install --quiet --require-hashes -r requirements/peers-$*.txt
	@touch $@

check: $(VENV)/dev.stamp  ## format, lint, strict types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

fix: $(VENV)/dev.stamp  ## format, and mend what the linter can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(VENV)/dev.stamp  ## resolve the dependencies again, into requirements/
	for kind in run serve dev; do \
	  extras="--extra build --extra dashboard --extra tracing"; \
	  [ $$kind = serve ] || extras="$$extras --extra bench"; \
	  [ $$kind != dev ] || extras="$$extras --extra dev"; \
	  [ $$kind = run ] || extras="$$extras --constraint requirements/run.txt"; \
	  $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-emit-find-links --no-header $$extras \
	    pyproject.toml --output-file requirements/$$kind.txt || exit 1; \
	done

.PHONY: screenshots
screenshots: $(VENV)/dev.stamp  ## take the pictures of the docs anew, of a real run; wants chromium
	$(BIN)/python -m tests.dashboard.screenshots docs/img

clean:  ## remove the environment and the caches
	rm -rf $(VENV) $(VLLM_VENV) $(PEERS) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info

$(VENV)/bin/python:
	@requirements/make-venv $(PYTHON) $(VENV)

$(VENV)/run.stamp: requirements/run.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/run.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/run.stamp
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	@touch $@

# Apart from ours, for its dependencies are many and others; no package in it is one of ours.
$(VLLM_VENV)/run.stamp: requirements/vllm.txt
	@requirements/make-venv $(PYTHON) $(VLLM_VENV)
	$(VLLM_VENV)/bin/python -m pip install --quiet torch==2.13.0
	$(VLLM_VENV)/bin/python -m pip install --quiet --no-deps -r requirements/vllm.txt
	@touch $@
