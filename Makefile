# Everything below sets itself up: a fresh machine needs Python 3.11 or later and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A process per core, each with one thread; the tests of a file share its fixtures. Bytecode is kept
# even where the environment forbids it: every process that a test starts would compile it again.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile --max-worker-restart 1
# A prepared stamp per set of extras, so that the demo does not install the test tools.
.DELETE_ON_ERROR:
.PHONY: demo test slow lint docs format clean

demo: $(VENV)/.demo
	$(BIN)/python examples/demo.py demo

test: $(VENV)/.test
	$(PYTEST)

slow: $(VENV)/.test
	$(PYTEST) -m slow

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell src tests benchmarks examples containers docs *.md
	$(BIN)/mypy
	$(BIN)/lint-imports

# Warnings are errors, broken links among them; the gallery's scripts run, each with its own data.
docs: $(VENV)/.docs
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo "open build/docs/index.html"

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mrcascade needs Python 3.11 or later: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo $(VENV)/.test $(VENV)/.docs: $(VENV)/.%: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet --editable '.[$*]'
	touch $@

clean:
	find src tests benchmarks -name __pycache__ -prune -exec rm -r {} +
	rm -rf $(VENV) demo build docs/gallery docs/reference/generated .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
