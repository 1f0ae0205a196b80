# The way in: `make dev` for a cluster, `make test` and `make check` before a change is handed in.
# Nothing here needs a running server, root or the network beyond the package index that pip is set up with.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

VENV ?= .venv
# The first interpreter that really runs and is new enough: version managers leave shims that do not.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
PACKAGES := heroctl api reconciler eventstore agents

# make dev: DEMO=0 starts an empty cluster, ARGS go to `heroctl dev` as they are.
DEMO ?= 1
ARGS ?=
# make bench: ONLY=<case> runs one, JSON=<file> also writes the figures there.
ONLY ?=
JSON ?=
# make test, make torture: a path, a node id or any pytest flag. WORKERS=0 runs all tests in one process.
TESTS ?=
WORKERS ?= auto
# make explore: how often each property is tried, with new examples every time.
ROUNDS ?= 10

.PHONY: help
help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "HeroCtl needs Python 3.11 or newer: none found in PATH (set PYTHON=...)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.locked: requirements.lock | $(BIN)/python
	@echo "installing HeroCtl into $(VENV) ..."
	@$(PIP) install --require-hashes -r requirements.lock
	@touch $@

$(VENV)/.installed: $(VENV)/.locked pyproject.toml
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-test: requirements-test.lock $(VENV)/.locked | $(VENV)/.installed
	@echo "installing the test parts into $(VENV) ..."
	@$(PIP) install --require-hashes -r requirements-test.lock
	@touch $@

.PHONY: install
install: $(VENV)/.installed ## Install HeroCtl and dev mode's servers into .venv
	@echo "ready: $(BIN)/heroctl"

.PHONY: setup
setup: $(VENV)/.installed-test ## Install what tests and checks need, too
	@echo "ready: $(BIN)/pytest"

.PHONY: dev
dev: $(VENV)/.installed ## Start a whole cluster here (DEMO=0: without the demo; ARGS="--flag ...")
	@exec $(BIN)/heroctl dev $(if $(filter-out 0,$(DEMO)),--demo) $(ARGS)

.PHONY: test
test: $(VENV)/.installed-test ## Run all tests (TESTS=path narrows)
	@$(BIN)/pytest -n $(WORKERS) --dist loadfile $(TESTS)

.PHONY: explore
explore: $(VENV)/.installed-test ## Look for examples that break a property, ROUNDS times (TESTS=path narrows)
	@for round in $$(seq $(ROUNDS)); do \
		HEROCTL_EXPLORE=1 $(BIN)/pytest -q -n $(WORKERS) -m hypothesis $(TESTS) || exit 1; done

.PHONY: check
check: $(VENV)/.installed-test ## Lint, format, types and import floors
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy $(PACKAGES) tests
	@$(BIN)/lint-imports --no-logo

.PHONY: format
format: $(VENV)/.installed-test ## Apply the formatter and the safe lint fixes
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: docs
docs: $(VENV)/.installed-test ## Write the pages that are made from the code anew
	@$(BIN)/python -m heroctl.cli.docs
	@$(BIN)/python -m tests.generated

.PHONY: bench
bench: $(VENV)/.installed-test ## Measure the hot paths (ONLY=case, JSON=file)
	@$(BIN)/python -m tests.bench $(if $(ONLY),--only $(ONLY)) $(if $(JSON),--json $(JSON))

.PHONY: torture
torture: $(VENV)/.installed-test ## Break things on purpose, for two hours at most
	@timeout --kill-after=30 7200 $(BIN)/pytest -p no:xdist tests/torture $(TESTS)

LOCK := $(BIN)/uv pip compile pyproject.toml --quiet --no-config --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --extra dev --extra otlp --group build

.PHONY: lock
lock: $(VENV)/.installed-test ## Pin the newest allowed versions anew (see docs/decisions/0001)
	@$(LOCK) --upgrade -o requirements.lock
	@$(LOCK) --upgrade --group test -c requirements.lock -o requirements-test.lock

.PHONY: clean
clean: ## Remove the environment and every cache
	@rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
