"""Whether prompts reach a model as messages or as texts to be continued."""

from distill.errors import UserError
from distill.llm.protocol import LLM
from distill.recipe import Recipe


def in_chat_form(recipe: Recipe, llm: LLM) -> bool:
    """Whether prompts are messages of the model's chat template.

    Raises:
        UserError: if the recipe wants that of a model without one.
    """
    if recipe.llm.form == "chat" and not llm.has_chat:
        raise UserError(
            recipe.llm.model,
            "has no chat template, and llm.form is chat",
            "set llm.form to completion, or choose a model that was tuned for chat",
        )
    return recipe.llm.form != "completion" and llm.has_chat
