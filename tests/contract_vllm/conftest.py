"""The contract with real vLLM on a CPU: `make test-vllm`, in an environment of its own, which has
neither the rest of distill's needs nor the fixtures of the tests above."""

import os

import distill  # noqa: F401  (before torch: it settles how OpenMP waits)

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
from contract_vllm.prompts import SMOLLM2


@pytest.fixture(scope="session")
def settings():
    from distill.recipe import LanguageModel

    return LanguageModel(
        engine="vllm", model=SMOLLM2, dtype="float32", device="cpu", max_model_tokens=2048
    )


@pytest.fixture(scope="session")
def plain():
    """The same model on the transformers engine, in the same precision."""
    from distill.llm.transformers.engine import TransformersEngine

    return TransformersEngine(SMOLLM2, "float32", "cpu")
