# make demo: from nothing to solved puzzles.   make test, make lint, make docs-check: what CI runs.
# The virtual environment is made on first use, and updated when the dependencies change. `make demo` installs hrm
# alone; everything else also installs the packages for working on it (the extra dev).

VENV := .venv
PYTHON ?=
# Touched when hrm is installed (PLAIN), and when the extra dev is (STAMP).
PLAIN := $(VENV)/.installed-plain
STAMP := $(VENV)/.installed
INSTALL := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

# make kills: a run stopped 100 times, each time in a new process, must end bit-identical (KILLS=1000 for more).

.PHONY: demo test lint docs-check playground kills venv clean

demo: $(PLAIN)
	$(VENV)/bin/hrm demo

# A process for every core, one thread in each: several threads in every process would wait for each other.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses auto $(PYTEST_ARGS)

lint: $(STAMP)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

# The documentation: its commands and Python blocks run, its links lead somewhere.
docs-check: $(STAMP)
	$(VENV)/bin/python -m pytest --quiet tests/test_docs.py tests/test_docs_figures.py

# The page that solves puzzles by itself, with the bundled models. A test compares it with what the code gives.
playground: $(STAMP)
	$(VENV)/bin/python docs/make_playground.py

kills: $(STAMP)
	$(VENV)/bin/python tests/end_to_end/kills.py --kills $(or $(KILLS),100)

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) '.[dev]'
	@touch $(PLAIN) $@

$(PLAIN): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) .
	@touch $@

$(VENV)/bin/python:
	@for python in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        echo "making $(VENV) with $$python ($$("$$python" --version 2>&1))"; \
	        "$$python" -m venv $(VENV) && exit 0; \
	        rm -rf $(VENV); \
	        exit 1; \
	    fi; \
	done; \
	echo "Error: Python 3.11 or newer is needed; $$(python3 --version 2>/dev/null || echo 'no python3') is what is here." >&2; \
	echo "Install one and name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; \
	exit 1

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
