"""An LLM that a test scripts, and a brainstorm with it."""

from collections.abc import Callable

import pytest
from helpers.brainstorming import make_brainstorm_recipe

from distill.recipe import Recipe


@pytest.fixture
def make(encoder_folder, llm_folder) -> Callable[..., Recipe]:
    return lambda **settings: make_brainstorm_recipe(encoder_folder, llm_folder, **settings)
