# Two commands: `make demo` and `make test`. Everything lives in .venv and artifacts/.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: env demo test test-fast check clean

env: .venv/.ready

.venv/.ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --editable '.[cpu,eval,dev]'
	touch $@

demo: env
	$(BIN)/distill run recipes/demo.yaml

check: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check
	$(BIN)/python -m pytest

test-fast: env
	$(BIN)/python -m pytest -m 'not slow'

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache
