# Two commands on a fresh machine: `make demo` and `make test`. Both make their own environment.

VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN = $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 2

# Two workers of one thread each; the tests of a file stay together, for they share models. In the
# order of the files: by the number of tests, the longest of few tests would come last, alone.
TEST = OPENBLAS_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 \
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo test quick slow docs lint types clean

demo: $(VENV)/installed
	$(BIN)/python scripts/prune_image_classifier.py

test: $(VENV)/installed
	$(TEST) -m "not slow and not docs"

quick: $(VENV)/installed
	$(TEST) -m quick

slow: $(VENV)/installed
	$(TEST) -m slow

docs: $(VENV)/installed
	$(TEST) --dist load -m docs

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed
	$(BIN)/mypy

# Rebuilt when the dependencies change; kept only when the installation succeeded.
$(VENV)/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV)
