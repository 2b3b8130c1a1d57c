# Every target sets up what it needs by itself, in .venv: `make demo` and `make test` work in a fresh clone.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := test
.DELETE_ON_ERROR:

# A Python to use instead of the first one on PATH that fits: make PYTHON=/path/to/python3.12 test
PYTHON ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed.stamp
# What is to be tested, besides the options of pyproject.toml: make test ARGS="-k restore"
ARGS ?=
# What to measure; all that is in the documentation, if nothing is given.
CASES ?=
# How long to soak, and with which choices: make soak MINUTES=5 SEED=2
MINUTES ?= 30
SEED ?= 1

# As many processes as `conftest.py` says; what shares a costly fixture stays on one.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadgroup

FLOORS := $(VENV)/floors
# Another store to measure beside, which needs much that nothing else here does.
QUIX := $(VENV)/quix/.installed.stamp

# Without the bytecode of the one before, each of the hundreds of processes that tests start would compile all modules.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo quick test check lint floors soak bench clean

demo: $(STAMP)  ## Run a flow, kill it with -9, resume it, compare
	$(BIN)/python examples/demo.py

quick: lint  ## Lint, and run in about a minute what starts neither Bytewax nor processes
	$(PYTEST) -q -rfE --quick -m "not slow" $(ARGS)

test: $(STAMP)  ## Run all tests but those marked slow
	$(PYTEST) -m "not slow" $(ARGS)

check: lint  ## Lint, check types and imports, and that the documentation is complete
	$(BIN)/python -m pytest -q tests/test_docs.py tests/test_examples.py

lint: $(STAMP)  ## Lint, and check types and imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict bytewax_state
	$(BIN)/lint-imports

# From the source distribution, which has to have all that tests import and read.
floors: $(STAMP)  ## Run the command line and the demo on the lowest versions that pyproject.toml allows
	rm -rf $(FLOORS)
	$(BIN)/python -m venv $(FLOORS)
	$(FLOORS)/bin/python -m pip install --quiet --disable-pip-version-check hatchling
	$(FLOORS)/bin/hatchling build -t sdist -d $(FLOORS)/dist
	mkdir $(FLOORS)/source
	tar -xzf $(FLOORS)/dist/*.tar.gz -C $(FLOORS)/source --strip-components=1
	sed -nE 's/^ +"([a-z-]+)>=([0-9.]+).*/\1==\2/p' pyproject.toml > $(FLOORS)/lowest.txt
	cd $(FLOORS)/source && ../bin/python -m pip install --quiet --disable-pip-version-check -c ../lowest.txt '.[dev]'
	cd $(FLOORS)/source && ../bin/python -m pytest -q --collect-only > ../collected.txt || { cat ../collected.txt; exit 1; }
	cd $(FLOORS)/source && ../bin/python -m pytest -q tests/test_cli.py tests/test_settings.py tests/test_docs.py
	cd $(FLOORS)/source && ../bin/python examples/demo.py

soak: $(STAMP)  ## Kill, starve and confuse a flow, again and again, and compare what it leaves
	$(BIN)/python integration_tests/soak.py --minutes $(MINUTES) --seed $(SEED) $(ARGS)

bench: $(STAMP) $(QUIX)  ## Measure all, and write it into the documentation; some: make bench CASES="resume fold_window:heap"
	$(BIN)/python -m benchmarks $(ARGS) $(CASES) | $(BIN)/python -m benchmarks.page $(if $(CASES),--add,--new)

$(QUIX): $(STAMP)
	$(BIN)/python -m venv $(VENV)/quix
	$(VENV)/quix/bin/python -m pip install --quiet --disable-pip-version-check 'quixstreams>=3.28,<4'
	@touch $@

clean:  ## Remove what the other targets made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# Bytewax has wheels for CPython up to 3.12, and none for 3.13. A name on PATH may be a shim of a version that is not
# there, so each candidate is run before it is taken.
$(STAMP): pyproject.toml
	@fits='import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))'; \
	found=; \
	for python in $(or $(PYTHON),$(BIN)/python python3 python3.12 python3.11 python3.10 python); do \
		if "$$python" -c "$$fits" >/dev/null 2>&1; then found="$$python"; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
		version=$$($(or $(PYTHON),python3) --version 2>&1 | head -n 1 || true); \
		echo "bytewax_state needs Python 3.10, 3.11 or 3.12 (with venv), as Bytewax does; found: $$version. Say where one is: make PYTHON=/path/to/python3.12 $(or $(MAKECMDGOALS),test)" >&2; \
		exit 1; \
	fi; \
	if [ "$$found" != "$(BIN)/python" ]; then \
		echo "Setting up $(VENV) with $$("$$found" --version)"; \
		"$$found" -m venv --clear $(VENV); \
	fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
