# Each target does its own set-up. Another Python: make demo PYTHON=python3.12
PYTHON ?= $(if $(filter Windows_NT,$(OS)),python,python3)
# On what has no package tensorflow-cpu: make test TENSORFLOW=tensorflow
TENSORFLOW ?= tensorflow-cpu
BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
# Two processes of one thread each: quicker than one of two threads, since most tests are small.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2

define lint
$(BIN)/ruff check .
$(BIN)/ruff format --check .
$(BIN)/mypy
endef

.PHONY: demo check test crash fuzz

# The whole pipeline on drawn pictures, in the folder demo.
demo: .venv/installed
	$(BIN)/frcnn demo

# Linters, types and the quick tests, without those of TensorFlow: about 3 minutes on two cores.
check: .venv/installed
	$(lint)
	$(PYTEST) -m "not slow and not tensorflow"

# Linters, types and all tests, those of TensorFlow too.
test: .venv/tensorflow
	$(lint)
	$(PYTEST)

# Kill every stage at every operation on the file system, and whole pipelines at random times: about 15 minutes.
crash: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.crash

# Read 2,000 damaged files, of all formats together: about 12 minutes.
fuzz: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -e '.[dev]'
	touch $@

.venv/tensorflow: .venv/installed
	$(BIN)/pip install -e '.[$(TENSORFLOW)]'
	touch $@
