# Run `make` for the list of targets.
PYTHON ?= python3
BENCH_ARGS ?= --quick
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -c constraints.txt
STAMP := $(VENV)/.installed
BENCHES = $(sort $(wildcard examples/benchmarks/bench_*.py))

.DEFAULT_GOAL := help
.PHONY: help venv demo test lint format docs bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml constraints.txt | $(BIN)/pip
	$(PIP) torch
	$(PIP) -e ".[dev]"
	@touch $@

venv: $(STAMP) ## create .venv and install skec with everything to develop it

demo: $(STAMP) ## run the demonstration
	$(BIN)/python examples/demo.py

test: $(STAMP) ## run the tests; PYTEST_ARGS adds arguments
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto $(PYTEST_ARGS)

lint: $(STAMP) ## check the style, the format and the types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

format: $(STAMP) ## repair the style where it can be done, and the format
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

docs: $(STAMP) ## build the site in docs/_build/html
	@rm -rf docs/_build docs/api
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

bench: $(STAMP) ## run the benchmarks; BENCH_ARGS= runs them in full
	@set -e; for bench in $(BENCHES); do \
	    echo "$$bench $(BENCH_ARGS)"; \
	    $(BIN)/python $$bench $(BENCH_ARGS); \
	done

clean: ## remove all that was built, and .venv
	rm -rf $(VENV) build dist docs/_build docs/api .hypothesis .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
