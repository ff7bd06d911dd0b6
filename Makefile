# Two commands are enough on a fresh machine: `make up` and `make test`.
# Each makes the environment that it needs in .venv, from lock files with hashes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := baseline bench cli common dispatcher gateway monitor scaler simulator
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help up test chaos check fix lock clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

up: $(VENV)/run.stamp  ## start everything on this machine; ARGS="--help" shows the options
	@exec $(BIN)/adasplit up $(ARGS)

test: $(VENV)/dev.stamp  ## run the tests; ARGS="-k claim" selects some
	$(BIN)/python -m pytest $(ARGS)

chaos: $(VENV)/dev.stamp  ## hurt a fleet of real processes; ARGS="--seed 1 --seconds 300"
	$(BIN)/python -m tests.chaos $(ARGS)

check: $(VENV)/dev.stamp  ## format, lint, strict types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

fix: $(VENV)/dev.stamp  ## format, and mend what the linter can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(VENV)/dev.stamp  ## resolve the dependencies again, into requirements/
	for kind in run dev; do \
	  extras="--extra build --extra bench --extra dashboard --extra tracing"; \
	  [ $$kind = run ] || extras="$$extras --extra dev --constraint requirements/run.txt"; \
	  $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-emit-find-links --no-header $$extras \
	    pyproject.toml --output-file requirements/$$kind.txt || exit 1; \
	done

clean:  ## remove the environment and the caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info

$(VENV)/bin/python:
	@requirements/make-venv $(PYTHON) $(VENV)

$(VENV)/run.stamp: requirements/run.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/run.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/run.stamp
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	@touch $@
