# make demo: from nothing to solved puzzles.   make test, make lint: what CI runs.
# The virtual environment is made on first use, and again when the dependencies change.

VENV := .venv
PYTHON ?=
STAMP := $(VENV)/.installed

# make kills: a run stopped 100 times, each life a process of its own, must end bit-identical (KILLS=1000 for more).

.PHONY: demo test lint kills venv clean

demo: $(STAMP)
	$(VENV)/bin/hrm demo

# A process for every core, one thread in each: several threads in every process would wait for each other.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses auto $(PYTEST_ARGS)

lint: $(STAMP)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

kills: $(STAMP)
	$(VENV)/bin/python tests/end_to_end/kills.py --kills $(or $(KILLS),100)

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]' --constraint constraints.txt
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
