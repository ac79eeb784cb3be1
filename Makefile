# `make demo` shows it, `make test` checks everything. Each makes its own virtual environment;
# Python 3.11 or later and make are all they need.

PYTHON ?= python3
JOBS ?= 4
PYTEST_ARGS ?=
# Bad days for a simulated cluster: the same seeds each time, and as many that no commit had before.
DAYS ?= 40
FRESH ?= $(shell printf '%d' 0x$$(git rev-parse --short=7 HEAD 2>/dev/null || echo 0))

VENV := .venv
DEMO_VENV := .venv-demo
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO_READY := $(DEMO_VENV)/.ready
PACKAGED := pyproject.toml README.md LICENSE \
  $(shell find pyhorde examples -type f -not -path '*/__pycache__/*' -not -path 'pyhorde/examples/*')
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check

step = @printf '\n== %s\n' "$(1)"

.DEFAULT_GOAL := help
.PHONY: help demo check test days benchmarks lint format check-python clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(DEMO_READY) ## install what users get, run a meeting on three nodes, kill one of them
	@$(DEMO_VENV)/bin/pyhorde demo

check: lint ## what an hour's work needs: format, lint, types and the unit tests
	$(call step,unit tests)
	@$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile -q tests/unit tests/architecture

test: lint ## every check, then all tests with their coverage
	$(call step,pytest under coverage)
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest --numprocesses $(JOBS) --dist loadfile $(PYTEST_ARGS)
	$(call step,coverage)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report
	@$(MAKE) --no-print-directory days

days: $(READY) ## bad days for a simulated cluster of five, DAYS known seeds and DAYS fresh ones
	$(call step,$(DAYS) bad days)
	@$(BIN)/python -m pyhorde.testing --seeds $(DAYS) --nodes 5 --minutes 10
	$(call step,$(DAYS) fresh bad days from seed $(FRESH) on)
	@$(BIN)/python -m pyhorde.testing --seeds $(DAYS) --first $(FRESH) --nodes 5 --minutes 10

benchmarks: $(READY) ## the figures of registry and membership, and whether anything is lost
	$(call step,figures)
	-@$(BIN)/python benchmarks/registry.py
	$(call step,what a message costs)
	-@$(BIN)/python benchmarks/wire.py
	$(call step,what stays behind)
	-@$(BIN)/python benchmarks/churn.py
	$(call step,a pulled cable)
	-@$(BIN)/python benchmarks/link_down.py
	$(call step,who is there)
	-@$(BIN)/python benchmarks/detection.py
	-@$(BIN)/python benchmarks/idle.py
	-@$(BIN)/python benchmarks/bootstrap.py
	$(call step,random histories)
	-@$(BIN)/python benchmarks/histories.py --count 100000

lint: $(READY) ## the checks that run no code of the project
	$(call step,ruff format)
	@$(BIN)/ruff format --check
	$(call step,ruff check)
	@$(BIN)/ruff check
	$(call step,import contracts)
	@$(BIN)/lint-imports --no-logo
	$(call step,mypy)
	@$(BIN)/mypy
	$(call step,compose schema)
	@$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	$(call step,hadolint)
	@$(BIN)/hadolint deploy/docker/Dockerfile

format: $(READY) ## put the code into its form
	@$(BIN)/ruff check --fix --exit-zero
	@$(BIN)/ruff format

# The link gives a development tree the name that the examples have in the wheel.
$(READY): pyproject.toml | check-python
	$(call step,virtual environment $(VENV))
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python $(PIP_INSTALL) --editable '.[dev]'
	@ln -sfn ../examples pyhorde/examples
	@touch $@

$(DEMO_READY): $(PACKAGED) | check-python
	$(call step,virtual environment $(DEMO_VENV))
	@$(PYTHON) -m venv $(DEMO_VENV)
	@$(DEMO_VENV)/bin/python $(PIP_INSTALL) .
	@touch $@

check-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "pyhorde needs Python 3.11 or later, and '$(PYTHON)' is none;" \
	       "name one: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
	  echo "'$(PYTHON)' cannot make virtual environments; on Debian: apt-get install python3-venv" \
	       >&2; exit 2; }

clean: ## remove everything that the other targets made
	rm -rf $(VENV) $(DEMO_VENV) build dist htmlcov .coverage .coverage.* .hypothesis \
	  .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	rm -f pyhorde/examples
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
