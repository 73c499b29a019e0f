# Each target does its own set-up. Another Python: make demo PYTHON=python3.12
PYTHON ?= python3
# On what has no package tensorflow-cpu: make test TENSORFLOW=tensorflow
TENSORFLOW ?= tensorflow-cpu
BIN := .venv/bin

.PHONY: demo test

demo: .venv/installed
	$(BIN)/frcnn demo

test: .venv/tensorflow
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -e '.[dev]'
	touch $@

.venv/tensorflow: .venv/installed
	$(BIN)/pip install -e '.[$(TENSORFLOW)]'
	touch $@
