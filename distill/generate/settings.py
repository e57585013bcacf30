"""The sections of the recipe that an LLM needs to write queries and examples; they travel
together."""

from pathlib import Path
from typing import NamedTuple

from distill.recipe import Generate, LanguageModel, Recipe


class WritingSettings(NamedTuple):
    """The settings of what an LLM writes: the section `generate`, in which it is settled whether
    prompts show titles, the language model, the recipe's
    seed, and the folder that prompts are named relative to."""

    generate: Generate
    llm: LanguageModel
    seed: int
    folder: Path

    @classmethod
    def select(cls, recipe: Recipe) -> "WritingSettings":
        """Select them of a recipe."""
        generate = recipe.generate
        if generate.titles == "auto":
            shown = "never" if recipe.corpus.source == "docstrings" else "always"
            generate = generate.model_copy(update={"titles": shown})
        return cls(generate, recipe.llm, recipe.seed, recipe.folder)
